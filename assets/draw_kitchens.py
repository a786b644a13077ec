"""Draws assets/kitchens.webp: a test segment of every verb in every embedded kitchen, moving, with its flow below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmsada_lab import load_data
from mmsada_lab.clips.segments import Domain, MultiDomainData

FRAMES, MILLISECONDS, LEFT, TOP, GAP = 16, 120, 34, 22, 4
VERBS, SIZE = ("take", "open", "close", "wash", "cut", "mix", "pour"), (128, 72)


def clips(data: MultiDomainData, domain: Domain, verb: str) -> list[Image.Image]:
    """Frames of a segment above their flow: u red, v green."""
    segment = next(s for s in domain.test if s.label == data.classes.index(verb))
    numbers = np.linspace(segment.start, segment.stop, FRAMES).astype(np.int64)
    rgb, flow = (domain.readers[modality].read(segment, numbers) for modality in ("rgb", "flow"))
    blue = np.full((*flow.shape[:3], 1), 128, np.uint8)
    both = np.concatenate([rgb, np.concatenate([flow, blue], axis=3)], axis=1)  # (T, 2 H, W, 3)
    return [Image.fromarray(frame).resize((SIZE[0], 2 * SIZE[1]), Image.Resampling.NEAREST) for frame in both]


def sheets(data: MultiDomainData) -> list[Image.Image]:
    """A row per kitchen, a column per verb; one image per frame."""
    width = LEFT + len(VERBS) * (SIZE[0] + GAP)
    height = TOP + len(data.domains) * (2 * SIZE[1] + GAP)
    pages = [Image.new("RGB", (width, height), "white") for _ in range(FRAMES)]
    font = ImageFont.load_default(15)
    for row, domain in enumerate(data.domains.values()):
        top = TOP + row * (2 * SIZE[1] + GAP)
        for column, verb in enumerate(VERBS):
            left = LEFT + column * (SIZE[0] + GAP)
            for page, frame in zip(pages, clips(data, domain, verb), strict=True):
                page.paste(frame, (left, top))
                ImageDraw.Draw(page).text((left, 1), verb, "black", font)
        for page in pages:
            ImageDraw.Draw(page).text((4, top + SIZE[1] - 10), domain.name, "black", font)
    return pages


if __name__ == "__main__":
    first, *others = sheets(load_data("kitchens"))
    file = Path(__file__).with_name("kitchens.webp")
    first.save(file, save_all=True, append_images=others, duration=MILLISECONDS, loop=0, quality=60, method=6)
