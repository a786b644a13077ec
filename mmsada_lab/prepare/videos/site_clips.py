"""A folder of video clips to try the way of one's own data with: two embedded kitchens as two sites, one unlabelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmsada_lab.clips.clips import labels_of
from mmsada_lab.clips.segments import Frames
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError

_LABELLED, _UNLABELLED = "D2", "D1"
_FRAME_RATE = 60
_AFTER = 3  # frames that are written beyond a segment's end, for its last flow


def write_site_clips(
    folder: Path, *, labelled: str = "home", unlabelled: str = "away", clips_per_site: int = 96, data: str = "kitchens"
) -> dict[str, str]:
    """Write ``SITE/LABEL/SITE_UID.mp4`` of a labelled site, and ``SITE/unlabelled/...`` of one without labels.

    The sites are the kitchens D2 and D1, their first training segments. Clips that are there are not written again.

    Args:
        folder: where to write.
        labelled: name of the site whose clips lie in folders of their labels.
        unlabelled: name of the other.
        clips_per_site: how many of each, at most.
        data: specification of the kitchens.

    Returns:
        What the clips of the unlabelled site really show: name of a clip, without its suffix -> label.

    Raises:
        UserError: the same name for both sites, or no clip asked for.
    """
    if labelled == unlabelled or clips_per_site < 1:
        raise UserError(f"{clips_per_site} clips of {labelled} and {unlabelled}; give two sites, and 1 clip or more")
    kitchens, truth = load_data(data), {}
    for site, name in ((labelled, _LABELLED), (unlabelled, _UNLABELLED)):
        domain = kitchens.domain(name)
        segments = domain.train[:clips_per_site]
        for segment, number in zip(segments, labels_of(segments), strict=True):
            label, clip = kitchens.classes[number], f"{site}_{segment.uid}"
            path = folder / site / (label if site == labelled else "unlabelled") / f"{clip}.mp4"
            if site == unlabelled:
                truth[clip] = label
            if not path.exists():
                numbers = np.arange(1, segment.stop + 1 + _AFTER)
                _write_clip(path, domain.readers["rgb"].read(segment, numbers))
    return truth


def _write_clip(path: Path, pictures: Frames) -> None:
    """Pictures `(T, H, W, 3)` as H.264, all colours kept."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    with av.open(str(draft), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=_FRAME_RATE, width=pictures.shape[2], height=pictures.shape[1])
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "18"}
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    draft.rename(path)
