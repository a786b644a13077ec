"""The lessons on clips, taken in hand: windows and crops, and pairs of modalities. `hands` has all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmsada_lab.clips.segments import Domain, Segment
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.errors import UserError
from mmsada_lab.explorer import pairings, window_frames
from mmsada_lab.explorer.controls import WIDE, Controls, Shown, widgets


def try_window(domain: Domain, segment: Segment, *, rule: WindowRule, modalities: Sequence[str] = ()) -> Controls:
    """Move a window and a crop over a segment: which frames are read of each modality, and what of them is kept.

    Args:
        domain: that the segment is of.
        segment: to look at.
        rule: length of a window (frames), and the stride to start from (frames of the clock).
        modalities: of the domain; none: all that have pictures.

    Returns:
        Controls `centre` (frame of the clock), `stride` (frames of the clock), `down` and `right` (quarters of the
        space that the crop leaves free); thumbnails `(H, W, 3)` of all frames, with their numbers.

    Raises:
        UserError: no modality with pictures, an unknown one, windows that span their segment.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> def read(segment, frames):
        ...     return np.zeros((len(frames), 36, 64, 3), dtype=np.uint8)
        >>> kitchen = Domain("D1", {"rgb": SimpleNamespace(kind="video", mirror_negates=(), read=read)}, (), ())
        >>> hands = try_window(kitchen, Segment("a", "video", 11, 40), rule=WindowRule(length=4, stride=2))
        >>> hands.controls["centre"].value = 20
        >>> hands.shown.sentence
        'segment of frames 11 to 40; the window reads 16 to 22, 0 of 4 outside it'
    """
    low, high = window_frames.window_bounds(segment, rule)
    frame = {"continuous_update": False, **WIDE}  # files may have to be decoded: once, where the slider stops
    quarters = {"min": 0, "max": 4, "value": 2, **frame}
    controls = {
        "centre": widgets.IntSlider(
            min=low, max=high, value=(low + high) // 2, description="window's centre (frame of the clock)", **frame
        ),
        "stride": widgets.IntSlider(
            min=1, max=max(8, rule.stride), value=rule.stride, description="stride (frames of the clock)", **frame
        ),
        "down": widgets.IntSlider(description="crop, down (quarters of the free space)", **quarters),
        "right": widgets.IntSlider(description="crop, right (quarters of the free space)", **quarters),
    }

    def bound(change: Any) -> None:
        """Before anything is drawn: centres that a window of this stride can have."""
        centre = controls["centre"]
        first, last = window_frames.window_bounds(segment, WindowRule(rule.length, change["new"]))
        with centre.hold_trait_notifications():  # a limit alone may contradict the other
            centre.min, centre.max, centre.value = first, last, min(max(centre.value, first), last)

    controls["stride"].observe(bound, names="value")

    def show(centre: int, stride: int, down: int, right: int) -> Shown:
        read = window_frames.window_frames(
            domain, segment, rule=WindowRule(rule.length, stride), centre=centre, modalities=modalities
        )
        first, *_, last = read["clock"]
        outside = int((~read["inside"]).sum()) // read["modality"].nunique()
        words = f"the window reads {first} to {last}, {outside} of {rule.length} outside it"
        picture = window_frames.draw_window(domain, segment, read, down=down, right=right)
        return Shown(picture, f"segment of frames {segment.start} to {segment.stop}; {words}")

    return Controls(controls, show)


def try_pairing(
    domains: Sequence[Domain], *, rule: WindowRule, modalities: Sequence[str], classes: Sequence[str], at_most: int = 6
) -> Controls:
    """Pair one modality of a segment with another of any segment: what does each rule make of it?

    Args:
        domains: whose training segments can be chosen.
        rule: of windows, which decides the moments there are.
        modalities: the first two are paired.
        classes: names of the labels.
        at_most: segments of each domain to choose from, the first ones.

    Returns:
        Controls `first`, `first_centre`, `second`, `second_centre` (frames of the clock); a table of `pairing_answers`.

    Raises:
        UserError: fewer than two modalities, no training segments, windows that span their segment.

    Example:
        >>> kitchen = Domain("D1", {}, (Segment("a", "video", 11, 60, 0), Segment("b", "video", 11, 60, 1)), ())
        >>> hands = try_pairing([kitchen], rule=WindowRule(), modalities=["rgb", "flow"], classes=["take", "put"])
        >>> hands.controls["second"].index = 1
        >>> hands.shown.sentence
        'rgb of D1, a (take), around 27; flow of D1, b (put), around 45: two segments of one domain'
    """
    if len(modalities) < 2:
        raise UserError(f"{len(modalities)} modalities; a pair has two, so give two or more")
    choices = {_name(d, s, classes): (d.name, s) for d in domains for s in d.train[:at_most]}
    if not choices:
        raise UserError(f"{len(domains)} domains without training segments; give a domain that has them")
    first, second, *_ = modalities
    start = next(iter(choices.values()))[1]
    low, high = window_frames.window_bounds(start, rule)
    controls: dict[str, Any] = {}
    for side, modality, value in (("first", first, low), ("second", second, high)):
        picked = widgets.Dropdown(options=list(choices), description=f"{modality} of the segment", **WIDE)
        limits = {"min": low, "max": high, "value": value}
        text = f"{modality}, window's centre (frame of the clock)"
        controls[side], controls[f"{side}_centre"] = picked, widgets.IntSlider(description=text, **limits, **WIDE)
        picked.observe(lambda change, c=controls[f"{side}_centre"]: bound(c, choices[change["new"]][1]), names="value")

    def bound(centre: Any, segment: Segment) -> None:
        """The same place in another segment, before anything is drawn."""
        share = (centre.value - centre.min) / max(centre.max - centre.min, 1)
        begin, end = window_frames.window_bounds(segment, rule)
        with centre.hold_trait_notifications():
            centre.min, centre.max, centre.value = begin, end, begin + round(share * (end - begin))

    def show(first: str, first_centre: int, second: str, second_centre: int) -> Shown:
        sides = ((modalities[0], first, first_centre), (modalities[1], second, second_centre))
        moments = [pairings.Moment(*choices[name], centre) for _, name, centre in sides]
        answers = pairings.pairing_answers(*moments, rule=rule)
        relation = " and ".join(pairings.RELATIONS[key] for key in pairings.relations_of(*moments, rule=rule))
        pair = "; ".join(f"{modality} of {name}, around {centre}" for modality, name, centre in sides)
        return Shown(pairings.write_pairing(answers), f"{pair}: {relation}")

    return Controls(controls, show)


def _name(domain: Domain, segment: Segment, classes: Sequence[str]) -> str:
    label = "no label" if segment.label is None else classes[segment.label]
    return f"{domain.name}, {segment.uid} ({label})"
