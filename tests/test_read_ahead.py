"""Batches made ahead by worker processes: the same ones, in order, in memory that is used again; and lost workers."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tiny_epic
import torch
from torch import Tensor
from torch.utils.data import Dataset
from toy import SMALL, Mmsada, toy_data

from mmsada_lab.clips import batches
from mmsada_lab.clips.batches import TrainingBatch, TrainingBatches, default_workers
from mmsada_lab.clips.clips import ClipRule
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.datasets.epic import loader as source
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.runs import load_history, read_manifest
from mmsada_lab.runtime.read_ahead import BatchLoader, SharedBuffer, allocate, batches_ahead, explain_lost_workers


@dataclass(frozen=True)
class Item:
    """Tensors in whatever else an item is made of."""

    number: int
    streams: dict[str, Tensor]
    more: tuple[Tensor | None, ...]


class Numbers(Dataset[Item]):
    """Item n tells n in tensors of several types, sizes and layouts; some numbers make trouble."""

    def __init__(self, trouble: dict[int, Callable[[], object]] | None = None) -> None:
        self.trouble = trouble or {}

    def __getitem__(self, number: int) -> Item:
        self.trouble.get(number, lambda: None)()
        in_place = allocate((3, 5 + 100 * number), np.uint8)
        in_place[...] = number
        elsewhere = torch.full((4, 6), number / 7)
        streams = {"in place": torch.from_numpy(in_place), "elsewhere": elsewhere, "turned": elsewhere.T[1:]}
        in_place[1] += 1
        square = torch.from_numpy(allocate((2, 2), np.int64))
        square[...] = torch.arange(4).view(2, 2)
        views = (streams["in place"][:2], streams["in place"][:, 1:], square, square.T)
        return Item(number, streams, (torch.tensor([number]), torch.tensor(True), None, *views, torch.empty(0)))


@pytest.mark.parametrize(("cores", "together", "workers"), [(2, 1, 2), (16, 1, 16), (64, 1, 16), (64, 8, 8), (4, 8, 1)])
def test_processes_trained_together_share_the_cores(
    cores: int, together: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(together))
    data = toy_data()
    assert default_workers(data) == workers
    assert default_workers(replace(data, in_memory=True)) == 0


class Frozen(Dataset[Tensor]):
    """How many objects the collector leaves alone where an item is made."""

    def __getitem__(self, number: int) -> Tensor:
        return torch.tensor(gc.get_freeze_count())


def fail_to_map(file: int, size: int) -> None:
    raise OSError("Cannot allocate memory")


def assert_is(item: Item, number: int) -> None:
    expected = Numbers()[number]
    assert item.number == number
    assert item.streams.keys() == expected.streams.keys()
    pairs = [(item.streams[name], tensor) for name, tensor in expected.streams.items()]
    for found, tensor in [*pairs, *zip(item.more, expected.more, strict=True)]:
        if tensor is None:
            assert found is None
            continue
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found, tensor)


class TestOrder:
    @pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
    @pytest.mark.parametrize("workers", [0, 1, 2, 3])
    @pytest.mark.parametrize("order", [range(12), range(5, 12), [3, 3, 11, 0, 7, 2, 9], [4]])
    def test_items_are_those_of_the_data_set_in_the_given_order(self, workers: int, order: list[int]) -> None:
        loader = BatchLoader(Numbers(), order, workers=workers)
        assert len(loader) == len(order)
        for _ in range(2):  # a loader can be gone through again
            seen = []
            for item in loader:
                assert_is(item, order[len(seen)])
                seen.append(item.number)
            assert seen == list(order)

    def test_after_a_pass_that_was_given_up(self) -> None:
        loader = BatchLoader(Numbers(), range(40), workers=2)
        for number, item in enumerate(loader):
            assert_is(item, number)
            if number == 3:
                break
        for number, item in enumerate(loader):
            assert_is(item, number)

    def test_where_memory_cannot_be_shared_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "memfd_create")
        for number, item in enumerate(BatchLoader(Numbers(), range(6), workers=2)):
            assert_is(item, number)


class TestMemory:
    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    @pytest.mark.parametrize(("workers", "places"), [(1, 3), (3, 7), (8, 17), (9, 10), (16, 17)])
    def test_many_workers_make_less_ahead(self, workers: int, places: int) -> None:
        loader = BatchLoader(Numbers(), range(3), workers=workers)
        for number, item in enumerate(loader):
            assert_is(item, number)
        assert len(loader._buffers) == places

    def test_it_is_used_again(self) -> None:
        """Items take turns in a fixed number of places, and hold still until the next one is asked for."""
        loader = BatchLoader(Numbers(), [9] * 40, workers=2)
        places = []
        for item in loader:
            places.append(item.streams["in place"].data_ptr())
            time.sleep(0.002)  # the workers run ahead as far as they may
            assert_is(item, 9)
        assert len(set(places)) == 2 * batches_ahead(2) + 1
        assert places[: len(places) // 2] == places[2 * batches_ahead(2) + 1 :][: len(places) // 2]

    def test_what_workers_inherit_is_not_looked_through_for_garbage(self) -> None:
        """It would be copied, page by page."""
        counts = [int(count) for count in BatchLoader(Frozen(), [0, 1], workers=2)]
        assert min(counts) > gc.get_freeze_count()

    def test_what_was_allocated_in_a_buffer_is_not_copied(self) -> None:
        buffer = SharedBuffer()
        with buffer.activate():
            clip = torch.from_numpy(allocate((1000, 1000), np.uint8))
            before = buffer._used
            content = buffer.pickle({"clip": clip, "rows": clip[5:10]})
        assert buffer._used == before == clip.nbytes
        assert len(content) < 500
        clip[7] = 42
        assert torch.equal(pickle.loads(content)["clip"], clip)
        assert torch.equal(pickle.loads(content)["rows"], clip[5:10])
        assert allocate((3,), np.float32).dtype == np.float32  # outside, ordinary memory

    def test_buffers_take_the_memory_they_need_and_give_it_back(self) -> None:
        def shared_memory() -> int:
            return sum(region.rss for region in psutil.Process().memory_maps() if "memfd:batch" in region.path)

        gc.collect()  # else buffers of another test may still be there
        assert shared_memory() == 0
        buffers = [SharedBuffer() for _ in range(3)]
        for size in (10, 10_000, 100, 1_000_000):
            for buffer in buffers:
                with buffer.activate():
                    content = buffer.pickle(torch.arange(size))
                assert torch.equal(pickle.loads(content), torch.arange(size))
        assert 3 * 8_000_000 <= shared_memory() < 3 * 8_100_000
        del buffers, buffer
        assert shared_memory() == 0

    def test_where_addresses_are_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As by `ulimit -v`: items are sent, at a price."""
        monkeypatch.setattr(os, "ftruncate", fail_to_map)
        loader = BatchLoader(Numbers(), range(6), workers=2)
        for number, item in enumerate(loader):
            assert_is(item, number)
        assert not loader._buffers

    def test_readers_are_sent_without_their_memory(self) -> None:
        assert len(pickle.dumps(Numbers())) < 200


