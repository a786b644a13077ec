"""Colours and surfaces of the procedural kitchens: worktops and fronts of wood, tiles or stone.

The variants differ in texture, not in colour: colours are drawn from one palette for all kitchens, since
re-estimated batch statistics undo a global colour or light.
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from mmsada_lab.clips.segments import Image

Field = NDArray[np.float32]
Colour = tuple[float, float, float]
Generator = np.random.Generator


def colour(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """A colour of any hue, 0..255 a channel."""
    return _rgb(float(rng.random()), float(rng.uniform(*saturation)), float(rng.uniform(*value)))


def skin(rng: Generator) -> Colour:
    """A skin colour, from dark to light."""
    return _rgb(float(rng.uniform(0.03, 0.08)), float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.45, 0.95)))


def shade(tint: Colour, factor: float) -> Colour:
    """The colour darker (factor < 1) or lighter (> 1)."""
    red, green, blue = (min(255.0, c * factor) for c in tint)
    return red, green, blue


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def surface(variant: int, rng: Generator, size: tuple[int, int]) -> Image:
    """A worktop or front, `(h, w, 3)`: 0 wood, 1 tiles, 2 stone."""
    field = (_wood, _tiles, _stone)[variant](rng, *size)
    dark = np.array(colour(rng, (0.1, 0.5), (0.25, 0.6)), dtype=np.float32)
    light = np.array(colour(rng, (0.05, 0.35), (0.6, 0.95)), dtype=np.float32)
    return (dark + field[..., None] * (light - dark)).astype(np.uint8)


def _noise(rng: Generator, height: int, width: int, cells: tuple[int, int]) -> Field:
    """Smooth noise in 0..1 with the given number of cells down and across."""
    coarse = rng.random(cells, dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _wood(rng: Generator, height: int, width: int) -> Field:
    y = np.arange(height, dtype=np.float32)[:, None]
    plank = np.floor((y + rng.uniform(0, 40)) / rng.uniform(24, 40))
    warped = y / rng.uniform(5, 8) + 3 * _noise(rng, height, width, (8, 5)) + 0.37 * plank
    grain = 0.5 + 0.35 * np.sin(2 * np.pi * warped) + 0.3 * (_noise(rng, height, width, (height // 2, 12)) - 0.5)
    seam = np.diff(plank, axis=0, prepend=plank[:1]) > 0
    return np.clip(np.where(seam, 0.0, grain), 0, 1).astype(np.float32)


def _tiles(rng: Generator, height: int, width: int) -> Field:
    side = rng.uniform(15, 22)
    row = (np.arange(height) + rng.uniform(0, side)) / side
    column = (np.arange(width) + rng.uniform(0, side)) / side
    rows, columns = row.astype(int)[:, None], column.astype(int)[None, :]
    shades = rng.uniform(0.55, 0.8, (rows.max() + 1, columns.max() + 1))
    checks = 0.25 * ((rows + columns) % 2)
    grout = ((row % 1) * side < 2.5)[:, None] | ((column % 1) * side < 2.5)[None, :]
    return np.where(grout, 0.05, shades[rows, columns] + checks - 0.1).astype(np.float32)


def _stone(rng: Generator, height: int, width: int) -> Field:
    fine = _noise(rng, height, width, (height // 3, width // 3))
    bends = 2.5 * _noise(rng, height, width, (5, 6)) + 0.7 * _noise(rng, height, width, (18, 24))
    veins: Field = np.abs(np.sin(np.pi * bends))
    field = 0.15 + 0.55 * veins**0.5 + 0.5 * (fine > 0.75) - 0.4 * (fine < 0.22)
    return np.asarray(np.clip(field, 0, 1), dtype=np.float32)
