"""What a window of a segment reads, frame by frame, and what a crop leaves of it: numbers first, then a picture.

Legend: `T` frames of a window, `H` and `W` height and width of a frame.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.analysis import style
from mmsada_lab.analysis.lessons.clip_grid import AnimatedPng, clip_grid, to_animated_png
from mmsada_lab.clips.segments import Domain, Frames, NumbersFiles, Segment
from mmsada_lab.clips.transforms import Crop, centre_crop
from mmsada_lab.clips.windows import WindowRule, centre_bounds, window_at
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.prepare.show.images import as_rgb

QUARTERS = (0, 1, 2, 3, 4)
"""Places of a crop in quarters of the space that it leaves free; 2 is the middle, as in testing."""

_A_ROW = 8  # thumbnails: more of them are wider than a notebook
_VEIL = 0.25  # what is left of a pixel outside the crop


def videos_of(domain: Domain) -> tuple[str, ...]:
    """Modalities of a domain that have pictures.

    Raises:
        UserError: if none has.
    """
    videos = tuple(name for name, reader in domain.readers.items() if reader.kind == "video")
    if not videos:
        kinds = ", ".join(f"{name} is a {reader.kind}" for name, reader in domain.readers.items())
        raise UserError(f"{domain.name} has no pictures: {kinds}; give a domain with a modality that is a video")
    return videos


def window_bounds(segment: Segment, rule: WindowRule) -> tuple[int, int]:
    """First and last centre (inclusive) of a window, as training draws them.

    Raises:
        UserError: for windows that span their segment, which have no centre.
    """
    if rule.whole:
        hint = "give WindowRule(length, stride)"
        raise UserError(f"windows of this rule span their segment, so that no centre can be chosen; {hint}")
    return centre_bounds(segment, rule)


def window_frames(
    domain: Domain, segment: Segment, *, rule: WindowRule, centre: int, modalities: Sequence[str] = ()
) -> pd.DataFrame:
    """Numbers of the frames that a window reads, a row per modality and frame.

    Args:
        domain: whose readers are asked which files hold the frames.
        segment: of this domain.
        rule: length (frames) and stride (frames of the clock) of the window.
        centre: of the window, a frame of the clock.
        modalities: of the domain; none: all that have pictures.

    Returns:
        Columns modality, place (1 to T), clock, file (missing where frames do not lie in numbered files), inside
        (whether the clock number lies in the segment).

    Raises:
        UserError: a centre that a window of this segment cannot have, a modality that the domain does not have.

    Example:
        >>> from types import SimpleNamespace
        >>> reader = SimpleNamespace(kind="video", file_numbers=lambda frames: frames // 2)
        >>> kitchen, segment = Domain("D1", {"flow": reader}, (), ()), Segment("a", "video", 11, 20)
        >>> frames = window_frames(kitchen, segment, rule=WindowRule(length=4, stride=2), centre=16)
        >>> frames[["clock", "file"]].to_numpy().tolist()
        [[12, 6], [14, 7], [16, 8], [18, 9]]
    """
    low, high = window_bounds(segment, rule)
    if not low <= centre <= high:
        raise UserError(f"a window around frame {centre} of {segment.uid}; its centre can be {low} to {high}")
    window = window_at(centre, rule)
    tables = []
    for modality in modalities or videos_of(domain):
        if modality not in domain.readers:
            raise unknown("modality", modality, domain.readers)
        reader = domain.readers[modality]
        files = pd.Series(reader.file_numbers(window) if isinstance(reader, NumbersFiles) else [None] * len(window))
        numbers = {"modality": modality, "place": np.arange(1, len(window) + 1), "clock": window}
        tables.append(pd.DataFrame(numbers).assign(file=files.astype("Int64")))
    joined = pd.concat(tables, ignore_index=True)
    return joined.assign(inside=joined["clock"].between(segment.start, segment.stop))


def quarter_crop(height: int, width: int, *, down: int = 2, right: int = 2) -> Crop:
    """A crop of the test crop's size, moved by quarters of the space that it leaves free.

    Training moves its crops in the same quarters (`sample_crop`). Sizes are in pixels.

    Example:
        >>> [quarter_crop(256, 456, right=right).left for right in (0, 2, 4)]
        [0, 116, 232]
    """
    if not {down, right} <= set(QUARTERS):
        raise UserError(f"a crop is moved {down} quarters down and {right} to the right; give 0 to 4 of each")
    side = centre_crop(height, width).height
    return Crop(down * ((height - side) // 4), right * ((width - side) // 4), side, side)


def veil_outside(frames: Frames, crop: Crop) -> Frames:
    """Frames `(T, H, W, 3)` whose pixels outside a crop are pale.

    Example:
        >>> frames = np.zeros((1, 2, 2, 3), dtype=np.uint8)
        >>> veil_outside(frames, Crop(top=0, left=0, height=2, width=1))[0, 0, :, 0].tolist()
        [0, 191]
    """
    pale: Frames = (255 - _VEIL * (255 - frames.astype(np.float32))).astype(np.uint8)
    rows, columns = slice(crop.top, crop.top + crop.height), slice(crop.left, crop.left + crop.width)
    pale[:, rows, columns] = frames[:, rows, columns]
    return pale


def draw_window(
    domain: Domain, segment: Segment, frames: pd.DataFrame, *, down: int = 2, right: int = 2, height: int = 72
) -> AnimatedPng:
    """Draw the frames of `window_frames` as thumbnails with their numbers, pale where the crop cuts them off.

    `height` is that of a thumbnail, pixels; down and right are of `quarter_crop`. A number in brackets lies outside the
    segment.
    """
    rows: dict[str, dict[str, Frames]] = {}
    for modality, read in frames.groupby("modality", sort=False):
        reader = domain.readers[str(modality)]
        clock: NDArray[np.int64] = read["clock"].to_numpy(dtype=np.int64)
        clip = as_rgb(reader.read(segment, clock), is_flow=bool(reader.mirror_negates))
        shown = veil_outside(clip, quarter_crop(*clip.shape[1:3], down=down, right=right))
        count = -(-len(read) // _A_ROW)
        for number in range(count):
            title = f"{modality} {number + 1}/{count}" if count > 1 else str(modality)
            of_row = slice(number * _A_ROW, (number + 1) * _A_ROW)
            captions = map(_caption, read[of_row].to_dict("records"))
            rows[title] = dict(zip(captions, shown[of_row][:, None], strict=True))  # clips of one frame: (1, H, W, 3)
    return to_animated_png(clip_grid(rows, height=height, colours=[style.INK]))


def _caption(frame: Mapping[Hashable, Any]) -> str:
    clock = f"{frame['clock']}" if frame["inside"] else f"({frame['clock']})"
    return clock if pd.isna(frame["file"]) else f"{clock}, file {frame['file']}"
