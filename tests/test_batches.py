"""Training batches and test clips, seen through readers that paint what they were asked for into the pixels."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny_epic
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.utils.data import DataLoader
from toy import PaintedReader, number_of, toy_config, toy_data, toy_segments
from tqdm.auto import tqdm

from mmsada_lab.clips import test_clips
from mmsada_lab.clips.batches import SourceBatch, TargetBatch, TrainingBatch, TrainingBatches, draw_indices
from mmsada_lab.clips.clips import ClipRule, inputs_of
from mmsada_lab.clips.segments import Domain, Segment
from mmsada_lab.clips.test_clips import TestClipLoader, TestClips
from mmsada_lab.clips.windows import WindowRule, centre_bounds, test_centres as centres_for_testing, window_at
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.runs import load_history

LAW = settings(max_examples=100, deadline=None, derandomize=True)
WINDOW = WindowRule(4, 2)
ROWS, COLUMNS = np.mgrid[:16, :24]
Paint = Callable[[Segment, int], np.ndarray]


def who_and_where(segment: Segment, frame: int) -> np.ndarray:
    """Channel 0: the segment's number (100 more in domain B), 1: the frame within its video, 2: x times 10."""
    who = np.full_like(ROWS, number_of(segment.uid) + 100 * segment.uid.startswith("B"))
    return np.stack([who, np.full_like(ROWS, frame % 256), 10 * COLUMNS], axis=-1)


def painted(
    name: str, paint: Paint = who_and_where, *, modalities: int = 2, channels: int = 3, count: int = 10
) -> Domain:
    readers = {f"m{number}": PaintedReader(channels, paint) for number in range(modalities)}
    return Domain(name, readers, toy_segments(name, "train", count), toy_segments(name, "test", 4))


def batches_of(source: Domain, target: Domain | None = None, **changes: Any) -> TrainingBatches:
    of_the_rule = ("synchronous", "negatives", "moments", "resize_on", "size")
    rule = {name: changes.pop(name) for name in of_the_rule if name in changes}
    settings = {"source_batch": 6, "target_batch": 6, "steps": 8, "seed": (0, 1)} | changes
    return TrainingBatches(
        source,
        target,
        rule=ClipRule(WINDOW, rule.pop("size", 12), **rule),
        modalities=tuple(source.readers),
        **settings,
    )


def who(clips: dict[str, Tensor]) -> np.ndarray:
    """Which segment every clip shows, `(M, B)`."""
    return np.array([clip[:, 0, 0, 0, 0].tolist() for clip in clips.values()])


def frames_of(clip: Tensor) -> list[list[int]]:
    return clip[:, 1, :, 0, 0].tolist()


def equal(one: TrainingBatch, other: TrainingBatch) -> bool:
    sides = [(one.source, other.source), *([(one.target, other.target)] if one.target else [])]
    return all(
        torch.equal(a.corresponds, b.corresponds) and all(torch.equal(a.clips[m], b.clips[m]) for m in a.clips)
        for a, b in sides
    ) and torch.equal(one.source.labels, other.source.labels)


