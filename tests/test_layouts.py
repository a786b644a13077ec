"""Layouts: the same frames give the same clips wherever they lie, and an error shows every place looked at."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_epic import (
    add_to_tar,
    edited,
    from_files,
    picture,
    table,
    unpack,
    video_files,
    write_folder,
    write_root,
    write_tar,
)

from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.clips.windows import WindowRule, window_at
from mmsada_lab.datasets.epic import frame_files
from mmsada_lab.datasets.epic.jpeg_reader import JpegReader
from mmsada_lab.datasets.epic.layouts import LAYOUTS, MODALITIES, Footage, Owner, expand, find_footage
from mmsada_lab.datasets.epic.loader import load_epic
from mmsada_lab.errors import UserError

VIDEOS = {"P01_00": Owner("P01", ("X",))}
SEGMENT = Segment("0", "P01_00", 1, 36)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSADA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def real() -> Path:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    return Path(os.environ["MMSADA_TEST_DATA"])


def raw_files() -> dict[str, bytes]:
    """The tiny video as raw frames: `img_`, and x for u, y for v."""
    files = {name.replace("frame_00000", "img_"): data for name, data in video_files()["rgb"].items()}
    for name, data in video_files()["flow"].items():
        files[name.replace("u/frame_00000", "x_").replace("v/frame_00000", "y_")] = data
    return files


# --- templates --------------------------------------------------------------------------------------------------


def test_templates_expand_to_every_path_they_stand_for() -> None:
    assert expand("plain") == ("plain",)
    assert expand("[a/]b") == ("a/b", "b")
    assert expand("{a,b}/{c,d}") == ("a/c", "a/d", "b/c", "b/d")
    assert expand("[{a,b}/]c") == ("a/c", "c", "b/c"), "each once"


def test_every_layout_has_both_modalities() -> None:
    assert tuple(MODALITIES) == ("rgb", "flow")
    assert {tuple(len(layout.patterns(m)) for m in MODALITIES) for layout in LAYOUTS} == {(1, 2)}


# --- the same frames everywhere ---------------------------------------------------------------------------------

PLACES = [
    "{m}/P01/P01_00",
    "{m}/P01_00",
    *(f"{top}frames_rgb_flow/{{m}}/{part}/{group}/P01_00"
      for top in ("", "EPIC_KITCHENS_2018/") for part in ("train", "test") for group in ("D1", "D3", "X", "P01")),
    "frames_rgb_flow/{m}/train/P01_00",
    "P01/{m}_frames/P01_00",
    "EPIC-KITCHENS/P01/{m}_frames/P01_00",
]  # fmt: skip
RAW_PLACES = ["P01_00", "P01/P01_00", "rawframes/P01_00", "rawframes/P01/P01_00"]


def expected(tmp_path: Path) -> dict[str, np.ndarray]:
    """Clips read from a plain folder by its path alone."""
    clips = {}
    for modality, (layout, channels) in {"rgb": (LAYOUTS[0], 3), "flow": (LAYOUTS[0], 2)}.items():
        write_folder(tmp_path / "plain" / modality, video_files()[modality])
        place = frame_files.FrameLocation(tmp_path / "plain" / modality, layout.patterns(modality))
        reader = JpegReader({"P01_00": place}, channels=channels)
        clips[modality] = reader.read(SEGMENT, np.array([1, 5, 18]))
    return clips


def clips_of(found: dict[str, Footage]) -> dict[str, np.ndarray]:
    channels = {"rgb": 3, "flow": 2}
    readers = {m: JpegReader(footage.locations, channels=channels[m]) for m, footage in found.items()}
    return {m: reader.read(SEGMENT, np.array([1, 5, 18])) for m, reader in readers.items()}


def search(root: Path) -> dict[str, Footage]:
    return {m: find_footage(root, m, VIDEOS) for m in ("rgb", "flow")}


@pytest.mark.parametrize("tar", [False, True], ids=["folder", "tar"])
@pytest.mark.parametrize("place", PLACES)
def test_frames_are_found_in_their_layout(place: str, tar: bool, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for modality, files in video_files().items():
        path = root / place.format(m=modality)
        write_tar(path.with_name("P01_00.tar"), {f"./{n}": d for n, d in files.items()}) if tar else write_folder(
            path, files
        )
    found = search(root)
    assert not found["rgb"].raw
    for modality, clip in clips_of(found).items():
        np.testing.assert_array_equal(clip, expected(tmp_path)[modality])


@pytest.mark.parametrize("tar", [False, True], ids=["folder", "tar"])
@pytest.mark.parametrize("place", RAW_PLACES)
def test_raw_frames_are_found(place: str, tar: bool, tmp_path: Path) -> None:
    root = tmp_path / "root"
    path = root / place
    write_tar(path.with_name("P01_00.tar"), raw_files()) if tar else write_folder(path, raw_files())
    found = search(root)
    assert found["flow"].raw == found["rgb"].raw == {"P01_00"}
    for modality, clip in clips_of(found).items():
        np.testing.assert_array_equal(clip, expected(tmp_path)[modality])


def test_a_folder_comes_before_a_tar_and_an_empty_one_after(tmp_path: Path) -> None:
    path = tmp_path / "rgb" / "P01" / "P01_00"
    write_tar(path.with_name("P01_00.tar"), video_files()["rgb"])
    for half in ("flow/P01/P01_00/u", "rgb/P01/P01_00"):
        (tmp_path / half).mkdir(parents=True)
    assert find_footage(tmp_path, "rgb", VIDEOS).locations["P01_00"].tar
    write_folder(path, video_files()["rgb"])
    assert not find_footage(tmp_path, "rgb", VIDEOS).locations["P01_00"].tar
    write_folder(tmp_path / "flow/P01/P01_00", {"u/frame_1.jpg": picture(1)})
    assert not find_footage(tmp_path, "flow", VIDEOS).locations, "u without v is no flow"


def test_no_folder_is_listed_when_videos_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_root(tmp_path / "root")
    monkeypatch.setattr(frame_files, "_index_folder", lambda *_: pytest.fail("a folder was listed"))
    assert len(find_footage(root, "flow", VIDEOS).locations) == 1


# --- what is said -----------------------------------------------------------------------------------------------


def test_every_place_looked_at_is_shown(tmp_path: Path) -> None:
    message = find_footage(tmp_path, "flow", {"P22_05": Owner("P22", ("D3",))}).absent["P22_05"]
    for part in (
        "video 'P22_05' has no flow frames",
        f"Looked in {tmp_path} for a folder or a tar",
        "flow/[P22/]P22_05 with u/frame_*.jpg and v/frame_*.jpg",
        "[EPIC_KITCHENS_2018/]frames_rgb_flow/flow/[{train,test}/][{P22,D3,D1,D2}/]P22_05 with",
        "[EPIC-KITCHENS/]P22/flow_frames/P22_05 with",
        "[rawframes/][P22/]P22_05 with x_*.jpg and y_*.jpg",
    ):
        assert part in message


def test_a_raw_tar_without_flow_lacks_it(tmp_path: Path) -> None:
    write_tar(tmp_path / "P01_00.tar", {n: d for n, d in raw_files().items() if n.startswith("img")})
    found = search(tmp_path)
    assert (len(found["rgb"].locations), len(found["flow"].locations)) == (1, 0)
    add_to_tar(tmp_path / "P01_00.tar", "x_00001.jpg", kind=tarfile.SYMTYPE, target="img_00001.jpg")
    with pytest.raises(UserError, match=r"'x_00001\.jpg' \(a link\) is not followed"):
        search(tmp_path)
    (tmp_path / "P01_00.tar").write_bytes((tmp_path / "P01_00.tar").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"P01_00\.tar is not a whole, uncompressed tar"):
        search(tmp_path)


# --- whole sources ----------------------------------------------------------------------------------------------


def clips(data: MultiDomainData, modality: str) -> list[np.ndarray]:
    parts = [(d, s) for d in data.domains.values() for s in (*d.train, *d.test)]
    return [d.readers[modality].read(s, np.array([s.start, 9, 38])) for d, s in parts]


def authors_tree(root: Path, path: Callable[[str, str], str]) -> Path:
    """The tiny data set with its videos moved: `path` gives the place of a modality of a video."""
    write_root(root)
    for modality in ("rgb", "flow"):
        for video in ("P01_00", "P01_01", "P02_00", "P02_01"):
            target = root / path(modality, video)
            target.parent.mkdir(parents=True, exist_ok=True)
            (root / modality / video[:3] / video).rename(target)
    return root


@pytest.mark.parametrize(
    "path",
    [
        lambda m, v: f"frames_rgb_flow/{m}/{'train' if v.endswith('0') else 'test'}/{'D1' if v < 'P02' else 'Y'}/{v}",
        lambda m, v: f"EPIC-KITCHENS/{v[:3]}/{m}_frames/{v}",
        lambda m, v: f"{m}/{v}" if v < "P02" else f"{v[:3]}/{m}_frames/{v}",
    ],
    ids=["download script", "release", "mixed"],
)
def test_a_source_is_the_same_in_every_layout(path: Callable[[str, str], str], tmp_path: Path) -> None:
    first, second = (
        load_epic(write_root(tmp_path / "a" / "root")),
        load_epic(authors_tree(tmp_path / "b" / "root", path)),
    )
    assert (first.digest, first.notes) == (second.digest, second.notes)
    for modality in ("rgb", "flow"):
        for one, other in zip(clips(first, modality), clips(second, modality), strict=True):
            np.testing.assert_array_equal(one, other)


def raw_root(root: Path, *, flow: int) -> Path:
    """The tiny data set as raw frames, with as many of flow as asked for."""
    root.mkdir(parents=True)
    table().to_csv(root / "segments.csv", index=False)
    for video in ("P01_00", "P01_01", "P02_00", "P02_01"):
        files = {f"img_{n:05d}.jpg": picture(5 * n, 128, 9) for n in range(1, 41)}
        files |= {f"{c}_{n:05d}.jpg": picture(n * (4 + k)) for n in range(1, flow + 1) for k, c in enumerate("xy")}
        write_folder(root / "rawframes" / video, files)
    return root


@pytest.mark.parametrize(("flow", "index"), [(40, "same"), (39, "same"), (20, "authors"), (19, "authors")])
def test_raw_frames_choose_the_index_by_their_numbers(flow: int, index: str, tmp_path: Path) -> None:
    data = load_epic(raw_root(tmp_path / "root", flow=flow))
    (note,) = data.notes
    assert note.startswith(
        f"flow_index={index}: {4 * flow} flow frames (x_) for 160 RGB frames (img_) in 4 of 4 raw videos"
    )
    reader = data.domain("X").readers["flow"]
    clip = reader.read(SEGMENT, np.array([4, 9, 12]))
    numbers = np.array([4, 9, 12]) // (1 if index == "same" else 2)
    np.testing.assert_allclose(clip.mean((1, 2)), np.stack([4 * numbers, 5 * numbers], 1), atol=1)
    assert reader.extent(SEGMENT) == ((1, flow) if index == "same" else (2, 2 * flow + 1))


def test_raw_frames_whose_numbers_say_nothing_need_an_index(tmp_path: Path) -> None:
    root = raw_root(tmp_path / "root", flow=13)
    with pytest.raises(UserError, match=r"found 52 flow frames .* for 160 RGB frames .*flow_index=authors or same"):
        load_epic(root)
    data = load_epic(root, flow_index="ceil")
    assert not data.notes
    assert data.domain("X").readers["flow"].extent(SEGMENT) == (1, 26)


def test_real_raw_frames(real: Path, tmp_path: Path) -> None:
    frame = edited("video_id", "rawframes", rows=[*range(16)]).assign(participant_id="P", start_frame=1, stop_frame=10)
    frame.to_csv(tmp_path / "segments.csv", index=False)
    (tmp_path / "rawframes").symlink_to(real / "clips" / "mmaction2" / "rawframes")
    data = load_epic(tmp_path)
    assert data.notes[0].startswith("flow_index=authors: 5 flow frames (x_) for 10 RGB frames (img_)")
    domain = data.domain("X")
    window = window_at(5, WindowRule(length=4))
    assert window.tolist() == [1, 3, 5, 7]
    rgb, flow = (domain.readers[m].read(domain.train[0], window) for m in ("rgb", "flow"))
    assert (rgb.shape, flow.shape) == ((4, 240, 320, 3), (4, 240, 320, 2))
    assert rgb.std() > 20, "a picture"
    assert (flow[0] == flow[1]).all(), "frame 0 is clipped to 1"
    assert not (flow[1] == flow[2]).all()


@pytest.mark.parametrize("layout", ["download script", "release", "folders"])
def test_real_tars_laid_anew_give_the_same_clips(layout: str, real: Path, tmp_path: Path) -> None:
    utd, root = real / "utd_video", tmp_path / "utd_video"
    frame = frame_of(utd, people=("S1", "S4", "S7"))
    root.mkdir()
    frame.to_csv(root / "segments.csv", index=False)
    for modality in ("rgb", "flow"):
        for person, video, domain in {*zip(frame.participant_id, frame.video_id, frame.domain, strict=True)}:
            places = {
                "download script": f"EPIC_KITCHENS_2018/frames_rgb_flow/{modality}/train/{domain}/{video}.tar",
                "release": f"{person}/{modality}_frames/{video}.tar",
                "folders": f"{modality}/{person}/{video}",
            }
            target = root / places[layout]
            target.parent.mkdir(parents=True, exist_ok=True)
            tar = utd / modality / person / f"{video}.tar"
            if layout == "folders":
                unpack(tar, target)
            else:
                target.symlink_to(tar)
    ours, theirs = load_epic(root), load_epic(utd)
    for name, domain in ours.domains.items():
        segment = domain.test[0]
        window = window_at(segment.stop - 5, WindowRule())
        for modality, reader in domain.readers.items():
            other = from_files(theirs.domain(name).readers[modality])
            np.testing.assert_array_equal(from_files(reader).read(segment, window), other.read(segment, window))


def frame_of(utd: Path, *, people: tuple[str, ...]) -> pd.DataFrame:
    """The real annotations of one training and one test segment of some people."""
    frame = pd.read_csv(utd / "segments.csv", dtype=str)
    return frame[frame.participant_id.isin(people)].groupby(["domain", "split"]).head(1)
