"""Kinds of gap: each touches the modality it names, in the kitchens it names, and nothing where it is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsada_lab.datasets.kitchens import conditions
from mmsada_lab.datasets.kitchens.conditions import CAMERAS, add_context, add_nuisance, add_sway, film_with
from mmsada_lab.datasets.kitchens.loader import ABSENT, KNOBS, Kitchens, class_counts, plan_segments, render
from mmsada_lab.paper import VERBS

PLAIN = Kitchens(**dict.fromkeys(KNOBS, 0), scale=0.001)  # type: ignore[arg-type]
GREY = np.full((6, 36, 64, 3), 128, np.uint8)
STILL = np.zeros((6, 36, 64, 2), np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("knob", "touched"),
    [("context", {"rgb"}), ("nuisance", {"rgb"}), ("sway", {"flow"}), ("camera", {"rgb", "flow"})],
)
def test_a_knob_touches_the_modality_it_names(knob: str, touched: set[str]) -> None:
    different = set()
    for planned in [p for p in plan_segments(PLAIN) if p.domain == 2][:6]:  # a nuisance leaves some segments alone
        plain, changed = render(PLAIN, planned), render(replace(PLAIN, **{knob: 1.0}), planned)
        seen = zip(("rgb", "flow"), plain, changed, strict=True)
        different |= {name for name, a, b in seen if not np.array_equal(a, b)}
    assert different == touched


@pytest.mark.parametrize("knob", ["sway", "camera"])
def test_the_first_kitchen_is_as_it_was(knob: str) -> None:
    planned = plan_segments(PLAIN)[0]
    assert planned.domain == 0
    for plain, changed in zip(render(PLAIN, planned), render(replace(PLAIN, **{knob: 1.0}), planned), strict=True):
        np.testing.assert_array_equal(plain, changed)


def wallpaper(kitchen: int, label: int, seed: int, *, world: int = 0) -> np.ndarray:
    frames = add_context(GREY, kitchen=kitchen, label=label, world=world, strength=1.0, rng=rng(seed))
    return frames.astype(float).mean(axis=0) - 128


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation at the best shift of a few pixels, since the view drifts over a wallpaper."""
    shifts = [np.roll(other, (y, x), axis=(0, 1)) for y in range(-8, 9, 2) for x in range(-8, 9, 2)]
    return max(float(np.corrcoef(one[10:-10, 10:-10].ravel(), s[10:-10, 10:-10].ravel())[0, 1]) for s in shifts)


def test_a_place_belongs_to_a_verb_of_one_kitchen_in_one_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "CONTEXT_RELIABILITY", 1.0)
    place = wallpaper(0, 3, 1)
    assert likeness(place, wallpaper(0, 3, 2)) > 0.9, "another segment of the same verb"
    others = [wallpaper(1, 3, 2), wallpaper(0, 4, 2), wallpaper(0, 3, 2, world=1)]
    assert max(likeness(place, other) for other in others) < 0.75


def test_context_tells_the_verb_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 segments, those at a place drawn at random happen to be at their verb's in one of eight."""
    drawn = []

    def note(pattern: np.random.Generator, path: object, shape: tuple[int, ...], **_: object) -> np.ndarray:
        drawn.append(pattern.bit_generator.seed_seq.entropy[2])  # type: ignore[attr-defined]
        return np.zeros((*shape, 3), np.float32)

    monkeypatch.setattr(conditions, "_drifting_noise", note)
    for seed in range(400):
        add_context(GREY, kitchen=1, label=5, world=0, strength=1.0, rng=rng(seed))
    told = conditions.CONTEXT_RELIABILITY + (1 - conditions.CONTEXT_RELIABILITY) / len(VERBS)
    assert abs(np.mean(np.array(drawn) == 5) - told) < 0.05
    assert set(drawn) == set(range(8))