class TestTrouble:
    @staticmethod
    def refuse() -> None:
        raise UserError("frame_0000000007.jpg is not a whole JPEG picture")

    @staticmethod
    def fail() -> None:
        raise RuntimeError("no user made this")

    @staticmethod
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_users_mistakes_are_told_as_they_are(self, workers: int) -> None:
        items = iter(BatchLoader(Numbers({4: self.refuse}), range(8), workers=workers))
        for number in range(4):
            assert_is(next(items), number)
        with pytest.raises(UserError) as error:
            next(items)
        assert str(error.value) == "frame_0000000007.jpg is not a whole JPEG picture"

    def test_other_errors_keep_where_they_came_from(self) -> None:
        with pytest.raises(RuntimeError, match=r"(?s)Traceback.*in fail.*no user made this"):
            list(BatchLoader(Numbers({2: self.fail}), range(4), workers=1))

    def test_a_lost_worker_is_named_and_what_to_do(self) -> None:
        gc.collect()  # else another test's loader may be taken down just then, and swallow what PyTorch says
        with pytest.raises(UserError, match=r"process that reads clips ended early .*pid.*memory.*--workers"):
            list(BatchLoader(Numbers({5: self.die}), range(8), workers=2))

    def test_wherever_it_is_noticed(self) -> None:
        """PyTorch raises it from a signal handler, in the middle of anything."""
        with pytest.raises(UserError, match="ended early"), explain_lost_workers():
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        with pytest.raises(RuntimeError, match="shape mismatch"), explain_lost_workers():
            raise RuntimeError("shape mismatch")