class TestEpochs:
    @given(count=st.integers(1, 30), share=st.floats(0, 1), steps=st.integers(1, 40), seed=st.integers(0, 999))
    @LAW
    def test_every_segment_once_an_epoch_and_never_twice_in_a_batch(
        self, count: int, share: float, steps: int, seed: int
    ) -> None:
        """The end-of-epoch rule: what tops a leftover up is taken from the next epoch, so that the sequence of all
        batches, cut into pieces of `count`, is a sequence of permutations."""
        size = 1 + int(share * (count - 1))
        rows = draw_indices(count, size, steps=steps, rng=np.random.default_rng(seed))
        assert rows.shape == (steps, size)
        assert all(len(set(row)) == size for row in rows.tolist())
        flat = rows.ravel()
        epochs = [flat[i : i + count] for i in range(0, len(flat) - count + 1, count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)

    def test_epochs_are_shuffled_anew(self) -> None:
        rows = draw_indices(12, 4, steps=9, rng=np.random.default_rng(0)).reshape(3, 12)
        assert len({tuple(epoch) for epoch in rows}) == 3

    def test_a_batch_larger_than_its_domain(self) -> None:
        with pytest.raises(UserError, match=r"takes 11 .* has 10 .*lower batch_size"):
            batches_of(painted("A"), source_batch=11)
        with pytest.raises(UserError, match=r"takes 11 .* has 10 .*lower batch_size"):
            batches_of(painted("A"), painted("B"), target_batch=11)


class TestCorrespondence:
    @pytest.mark.parametrize("modalities", [2, 3])
    @pytest.mark.parametrize("synchronous", [False, True])
    def test_first_half_corresponds_and_no_two_modalities_of_the_rest_do(
        self, modalities: int, synchronous: bool
    ) -> None:
        batches = batches_of(
            painted("A", modalities=modalities),
            painted("B", modalities=modalities),
            negatives=True,
            synchronous=synchronous,
        )
        for step in range(len(batches)):
            batch = batches[step]
            for side in (batch.source, batch.target):
                shown = who(side.clips)
                assert side.corresponds.tolist() == [True] * 3 + [False] * 3
                assert (shown[:, :3] == shown[0, :3]).all()
                assert all(len(set(clip)) == modalities for clip in shown[:, 3:].T)

    def test_the_rest_is_rolled_by_one_within_the_domain(self) -> None:
        batch = batches_of(painted("A"), painted("B"), negatives=True)[0]
        for side in (batch.source, batch.target):
            first, second = who(side.clips)[:, 3:]
            assert second.tolist() == [*first[1:], first[0]]

    @pytest.mark.parametrize("negatives", [False, True])
    def test_labels_are_those_of_the_first_modality(self, negatives: bool) -> None:
        source = painted("A")
        batches = batches_of(source, negatives=negatives)
        labels = {number_of(s.uid): s.label for s in source.train}
        for step in range(len(batches)):
            batch = batches[step].source
            assert batch.labels.tolist() == [labels[number] for number in who(batch.clips)[0]]

    def test_without_negatives_every_clip_corresponds(self) -> None:
        batch = batches_of(painted("A", modalities=3), negatives=False)[0].source
        assert batch.corresponds.all()
        assert (who(batch.clips) == who(batch.clips)[0]).all()


class TestMoments:
    """``negatives=moment``: the second half shows other moments of one segment, in everything else it is as the first.

    The toy's segments have 20 to 59 frames, windows span 8: half a window is 4 frames.
    """

    RULE: ClassVar = {"synchronous": True, "negatives": True, "moments": True}

    @pytest.mark.parametrize("modalities", [2, 3])
    def test_negatives_are_of_one_segment_and_half_a_window_apart(self, modalities: int) -> None:
        batches = batches_of(painted("A", modalities=modalities), painted("B", modalities=modalities), **self.RULE)
        for step in range(len(batches)):
            for side in (batches[step].source, batches[step].target):
                assert side.corresponds.tolist() == [True] * 3 + [False] * 3
                assert (who(side.clips) == who(side.clips)[0]).all()
                starts = np.array([[frames[0] for frames in frames_of(clip)] for clip in side.clips.values()])
                assert (starts[:, :3] == starts[0, :3]).all()
                for one, other in combinations(starts[:, 3:], 2):
                    apart = np.abs(one - other)
                    assert (np.minimum(apart, 256 - apart) >= 4).all()

    def test_crop_and_flip_are_shared_so_that_time_alone_tells(self) -> None:
        batches = batches_of(painted("A"), **self.RULE)
        for step in range(len(batches)):
            first, second = batches[step].source.clips.values()
            assert torch.equal(first[:, [0, 2]], second[:, [0, 2]])
            assert torch.equal(first[:3], second[:3])
            assert not (first[3:, 1] == second[3:, 1]).flatten(1).all(dim=1).any()

    def test_a_modality_alone_does_not_tell_which_half_it_is_of(self) -> None:
        """In a segment of which negatives show the ends, positives do so too."""
        short = Segment("A-train-7", "video", 101, 112, 1)  # centres 105 to 109: negatives are at 105 and 109
        source = Domain("A", {m: PaintedReader(3, who_and_where) for m in ("m0", "m1")}, (short,) * 6, ())
        batches = batches_of(source, steps=30, **self.RULE)
        first, second = (torch.cat([batches[step].source.clips[m] for step in range(30)]) for m in ("m0", "m1"))
        corresponds = torch.cat([batches[step].source.corresponds for step in range(30)])
        for clips in (first, second):
            centres = clips[:, 1, 0, 0, 0] + 4
            for half in (corresponds, ~corresponds):
                assert set(centres[half].tolist()) == {105, 109}

    def test_shards_have_the_clips_of_the_whole_batch(self) -> None:
        source = painted("A", count=12)
        whole = batches_of(source, source_batch=8, **self.RULE)[0].source
        shards = [batches_of(source, source_batch=8, shard=(n, 2), **self.RULE)[0].source for n in range(2)]
        assert torch.cat([shard.corresponds for shard in shards]).tolist() == [True, True, False, False] * 2
        for modality, clips in whole.clips.items():
            joined = torch.cat([half for k in (0, 2) for half in (s.clips[modality][k : k + 2] for s in shards)])
            assert torch.equal(joined, clips)

    def test_without_negatives_nothing_changes(self) -> None:
        plain, moments = (batches_of(painted("A"), synchronous=True, moments=moments)[0] for moments in (False, True))
        assert equal(plain, moments)

    def test_resized_on_the_device_they_are_the_same_moments(self) -> None:
        there = batches_of(painted("A"), **self.RULE, resize_on="device")[0].to(torch.device("cpu")).source
        here = batches_of(painted("A"), **self.RULE)[0].source
        assert [frames_of(clip) for clip in there.clips.values()] == [frames_of(clip) for clip in here.clips.values()]


class TestDomains:
    def test_source_and_target_come_from_their_own_domain(self) -> None:
        batches = batches_of(painted("A"), painted("B"), negatives=True)
        for step in range(len(batches)):
            assert who(batches[step].source.clips).max() < 100
            assert who(batches[step].target.clips).min() >= 100

    def test_no_target_no_target_clips(self) -> None:
        assert batches_of(painted("A"))[0].target is None

    def test_clips_are_bytes_of_the_promised_shape(self) -> None:
        data = toy_data()
        batches = TrainingBatches(
            data.domain("A"),
            data.domain("B"),
            rule=ClipRule(WINDOW, 12),
            modalities=("flow", "rgb"),
            source_batch=6,
            target_batch=4,
            steps=1,
            seed=(0,),
        )
        batch = batches[0]
        assert {m: tuple(c.shape) for m, c in batch.source.clips.items()} == {
            "flow": (6, 2, 4, 12, 12),
            "rgb": (6, 3, 4, 12, 12),
        }
        assert {m: tuple(c.shape) for m, c in batch.target.clips.items()} == {
            "flow": (4, 2, 4, 12, 12),
            "rgb": (4, 3, 4, 12, 12),
        }
        assert {clip.dtype for clip in batch.source.clips.values()} == {torch.uint8}
        assert inputs_of(data.domain("A"), ("flow", "rgb")) == {"flow": ("video", 2), "rgb": ("video", 3)}

    def test_moving_a_batch_keeps_all_of_it(self) -> None:
        batch = batches_of(painted("A"), painted("B"), negatives=True)[0]
        moved = batch.to(torch.device("cpu"))
        assert equal(moved, batch)
        assert type(moved.source) is SourceBatch
        assert type(moved.target) is TargetBatch


class TestTargetLabels:
    def test_a_target_batch_has_no_field_for_them(self) -> None:
        assert {field.name for field in fields(TargetBatch)} == {"clips", "corresponds", "boxes"}
        assert {field.name for field in fields(SourceBatch)} - {field.name for field in fields(TargetBatch)} == {
            "labels"
        }

    def test_a_reader_that_looks_for_them_finds_none(self) -> None:
        def peeking(segment: Segment, _: int) -> np.ndarray:
            return np.full((16, 24, 1), 255 if segment.label is None else segment.label)

        batches = batches_of(painted("A", peeking, channels=1), painted("B", peeking, channels=1), negatives=True)
        for step in range(len(batches)):
            batch = batches[step]
            assert all((clip == 255).all() for clip in batch.target.clips.values())
            assert batch.source.clips["m0"][:, 0, 0, 0, 0].tolist() == batch.source.labels.tolist()
            assert type(batch.target) is TargetBatch


class TestWindowsAndCrops:
    def test_windows_are_of_the_segment_shown(self) -> None:
        source = painted("A")
        segments = {number_of(s.uid): s for s in source.train}
        batches = batches_of(source, negatives=True)
        for step in range(len(batches)):
            for clip in batches[step].source.clips.values():
                for number, frames in zip(clip[:, 0, 0, 0, 0].tolist(), frames_of(clip), strict=True):
                    low, high = centre_bounds(segments[number], WINDOW)
                    allowed = [(window_at(c, WINDOW) % 256).tolist() for c in range(low, high + 1)]
                    assert frames in allowed

    def test_synchronous_modalities_share_window_crop_and_flip(self) -> None:
        batches = batches_of(painted("A", modalities=3), synchronous=True)
        for step in range(len(batches)):
            first, *others = batches[step].source.clips.values()
            assert all(torch.equal(first, other) for other in others)

    def test_synchronous_negatives_share_crop_and_flip_though_not_segments(self) -> None:
        batches = batches_of(painted("A"), synchronous=True, negatives=True)
        for step in range(len(batches)):
            first, second = batches[step].source.clips.values()
            assert torch.equal(first[:, 2], second[:, 2])
            assert not torch.equal(first[:, 0], second[:, 0])

    def test_by_default_modalities_draw_window_crop_and_flip_apart(self) -> None:
        batches = batches_of(painted("A"), steps=40)
        first, second = (torch.cat([batches[step].source.clips[m] for step in range(40)]) for m in ("m0", "m1"))
        same_window = np.mean([a == b for a, b in zip(frames_of(first), frames_of(second), strict=True)])
        assert 0 < same_window < 0.3
        flips = {(bool(a), bool(b)) for a, b in zip(is_mirrored(first), is_mirrored(second), strict=True)}
        assert len(flips) == 4

    def test_u_is_turned_round_exactly_where_the_clip_is_mirrored(self) -> None:
        """u says 50 everywhere; v grows to the right, so that it shows whether a clip was mirrored."""

        def flow(_: Segment, __: int) -> np.ndarray:
            return np.stack([np.full_like(COLUMNS, 50), 10 * COLUMNS], axis=-1)

        reader = PaintedReader(2, flow, mirror_negates=(0,))
        source = Domain("A", {"flow": reader}, toy_segments("A", "train", 10), ())
        batches = batches_of(source, size=8)
        clips = torch.cat([batches[step].source.clips["flow"] for step in range(len(batches))])
        mirrored = clips[:, 1, 0, 0, 0] > clips[:, 1, 0, 0, -1]
        assert 0 < mirrored.sum() < len(clips)
        assert (clips[mirrored, 0] == 205).all()
        assert (clips[~mirrored, 0] == 50).all()
        # v is merely mirrored: its range is that of what was painted (released crops stop at 3/4 of this frame)
        assert clips[:, 1].max() <= 200

    def test_rgb_keeps_its_values_in_a_mirror(self) -> None:
        clips = torch.cat([batches_of(painted("A"))[step].source.clips["m0"] for step in range(8)])
        assert set(clips[:, 0].unique().tolist()) == set(range(10))
        assert is_mirrored(clips).any()


def is_mirrored(clips: Tensor) -> Tensor:
    """Whether x, painted into channel 2, falls to the right."""
    return clips[:, 2, 0, 0, 0] > clips[:, 2, 0, 0, -1]


class TestPureFunctionOfTheStep:
    def test_whatever_was_read_before(self) -> None:
        forwards, backwards = (batches_of(painted("A"), painted("B"), negatives=True) for _ in range(2))
        one = [forwards[step] for step in range(8)]
        other = [backwards[step] for step in reversed(range(8))]
        assert all(equal(a, b) for a, b in zip(one, reversed(other), strict=True))
        assert equal(forwards[3], one[3])

    def test_in_another_process(self) -> None:
        data = toy_data()
        batches = TrainingBatches(
            data.domain("A"),
            data.domain("B"),
            rule=ClipRule(WINDOW, 12, negatives=True),
            modalities=("rgb", "flow"),
            source_batch=6,
            target_batch=6,
            steps=3,
            seed=(0, 1),
        )
        assert equal(pickle.loads(pickle.dumps(batches))[2], batches[2])

    @pytest.mark.parametrize("seed", [(1, 1), (0, 0)], ids=["another seed", "another stage"])
    def test_another_seed_or_stage_gives_other_batches(self, seed: tuple[int, int]) -> None:
        here, there = batches_of(painted("A")), batches_of(painted("A"), seed=seed)
        assert [who(here[k].source.clips).tolist() for k in range(8)] != [
            who(there[k].source.clips).tolist() for k in range(8)
        ]

    def test_a_segment_that_comes_again_is_cut_anew(self) -> None:
        batches = batches_of(painted("A", count=6), steps=6)
        for number in range(6):
            clips = [c for step in range(6) for c in batches[step].source.clips["m0"] if c[0, 0, 0, 0] == number]
            assert len(clips) == 6
            assert len({c.numpy().tobytes() for c in clips}) > 1


def joined(parts: Sequence[TrainingBatches], step: int) -> dict[str, Tensor]:
    """Of every part the corresponding clips, then of every part the others: the order of the whole batch."""
    batches = [part[step] for part in parts]
    found = {}
    for side in ("source", "target"):
        sides = [getattr(batch, side) for batch in batches]
        for name, tensors in {
            **{m: [one.clips[m] for one in sides] for m in sides[0].clips},
            "corresponds": [one.corresponds for one in sides],
            **({"labels": [one.labels for one in sides]} if side == "source" else {}),
        }.items():
            halves = [[t[one.corresponds == half] for t, one in zip(tensors, sides, strict=True)] for half in (1, 0)]
            found[f"{side}/{name}"] = torch.cat([*halves[0], *halves[1]])
    return found


class TestShards:
    @pytest.mark.parametrize("parts", [2, 3])
    @pytest.mark.parametrize("negatives", [False, True])
    @pytest.mark.parametrize("synchronous", [False, True])
    @pytest.mark.parametrize("modalities", [2, 3])
    def test_together_they_are_the_batch_of_one(
        self, parts: int, negatives: bool, synchronous: bool, modalities: int
    ) -> None:
        """Same segments, windows, crops and flips, to the pixel: negatives are rotated before they are shared."""
        domains = [painted(name, modalities=modalities, count=14) for name in "AB"]
        options = {"negatives": negatives, "synchronous": synchronous, "source_batch": 12, "target_batch": 12}
        whole = batches_of(*domains, **options)
        shares = [batches_of(*domains, **options, shard=(part, parts)) for part in range(parts)]
        for step in range(len(whole)):
            expected, found = joined([whole], step), joined(shares, step)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)

    @pytest.mark.parametrize("parts", [2, 4])
    def test_each_has_an_equal_share_of_both_halves_the_corresponding_first(self, parts: int) -> None:
        for part in range(parts):
            batch = batches_of(
                *(painted(name, count=20) for name in "AB"),
                negatives=True,
                source_batch=16,
                target_batch=8,
                shard=(part, parts),
            )[0]
            for side, clips in ((batch.source, 16), (batch.target, 8)):
                half = clips // parts // 2
                assert side.corresponds.tolist() == [True] * half + [False] * half
                first, second = who(side.clips)
                assert (first == second).tolist() == side.corresponds.tolist()

    @pytest.mark.parametrize("group", [2, 4])
    def test_groups_for_statistics_are_those_of_one(self, group: int) -> None:
        """Where a share of a half is a multiple of the clips of a group; groups are neighbours in a batch."""

        def groups(batches: TrainingBatches) -> list[list[float]]:
            return who(batches[0].source.clips)[0].reshape(-1, group).tolist()

        options = {"negatives": True, "source_batch": 16}
        one = groups(batches_of(painted("A", count=20), **options))
        two = [groups(batches_of(painted("A", count=20), **options, shard=(part, 2))) for part in range(2)]
        assert sorted(one) == sorted([*two[0], *two[1]])

    @pytest.mark.parametrize(
        ("clips", "negatives", "parts", "message"),
        [
            (64, False, 3, r"the 64 clips of a domain .* equally into 3 shards .* each domain a multiple of 3 clips"),
            (6, True, 2, r"the 3 corresponding and 3 other clips .* an even number of times 2 clips"),
            (5, True, 2, r"the 2 corresponding and 3 other clips"),
        ],
    )
    def test_unequal_shares_are_refused(self, clips: int, negatives: bool, parts: int, message: str) -> None:
        with pytest.raises(UserError, match=message):
            batches_of(painted("A", count=70), source_batch=clips, negatives=negatives, shard=(0, parts))
        pair = painted("A", count=70), painted("B", count=70)
        with pytest.raises(UserError, match=message):
            batches_of(*pair, source_batch=12, target_batch=clips, negatives=negatives, shard=(0, parts))

    def test_alone_any_number_will_do(self) -> None:
        batch = batches_of(painted("A"), source_batch=7, negatives=True)[0].source
        assert batch.corresponds.tolist() == [True] * 3 + [False] * 4


