"""Run folders: written whole or not at all, locked, read back as tidy frames without torch."""

from __future__ import annotations

import errno
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pytest
from toy import CLASSES, TOY, toy_config

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.datasets.kitchens.loader import parse_knobs
from mmsada_lab.datasets.open import FORMATS
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.files import write_atomic
from mmsada_lab.runs import (
    RunFolder,
    count_test_segments,
    find_runs,
    load_history,
    load_predictions,
    load_runs,
    read_arrays,
    read_manifest,
    split_world,
    write_arrays,
    write_json,
)


class TestWriting:
    def test_replaces_the_whole_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        for content in (b"a longer content", b"short"):
            write_atomic(path, lambda file, content=content: file.write(content))
            assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
    def test_whatever_happens_the_old_file_stays_and_no_other(self, tmp_path: Path, error: BaseException) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")

        def half(file: BinaryIO) -> None:
            file.write(b"ne")
            raise error

        with pytest.raises(type(error)):
            write_atomic(path, half)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_json_is_readable_by_people(self, tmp_path: Path) -> None:
        write_json(tmp_path / "file.json", {"pair": "D2→D1"})
        text = (tmp_path / "file.json").read_text()
        assert "D2→D1" in text
        assert json.loads(text) == {"pair": "D2→D1"}

    def test_arrays_come_back_and_objects_are_refused(self, tmp_path: Path) -> None:
        arrays = {"uid": np.array(["a", "bcd"]), "p": np.random.default_rng(0).random((2, 3), dtype=np.float32)}
        write_arrays(tmp_path / "a.npz", arrays)
        found = read_arrays(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        assert all((found[name] == arrays[name]).all() and found[name].dtype == arrays[name].dtype for name in arrays)
        with pytest.raises(ValueError, match="allow_pickle"):
            write_arrays(tmp_path / "b.npz", {"label": np.array([None, 1])})
        assert not (tmp_path / "b.npz").exists()


class TestFolder:
    def test_its_path_says_what_it_holds(self, tmp_path: Path) -> None:
        config = toy_config(seed=3)
        path = RunFolder(tmp_path, config, data_name="toy").path
        assert path == tmp_path / "toy" / "mmsada" / "A-B" / f"seed3-{config.digest}"

    def test_nothing_has_run_yet(self, tmp_path: Path) -> None:
        assert RunFolder(tmp_path, toy_config(), data_name="toy").manifest() is None

    def test_one_process_at_a_time(self, tmp_path: Path) -> None:
        first, second = (RunFolder(tmp_path, toy_config(), data_name="toy") for _ in range(2))
        with first.locked(), pytest.raises(UserError, match="another process is training"), second.locked():
            pass
        with second.locked():
            pass

    def test_a_file_stands_where_the_folder_should(self, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text("")
        folder = RunFolder(tmp_path / "runs", toy_config(), data_name="toy")
        with pytest.raises(UserError, match=r"cannot write to the runs folder .*choose another"), folder.locked():
            pass

    def test_a_manifest_of_another_configuration(self, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path, toy_config(), data_name="toy")
        folder.path.mkdir(parents=True)
        other = toy_config(seed=1)
        write_json(folder.manifest_path, {"config": other.to_dict(), "digest": other.digest, "status": "finished"})
        with pytest.raises(UserError, match=f"another configuration .*{other.digest}.*expected {toy_config().digest}"):
            folder.manifest()

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "{}", '{"config": {"colour": 1}}', '{"config": null}', "\udcff"], ids=repr
    )
    def test_a_manifest_that_is_none(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "manifest.json"
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(UserError, match=r"manifest.json is not a readable manifest"):
            read_manifest(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs and one that was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "toy", TOY)
        for config in (toy_config("source_only"), toy_config("mmsada", modalities=("flow", "rgb", "depth"), seed=2)):
            run_experiment(config, folder, device="cpu", workers=0, show_progress=False)
        stopped = run_experiment(
            toy_config("source_only", seed=7), folder, device="cpu", workers=0, show_progress=False
        )
    manifest = read_manifest(stopped / "manifest.json")
    write_json(stopped / "manifest.json", manifest | {"status": "running"})
    return folder


@pytest.fixture
def mmsada_run(runs: Path) -> Path:
    return next(path for path in find_runs(runs) if path.name.startswith("seed2"))


def packed(runs: Path, archive: Path) -> Path:
    """The same files in a zip file."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(runs.rglob("*")):
            file.write(path, path.relative_to(runs))
    return archive


class TestZipFiles:
    def test_are_read_as_folders_are(self, runs: Path, tmp_path: Path) -> None:
        archive = packed(runs, tmp_path / "runs.zip")
        folders, members = load_runs(runs), load_runs(archive)
        pd.testing.assert_frame_equal(folders.drop(columns="path"), members.drop(columns="path"))
        assert [Path(p).relative_to(runs) for p in folders["path"]] == [
            Path(p).relative_to(archive) for p in members["path"]
        ]
        for folder, member in zip(find_runs(runs), find_runs(archive), strict=True):
            assert read_manifest(folder / "manifest.json") == read_manifest(member / "manifest.json")
            pd.testing.assert_frame_equal(load_history(folder), load_history(member))
            pd.testing.assert_frame_equal(load_predictions(folder), load_predictions(member))
            features, same = (read_arrays(path / "features.npz") for path in (folder, member))
            assert all((features[name] == same[name]).all() for name in features)

    def test_below_any_folder_in_them(self, runs: Path, tmp_path: Path) -> None:
        archive = packed(runs, tmp_path / "runs.zip")
        assert set(load_runs(archive / "toy" / "mmsada")["method"]) == {"mmsada"}
        run = find_runs(archive)[0]
        assert find_runs(run) == find_runs(str(run)) == [run]
        with pytest.raises(UserError, match="no runs folder"):
            find_runs(archive / "toy" / "mms")

    def test_a_folder_may_be_called_so(self, runs: Path, tmp_path: Path) -> None:
        assert len(find_runs(shutil.copytree(runs, tmp_path / "runs.zip"))) == 3

    def test_a_new_file_is_seen(self, runs: Path, tmp_path: Path) -> None:
        archive = packed(runs, tmp_path / "runs.zip")
        assert len(find_runs(archive)) == 3
        packed(runs / "toy" / "mmsada", archive)
        assert len(find_runs(archive)) == 1

    def test_what_is_missing_is_named(self, runs: Path, tmp_path: Path) -> None:
        archive = packed(runs, tmp_path / "runs.zip")
        for folder in (runs, archive):
            with pytest.raises(UserError, match=f"{folder}/toy holds no history.jsonl; name the folder of a finished"):
                load_history(folder / "toy")

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"", "not a zip file"), (b"PK\x03\x04 and so on", "not a zip file"), (b"a text", "not a zip file")],
    )
    def test_what_is_none(self, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / "runs.zip").write_bytes(content)
        with pytest.raises(UserError, match=rf"runs\.zip is not a whole zip file of runs .*{message}"):
            load_runs(tmp_path / "runs.zip")

    def test_cut_anywhere(self, runs: Path, tmp_path: Path) -> None:
        content = packed(runs, tmp_path / "whole.zip").read_bytes()
        for size in range(0, len(content), len(content) // 20):
            (tmp_path / "cut.zip").write_bytes(content[:size])
            with pytest.raises(UserError, match=r"cut\.zip is not a whole zip file of runs"):
                find_runs(tmp_path / "cut.zip")

    def test_damaged_anywhere(self, runs: Path, tmp_path: Path) -> None:
        """Refused by name, or what was damaged is not part of what is read."""
        archive, rng = packed(runs, tmp_path / "runs.zip"), np.random.default_rng(0)
        content, expected = archive.read_bytes(), load_runs(archive)
        messages = []
        for at in [*rng.integers(len(content), size=60), *rng.integers(len(content) - 2000, len(content), size=60)]:
            damaged = bytearray(content)
            damaged[at] ^= 1 << int(rng.integers(8))
            archive.unlink()
            archive.write_bytes(damaged)
            try:
                assert set(load_runs(archive)["digest"]) <= set(expected["digest"])
                for path in find_runs(archive):
                    load_history(path)
                    read_arrays(path / "features.npz")
                    read_arrays(path / "predictions.npz")
            except UserError as error:
                messages.append(str(error))
        assert len(messages) >= 20
        assert all(str(archive) in message for message in messages)

    @pytest.mark.parametrize("name", ["../x", "/x", "toy/../../x", "..\\x"])
    def test_names_that_lead_out_are_refused(self, name: str, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "runs.zip", "w") as file:
            file.writestr(f"{name}/mmsada/A-B/seed0-0123456789/manifest.json", "{}")
        with pytest.raises(UserError, match=r"runs\.zip holds the name .*, which leads out of it"):
            load_runs(tmp_path / "runs.zip")


class TestLoading:
    def test_finds_all_loads_the_finished(self, runs: Path) -> None:
        assert len(find_runs(runs)) == 3
        frame = load_runs(runs)
        assert set(zip(frame["method"], frame["seed"], strict=True)) == {("source_only", 0), ("mmsada", 2)}

    def test_one_row_per_run_and_stream(self, runs: Path) -> None:
        frame = load_runs(runs)
        assert frame[frame["method"] == "source_only"]["stream"].tolist() == ["fused", "rgb", "flow"]
        assert frame[frame["method"] == "mmsada"]["stream"].tolist() == ["fused", "flow", "rgb", "depth"]
        columns = "data world method source target seed digest preset stream top1 mean_class evaluations selection"
        assert set(frame.columns) >= {*columns.split(), "training_seconds", "device", "path"}
        assert set(frame["source"] + frame["target"]) == {"AB"}

    def test_accuracies_are_those_of_the_saved_probabilities(self, runs: Path) -> None:
        for row in load_runs(runs).itertuples():
            arrays = read_arrays(Path(row.path) / "predictions.npz")
            predicted = arrays[f"p_{row.stream}"].argmax(axis=2)
            correct = predicted == arrays["label"]
            assert row.top1 == pytest.approx(100 * correct.mean(axis=1).mean())
            per_class = [correct[:, arrays["label"] == k].mean() for k in range(len(CLASSES))]
            assert row.mean_class == pytest.approx(100 * np.mean(per_class))
            assert row.evaluations == len(arrays["steps"]) == 2

    def test_labelled_test_segments_are_counted(self, runs: Path, tmp_path: Path) -> None:
        """In the manifest; of an older run in its predictions, from folders and zip files; of a cut one not at all."""
        assert set(load_runs(runs)["test_segments"]) == {9}
        older = shutil.copytree(runs, tmp_path / "older")
        for path in older.rglob("manifest.json"):
            manifest = read_manifest(path)
            del manifest["result"]["test_segments"]
            write_json(path, manifest)
        assert set(load_runs(older)["test_segments"]) == {9}
        assert set(load_runs(packed(older, tmp_path / "older.zip"))["test_segments"]) == {9}
        paths = list(older.rglob("predictions.npz"))
        arrays = read_arrays(paths[0])
        write_arrays(paths[0], arrays | {"label": np.where(arrays["label"] == 0, -1, arrays["label"])})
        assert count_test_segments(paths[0].parent) == 6, "of some nothing is known"
        paths[0].write_bytes(paths[0].read_bytes()[:100])
        assert np.isnan(count_test_segments(paths[0].parent))
        for path in paths:
            path.unlink()
        assert load_runs(older)["test_segments"].isna().all()

    def test_predictions_are_tidy(self, mmsada_run: Path) -> None:
        frame = load_predictions(mmsada_run)
        assert frame.columns.tolist() == ["uid", "label", "predicted", "p0", "p1", "p2", "step", "stream"]
        assert len(frame) == 2 * 4 * 9
        assert set(frame["step"]) == {6, 7}
        probabilities = frame[["p0", "p1", "p2"]]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        assert (probabilities.to_numpy().argmax(axis=1) == frame["predicted"]).all()

    def test_history_is_tidy(self, mmsada_run: Path) -> None:
        frame = load_history(mmsada_run)
        assert frame.columns.tolist() == ["kind", "stage", "step", "total_step", "name", "value"]
        trained = frame[frame["kind"] == "train"].pivot_table(index="total_step", columns="name", values="value")
        assert trained.index.tolist() == list(range(1, 13))
        assert set(trained.columns) == {"classification", "adversarial", "correspondence"}
        assert trained["adversarial"].isna().tolist() == [True] * 5 + [False] * 7
        evaluated = frame[(frame["kind"] == "evaluation") & (frame["name"] == "fused/top1")]
        assert list(zip(evaluated["stage"], evaluated["step"], evaluated["total_step"], strict=True)) == [
            ("pretrain", 3, 3),
            ("pretrain", 5, 5),
            ("adapt", 3, 8),
            ("adapt", 6, 11),
            ("adapt", 7, 12),
        ]

    def test_features_name_their_segments_and_sides(self, mmsada_run: Path) -> None:
        arrays = read_arrays(mmsada_run / "features.npz")
        assert {name: array.shape for name, array in arrays.items() if name.startswith("f_")} == {
            "f_flow": (18, 8),
            "f_rgb": (18, 8),
            "f_depth": (18, 8),
        }
        assert arrays["side"].tolist() == ["source"] * 9 + ["target"] * 9
        assert arrays["uid"].tolist() == [f"{domain}-test-{k}" for domain in "AB" for k in range(9)]
        assert arrays["label"].tolist() == [0, 1, 2] * 6

    @pytest.mark.parametrize(
        "prepare", [lambda path: None, Path.mkdir, lambda path: path.write_text("")], ids=["missing", "empty", "a file"]
    )
    def test_a_folder_without_runs(self, tmp_path: Path, prepare: Callable[[Path], object]) -> None:
        prepare(tmp_path / "runs")
        with pytest.raises(UserError, match="train something first"):
            load_runs(tmp_path / "runs")

    def test_only_unfinished_runs(self, runs: Path) -> None:
        with pytest.raises(UserError, match="only unfinished runs; start them again"):
            load_runs(
                runs
                / "toy"
                / "source_only"
                / "A-B"
                / next(p.name for p in find_runs(runs) if p.name.startswith("seed7"))
            )

    def test_what_else_lies_there_is_left_alone(self, runs: Path, tmp_path: Path) -> None:
        before = load_runs(runs)
        (runs / "notes").mkdir()
        (runs / "notes" / "manifest.json").write_text("mine")
        pd.testing.assert_frame_equal(load_runs(runs), before)


class TestWorlds:
    @pytest.mark.parametrize(
        ("specification", "data", "world"),
        [
            ("kitchens", "kitchens", 0),
            ("kitchens:seed=0", "kitchens", 0),
            ("kitchens:seed=12", "kitchens", 12),
            ("kitchens:appearance=0.5,seed=3,motion=0", "kitchens:appearance=0.5,motion=0", 3),
            ("kitchens:seed=1,seed=2", "kitchens", 2),
            ("kitchens:appearance=0.5", "kitchens:appearance=0.5", 0),
            ("epic:/data/kitchens:seed=3", "epic:/data/kitchens:seed=3", 0),
            ("arrays:DIR,seed=3", "arrays:DIR,seed=3", 0),
            ("toy", "toy", 0),
        ],
    )
    def test_only_drawn_data_have_several(self, specification: str, data: str, world: int) -> None:
        assert split_world(specification) == (data, world)
        if specification.startswith("kitchens"):
            knobs, without = (parse_knobs(text.partition(":")[2]) for text in (specification, data))
            assert (knobs.seed, without.seed) == (world, 0), "as the kitchens read it"

    def test_a_setting_is_the_same_in_all_worlds_and_seeds(self, runs: Path, tmp_path: Path) -> None:
        (path,) = (path for path in find_runs(runs) if path.name.startswith("seed2"))
        manifest, again = read_manifest(path / "manifest.json"), tmp_path / "runs"
        knobs = ["", ":seed=3", ":appearance=0.5,seed=3"]
        for data, seed in product(knobs, (0, 1)):
            config = replace(ExperimentConfig(**manifest["config"]), data=f"kitchens{data}", seed=seed)
            folder = RunFolder(again, config, data_name="kitchens")
            folder.path.mkdir(parents=True)
            write_json(folder.manifest_path, manifest | {"config": config.to_dict(), "digest": config.digest})
        frame = load_runs(again).query("stream == 'fused'")
        settings = frame.groupby("setting")[["data", "world", "seed"]].agg(lambda values: sorted(set(values)))
        assert sorted(settings.to_numpy().tolist()) == [
            [["kitchens"], [0, 3], [0, 1]],
            [["kitchens:appearance=0.5"], [3], [0, 1]],
        ]
        first = frame[(frame["data"] == "kitchens") & (frame["world"] == 0) & (frame["seed"] == 0)]
        assert (first["setting"] == first["digest"]).all(), "as it was before there were worlds"
