"""The face of the package, and what a lesson prints of its own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

import mmsada_lab
from mmsada_lab import answer, compare


def test_every_name_of_the_face_is_there() -> None:
    assert set(mmsada_lab.__all__) == {"__version__", *mmsada_lab._HOMES, *mmsada_lab._SPACES}
    for name in mmsada_lab.__all__:
        assert getattr(mmsada_lab, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'figure'"):
        mmsada_lab.figure  # noqa: B018


def test_both_ways_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    compare(torch.tensor(0.13117, requires_grad=True), 0.13117001, "L_c")
    compare(np.arange(9) / 2, torch.arange(9) / 2)
    compare([True, False], torch.tensor([True, False]))
    assert capsys.readouterr().out.splitlines() == [
        "L_c: by hand 0.1312, library 0.1312",
        "by hand [0 0.5 1 1.5 2 2.5 … (9 values)], library [0 0.5 1 1.5 2 2.5 … (9 values)]",
        "by hand [True False], library [True False]",
    ]


@pytest.mark.parametrize("theirs", [0.1314, [0.1312], float("nan")])
def test_a_difference_stops(theirs: object) -> None:
    with pytest.raises(AssertionError, match=r"by hand 0\.1312, library"):
        compare(0.1312, theirs)  # type: ignore[arg-type]


def test_an_answer_is_set_as_markdown() -> None:
    data, _ = DisplayFormatter().format(answer("It gains **3.1** points."))
    assert data["text/markdown"] == "> **Answer.** It gains **3.1** points."
    assert data["text/plain"] == "It gains **3.1** points."
