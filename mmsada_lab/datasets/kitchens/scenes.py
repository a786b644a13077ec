"""The actions of the procedural kitchens: a verb, a look and a random stream become frames.

`put` is a `take` and `close` is an `open` played backwards: nothing but the direction of time tells them apart.
"""

from __future__ import annotations

import numpy as np

from mmsada_lab.clips.segments import Frames
from mmsada_lab.datasets.kitchens import sprites
from mmsada_lab.datasets.kitchens.canvas import Floats, Generator, Scene, empty_scene, film, paste
from mmsada_lab.datasets.kitchens.looks import Look
from mmsada_lab.datasets.kitchens.motion import between, circle, phase, pointing, poses, shift, swing
from mmsada_lab.datasets.kitchens.sprites import Sprite
from mmsada_lab.datasets.kitchens.surfaces import colour, shade, surface


def render_segment(verb: str, look: Look, rng: Generator, frames: int) -> Frames:
    """Render a segment at twice the size of its frames, `(T, 72, 128, 3)` RGB.

    The same random stream gives `put` the frames of `take`, and `close` those of `open`, in reverse.
    """
    backwards = {"put": "take", "close": "open"}
    scene = empty_scene(look, rng, frames)
    ACTIONS[backwards.get(verb, verb)](scene)
    filmed = film(scene)
    return np.ascontiguousarray(filmed[::-1]) if verb in backwards else filmed


def _take(scene: Scene) -> None:
    rng, look, frames = scene.rng, scene.look, scene.frames
    radius = rng.uniform(11, 15)
    item = sprites.item(look.item, rng, radius)
    rest = np.array([rng.uniform(-14, 14), rng.uniform(-22, -12)]) * look.amplitude
    end = np.array([rng.uniform(-6, 18), rng.uniform(36, 44)]) * look.amplitude
    start = np.array([rng.uniform(0, 24), 52.0])
    reach, carry = phase(frames, look.reach)
    moved = between(rest, end, carry, bend=look.bend)
    grip = np.array([0.15 * radius, 0.45 * radius])
    hand = np.where(reach[:, None] < 1, between(start, rest + grip, reach), moved + grip)
    turn = rng.uniform(-0.5, 0.5) + rng.uniform(-0.5, 0.5) * carry
    size = 1 + look.lift * carry
    scene.move(item, poses(moved, turn, scale=(size, size)))
    scene.arm(hand)


def _open(scene: Scene) -> None:
    (_open_door, _open_drawer, _lift_lid)[scene.look.opening](scene)


def _open_door(scene: Scene) -> None:
    rng, look = scene.rng, scene.look
    wide, high = rng.uniform(50, 60), rng.uniform(56, 66)
    left = -0.5 * wide
    _interior(scene, wide, high, (0.0, -2.0))
    panel = _panel(look, rng, wide, high)
    door = Sprite(panel.image, (0.0, high / 2))
    reach, turn = phase(scene.frames, look.reach)
    angle = turn * rng.uniform(1.25, 1.45)
    slant = poses((left, -2.0), 0.0, scale=(np.cos(angle), 1.0))
    slant[:, 1, 0] = 0.3 * np.sin(angle)
    edge = np.array([wide - 6.0, rng.uniform(-4, 10), 1.0])
    handle = (slant @ edge)[:, :2]
    scene.move(door, slant)
    _follow(scene, handle, reach)


def _open_drawer(scene: Scene) -> None:
    rng, look = scene.rng, scene.look
    wide, deep = rng.uniform(66, 80), rng.uniform(42, 50)
    drawer = sprites.blank(round(wide), round(deep) + 14, (wide / 2, deep))
    sprites.patch(drawer, (0, 0), (wide, deep), colour(rng, (0.1, 0.4), (0.15, 0.35)))
    for _ in range(5):
        item = sprites.item(look.clutter, rng, rng.uniform(6, 9))
        _stamp(drawer, item, shift(rng.uniform(10, wide - 10), rng.uniform(8, deep - 8)))
    _stamp(drawer, _panel(look, rng, wide, 14), shift(wide / 2, deep + 7))
    reach, pull = phase(scene.frames, look.reach)
    closed = rng.uniform(-18, -10)
    path = between(np.array([0.0, closed]), np.array([0.0, closed + deep - 4]), pull)
    top = surface(look.counter, rng, (90, sprites.SCENE_WIDTH))
    opaque = np.concatenate([top, np.full((*top.shape[:2], 1), 255, np.uint8)], axis=2)
    scene.move(drawer, poses(path))
    scene.move(Sprite(opaque, (sprites.SCENE_WIDTH / 2, 90.0)), poses((0.0, closed + 2.0)))
    _follow(scene, path + np.array([rng.uniform(-6, 6), 10.0]), reach)


