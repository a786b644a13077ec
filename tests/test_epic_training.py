"""The whole path from JPEG files to a trained network: exported kitchens and painted videos in the format `epic:`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_epic import picture, write_folder, write_tar
from toy import SMALL

from mmsada_lab.clips.batches import TrainingBatches
from mmsada_lab.clips.clips import ClipRule
from mmsada_lab.clips.segments import Frames, Segment
from mmsada_lab.clips.test_clips import TestClips
from mmsada_lab.clips.windows import WindowRule
from mmsada_lab.datasets.epic.jpeg_reader import FLOW_INDEX
from mmsada_lab.datasets.kitchens.loader import Kitchens, load_kitchens
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.experiment import run_experiment
from mmsada_lab.prepare.export_kitchens import export_kitchens
from mmsada_lab.presets import build_config
from mmsada_lab.runs import load_history, read_arrays, read_manifest

TINY = Kitchens(scale=0.001)
KNOBS = "kitchens:scale=0.001"
COLUMNS = "uid participant_id video_id start_frame stop_frame verb verb_class domain split"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kitchens are rendered here, once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSADA_CACHE", str(folder))
        load_kitchens(TINY, workers=1)
        yield folder


@pytest.fixture(scope="module")
def trees(cache: Path) -> dict[str, Path]:
    """The kitchens as folders and as tars; folders of the same name, since that names the data set."""
    return {form: export_kitchens(cache / form / "kitchens", TINY, tar=form == "tars") for form in ("folders", "tars")}


def train(data: str, runs: Path, *, method: str = "mmsada", pair: str = "D1 D2", **more: Any) -> Path:
    source, target = pair.split()
    config = build_config("quick", source=source, target=target, method=method, data=data, overrides=SMALL | more)
    return run_experiment(config, runs, device="cpu", workers=0, show_progress=False)


def assert_same_run(one: Path, other: Path) -> None:
    assert (one / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()
    first, second = (read_arrays(path / "predictions.npz") for path in (one, other))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)


# --- kitchens: memory, folders, tars ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(trees: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run on each form of the kitchens."""
    runs = tmp_path_factory.mktemp("runs")
    made = {form: train(f"epic:{root}", runs / form) for form, root in trees.items()}
    return made | {"memory": train(KNOBS, runs / "memory")}


def test_folders_and_tars_train_to_the_same_bytes(trained: dict[str, Path]) -> None:
    assert_same_run(trained["folders"], trained["tars"])


def test_files_train_as_memory_does_but_for_the_coding(trained: dict[str, Path]) -> None:
    """Nearly the same loss at the first step, which steps then carry apart; but not the same, or no file was read."""
    files, memory = (load_history(trained[form]) for form in ("folders", "memory"))
    keys = ["kind", "stage", "step", "total_step", "name"]
    pd.testing.assert_frame_equal(files[keys], memory[keys])
    losses = [h[(h["kind"] == "train") & (h["name"] == "classification")]["value"].to_numpy() for h in (files, memory)]
    np.testing.assert_allclose(losses[0][:1], losses[1][:1], rtol=0.03)
    np.testing.assert_allclose(losses[0][:2], losses[1][:2], rtol=0.15)
    assert losses[0][0] != losses[1][0]
    one, other = (read_arrays(trained[form] / "predictions.npz") for form in ("folders", "memory"))
    assert one["uid"].tolist() == other["uid"].tolist()
    assert one["label"].tolist() == other["label"].tolist()
    assert np.abs(one["p_fused"] - other["p_fused"]).mean() < 0.02


