"""What a lesson shows of segments, windows, crops and clips, and the namespace it reaches the library by."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy import CLASSES, relabelled, toy_data

from mmsada_lab import figures, library
from mmsada_lab.analysis import style
from mmsada_lab.analysis.lessons.clip_grid import AnimatedPng
from mmsada_lab.clips.segments import Domain
from mmsada_lab.errors import UserError
from mmsada_lab.lessons.domain_clips import NO_FLOW, NO_PICTURES, segment_of


class TestLengths:
    def test_shares_are_quantiles(self) -> None:
        shares = figures.length_shares({"D1": range(1, 102), "D2": [7]})
        of_first = shares[shares["domain"] == "D1"]
        assert of_first["frames"].tolist() == [1.0 + p for p in of_first["percent"]]
        assert set(shares[shares["domain"] == "D2"]["frames"]) == {7.0}
        with pytest.raises(UserError, match="D3 has no segment"):
            figures.length_shares({"D3": []})

    def test_lines_and_spans_are_drawn(self) -> None:
        figure = figures.draw_lengths(
            figures.length_shares({"D1": [8, 16], "D2": [4]}), spans={"window of 8": 16}, title="t"
        )
        first, second, window = figure.data
        assert first.x[0] == 8.0
        assert first.x[-1] == 16.0
        assert {first.line.color, second.line.color}.isdisjoint(style.DOMAIN_COLOURS.values())
        assert (window.name, window.x, window.y) == ("window of 8", (16, 16), (0, 100))
        assert figure.layout.xaxis.type == "log"
        low, high = figure.layout.xaxis.range
        assert (10**low < 4, 10**high > 16) == (True, True), "nothing lies on the edge"
        assert "bdata" not in figure.to_json()


def test_windows_are_rows_with_the_segment_behind_them() -> None:
    windows = {"test 1": np.array([100, 102]), "training, e.g. 1": [98, 100]}
    figure = figures.draw_windows(windows, segment=(99, 120))
    assert [(trace.x, set(trace.y)) for trace in figure.data] == [
        ((100, 102), {"test 1"}),
        ((98, 100), {"training, e.g. 1"}),
    ]
    assert len({trace.marker.color for trace in figure.data}) == 2
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(99, 120)]
    low, high = figure.layout.xaxis.range
    assert (low < 98, high > 120) == (True, True), "one sees where the segment ends"
    assert "bdata" not in figure.to_json()


def test_columns_that_crops_contain() -> None:
    crops = [SimpleNamespace(left=0, width=8), SimpleNamespace(left=4, width=8)]
    shares = figures.column_shares({"two": crops, "one": crops[:1]}, width=16)
    assert shares["two"].to_dict() == {0: 50.0, 4: 100.0, 8: 50.0, 12: 0.0}
    assert shares["one"].to_dict() == {0: 100.0, 4: 100.0, 8: 0.0, 12: 0.0}
    assert len(figures.column_shares({"one": crops[:1]}, width=16, step=1)) == 16
    with pytest.raises(UserError, match="no crop 'none'"):
        figures.column_shares({"none": []}, width=16)


class TestWindowCounts:
    RIGHT, WRONG = (0.1, 0.9), (0.6, 0.4)  # the right one is surer

    def test_by_hand(self) -> None:
        """Segment a: one of three windows right; b: all of them; c has no label."""
        a, b = [self.RIGHT, self.WRONG, self.WRONG], [self.RIGHT] * 3
        counts = figures.window_counts({"rgb": [a, b, a]}, [1, 1, -1])
        assert counts["mean"].tolist() == pytest.approx([100 * 4 / 6, 100 * 5 / 6, 100.0])
        assert counts["sd"].tolist() == pytest.approx([np.std([100, 50, 50]), np.std([100, 100, 50]), 0.0])

    def test_what_cannot_be_counted_is_refused(self) -> None:
        with pytest.raises(UserError, match="no segment has a label"):
            figures.window_counts({"rgb": [[self.RIGHT]]}, [-1])
        with pytest.raises(UserError, match=r"rgb has shape \(1, 2\)"):
            figures.window_counts({"rgb": [self.RIGHT]}, [0])
        with pytest.raises(UserError, match="of 2 segments"):
            figures.window_counts({"rgb": [[self.RIGHT]]}, [0, 1])

    def test_lines_have_the_streams_colours(self) -> None:
        counts = figures.window_counts({"fused": [[self.RIGHT] * 2], "flow": [[self.WRONG] * 2]}, [1])
        figure = figures.draw_window_counts(counts)
        assert [(line.name, line.line.color, line.y) for line in figure.data] == [
            ("fused", style.STREAM_COLOURS["fused"], (100.0, 100.0)),
            ("flow", style.STREAM_COLOURS["flow"], (0.0, 0.0)),
        ]
        assert "bdata" not in figure.to_json()


def toy_domains(**changes: Any) -> dict[str, Domain]:
    data = toy_data()
    return {side: replace(data.domain(name), **changes) for side, name in (("source", "A"), ("target", "B"))}


SERIES = {"acc": SimpleNamespace(kind="series", mirror_negates=())}


class TestClips:
    def test_segments_are_of_one_class(self) -> None:
        domains = toy_domains()
        for verb in CLASSES:
            label = CLASSES.index(verb)
            picked = library.segments_of(domains, CLASSES, verb)
            assert [picked[side].label for side in domains] == [label, label]
        assert {s.label for s in library.segments_of(domains, CLASSES).values()} == {len(CLASSES) - 1}
        with pytest.raises(UserError, match="Did you mean 'sweep'"):
            library.segments_of(domains, CLASSES, "swep")

    def test_the_last_class_that_both_have(self) -> None:
        data = relabelled(toy_data(), "B", lambda s: 0)
        domains = {"source": data.domain("A"), "target": data.domain("B")}
        assert {s.label for s in library.segments_of(domains, CLASSES).values()} == {0}
        assert segment_of(domains["target"], 2) == domains["target"].train[0], "none of it: the first"
        with pytest.raises(UserError, match="B has no training segment"):
            segment_of(replace(domains["target"], train=()), 0)

    def test_a_row_for_each_domain(self) -> None:
        domains = toy_domains()
        classes, few = (library.play_classes(domains, CLASSES, count=k) for k in (3, 2))
        assert isinstance(classes, AnimatedPng)
        assert isinstance(few, AnimatedPng)
        assert classes.size[1] == few.size[1]
        assert classes.size[0] > few.size[0]
        assert 1 < classes.frames <= 7
        assert library.play_classes(domains, CLASSES, modality="flow").png != classes.png
        with pytest.raises(UserError, match="unknown modality 'acc'"):
            library.play_classes(domains, CLASSES, modality="acc")

    def test_all_modalities_of_a_segment(self) -> None:
        domains = toy_domains()
        segments = library.segments_of(domains, CLASSES)
        film = library.play_segments(domains, segments)
        other = library.play_segments(domains, library.segments_of(domains, CLASSES, "sweep"))
        assert film.frames > 1
        assert film.png != other.png
        still = library.show_channels(domains, segments)
        assert still.frames == 1
        assert still.size[0] > film.size[0], "u and v besides"

    def test_channels_are_those_that_are_stored(self) -> None:
        """A flow of 255 to the right and 0 down: u is white, v is black."""

        def read(segment: object, frames: Any) -> Any:
            return np.stack([np.full((len(frames), 54, 80), value, dtype=np.uint8) for value in (255, 0)], axis=-1)

        flow = SimpleNamespace(kind="video", mirror_negates=(0,), read=read)
        domains = toy_domains(readers={"flow": flow})
        picture = library.show_channels(domains, library.segments_of(domains, CLASSES))
        pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"))
        width = 2 * 80 + 8  # twice enlarged, and a gap
        middle = 18 + 54
        assert (pixels[middle, 160 + 8 + 80], pixels[middle, 2 * width + 80]) == (255, 0)

    def test_what_has_no_pictures_says_so(self) -> None:
        domains = toy_domains(readers=SERIES)
        segments = library.segments_of(domains, CLASSES)
        assert library.play_classes(domains, CLASSES) == NO_PICTURES
        assert library.play_segments(domains, segments) == NO_PICTURES
        assert library.show_channels(domains, segments) == NO_FLOW
        half = {**toy_domains(), "target": domains["target"]}
        assert library.play_segments(half, segments) == NO_PICTURES, "one domain has none"


def test_every_function_of_the_namespace_is_there() -> None:
    names = dir(library)
    assert len(names) == len(set(names)) > 20
    for name in names:
        assert name.isupper() or callable(getattr(library, name)), name
    with pytest.raises(AttributeError, match=r"no function 'fuze' here; there are .*fuse"):
        library.fuze  # noqa: B018
