"""Which pairs of modalities a network is asked about under each rule, and with which answer.

No rule is written down here. Stand-in segments, whose readers return where and when they are read in place of pictures,
go through the batches that train; the self-supervised task asks its questions; and the gradient of its loss tells which
answer it wants. Every combination of options that a configuration allows is gone through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from markupsafe import escape
from numpy.typing import NDArray
from torch import Tensor

from mmsada_lab.clips.batches import TrainingBatches
from mmsada_lab.clips.clips import clip_rule
from mmsada_lab.clips.segments import Domain, Segment
from mmsada_lab.clips.windows import WindowRule, windows_apart
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.dyed_batch import DyedReader, Ear
from mmsada_lab.explorer.window_frames import window_bounds
from mmsada_lab.presets import build_config
from mmsada_lab.pretexts import build_pretext

RULE_OPTIONS = ("positives", "negatives", "correspondence_batch")
RELATIONS = {
    "same": "one segment, the same moment",
    "near": "one segment, moments close together",
    "apart": "one segment, moments apart",
    "segment": "two segments of one domain",
    "domain": "two domains",
}
"""How the two sides of a pair may be related; apart are moments that ``negatives=moment`` may draw."""

_SIGNS = {"positive": "✓ positive", "negative": "✗ negative", "both": "✓ or ✗", "never": "– never asked"}


class Moment(NamedTuple):
    """Where a modality is taken from: a domain, a segment of it, and the centre of a window (frame of the clock)."""

    domain: str
    segment: Segment
    centre: int


class _Lowest:
    """Draws the lowest of everything: what it leaves is the least that a rule allows."""

    def integers(self, low: int, high: int, *, size: int, endpoint: bool) -> NDArray[np.int64]:
        return np.full(size, low, dtype=np.int64)

    def permutation(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        return values


def least_gap(segment: Segment, rule: WindowRule) -> int:
    """How far apart two different moments of a segment are at least, in frames of the clock (``negatives=moment``).

    Example:
        >>> least_gap(Segment("a", "video", 101, 200), WindowRule(length=16, stride=2))  # half a window
        16
    """
    first, second = windows_apart(segment, rule, cast("np.random.Generator", _Lowest()), count=2)
    return int(second[0] - first[0])


def relations_of(first: Moment, second: Moment, *, rule: WindowRule) -> list[str]:
    """How two moments are related: keys of `RELATIONS`, two where a window has one place in the segment only.

    Raises:
        UserError: a centre that no window of its segment has.

    Example:
        >>> segment, rule = Segment("a", "video", 101, 200), WindowRule(length=16, stride=2)
        >>> [relations_of(Moment("D1", segment, 120), Moment("D1", segment, c), rule=rule) for c in (120, 130, 140)]
        [['same'], ['near'], ['apart']]
    """
    for moment in (first, second):
        low, high = window_bounds(moment.segment, rule)
        if not low <= moment.centre <= high:
            raise UserError(f"a window around frame {moment.centre} of {moment.segment.uid}; give {low} to {high}")
    if first.domain != second.domain:
        return ["domain"]
    if first.segment.uid != second.segment.uid:
        return ["segment"]
    gap, least = abs(first.centre - second.centre), least_gap(first.segment, rule)
    return ["same"] * (gap == 0) + ["near"] * (0 < gap < least) + ["apart"] * (gap >= least)


@cache
def pairing_rules() -> pd.DataFrame:
    """What each rule answers to pairs of each relation, found out by drawing batches as training does.

    Returns:
        Columns positives, negatives, correspondence_batch (a combination that a configuration allows), relation (a key
        of `RELATIONS`), answer (positive, negative, both or never).

    Example:
        >>> rules = pairing_rules()
        >>> paper = rules[(rules["negatives"] == "other") & (rules["correspondence_batch"] == "half")]
        >>> paper[paper["positives"] == "segment"]["answer"].tolist()
        ['positive', 'positive', 'positive', 'negative', 'never']
    """
    rows = []
    for options in product(*(_choices(name) for name in RULE_OPTIONS)):
        named = dict(zip(RULE_OPTIONS, options, strict=True))
        try:
            config = _configure(named)
        except UserError:  # the configuration refuses the combination
            continue
        answers = set(_asked(config))
        for relation in RELATIONS:
            words = {"positive" if yes else "negative" for key, yes in answers if key == relation}
            rows.append({**named, "relation": relation, "answer": _answer(words)})
    return pd.DataFrame(rows)


def _choices(option: str) -> list[str]:
    return [str(value) for value in ExperimentConfig.__dataclass_fields__[option].metadata["option"].choices]


def _answer(words: set[str]) -> str:
    """One word for all answers that a pair is drawn with; "both" stays what it is."""
    return words.pop() if len(words) == 1 else ("both" if words else "never")


_MODALITIES, _CLIPS, _STEPS = ("rgb", "flow"), 8, 12
_WINDOW = WindowRule(length=4, stride=1)
_START, _FRAMES = 11, 10  # seven places for a window: in so many steps every relation is drawn many times


def _configure(options: Mapping[str, str]) -> ExperimentConfig:
    overrides = {"modalities": list(_MODALITIES), "batch_size": 2 * _CLIPS, **options}
    return build_config("paper", source="D1", target="D2", method="self_supervised_only", overrides=overrides)


def _no_opinion(features: dict[str, Tensor]) -> Tensor:
    """Scores of a head that holds all answers as likely, and feels which one the loss wants."""
    return torch.zeros(len(features[_MODALITIES[0]]), 2, requires_grad=True)


def _asked(config: ExperimentConfig) -> Iterator[tuple[str, bool]]:
    """Relation of every pair that the task is asked about in some steps, and whether yes is the right answer."""
    # Segments of both domains start together: none is told from another by its times.
    segments = tuple(Segment(str(number), "video", _START, _START + _FRAMES - 1, 0) for number in range(2 * _CLIPS))
    numbers = {segment.uid: number for number, segment in enumerate(segments)}
    source, target = (
        Domain(str(domain), dict.fromkeys(_MODALITIES, DyedReader(domain, numbers)), segments, ()) for domain in (0, 1)
    )
    rule = replace(clip_rule(config), window=_WINDOW, negatives=config.mismatches(config.pretrain))
    sizes = {"source_batch": _CLIPS, "target_batch": _CLIPS, "steps": _STEPS, "seed": (0, 0)}
    batches = TrainingBatches(source, target, rule=rule, modalities=_MODALITIES, **sizes)  # type: ignore[arg-type]
    task = build_pretext(dict.fromkeys(_MODALITIES, 3), config)
    ear = task.head = Ear(_no_opinion)
    for step in range(_STEPS):
        batch = batches[step]
        clips = batch.require_target()
        task.loss((batch.source.clips, batch.source), (clips.clips, clips)).backward()
    for features, scores in ear.asked:
        assert scores.grad is not None
        wants_yes = (scores.grad[:, 1] < 0).tolist()  # the loss falls as the score for yes rises
        sides = (features[modality].int().tolist() for modality in _MODALITIES)
        for first, second, yes in zip(*sides, wants_yes, strict=True):
            moments = (_moment(side, segments) for side in (first, second))
            yield from ((relation, yes) for relation in relations_of(*moments, rule=_WINDOW))


def _moment(side: list[int], segments: tuple[Segment, ...]) -> Moment:
    domain, segment, middle = side
    return Moment(str(domain), segments[segment], middle)


def pairing_answers(first: Moment, second: Moment, *, rule: WindowRule) -> pd.DataFrame:
    """What every rule makes of a pair: one modality at one moment, the other at another.

    Args:
        first: where the first modality is taken from.
        second: where the second one is.
        rule: of windows, which decides which moments there are and which are apart.

    Returns:
        Columns positives, negatives, correspondence_batch, answer (positive, negative, both or never); a row for each
        combination that a configuration allows.

    Raises:
        UserError: a centre that no window of its segment has; windows that span their segment.

    Example:
        >>> first, second = (Moment("D1", Segment(uid, "video", 101, 200), 150) for uid in "ab")
        >>> pairing_answers(first, second, rule=WindowRule())["answer"].tolist()  # the last one asks about moments
        ['negative', 'negative', 'negative', 'negative', 'never']
    """
    rules = pairing_rules()
    rules = rules[rules["relation"].isin(relations_of(first, second, rule=rule))]
    rows = [
        {**dict(zip(RULE_OPTIONS, options, strict=True)), "answer": _answer(set(of_rule["answer"]) - {"never"})}
        for options, of_rule in rules.groupby(list(RULE_OPTIONS), sort=False)
    ]
    return pd.DataFrame(rows)


def write_pairing(answers: pd.DataFrame) -> str:
    """`pairing_answers` as an HTML table; answers have a sign and a word, and need no colour.

    Example:
        >>> row = {"positives": "segment", "negatives": "other", "correspondence_batch": "half", "answer": "never"}
        >>> "never asked" in write_pairing(pd.DataFrame([row]))
        True
    """
    left = "text-align:left"
    head = "".join(f"<th style='{left}'>{name}</th>" for name in (*RULE_OPTIONS, "this pair is"))
    body = ""
    for row in answers.to_dict("records"):
        cells = [*(row[option] for option in RULE_OPTIONS), _SIGNS[row["answer"]]]
        body += "<tr>" + "".join(f"<td style='{left}'>{escape(cell)}</td>" for cell in cells) + "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