@pytest.fixture(scope="module", params=["folders", "tars"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_epic.write_root(tmp_path_factory.mktemp("epic"), tars=request.param == "tars")


def tensors(batch: TrainingBatch) -> Iterator[Tensor]:
    for side in (batch.source, batch.require_target()):
        yield from (
            *side.clips.values(),
            *(cut.pixels for boxes in side.boxes.values() for cut in boxes.cuts),
            side.corresponds,
        )
    yield batch.source.labels


@pytest.mark.parametrize("resize_on", ["loader", "device"])
@pytest.mark.parametrize("kept", [False, True])
def test_training_batches_from_files(root: Path, kept: bool, resize_on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded for each clip or kept in memory, by any number of processes: equal to the bit."""
    if not kept:
        monkeypatch.setattr(source, "KEEP_BYTES", 0)
    data = load_data(f"epic:{root}")
    assert data.in_memory == kept
    batches = TrainingBatches(
        data.domain("X"),
        data.domain("Y"),
        rule=ClipRule(WindowRule(4, 2), 16, negatives=True, resize_on=resize_on),
        modalities=("rgb", "flow"),
        source_batch=4,
        target_batch=4,
        steps=10,
        seed=(3, 1),
    )
    for workers in (1, 2):
        for step, batch in enumerate(BatchLoader(batches, range(2, 10), workers=workers), start=2):
            for found, expected in zip(tensors(batch), tensors(batches[step]), strict=True):
                assert torch.equal(found, expected)


WORDS = ["--source", "X", "--target", "Y", "--preset", "quick", "--device", "cpu"]


def options(**changes: Any) -> list[str]:
    changed = SMALL | {"batch_size": 4, "modalities": "rgb,flow"} | changes
    return [word for key, value in changed.items() for word in ("-o", f"{key.replace('__', '.')}={value}")]


@pytest.mark.skipif(sys.platform != "linux", reason="finds worker processes by /proc")
def test_a_killed_worker_stops_the_run_which_then_continues(mmsada: Mmsada, tmp_path: Path) -> None:
    data = tiny_epic.write_root(tmp_path / "epic")
    words = ["train", "--data", f"epic:{data}", *WORDS, "--workers", "2", *options(adapt__steps=400)]
    whole, runs = tmp_path / "whole", tmp_path / "runs"
    assert mmsada(*words, "--runs", whole).code == 0
    command = [sys.executable, "-c", "from mmsada_lab.cli.main import main; main()", *words, "--runs", str(runs)]
    trainer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        killed = _kill_a_worker(
            trainer, after=lambda: any('"adapt"' in p.read_text() for p in runs.rglob("history.jsonl"))
        )
        said = trainer.communicate(timeout=60)[1]
    finally:
        trainer.kill()
    assert trainer.returncode == 2, said
    assert f"(pid {killed})" in said or f"(pid(s) {killed})" in said
    assert "ended early" in said
    assert "the same command continues" in said
    assert "Traceback" not in said
    (checkpoint,) = runs.rglob("checkpoint.pt")
    assert read_manifest(checkpoint.parent / "manifest.json")["status"] == "running"
    assert mmsada(*words, "--runs", runs).code == 0
    (ours,), (theirs,) = ([p.parent for p in folder.rglob("history.jsonl")] for folder in (runs, whole))
    assert load_history(ours).equals(load_history(theirs))


def _kill_a_worker(trainer: subprocess.Popen[str], *, after: Callable[[], bool]) -> int:
    """Kill one of the trainer's children once there is something to continue from; its process id."""
    end = time.monotonic() + 60
    while time.monotonic() < end and trainer.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = psutil.Process(trainer.pid).children() if after() else []
            if len(workers) == 2:
                workers[1].kill()
                return workers[1].pid
        time.sleep(0.005)
    raise AssertionError(f"no worker was found to kill: {trainer.poll()}, {trainer.communicate(timeout=5)[1]}")