def touched(kitchen: int, *, segments: int = 200) -> dict[str, np.ndarray]:
    """Largest change of each of many segments of a kitchen, by modality."""
    small, still = GREY[:2, :8, :8], STILL[:2, :8, :8]
    seen = [add_nuisance(small, kitchen=kitchen, strength=1.0, rng=rng(k)).astype(int) - 128 for k in range(segments)]
    sways = [add_sway(still, kitchen=kitchen, strength=1.0, rng=rng(k)) for k in range(segments)]
    return {name: np.array([np.abs(c).max() for c in changes]) for name, changes in (("rgb", seen), ("flow", sways))}


def test_nuisance_and_sway_touch_a_share_of_the_segments() -> None:
    for kitchen, share in enumerate(conditions.SWAY_SHARES):
        shares = {"rgb": conditions.NUISANCE_SHARE, "flow": share}
        for name, changes in touched(kitchen).items():
            assert abs((changes > 0).mean() - shares[name]) < 0.1
            strong = changes[changes > 0]
            assert not len(strong) or len(np.unique(strong)) > 10, "of a strength of its own"


def test_a_nuisance_is_of_another_kind_in_each_kitchen() -> None:
    """Grain differs from pixel to pixel, steam hides the whole picture alike, lamps change slowly over it."""
    frames = np.full((2, 36, 64, 3), 128, np.uint8)
    strong = [next(s for s in range(99) if rng(s).random() < conditions.NUISANCE_SHARE)] * 3
    seen = [add_nuisance(frames, kitchen=k, strength=1.0, rng=rng(s)).astype(float) for k, s in enumerate(strong)]
    spread = [clip[..., 0].std() for clip in seen]
    steps = [np.abs(np.diff(clip[..., 0], axis=2)).mean() for clip in seen]
    assert spread[1] == 0
    assert min(spread[0], spread[2]) > 10
    assert steps[0] > 3 * steps[2] > 0
    assert seen[1].mean() != 128


def test_sway_is_new_for_every_segment() -> None:
    sways = [add_sway(STILL, kitchen=2, strength=1.0, rng=rng(seed)) for seed in range(8)]
    strong = [sway for sway in sways if sway.any()]
    assert len(strong) > 2
    assert abs(np.corrcoef(strong[0].ravel(), strong[1].ravel())[0, 1]) < 0.8


def test_half_the_strength_is_half_the_change() -> None:
    half, whole = (add_sway(STILL, kitchen=2, strength=s, rng=rng()) for s in (0.5, 1.0))
    np.testing.assert_allclose(2 * half, whole, atol=1e-6)


@pytest.mark.parametrize("camera", CAMERAS)
def test_statistics_of_a_channel_undo_a_camera(camera: conditions.Camera) -> None:
    """Standardised channel by channel, frames and flow are what they were, but for rounding."""
    frames = rng().integers(0, 256, GREY.shape, dtype=np.uint8)
    moving = rng().normal(size=STILL.shape).astype(np.float32)
    seen, moved = film_with(camera, frames, moving, strength=1.0)
    for before, after in ((frames.astype(float), seen.astype(float)), (moving, moved)):
        axes = (0, 1, 2)
        undone = (after - after.mean(axes)) / after.std(axes)
        np.testing.assert_allclose(undone, (before - before.mean(axes)) / before.std(axes), atol=0.03)


def test_absent_classes_are_absent_in_one_kitchen_alone() -> None:
    counts = np.array([[class_counts(Kitchens(absent=1), d, s) for s in range(2)] for d in range(3)])
    for kitchen, verbs in enumerate(ABSENT):
        missing = {VERBS[label] for label in np.flatnonzero((counts[kitchen] == 0).all(axis=0))}
        assert missing == set(verbs)
    assert len({verb for verbs in ABSENT for verb in verbs}) == 6, "none is absent twice"
    whole = [[class_counts(Kitchens(), d, s).sum() for s in range(2)] for d in range(3)]
    assert counts.sum(axis=2).tolist() == whole
    assert class_counts(Kitchens(absent=0.5), 0, 0).min() >= 2