class TestResizingOnTheDevice:
    def test_a_batch_on_its_way_becomes_that_of_the_loader(self) -> None:
        data = toy_data(domains=("A", "B"))
        options = {"modalities": ("rgb", "flow"), "source_batch": 6, "target_batch": 6, "steps": 4, "seed": (0, 1)}
        loader, device = (
            TrainingBatches(
                data.domain("A"),
                data.domain("B"),
                rule=ClipRule(WINDOW, 18, negatives=True, resize_on=where),
                **options,
            )
            for where in ("loader", "device")
        )
        for step in range(4):
            made, moved = device[step], device[step].to(torch.device("cpu"))
            assert (made.source.clips, moved.source.boxes) == ({}, {})
            assert made.source.boxes.keys() == moved.source.clips.keys() == {"rgb", "flow"}
            for side in ("source", "target"):
                found, expected = getattr(moved, side), getattr(loader[step], side)
                assert torch.equal(found.corresponds, expected.corresponds)
                for modality in expected.clips:
                    apart = found.clips[modality].int() - expected.clips[modality].int()
                    assert apart.abs().max() <= 1
            assert torch.equal(moved.source.labels, loader[step].source.labels)
            assert type(moved.target) is TargetBatch

    @pytest.mark.usefixtures("toy_format")
    def test_a_run_is_almost_the_same(self, tmp_path: Path) -> None:
        loader, device = (
            load_history(run_experiment(toy_config(resize_on=where), tmp_path, device="cpu", show_progress=False))
            for where in ("loader", "device")
        )
        first = (loader.total_step == 1) & (loader.kind == "train")
        np.testing.assert_allclose(loader.value[first], device.value[first], atol=0.01)
        assert first.sum() == 2
        assert not loader.value.equals(device.value)

    def test_numbers_are_not_resized(self) -> None:
        reader = PaintedReader(2, lambda *_: np.zeros((16, 24, 2)))
        series = SeriesOfOnes(3)
        source = Domain("A", {"rgb": reader, "inertial": series}, toy_segments("A", "train", 10), ())
        batch = TrainingBatches(
            source,
            None,
            rule=ClipRule(WINDOW, 12, resize_on="device"),
            modalities=("rgb", "inertial"),
            source_batch=4,
            target_batch=0,
            steps=1,
            seed=(0,),
        )[0]
        assert (batch.source.boxes.keys(), batch.source.clips.keys()) == ({"rgb"}, {"inertial"})
        moved = batch.to(torch.device("cpu")).source.clips
        assert {m: tuple(clip.shape) for m, clip in moved.items()} == {"rgb": (4, 2, 4, 12, 12), "inertial": (4, 3, 4)}


