"""The kitchens as a tree of EPIC-Kitchens: what went in comes out, as folders and as tars, byte for byte each time."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simplejpeg

from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.clips.windows import WindowRule, test_windows
from mmsada_lab.datasets.epic.annotations import read_annotations
from mmsada_lab.datasets.kitchens.loader import Kitchens, load_kitchens
from mmsada_lab.datasets.open import load_data
from mmsada_lab.datasets.pickles import read_pickle_frame
from mmsada_lab.errors import UserError
from mmsada_lab.prepare import export_kitchens as export
from mmsada_lab.prepare.export_kitchens import export_kitchens, timestamp

TINY = Kitchens(scale=0.001)
AUTHORS = ["uid", "participant_id", "video_id", "narration", "start_timestamp", "stop_timestamp"]
AUTHORS += ["start_frame", "stop_frame", "verb", "verb_class"]
DOMAINS = ("D1", "D2", "D3")
LOSS = {"rgb": 4.0, "flow": 0.6}
"""Mean absolute difference, in levels, that JPEG at quality 95 may make; the kitchens' RGB is full of grain."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def memory(cache: Path) -> MultiDomainData:
    return load_kitchens(TINY, cache_dir=cache, workers=1)


@pytest.fixture(scope="module")
def folders(memory: MultiDomainData, cache: Path) -> Path:
    return export_kitchens(cache / "folders", TINY, cache_dir=cache)


@pytest.fixture(scope="module")
def tars(memory: MultiDomainData, cache: Path) -> Path:
    return export_kitchens(cache / "tars", TINY, tar=True, cache_dir=cache)


@pytest.fixture(scope="module")
def opened(folders: Path, tars: Path) -> dict[str, MultiDomainData]:
    return {"folders": load_data(f"epic:{folders}"), "tars": load_data(f"epic:{tars}")}


def pixels(data: MultiDomainData, domain: str, modality: str, segment: Segment, frames: object) -> np.ndarray:
    return data.domain(domain).readers[modality].read(segment, np.asarray(frames)).astype(np.int64)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# --- what comes out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folders", "tars"])
def test_segments_and_labels_are_those_in_memory(
    form: str, memory: MultiDomainData, opened: dict[str, MultiDomainData]
) -> None:
    assert opened[form].classes == memory.classes
    assert list(opened[form].domains) == list(memory.domains)
    for name, domain in memory.domains.items():
        found = opened[form].domain(name)
        assert [replace(s, further=()) for s in found.train] == list(domain.train)
        assert [replace(s, further=()) for s in found.test] == list(domain.test)


@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_pixels_are_those_in_memory_but_for_the_coding(
    modality: str, memory: MultiDomainData, opened: dict[str, MultiDomainData]
) -> None:
    for name, domain in memory.domains.items():
        for segment in domain.train[:4] + domain.test[:4]:
            frames = np.arange(-4, segment.stop + 20)
            difference = pixels(memory, name, modality, segment, frames)
            difference -= pixels(opened["folders"], name, modality, segment, frames)
            assert np.abs(difference).mean() < LOSS[modality]


@pytest.mark.parametrize(("modality", "stride"), [("rgb", 1), ("flow", 2)])
def test_every_frame_has_its_own_number(
    modality: str, stride: int, memory: MultiDomainData, opened: dict[str, MultiDomainData]
) -> None:
    """Among all frames of a video in memory, the nearest to file n is the one that stands at n."""
    for name, domain in memory.domains.items():
        for segment in (domain.train[0], domain.test[3]):
            first, last = domain.readers[modality].extent(segment)
            assert opened["folders"].domain(name).readers[modality].extent(segment) == (first, last)
            numbers = np.arange(first, last + 1, stride)
            there = pixels(memory, name, modality, segment, numbers)
            found = pixels(opened["folders"], name, modality, segment, numbers)
            distances = np.abs(there[:, None] - found[None]).mean(axis=(2, 3, 4))
            np.testing.assert_array_equal(distances.argmin(axis=0), np.arange(len(numbers)))


