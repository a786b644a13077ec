"""Several processes train one model: what one process would, and nothing when one of them is lost.

As a program, ``python test_processes.py RUNS.json PAUSE WORKERS`` is one of them: it trains the listed runs one after
another, process r with the r-th of the configurations and folders that an item has (the last, where there are fewer),
with a pause before every clip that is read so that somebody can end it in the middle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import toy
from torch import Tensor, nn

import mmsada_lab
from mmsada_lab import experiment
from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.open import FORMATS
from mmsada_lab.errors import UserError
from mmsada_lab.models.backbones import BACKBONES, Backbone
from mmsada_lab.models.batchnorm import GroupedBatchNorm3d
from mmsada_lab.models.i3d import I3D
from mmsada_lab.runs import RunFolder, load_history, read_arrays, read_manifest
from mmsada_lab.runtime import processes


@dataclass(frozen=True)
class Run:
    """A run of several processes: what each is told, and where; the last of either holds for those beyond."""

    configs: Sequence[ExperimentConfig]
    folders: Sequence[Path]

    def to_list(self) -> list[Any]:
        return [[one.to_dict() for one in self.configs], [str(runs) for runs in self.folders]]


class TinyI3D(I3D):
    """Two layers whose statistics are those of I3D: of interleaved groups, all at once."""

    def __init__(self, in_channels: int, *, width: int, norm_momentum: float) -> None:
        nn.Module.__init__(self)
        self.first = nn.Conv3d(in_channels, width, 3, stride=2, padding=1, bias=False)
        self.norm = GroupedBatchNorm3d(width, momentum=norm_momentum)
        self.second = nn.Conv3d(width, 4 * width, 3, stride=2, padding=1, bias=False)
        self.last = GroupedBatchNorm3d(4 * width, momentum=norm_momentum)
        self.features = 4 * width

    def _features(self, clips: Tensor, groups: int = 1) -> Tensor:
        middle = self.norm(self.first(clips), groups).relu()
        return self.last(self.second(middle), groups).relu().flatten(2).mean(dim=2)


BACKBONES["tiny_i3d"] = Backbone(TinyI3D, ("video",))


def config(method: str = "mmsada", **changes: object) -> ExperimentConfig:
    """A run without dropout, whose masks every process draws for itself; 24 clips, in groups of 3 for statistics."""
    small = {"dropout": 0.0, "batch_size": 24, "norm_group": 3, "pretrain__steps": 25, "adapt__steps": 25}
    # Statistics of few values magnify the rounding, and large steps what was magnified.
    small |= {"pretrain__learning_rate": 0.01, "evaluate_every": 5}
    return toy.toy_config(method, **small | changes)


@contextmanager
def together(*runs: Run, pause: float = 0.0, workers: int = 0) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that know each other, over gloo; whatever is left of them is ended on the way out."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    listed = json.dumps([run.to_list() for run in runs])
    known = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    known["PYTHONPATH"] = str(Path(mmsada_lab.__file__).parents[1])
    command = [sys.executable, "-W", "ignore", __file__, listed, str(pause), str(workers)]
    children = [
        subprocess.Popen(
            command,
            env={**os.environ, **known, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def train(*runs: Run, failures: int = 0) -> list[tuple[str, list[str]]]:
    """Train to the end; what each of two processes printed, and the errors it told of."""
    with together(*runs) as children:
        said = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [failures] * 2, said
    return [(out, err.splitlines()) for out, err in said]


def alone(one: ExperimentConfig, runs: Path) -> Path:
    return experiment.run_experiment(one, runs, device="cpu", workers=0, show_progress=False)


def folder(runs: Path, one: ExperimentConfig) -> Path:
    return RunFolder(runs, one, data_name="toy").path


def losses(path: Path) -> dict[tuple[int, str], float]:
    history = load_history(path)
    trained = history[history.kind == "train"]
    return dict(zip(zip(trained.total_step, trained.name, strict=True), trained.value, strict=True))


def games(path: Path) -> dict[tuple[int, str], float]:
    """Records of the game by step and name."""
    history = load_history(path)
    played = history[history.kind == "game"]
    return dict(zip(zip(played.total_step, played.name, strict=True), played.value, strict=True))


SHORT = {"pretrain__steps": 4, "adapt__steps": 4, "evaluate_every": 4}
HALVES = {"correspondence_batch": "half"}
FOLLOWED = {
    "half": config(**HALVES),
    "groups as in I3D": config(backbone="tiny_i3d", norm_momentum=0.01, **HALVES),
    "repair": config(correspondence_batch="repair", norm_group=6),
    "three modalities": config(modalities=("rgb", "flow", "depth"), **HALVES, **SHORT),
    "synchronous": config(positives="synchronous", crops="tsn", **HALVES, **SHORT),
    "mmd": config("mmd", **SHORT),
    "mcd": config("mcd", **SHORT),
    "adabn": config("adabn", batch_size=12, **SHORT),
    "source_only": config("source_only", batch_size=12, **SHORT),
    "evaluated in two batches": config("source_only", batch_size=12, accumulation=2, **SHORT),
}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """All of them, trained by two processes."""
    runs = tmp_path_factory.mktemp("two")
    return runs, [out for out, _ in train(*(Run([one], [runs]) for one in FOLLOWED.values()))]


@pytest.mark.usefixtures("toy_format")
class TestOneProcessIsFollowed:
    """Same global batch, same losses: each of two processes takes half of every batch."""

    @pytest.mark.parametrize("name", FOLLOWED)
    def test_losses_and_evaluations(self, name: str, followed: tuple[Path, list[str]], tmp_path: Path) -> None:
        one, two = alone(FOLLOWED[name], tmp_path), folder(followed[0], FOLLOWED[name])
        assert read_manifest(two / "manifest.json")["processes"] == 2
        expected, found = losses(one), losses(two)
        assert found.keys() == expected.keys()
        assert max(abs(found[key] - expected[key]) for key in expected) < 1e-4
        # Running statistics are means of two sequences of updates instead of one: alike, not equal.
        probabilities, alike = read_arrays(one / "predictions.npz"), read_arrays(two / "predictions.npz")
        assert max(np.abs(probabilities[s] - alike[s]).max() for s in probabilities if s.startswith("p_")) < 0.02
        np.testing.assert_array_equal(probabilities["steps"], alike["steps"])

    @pytest.mark.parametrize("name", FOLLOWED)
    def test_records_of_the_game_are_means_over_both(
        self, name: str, followed: tuple[Path, list[str]], tmp_path: Path
    ) -> None:
        """Means over clips are those of one process, but that a clip on the border may fall on its other side."""
        one, two = games(alone(FOLLOWED[name], tmp_path)), games(folder(followed[0], FOLLOWED[name]))
        assert two.keys() == one.keys()
        for (step, what), expected in one.items():
            if what.startswith("gradient/"):
                assert two[step, what] == pytest.approx(expected, rel=0.3, abs=1e-4), "but for the shards' spread"
            elif "accuracy" in what:
                assert two[step, what] == pytest.approx(expected, abs=1e-3 if step < 5 else 100 / 12)
            else:
                assert two[step, what] == pytest.approx(expected, abs=1e-4)

    def test_fifty_steps_of_both_stages_are_compared(self, followed: tuple[Path, list[str]]) -> None:
        for name in ("half", "repair", "groups as in I3D"):
            found = losses(folder(followed[0], FOLLOWED[name]))
            assert {step for step, term in found if term == "correspondence"} == set(range(1, 51))
            assert {step for step, term in found if term == "adversarial"} == set(range(26, 51))

    def test_both_processes_end_with_the_same_network(self, followed: tuple[Path, list[str]]) -> None:
        first, second = followed[1]
        assert len(first.split()) == len(FOLLOWED)
        assert first == second


def wait_for_checkpoint(path: Path, child: subprocess.Popen[str], *, step: int) -> None:
    end = time.monotonic() + 120
    while not (path / "history.jsonl").exists() or max(losses(path))[0] < step:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def same(one: Path, other: Path) -> None:
    """Bit for bit, what two runs left."""
    assert (one / "history.jsonl").read_text() == (other / "history.jsonl").read_text()
    for name in ("predictions.npz", "features.npz"):
        first, second = read_arrays(one / name), read_arrays(other / name)
        assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.usefixtures("toy_format")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_is_killed(lost: int, followed: tuple[Path, list[str]], tmp_path: Path) -> None:
    """The other stops with a message and leaves nothing behind; the run continues from its checkpoint, whoever does."""
    one = FOLLOWED["half"]
    path = folder(tmp_path / "runs", one)
    with together(Run([one], [tmp_path / "runs"]), pause=0.002, workers=1) as children:
        wait_for_checkpoint(path, children[lost], step=10)
        family = [relative for c in children for relative in psutil.Process(c.pid).children(recursive=True)]
        children[lost].kill()
        said = children[1 - lost].communicate(timeout=100)[1]
        assert children[1 - lost].returncode == 1
    kept = torch.load(path / "checkpoint.pt", weights_only=True)
    assert "another process of this run has ended or does not answer" in said
    assert f"the run continues at step {25 * kept['stage'] + kept['step']}" in said
    assert 10 <= 25 * kept["stage"] + kept["step"] < 50
    _, alive = psutil.wait_procs(family, timeout=30)
    assert family
    assert not alive

    if lost:  # two processes again, after an attempt in which one of them does not find the checkpoint
        shutil.copytree(tmp_path / "runs", tmp_path / "copy")
        said = train(Run([one], [tmp_path / "copy", tmp_path / "none"]), Run([one], [tmp_path / "runs"]), failures=1)
        for _, (error,) in said:
            assert "disagree: the step to continue at is" in error
            assert "and 0 in process 1" in error
        same(path, folder(followed[0], one))
    else:
        expected, found = losses(folder(followed[0], one)), losses(alone(one, tmp_path / "runs"))
        assert max(abs(found[key] - expected[key]) for key in expected) < 1e-4


def test_processes_that_disagree_train_nothing(tmp_path: Path) -> None:
    """Other options, or a batch they cannot share: both say it, and the next run of the same processes is one."""
    good = config(pretrain__steps=1, adapt__steps=1)
    uneven = config(batch_size=12, norm_group=0, correspondence_batch="half")
    differing = Run([config(seed=1), config(seed=2)], [tmp_path])
    said = train(differing, Run([uneven], [tmp_path]), Run([good], [tmp_path]), failures=2)
    digests = [config(seed=seed).digest for seed in (1, 2)]
    for _, (first, second) in said:
        assert first == (
            f"error: the processes of this run disagree: the configuration's digest is {digests[0]} in process 0 and "
            f"{digests[1]} in process 1; start all of them with the same options, data, packages and runs folder (on a "
            "file system that they share)"
        )
        assert "the 3 corresponding and 3 other clips of a domain" in second
    assert not folder(tmp_path, config(seed=1)).exists()
    assert read_manifest(folder(tmp_path, good) / "manifest.json")["status"] == "finished"


class Two:
    """An accelerator of two processes, as far as these functions look."""

    num_processes, process_index, is_main_process, device = 2, 0, True, torch.device("cpu")


class TestOneOfSeveral:
    def test_the_first_fact_that_differs_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        facts = [{"the data's digest": "a", "versions": "1"}, {"the data's digest": "b", "versions": "2"}]
        monkeypatch.setattr(processes, "gather_object", lambda _: facts)
        with pytest.raises(UserError, match="the data's digest is a in process 0 and b in process 1"):
            processes.check_agreement(facts[0])
        monkeypatch.setattr(processes, "gather_object", lambda _: [facts[0]] * 2)
        processes.check_agreement(facts[0])

    @pytest.mark.parametrize(
        ("error", "explained"),
        [
            (torch.distributed.DistBackendError("NCCL"), True),
            (RuntimeError("[../gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer"), True),
            (RuntimeError("the lamp fell over"), False),
        ],
    )
    def test_only_a_failed_exchange_means_a_lost_process(self, error: RuntimeError, explained: bool) -> None:
        with (
            pytest.raises(UserError if explained else RuntimeError, match="step 7" if explained else "lamp"),
            processes.explain_lost_process(Two(), continues_at=lambda: 7),
        ):
            raise error

    def test_each_evaluates_a_share(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """9 segments in batches of 8 and 1. Statistics of a domain (AdaBN) take all its clips, everywhere."""
        one, seen = FOLLOWED["evaluated in two batches"], []
        for number in range(2):
            monkeypatch.setattr(Two, "process_index", number)
            runs = RunFolder(tmp_path, one, data_name="toy")
            run = experiment.Experiment(one, toy.toy_data(), runs, accelerator=Two(), workers=0)
            shown = run.evaluation
            for loader in (shown.target_clips, shown.source_clips, shown.target_training, shown.source_training):
                seen.append([len(batch["rgb"]) for batch in loader])
        assert seen == [[8], [8], [9, 9], [9, 9], [1], [1], [9, 9], [9, 9]]

    @pytest.mark.parametrize("momentum", [0.001, 0.1])
    def test_statistics_of_two_forget_as_fast_as_those_of_one(self, momentum: float) -> None:
        """32 clips in 4 groups alone, in 2 groups each by two; the mean of the two is the one, up to the order."""
        torch.manual_seed(0)
        one, *two = (GroupedBatchNorm3d(3, momentum=momentum) for _ in range(3))
        for part in two:
            processes.match_statistics(part, Two(), clips=32, group=8)
        for step in range(60):
            clips = torch.randn(32, 3, 2, 2, 2) * (1 + step / 20) + step / 10
            for layer, share in ((one, clips), (two[0], clips[:16]), (two[1], clips[16:])):
                layer(share, groups=len(share) // 8)
        for name in ("running_mean", "running_var"):
            mean = (two[0].get_buffer(name) + two[1].get_buffer(name)) / 2
            torch.testing.assert_close(mean, one.get_buffer(name), rtol=0.02, atol=0)


class Watched(experiment.Experiment):
    """Prints a digest of the network that a run ends with."""

    def run(self, *, show_progress: bool) -> None:
        super().run(show_progress=show_progress)
        print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in self.method.state_dict().values())).hexdigest())


def main() -> None:
    """One of several processes; prints what its network ends with after every run, and what went wrong."""
    torch.set_num_threads(1)
    listed, pause, workers = sys.argv[1:]
    toy.ToyReader.pause = float(pause)
    FORMATS["toy"] = toy.TOY
    experiment.Experiment = Watched
    sys.exit(sum([not trains(configs, folders, int(workers)) for configs, folders in json.loads(listed)]))


def trains(configs: list[dict[str, Any]], folders: list[str], workers: int) -> bool:
    """Train this process's part of a run; whether it went well."""
    mine, runs = (listed[min(int(os.environ["RANK"]), len(listed) - 1)] for listed in (configs, folders))
    try:
        one = ExperimentConfig(**mine)
        experiment.run_experiment(one, runs, device="cpu", workers=workers, show_progress=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