@dataclass(frozen=True)
class SeriesOfOnes:
    """A sensor that says 1."""

    channels: int
    mirror_negates: tuple[int, ...] = ()
    kind: ClassVar[str] = "series"

    def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
        return np.ones((len(frames), self.channels), dtype=np.float32)


def digests(batches: Iterable[TrainingBatch]) -> list[str]:
    """What every batch holds, the pixels of its clips on the device included."""
    found = []
    for batch in batches:
        moved = batch.to(torch.device("cpu"))
        tensors = [moved.source.labels]
        for side in (moved.source, moved.require_target()):
            tensors += [side.corresponds, *side.clips.values()]
        found.append(hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest())
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_epic.write_root(tmp_path_factory.mktemp("epic"))


class TestWorkers:
    """Frames from JPEG files, read by any number of processes: the same batches in the same order."""

    def loader(self, root: Path, *, workers: int, first: int = 0, resize_on: str = "loader") -> DataLoader:
        data = load_data(f"epic:{root}")
        batches = TrainingBatches(
            data.domain("X"),
            data.domain("Y"),
            rule=ClipRule(WINDOW, 16, negatives=True, resize_on=resize_on),
            modalities=("rgb", "flow"),
            source_batch=4,
            target_batch=4,
            steps=10,
            seed=(3, 1),
        )
        return DataLoader(batches, batch_size=None, sampler=range(first, 10), num_workers=workers)

    @pytest.mark.parametrize("resize_on", ["loader", "device"])
    def test_ten_batches(self, root: Path, resize_on: str) -> None:
        found = {w: digests(self.loader(root, workers=w, resize_on=resize_on)) for w in (0, 1, 2)}
        assert len(set(found[0])) == 10
        assert found[1] == found[0]
        assert found[2] == found[0]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_from_the_middle_of_an_epoch(self, root: Path, workers: int) -> None:
        assert digests(self.loader(root, workers=workers, first=6)) == digests(self.loader(root, workers=0))[6:]