def test_folders_and_tars_give_identical_clips(opened: dict[str, MultiDomainData]) -> None:
    for name, domain in opened["folders"].domains.items():
        for segment in domain.train + domain.test:
            frames = test_windows(segment, WindowRule(), count=2).ravel()
            for modality in ("rgb", "flow"):
                one, other = (pixels(data, name, modality, segment, frames) for data in opened.values())
                np.testing.assert_array_equal(one, other)


def test_files_lie_as_the_authors_have_them(folders: Path, tars: Path, memory: MultiDomainData) -> None:
    segment = memory.domain("D2").test[1]
    count = memory.domain("D2").readers["rgb"].extent(segment)[1]
    names = [f"frame_{n:010d}.jpg" for n in range(1, count + 1)]
    assert sorted(p.name for p in (folders / "rgb/D2/D2_test_0001").iterdir()) == names
    last = memory.domain("D2").readers["flow"].extent(segment)[1] // 2
    for track in "uv":
        found = sorted(p.name for p in (folders / "flow/D2/D2_test_0001" / track).iterdir())
        assert found == names[:last]
    with tarfile.open(tars / "flow/D2/D2_test_0001.tar") as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == [f"{track}/{name}" for track in "uv" for name in names[:last]]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


def test_colour_is_not_subsampled_and_flow_is_grey(folders: Path) -> None:
    name = "D1/D1_train_0000"
    rgb = simplejpeg.decode_jpeg_header((folders / f"rgb/{name}/frame_0000000001.jpg").read_bytes())
    flow = simplejpeg.decode_jpeg_header((folders / f"flow/{name}/u/frame_0000000001.jpg").read_bytes())
    assert rgb == (36, 64, "YCbCr", "444")
    assert flow[:3] == (36, 64, "Gray")


# --- annotations ------------------------------------------------------------------------------------------------


def test_pickles_and_table_say_the_same(folders: Path, tmp_path: Path) -> None:
    parts = {(d, s): read_pickle_frame(folders / f"{d}_{s}.pkl") for d in DOMAINS for s in ("train", "test")}
    assert all(part.columns.tolist() == AUTHORS for part in parts.values())
    table = pd.read_csv(folders / "segments.csv")
    joined = pd.concat([part.assign(domain=d, split=s) for (d, s), part in parts.items()], ignore_index=True)
    pd.testing.assert_frame_equal(joined.astype(object), table.astype(object))
    for part in folders.glob("*.pkl"):
        (tmp_path / part.name).write_bytes(part.read_bytes())
    pd.testing.assert_frame_equal(read_annotations(tmp_path).table, read_annotations(folders).table)


def test_text_is_pickled_as_plain_objects(folders: Path) -> None:
    table = pd.read_pickle(folders / "D1_train.pkl")  # our own file
    assert table.columns.dtype == object
    kinds = {name: table[name].dtype for name in table.columns}
    assert {str(dtype) for dtype in kinds.values()} == {"object", "int64"}


def test_columns_are_those_of_the_real_pickles(folders: Path) -> None:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    real = read_pickle_frame(Path(os.environ["MMSADA_TEST_DATA"]) / "mmsada_splits" / "D1_train.pkl")
    ours = read_pickle_frame(folders / "D1_train.pkl")
    assert ours.columns.tolist() == real.columns.tolist()
    kinds = {name: real[name].dtype.kind for name in real.columns if name != "uid"}
    assert {name: ours[name].dtype.kind for name in kinds} == kinds
    written = real.start_frame.map(timestamp)
    assert written.str.len().eq(real.start_timestamp.str.len()).all()
    gap = pd.to_timedelta(real.start_timestamp) - pd.to_timedelta(written)
    assert (gap.abs() < pd.Timedelta(seconds=0.03)).all(), "a frame lasts 17 ms, and some of theirs are off by one"
    assert (gap >= pd.Timedelta(0)).mean() > 0.98, "ours is the first hundredth that falls in the frame"


