"""Draws assets/kitchens.jpg: a test segment of every verb in every embedded kitchen, three frames and a flow."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.datasets.kitchens.loader import load_kitchens

SCALE = 2


def strip(domain: Domain, segment: Segment) -> NDArray[np.uint8]:
    """Three frames of a segment and the flow in its middle, side by side, BGR."""
    numbers = np.linspace(segment.start, segment.stop, 5).astype(np.int64)[1:4]
    pictures = [*domain.readers["rgb"].read(segment, numbers)[..., ::-1]]
    flow = domain.readers["flow"].read(segment, numbers[1:2])[0]
    pictures.append(np.dstack([flow, np.full(flow.shape[:2], 128, np.uint8)]))
    return np.concatenate(pictures, axis=1)


def sheet(data: MultiDomainData) -> NDArray[np.uint8]:
    """A row per verb, a column per kitchen, BGR."""
    rows = []
    for label in range(len(data.classes)):
        cells = []
        for domain in data.domains.values():
            segment = next(s for s in domain.test if s.label == label)
            cells.append(np.pad(strip(domain, segment), ((1, 1), (3, 3), (0, 0)), constant_values=255))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


if __name__ == "__main__":
    picture = sheet(load_kitchens())
    large = cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(Path(__file__).parent / "kitchens.jpg"), large, [cv2.IMWRITE_JPEG_QUALITY, 90])
