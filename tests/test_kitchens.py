"""Laws of the embedded kitchens: repeatable, reversible, one domain at knobs of 0, cached whole or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mmsada_lab.clips.segments import Frames, MultiDomainData, Segment
from mmsada_lab.clips.windows import WindowRule, test_centres, training_centre, window_at
from mmsada_lab.datasets.kitchens import loader as kitchens, store as kitchen_store
from mmsada_lab.datasets.kitchens.loader import FLOW_BOUND, Kitchens, class_counts, load_kitchens, plan_segments, render
from mmsada_lab.datasets.kitchens.looks import draw_look
from mmsada_lab.datasets.kitchens.scenes import render_segment
from mmsada_lab.errors import UserError
from mmsada_lab.files import cache_root
from mmsada_lab.paper import TRAINING_SEGMENTS, VERBS

TINY = Kitchens(scale=0.001)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tiny(cache: Path) -> MultiDomainData:
    return load_kitchens(TINY, cache_dir=cache, workers=1)


def rendered(verb: str, *, kitchen: int = 0, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    look = draw_look(kitchen, rng, appearance=1, viewpoint=1, motion=1)
    return render_segment(verb, look, rng, 26)


def everything(data: MultiDomainData) -> Iterator[tuple[Segment, str, Frames]]:
    for domain in data.domains.values():
        for segment in domain.train + domain.test:
            for modality, reader in domain.readers.items():
                yield segment, modality, reader.read(segment, np.arange(2, segment.stop + 1))


# The renderer


@pytest.mark.parametrize(("forward", "backward"), [("take", "put"), ("open", "close")])
@pytest.mark.parametrize("kitchen", [0, 1, 2])
def test_only_the_direction_of_time_tells_them_apart(forward: str, backward: str, kitchen: int) -> None:
    there, back = rendered(forward, kitchen=kitchen), rendered(backward, kitchen=kitchen)
    np.testing.assert_array_equal(back, there[::-1])
    assert np.abs(there[0].astype(int) - there[-1].astype(int)).mean() > 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_moves_and_repeats_itself(verb: str) -> None:
    frames = rendered(verb, seed=3)
    assert frames.shape == (26, 72, 128, 3)
    np.testing.assert_array_equal(frames, rendered(verb, seed=3))
    assert (np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3)) > 0.5).all()


def test_knobs_at_zero_give_every_kitchen_the_same_looks() -> None:
    looks = [
        [draw_look(k, np.random.default_rng(s), appearance=0, viewpoint=0, motion=0) for s in range(20)]
        for k in range(3)
    ]
    assert looks[0] == looks[1] == looks[2]
    assert len({look.counter for look in looks[0]}) == 3


def test_knobs_at_one_share_nothing() -> None:
    looks = [
        [draw_look(k, np.random.default_rng(s), appearance=1, viewpoint=1, motion=1) for s in range(20)]
        for k in range(3)
    ]
    assert [{look.counter for look in own} for own in looks] == [{0}, {1}, {2}]
    spans = sorted((min(look.angle for look in own), max(look.angle for look in own)) for own in looks)
    assert spans[0][1] < spans[1][0]
    assert spans[1][1] < spans[2][0]


def test_one_knob_moves_its_own_properties_only() -> None:
    plain, turned = (
        draw_look(2, np.random.default_rng(5), appearance=0.5, viewpoint=v, motion=0.5) for v in (0.0, 1.0)
    )
    names = ("counter", "hand", "clutter", "period", "sway", "reach")
    assert [getattr(plain, n) for n in names] == [getattr(turned, n) for n in names]


# The plan


def test_sizes_and_priors_are_those_of_epic() -> None:
    counts = np.array([[class_counts(Kitchens(label_shift=1), d, s) for s in range(2)] for d in range(3)])
    assert counts.sum(axis=2).tolist() == [[123, 70], [200, 112], [312, 156]]
    assert counts.min() >= 2
    shares = np.array([*TRAINING_SEGMENTS.values()]) / np.sum([*TRAINING_SEGMENTS.values()], axis=1, keepdims=True)
    np.testing.assert_allclose(counts[:, 0] / counts[:, 0].sum(axis=1, keepdims=True), shares, atol=0.01)


def test_without_label_shift_the_priors_are_the_same() -> None:
    counts = np.array([class_counts(Kitchens(label_shift=0), d, 0) for d in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert np.ptp(shares, axis=0).max() < 0.01
    shifted = np.array([class_counts(Kitchens(label_shift=1), d, 0) for d in range(3)])
    assert np.ptp(shifted / shifted.sum(axis=1, keepdims=True), axis=0).max() > 0.05


@pytest.mark.parametrize("scale", [0.001, 0.02, 0.2])
def test_at_least_two_of_each_class_at_any_scale(scale: float) -> None:
    counts = [class_counts(Kitchens(scale=scale), d, s) for d in range(3) for s in range(2)]
    assert min(c.min() for c in counts) >= 2


def test_lengths_are_20_to_60_about_30() -> None:
    lengths = np.array([p.frames - 2 * kitchens.MARGIN for p in plan_segments(Kitchens())])
    assert lengths.min() >= 20
    assert lengths.max() <= 60
    assert abs(np.median(lengths) - 30) <= 2


@pytest.mark.parametrize("knob", kitchens.KNOBS)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_knob_outside_its_range_is_answered(knob: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{knob} = .*from 0"):
        Kitchens(**{knob: value})  # type: ignore[arg-type]


def test_other_bad_values_and_unknown_knobs_are_answered() -> None:
    with pytest.raises(UserError, match="seed = -1"):
        Kitchens(seed=-1)
    with pytest.raises(UserError, match="scale = 0"):
        Kitchens(scale=0)
    with pytest.raises(TypeError, match="colour"):
        Kitchens(colour=0.5)  # type: ignore[call-arg]


# The data set


def test_form_of_the_data_set(tiny: MultiDomainData) -> None:
    assert (tiny.name, tiny.classes, list(tiny.domains)) == ("kitchens", VERBS, ["D1", "D2", "D3"])
    segments = [s for d in tiny.domains.values() for s in d.train + d.test]
    assert len({s.uid for s in segments}) == len({s.video for s in segments}) == len(segments) == 6 * 16
    readers = tiny.domain("D1").readers
    assert {m: (r.channels, r.mirror_negates) for m, r in readers.items()} == {"rgb": (3, ()), "flow": (2, (0,))}


def test_stored_pictures_are_the_rendered_ones(tiny: MultiDomainData) -> None:
    planned = plan_segments(TINY)[-1]
    rgb, flow = render(TINY, planned)
    domain = tiny.domain("D3")
    segment = domain.test[-1]
    assert segment.label == planned.label
    np.testing.assert_array_equal(domain.readers["rgb"].read(segment, np.array([1, 7])), rgb[[0, 6]])
    np.testing.assert_array_equal(domain.readers["flow"].read(segment, np.array([2, 3, 8])), flow[[0, 0, 3]])


def test_flow_is_of_moderate_size(tiny: MultiDomainData) -> None:
    codes = np.concatenate([p.reshape(-1) for _, modality, p in everything(tiny) if modality == "flow"])
    pixels = np.abs(codes.astype(float) - 127.5) * 2 * FLOW_BOUND / 255
    assert 0.2 < pixels.mean() < 2
    assert np.isin(codes, (0, 255)).mean() < 0.005


def test_windows_stay_inside_the_video(tiny: MultiDomainData) -> None:
    rule, rng = WindowRule(8, 2), np.random.default_rng(0)
    lengths = {p.uid: p.frames for p in plan_segments(TINY)}
    for domain in tiny.domains.values():
        for segment in domain.train + domain.test:
            centres = [*test_centres(segment, rule), *(training_centre(segment, rule, rng) for _ in range(20))]
            frames = np.concatenate([window_at(int(c), rule) for c in centres])
            assert frames.min() >= segment.start
            assert frames.max() + kitchens.DILATION <= lengths[segment.video]


def test_a_frame_outside_the_video_is_its_nearest(tiny: MultiDomainData) -> None:
    domain = tiny.domain("D2")
    segment, last = domain.train[0], domain.train[0].stop + kitchens.MARGIN
    read = domain.readers["rgb"].read(segment, np.array([-5, 1, last, last + 9]))
    np.testing.assert_array_equal(read[0], read[1])
    np.testing.assert_array_equal(read[2], read[3])


def test_readers_can_be_pickled_after_use(tiny: MultiDomainData) -> None:
    domain = tiny.domain("D1")
    segment, frames, reader = domain.test[0], np.arange(4, 12), domain.readers["flow"]
    before, packed = reader.read(segment, frames), pickle.dumps(reader)
    assert len(packed) < 20_000
    np.testing.assert_array_equal(pickle.loads(packed).read(segment, frames), before)


def test_a_reader_does_not_know_the_videos_of_another_kitchen(tiny: MultiDomainData) -> None:
    with pytest.raises(UserError, match="no video 'D2"):
        tiny.domain("D1").readers["rgb"].read(tiny.domain("D2").train[0], np.array([5]))


# Generation and cache


def test_pixels_depend_on_the_seed_and_not_on_the_workers(tiny: MultiDomainData, tmp_path: Path) -> None:
    again = load_kitchens(TINY, cache_dir=tmp_path, workers=2)
    for (segment, modality, one), (other, _, two) in zip(everything(tiny), everything(again), strict=True):
        assert segment == other
        np.testing.assert_array_equal(one, two, err_msg=f"{segment.uid} {modality}")


def test_another_seed_gives_other_pixels_and_another_digest() -> None:
    other = Kitchens(scale=TINY.scale, seed=1)
    assert other.digest != TINY.digest
    first, second = (render(k, plan_segments(k)[0])[0][0] for k in (TINY, other))
    assert np.abs(first.astype(int) - second.astype(int)).mean() > 1


def test_digest_follows_every_knob_and_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [Kitchens(**{k: 0.25}) for k in (*kitchens.KNOBS, "scale")]  # type: ignore[arg-type]
    assert len({Kitchens().digest, *(k.digest for k in changed)}) == len(kitchens.KNOBS) + 2
    before = Kitchens().digest
    monkeypatch.setattr(kitchens, "GENERATOR_VERSION", kitchens.GENERATOR_VERSION + 1)
    assert Kitchens().digest != before


def test_a_second_call_renders_nothing(tiny: MultiDomainData, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kitchens, "render", None)
    again = load_kitchens(TINY, cache_dir=cache, workers=1)
    assert again.domain("D1").train == tiny.domain("D1").train
    assert [p.name for p in cache.iterdir()] == [f"kitchens-{TINY.digest}"]


def test_environment_variable_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSADA_CACHE", str(tmp_path / "elsewhere"))
    assert cache_root(None) == tmp_path / "elsewhere"
    assert cache_root(tmp_path) == tmp_path


ENTRY = kitchen_store.Entry(uid="a", domain="D1", split="train", label=0, start=2, stop=3, rgb=4, flow=1)


def pictures(value: int) -> list[Mapping[str, Frames]]:
    return [{"rgb": np.full((4, 36, 64, 3), value, np.uint8), "flow": np.full((1, 36, 64, 2), value, np.uint8)}]


def stored(folder: Path) -> set[int]:
    return set(np.unique(np.load(folder / "D1_train_rgb.npy")).tolist())


@pytest.mark.parametrize("damage", ["empty", "unsealed", "short"])
def test_a_half_written_folder_is_made_anew(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "set"
    kitchen_store.ensure_folder(folder, [ENTRY], lambda: pictures(1))
    if damage == "empty":
        for path in folder.iterdir():
            path.unlink()
    elif damage == "unsealed":
        (folder / "complete.json").unlink()
    else:
        (folder / "D1_train_flow.npy").write_bytes(b"")
    assert not kitchen_store.is_complete(folder)
    kitchen_store.ensure_folder(folder, [ENTRY], lambda: pictures(2))
    assert stored(folder) == {2}
    assert kitchen_store.load_entries(folder) == [ENTRY]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_cache_with_line_ends_of_earlier_versions_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    kitchen_store.ensure_folder(folder, [ENTRY], lambda: pictures(1))
    table = (folder / "segments.csv").read_bytes().replace(b"\n", b"\r\n")
    (folder / "segments.csv").write_bytes(table)
    sizes = json.loads((folder / "complete.json").read_text()) | {"segments.csv": len(table)}
    (folder / "complete.json").write_text(json.dumps(sizes))
    kitchen_store.ensure_folder(folder, [ENTRY], lambda: pictures(2))
    assert (kitchen_store.load_entries(folder), stored(folder)) == ([ENTRY], {1})


def test_a_failed_generation_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Iterator[Mapping[str, Frames]]:
        raise KeyboardInterrupt
        yield {}

    with pytest.raises(KeyboardInterrupt):
        kitchen_store.ensure_folder(tmp_path / "set", [ENTRY], fail)
    assert list(tmp_path.iterdir()) == []


def test_of_two_at_once_the_first_to_end_stays(tmp_path: Path) -> None:
    folder = tmp_path / "set"

    def overtaken() -> Iterator[Mapping[str, Frames]]:
        kitchen_store.ensure_folder(folder, [ENTRY], lambda: pictures(1))
        yield from pictures(2)

    kitchen_store.ensure_folder(folder, [ENTRY], overtaken)
    assert stored(folder) == {1}
    assert list(tmp_path.iterdir()) == [folder]


def test_many_at_once_make_one_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda v: kitchen_store.ensure_folder(folder, [ENTRY], lambda: pictures(v)), range(8)):
            pass
    assert kitchen_store.is_complete(folder)
    assert len(stored(folder)) == 1