def test_batches_are_those_of_memory_but_for_the_coding(trees: dict[str, Path], cache: Path) -> None:
    """The same windows, crops and flips: another one would differ by far more than JPEG does."""
    rule = ClipRule(WindowRule(length=4), size=24, negatives=True)
    batches = [
        TrainingBatches(
            data.domain("D1"),
            data.domain("D3"),
            rule=rule,
            modalities=("rgb", "flow"),
            source_batch=8,
            target_batch=8,
            steps=3,
            seed=(0, 1),
        )
        for data in (load_data(f"epic:{trees['folders']}"), load_data(f"epic:{trees['tars']}"), load_data(KNOBS))
    ]
    for folders, tars, memory in zip(*batches, strict=True):
        assert folders.source.labels.tolist() == memory.source.labels.tolist()
        for side in ("source", "target"):
            one, two, other = (getattr(batch, side) for batch in (folders, tars, memory))
            assert one.corresponds.tolist() == other.corresponds.tolist()
            for modality, limit in {"rgb": 4.0, "flow": 1.0}.items():
                clips = [batch.clips[modality].numpy().astype(np.float64) for batch in (one, two, other)]
                np.testing.assert_array_equal(clips[0], clips[1])
                errors = np.abs(clips[0] - clips[2]).mean((1, 2, 3, 4))
                turned = np.abs(clips[0] - np.roll(clips[2], 1, axis=0)).mean((1, 2, 3, 4))
                assert errors.max() < limit
                assert (errors < turned).all()


def test_test_clips_are_those_of_memory_but_for_the_coding(trees: dict[str, Path], cache: Path) -> None:
    rule = ClipRule(WindowRule(length=4), size=24)
    loaded = [load_data(f"epic:{trees['tars']}"), load_data(KNOBS)]
    clips = [
        TestClips(d, d.test[:5], rule=rule, modalities=("rgb", "flow"), windows=3)
        for d in (data.domain("D2") for data in loaded)
    ]
    for files, memory in zip(*clips, strict=True):
        for modality, limit in {"rgb": 4.0, "flow": 1.0}.items():
            assert files[modality].shape == memory[modality].shape
            assert np.abs(files[modality].numpy().astype(int) - memory[modality].numpy()).mean() < limit


# --- labels of the target ---------------------------------------------------------------------------------------


def relabelled_tree(tree: Path, copy: Path, *, domain: str) -> Path:
    """The same tree with the training labels of a domain in another order; frames are linked."""
    table = pd.read_csv(tree / "segments.csv")
    rows = (table.domain == domain) & (table.split == "train")
    for column in ("verb", "verb_class", "narration"):
        table.loc[rows, column] = np.roll(table.loc[rows, column].to_numpy(), 3)
    copy.mkdir(parents=True)
    table.to_csv(copy / "segments.csv", index=False)
    for modality in ("rgb", "flow"):
        (copy / modality).symlink_to(tree / modality, target_is_directory=True)
    return copy


@pytest.mark.parametrize(("domain", "same"), [("D2", True), ("D1", False)])
def test_training_labels_of_the_target_never_reach_the_run(
    domain: str, same: bool, trees: dict[str, Path], trained: dict[str, Path], tmp_path: Path
) -> None:
    """Shuffled ones leave every byte as it was, where those of the source do not."""
    root = relabelled_tree(trees["tars"], tmp_path / "data" / "kitchens", domain=domain)
    path = train(f"epic:{root}", tmp_path / "runs")
    if same:
        assert_same_run(path, trained["tars"])
    else:
        assert (path / "history.jsonl").read_bytes() != (trained["tars"] / "history.jsonl").read_bytes()


# --- segments without flow --------------------------------------------------------------------------------------


@pytest.fixture
def without_flow(trees: dict[str, Path], tmp_path: Path) -> Path:
    """The tars, but for the flow of one training video of the source and one test video of the target."""
    root = tmp_path / "some flow"
    root.mkdir()
    shutil.copyfile(trees["tars"] / "segments.csv", root / "segments.csv")
    (root / "rgb").symlink_to(trees["tars"] / "rgb", target_is_directory=True)
    for tar in (trees["tars"] / "flow").rglob("*.tar"):
        if tar.stem not in ("D1_train_0003", "D2_test_0001"):
            (root / "flow" / tar.parent.name).mkdir(parents=True, exist_ok=True)
            (root / "flow" / tar.parent.name / tar.name).symlink_to(tar)
    return root