def _lift_lid(scene: Scene) -> None:
    rng, look = scene.rng, scene.look
    radius = rng.uniform(24, 29)
    scene.place(sprites.bowl(2, rng, radius), (0.0, -2.0))
    lid = sprites.blank(80, 80)
    tint = colour(rng, (0.0, 0.5), (0.5, 0.95))
    sprites.disc(lid, (40, 40), (radius, radius), shade(tint, 0.7))
    sprites.disc(lid, (40, 40), (radius - 3, radius - 3), tint)
    sprites.disc(lid, (40, 40), (5, 5), shade(tint, 0.4))
    reach, lift = phase(scene.frames, look.reach)
    path = between(np.array([0.0, -2.0]), np.array([rng.uniform(38, 46), rng.uniform(-14, 4)]), lift, bend=look.bend)
    size = 1 + 0.15 * lift
    scene.move(lid, poses(path, scale=(size, size)))
    _follow(scene, path + np.array([2.0, 3.0]), reach)


def _wash(scene: Scene) -> None:
    """Rub a thing in circles with both hands under the running tap."""
    rng, look, frames = scene.rng, scene.look, scene.frames
    scene.place(sprites.sink(look.sink, rng), (0.0, 0.0))
    period, size = rng.uniform(10, 14) * look.period, rng.uniform(5, 7) * look.amplitude
    held = circle(frames, rng, period=2.3 * period, radius=(2.0, 2.0)) + np.array([0.0, 4.0])
    rub = held + circle(frames, rng, period=period, radius=_oval(size, look.rub))
    item = sprites.item(look.item, rng, rng.uniform(13, 16))
    scene.move(item, poses(held, swing(frames, rng, period=2 * period) * 0.2))
    scene.move(sprites.stream(rng, 30, 7), poses((0.0, -24.0)))
    scene.move(sprites.tap(look.sink, rng), poses((0.0, -24.0)))
    scene.arm(held + np.array([-11.0, 6.0]), side=-1)
    scene.arm(rub + np.array([6.0, 3.0]))


def _cut(scene: Scene) -> None:
    rng, look, frames = scene.rng, scene.look, scene.frames
    scene.place(sprites.board(look.board, rng), (0.0, 0.0), rng.uniform(-0.15, 0.15))
    scene.place(sprites.food(look.food, rng), (-6.0, rng.uniform(-4, 4)), rng.uniform(-0.2, 0.2))
    chop = swing(frames, rng, period=rng.uniform(8, 10) * look.period) * rng.uniform(5, 7) * look.amplitude
    along = np.linspace(0, 1, frames) * rng.uniform(-14, -6) + rng.uniform(10, 16)
    slant = np.deg2rad(look.chop)
    hand = np.stack([along + np.cos(slant) * chop, 14 + np.sin(slant) * chop], axis=1)
    scene.arm(np.array([[-20.0, 4.0]]) + 0.04 * chop[:, None], side=-1)
    scene.move(sprites.knife(look.knife, rng), poses(hand + np.array([0.0, 4.0]), rng.uniform(-0.35, 0.05)))
    scene.arm(hand)


def _mix(scene: Scene) -> None:
    rng, look, frames = scene.rng, scene.look, scene.frames
    radius = rng.uniform(25, 30)
    scene.place(sprites.bowl(look.bowl, rng, radius), (0.0, -2.0))
    period, size = rng.uniform(15, 20) * look.period, rng.uniform(10, 13) * look.amplitude
    tip = circle(frames, rng, period=period, radius=_oval(size, look.rub))
    hand = tip + np.array([8.0, 26.0]) - 0.25 * tip
    scene.move(_swirl(rng, 0.7 * radius), poses((0.0, -2.0), np.arctan2(tip[:, 1], tip[:, 0])))
    scene.move(sprites.spoon(look.spoon, rng), pointing(hand + 0.0, (2.0, 60.0)))
    scene.arm(np.array([[-radius, 2.0]]), side=-1)
    scene.arm(hand)