def clips_for_testing(domain: Domain, *, windows: int = 3) -> TestClips:
    return TestClips(domain, domain.test, rule=ClipRule(WINDOW, 14), modalities=tuple(domain.readers), windows=windows)


class TestTestClips:
    def test_windows_are_equidistant_and_the_same_for_all_modalities(self) -> None:
        domain = painted("A")
        clips = clips_for_testing(domain)
        assert len(clips) == 4
        for index, segment in enumerate(domain.test):
            item = clips[index]
            assert {tuple(clip.shape) for clip in item.values()} == {(3, 3, 4, 14, 14)}
            assert torch.equal(item["m0"], item["m1"])
            centres = centres_for_testing(segment, WINDOW, count=3)
            assert frames_of(item["m0"]) == [(window_at(int(c), WINDOW) % 256).tolist() for c in centres]
            assert (item["m0"][:, 0] == index).all()

    def test_the_crop_is_central_and_never_mirrored(self) -> None:
        item = clips_for_testing(painted("A"))[0]["m0"]
        assert (item[:, 2] == torch.arange(5, 19, dtype=torch.uint8) * 10).all()

    def test_the_loader_keeps_what_is_small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reads = []

        def counting(segment: Segment, frame: int) -> np.ndarray:
            reads.append(segment.uid)
            return who_and_where(segment, frame)

        loader = TestClipLoader(clips_for_testing(painted("A", counting)), batch_size=3)
        first = list(loader)
        seen = len(reads)
        second = list(loader)
        assert [len(batch["m0"]) for batch in first] == [3, 1]
        assert len(reads) == seen > 0
        assert all(torch.equal(a[m], b[m]) for a, b in zip(first, second, strict=True) for m in a)

        monkeypatch.setattr(TestClipLoader, "KEEP_BYTES", 3000)
        loader = TestClipLoader(clips_for_testing(painted("A", counting)), batch_size=3)
        first, seen = list(loader), len(reads)
        again = list(loader)
        assert len(reads) > seen
        assert all(torch.equal(a[m], b[m]) for a, b in zip(first, again, strict=True) for m in a)

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("keep", [0, 2**20])
    def test_every_pass_and_any_number_of_processes_give_the_same(
        self, keep: int, workers: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their memory is used again: what was given out before must not change. Processes end with what is kept."""
        monkeypatch.setattr(TestClipLoader, "KEEP_BYTES", keep)
        clips = clips_for_testing(painted("A"))
        loader = TestClipLoader(clips, batch_size=3, workers=workers)
        for _ in range(2):
            found = list(loader)
            assert [len(batch["m1"]) for batch in found] == [3, 1]
            for modality in found[0]:
                whole = torch.cat([batch[modality] for batch in found])
                assert torch.equal(whole, torch.stack([clip[modality] for clip in clips]))
            kept = 0 if keep else workers
            assert len(multiprocessing.active_children()) == kept

    @pytest.mark.parametrize("parts", [1, 2, 3, 5])
    def test_parts_in_order_are_the_whole(self, parts: int) -> None:
        """Batches stay whole, so that a part computes what one process would; of four segments, two batches."""
        clips = clips_for_testing(painted("A"))
        loaders = [TestClipLoader(clips, batch_size=2, shard=(part, parts)) for part in range(parts)]
        found = [batch["m0"] for loader in loaders for batch in loader]
        assert [len(batch) for batch in found] == [2, 2]
        assert torch.equal(torch.cat(found), torch.stack([clip["m0"] for clip in clips]))
        sizes = [len(loader) for loader in loaders]
        assert (sum(sizes), max(sizes)) == (2, 2 if parts == 1 else 1)

    def test_a_title_shows_how_far_it_is(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(test_clips, "tqdm", lambda *args, **options: tqdm(*args, **options | {"delay": 0}))
        list(TestClipLoader(clips_for_testing(painted("A"))))
        assert not capsys.readouterr().err
        list(TestClipLoader(clips_for_testing(painted("A")), batch_size=2, title="4 segments of A"))
        assert "4 segments of A:   0%|" in capsys.readouterr().err