def test_a_video_without_flow_is_refused_and_the_fix_told(without_flow: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        train(f"epic:{without_flow}", tmp_path / "runs")
    told = str(caught.value)
    assert "segment D1_train_0003" in told
    assert "has no flow frames" in told
    assert told.endswith("missing=drop")
    assert not (tmp_path / "runs").exists()


def test_segments_without_flow_are_dropped_and_noted(
    without_flow: Path, trained: dict[str, Path], tmp_path: Path
) -> None:
    path = train(f"epic:{without_flow},missing=drop", tmp_path / "runs")
    manifest = read_manifest(path / "manifest.json")
    assert manifest["status"] == "finished"
    assert [note.split(" of ")[0] for note in manifest["data_notes"]] == [
        "domain D1: dropped 1",
        "domain D2: dropped 1",
    ]
    for note, uid in zip(manifest["data_notes"], ("D1_train_0003", "D2_test_0001"), strict=True):
        assert note.endswith(f"({uid}) that lack flow")
    before, after = (read_arrays(p / "predictions.npz")["uid"].tolist() for p in (trained["tars"], path))
    assert after == [uid for uid in before if uid != "D2_test_0001"]


# --- which frames: numbers painted into the pictures ------------------------------------------------------------

RGB_FRAMES, SIDE = 120, 16


def painted(number: int, *, channels: int) -> bytes:
    """A flat picture whose grey tells the number, two levels apart."""
    return picture(*[2 * number] * channels, height=SIDE, width=SIDE)


def write_numbered(root: Path, *, tars: bool, flow_frames: int) -> Path:
    """Domains X and Y: a video of 120 RGB frames each, and of flow; u is twice the number, v what is left to 255."""
    spans = [(1, 120), (40, 60), (100, 120), (30, 90)]
    rows = [
        (f"{d}{n}", d, f"{d}_0", *spans[n], "ab"[n % 2], n % 2, d, ("train", "test")[n > 2])
        for d in "XY"
        for n in range(4)
    ]
    root.mkdir(parents=True)
    pd.DataFrame(rows, columns=COLUMNS.split()).to_csv(root / "segments.csv", index=False)
    rgb = {f"frame_{n:010d}.jpg": painted(n, channels=3) for n in range(1, RGB_FRAMES + 1)}
    flow = {
        f"{c}/frame_{n:010d}.jpg": picture(abs(shift - 2 * n), height=SIDE, width=SIDE)
        for n in range(1, flow_frames + 1)
        for c, shift in (("u", 0), ("v", 255))
    }
    for domain in "XY":
        for modality, files in (("rgb", rgb), ("flow", flow)):
            path = root / modality / domain / f"{domain}_0"
            write_tar(path.with_name(f"{path.name}.tar"), files) if tars else write_folder(path, files)
    return root


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The videos in a form; flow at stride 2, or as many frames as RGB for the index that wants them."""
    made: dict[str, Path] = {}

    def make(form: str, index: str) -> Path:
        name = f"{form} {flow_frames(index)}"
        if name not in made:
            root = tmp_path_factory.mktemp("numbered") / name
            made[name] = write_numbered(root, tars=form == "tars", flow_frames=flow_frames(index))
        return made[name]

    return make


def flow_frames(index: str) -> int:
    return RGB_FRAMES if index == "same" else RGB_FRAMES // 2


def numbers_of(clips: Frames) -> np.ndarray[Any, Any]:
    """Frame numbers painted into the first channel of clips `(..., C, T, S, S)`; u turned in a mirror is turned back.

    v, which no mirror changes, stands at 255 less the number: the two tell a mirrored clip.
    """
    first, last = (clips[..., c, :, SIDE // 2, SIDE // 2].astype(np.int64) for c in (0, -1))
    is_flow = clips.shape[-4] == 2
    levels = 255 - last if is_flow else first
    if is_flow:
        assert (np.minimum(abs(first - levels), abs(255 - first - levels)) <= 2).all()
    return np.round(levels / 2).astype(np.int64)


FLOW_FILES: dict[str, Callable[[int], int]] = {
    "authors": lambda n: int(n / 2),
    "ceil": lambda n: -(-n // 2),
    "ceil-1": lambda n: -(-n // 2) - 1,
    "same": lambda n: n,
}
"""Flow file of RGB frame n, written down again from the literature, not from the reader."""


def stored(frames: np.ndarray[Any, Any], modality: str, index: str) -> list[int]:
    """The files that RGB frame numbers mean; the ends of a video stand for what is beyond them."""
    if modality == "rgb":
        return [min(max(int(n), 1), RGB_FRAMES) for n in frames]
    return [min(max(FLOW_FILES[index or "authors"](int(n)), 1), flow_frames(index)) for n in frames]


def centre_range(segment: Segment) -> tuple[int, int]:
    """Centres of training windows, after the released code (batch generator, lines 283 to 298)."""
    low, high = segment.start + 16, segment.stop + 1 - 16
    if low >= segment.stop - 15:
        low, high = segment.start, segment.stop
    return max(low, 18), max(high, low, 18)


@pytest.mark.parametrize("index", ["", *FLOW_INDEX])
@pytest.mark.parametrize("form", ["folders", "tars"])
def test_a_training_clip_has_the_frames_of_the_paper(
    form: str, index: str, numbered: Callable[[str, str], Path]
) -> None:
    """RGB c-16, c-14, ..., c+14; flow at stride 2 the 16 consecutive frames int((c-16) / 2) and on.

    Both modalities of a clip share their window here, so that the RGB frames tell what c is.
    """
    data = load_data(f"epic:{numbered(form, index)}" + f",flow_index={index}" * bool(index))
    domain = data.domain("X")
    batches = TrainingBatches(
        domain,
        data.domain("Y"),
        rule=ClipRule(WindowRule(), size=SIDE, synchronous=True),
        modalities=("rgb", "flow"),
        source_batch=3,
        target_batch=3,
        steps=12,
        seed=(3, 0),
    )
    centres = set()
    for step in range(12):
        batch = batches[step].source
        found = {modality: numbers_of(clips.numpy()).tolist() for modality, clips in batch.clips.items()}
        for row, number in enumerate(batches._rows[0][step]):
            low, high = centre_range(domain.train[number])
            windows = {c: c - 16 + 2 * np.arange(16) for c in range(low, high + 1)}
            fitting = [c for c, frames in windows.items() if stored(frames, "rgb", index) == found["rgb"][row]]
            shown = found["flow"][row]
            assert any(stored(windows[c], "flow", index) == shown for c in fitting), f"{fitting}: {shown}"
            if index != "same" and 1 < shown[0] and shown[-1] < flow_frames(index):  # noqa: SIM300
                assert shown == list(range(shown[0], shown[0] + 16)), "consecutive"
            centres |= {fitting[0]} if len(fitting) == 1 else set()
    assert {c % 2 for c in centres} == {0, 1}, "odd ones are where the indices differ"


@pytest.mark.parametrize("form", ["folders", "tars"])
@pytest.mark.parametrize("index", list(FLOW_INDEX))
def test_test_clips_have_the_frames_of_the_paper(form: str, index: str, numbered: Callable[[str, str], Path]) -> None:
    """Five windows, at linspace(low, high, 7)[1:-1], the same for RGB and flow."""
    domain = load_data(f"epic:{numbered(form, index)},flow_index={index}").domain("X")
    (segment,) = domain.test
    clips = TestClips(
        domain, domain.test, rule=ClipRule(WindowRule(), size=SIDE), modalities=("rgb", "flow"), windows=5
    )
    centres = np.linspace(46, 75, 7)[1:-1].astype(np.int32)
    assert (segment.start, segment.stop) == (30, 90)
    for modality, shown in clips[0].items():
        expected = [stored(c - 16 + 2 * np.arange(16), modality, index) for c in centres]
        assert numbers_of(shown.numpy()).tolist() == expected