def _pour(scene: Scene) -> None:
    rng, look, frames = scene.rng, scene.look, scene.frames
    scene.place(sprites.bowl(look.cup, rng, rng.uniform(15, 19)), (-10.0, 18.0), scale=1.0)
    time = np.linspace(0, 1, frames)
    tilt = np.interp(time, [0, rng.uniform(0.15, 0.3), 0.5, rng.uniform(0.75, 0.9), 1], [0.2, 1.5, 1.8, 1.9, 0.4])
    tilt = tilt + 0.1 * swing(frames, rng, period=12 * look.period)
    wobble = swing(frames, rng, period=18 * look.period)[:, None] * np.array([1.5, 2.0]) * look.amplitude
    centre = np.array([14.0, -12.0]) + wobble
    mouth = centre + 24 * np.stack([-np.sin(tilt), -np.cos(tilt)], axis=1)
    scene.move(sprites.stream(rng, 32, rng.uniform(4, 7)), poses(mouth), visible=tilt > 1.2)
    scene.move(sprites.vessel(look.vessel, rng), poses(centre, -tilt))
    scene.arm(centre + np.array([4.0, 2.0]))


def _oval(size: float, aspect: float) -> tuple[float, float]:
    """Half width and half height of an oval of a given size and height over width."""
    return size / aspect**0.5, size * aspect**0.5


def _follow(scene: Scene, handle: Floats, reach: Floats) -> None:
    """Add the arm that reaches for a handle and then stays on it."""
    start = np.array([scene.rng.uniform(4, 26), 56.0])
    scene.arm(np.where(reach[:, None] < 1, between(start, handle[0], reach), handle))


def _panel(look: Look, rng: Generator, wide: float, high: float) -> Sprite:
    """A front with its handle: panelled, slatted or plain, in one of the three materials."""
    image = np.full((round(high), round(wide), 4), 255, np.uint8)
    image[..., :3] = surface(look.front, rng, (round(high), round(wide)))
    panel, tint = Sprite(image, (wide / 2, high / 2)), colour(rng, (0.0, 0.4), (0.1, 1.0))
    sprites.patch(panel, (0, 0), (wide - 1, high - 1), shade(tint, 0.3), thickness=2)
    x, y = (wide - 7, high / 2) if high > 20 else (wide / 2, high / 2)
    if look.handle == 0:
        sprites.disc(panel, (x, y), (3, 3), tint)
    elif look.handle == 1:
        long = (0, 12) if high > 20 else (12, 0)
        sprites.stroke(panel, (x - long[0], y - long[1]), (x + long[0], y + long[1]), tint, 4)
    else:
        sprites.disc(panel, (x, y), (5, 4), tint, thickness=2)
    return panel


def _interior(scene: Scene, wide: float, high: float, centre: tuple[float, float]) -> None:
    rng = scene.rng
    inside = sprites.blank(round(wide), round(high))
    dark = colour(rng, (0.1, 0.4), (0.12, 0.3))
    sprites.patch(inside, (0, 0), (wide, high), dark)
    sprites.patch(inside, (0, high / 2), (wide, high / 2 + 3), shade(dark, 2.2))
    for x, y in ((0.28, 0.28), (0.72, 0.25), (0.3, 0.76), (0.7, 0.78)):
        _stamp(inside, sprites.item(scene.look.clutter, rng, rng.uniform(6, 10)), shift(x * wide, y * high))
    scene.place(inside, centre)


def _swirl(rng: Generator, radius: float) -> Sprite:
    swirl = sprites.blank(70, 70)
    tint = colour(rng, (0.3, 0.9), (0.4, 1.0))
    for angle in rng.uniform(0, 6.28, 4):
        for step in range(5):
            spot = (35 + 0.8 * radius * np.cos(angle + 0.2 * step), 35 + 0.8 * radius * np.sin(angle + 0.2 * step))
            sprites.disc(swirl, spot, (2.5, 2.5), tint)
    return swirl


def _stamp(under: Sprite, sprite: Sprite, matrix: Floats) -> None:
    """Draw one sprite on the opaque part of another, in place."""
    paste_on = np.ascontiguousarray(under.image[..., :3])
    paste(paste_on, sprite, matrix)
    under.image[..., :3] = np.where(under.image[..., 3:] > 0, paste_on, 0)


ACTIONS = {"take": _take, "open": _open, "wash": _wash, "cut": _cut, "mix": _mix, "pour": _pour}