@pytest.mark.parametrize("frame", [0, 1, 59, 60, 61, 245, 3599, 3600, 215_999, 216_000, 345_678])
def test_time_stamps_give_their_frame_again(frame: int) -> None:
    hours, minutes, seconds = timestamp(frame).split(":")
    time = int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    assert (time * 60).__floor__() == frame
    assert ((time - Fraction(1, 100)) * 60).__floor__() == frame - 1 or frame == 0


# --- whole, once, and only where it may be ----------------------------------------------------------------------


def test_two_exports_are_the_same_bytes(tars: Path, folders: Path, cache: Path, tmp_path: Path) -> None:
    assert contents(export_kitchens(tmp_path / "tars", TINY, tar=True, cache_dir=cache)) == contents(tars)
    once = contents(folders)
    assert contents(export_kitchens(folders, TINY, cache_dir=cache)) == once
    assert not [name for name in once if "/." in name or name.startswith(".")]


@pytest.mark.parametrize("tar", [False, True])
def test_an_interrupted_export_continues(
    tar: bool, tars: Path, folders: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, count = simplejpeg.encode_jpeg, 0

    def stop_at_the_300th(*arguments: object, **options: object) -> bytes:
        nonlocal count
        count += 1
        if count == 300:
            raise KeyboardInterrupt
        coded: bytes = encode(*arguments, **options)
        return coded

    monkeypatch.setattr(simplejpeg, "encode_jpeg", stop_at_the_300th)
    with pytest.raises(KeyboardInterrupt):
        export_kitchens(tmp_path / "x", TINY, tar=tar, cache_dir=cache)
    monkeypatch.undo()
    before = contents(tmp_path / "x")
    assert "segments.csv" not in before
    assert 0 < len(before) < len(contents(tars if tar else folders)) / 2
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*.*")}
    killed = tmp_path / "x/rgb/D1/.D1_train_0001.a1b2.part"
    (killed / "new").mkdir(parents=True)
    export_kitchens(tmp_path / "x", TINY, tar=tar, cache_dir=cache)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert contents(tmp_path / "x") == contents(tars if tar else folders)
    assert not killed.exists()


def test_another_destination_is_refused(tars: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"mine holds thesis\.tex and no kitchens\.json; give a new or an empty"):
        export_kitchens(tmp_path / "mine", TINY, cache_dir=cache)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match=r"holds another export .*\"tar\": true"):
        export_kitchens(tars, TINY, cache_dir=cache)
    with pytest.raises(UserError, match=r"holds another export .*\"seed\": 0"):
        export_kitchens(tars, Kitchens(scale=0.001, seed=1), tar=True, cache_dir=cache)
    with pytest.raises(UserError, match="is a file; give a folder"):
        export_kitchens(tmp_path / "mine" / "thesis.tex", TINY, cache_dir=cache)


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_has_bounds(quality: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"quality = {quality}; choose 1"):
        export_kitchens(tmp_path / "x", TINY, quality=quality)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("tar", "name"), [(False, "frame_0000000001.jpg"), (True, "D1_train_0000.tar")])
def test_a_full_disk_is_told(
    tar: bool, name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", name)

    monkeypatch.setattr(tarfile, "TarInfo", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=rf"cannot write .*{name}: No space left"):
        export_kitchens(tmp_path / "x", TINY, tar=tar, cache_dir=cache)
    assert list(contents(tmp_path / "x")) == [export.MARK]


def test_tars_are_read_by_the_standard_library(tars: Path, folders: Path) -> None:
    data = (tars / "rgb/D3/D3_test_0000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        member = archive.extractfile("frame_0000000007.jpg")
        assert member is not None
        assert member.read() == (folders / "rgb/D3/D3_test_0000/frame_0000000007.jpg").read_bytes()
