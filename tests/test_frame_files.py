"""Frames from folders and tars: numbers, colours, both ends of a video, and files that are not what they should be."""

from __future__ import annotations

import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from tiny_epic import FORMS, add_to_tar, colour, picture, video_files, write_folder, write_tar

from mmsada_lab.clips.segments import Frames, Segment, read_frame_parts
from mmsada_lab.clips.windows import WindowRule, window_at
from mmsada_lab.datasets.epic import frame_files, tar_index
from mmsada_lab.datasets.epic.frame_files import FrameLocation, FramePattern
from mmsada_lab.datasets.epic.jpeg_reader import FLOW_INDEX, FrameIndex, JpegReader
from mmsada_lab.datasets.epic.kept_frames import KeptFrames
from mmsada_lab.errors import UserError

RGB, UV = (FramePattern("", "frame_"),), (FramePattern("u", "frame_"), FramePattern("v", "frame_"))
SEGMENT = Segment("7", "V", 1, 36)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMSADA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def rgb_reader(path: Path, *, tar: bool = False) -> JpegReader:
    return JpegReader({"V": FrameLocation(path, RGB, tar)})


def flow_reader(path: Path, *, tar: bool = False, index: str = "authors") -> JpegReader:
    return JpegReader({"V": FrameLocation(path, UV, tar)}, channels=2, index=FLOW_INDEX[index], mirror_negates=(0,))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the video V of RGB and one of flow, 40 and 20 frames."""
    root = tmp_path_factory.mktemp("frames")
    for modality, files in video_files().items():
        write_folder(root / modality, files)
    return root


# --- which frame ------------------------------------------------------------------------------------------------


def test_frame_numbers_colours_and_shapes(video: Path) -> None:
    clip = rgb_reader(video / "rgb").read(SEGMENT, np.array([1, 4, 20]))
    assert (clip.shape, clip.dtype) == ((3, 24, 32, 3), np.uint8)
    np.testing.assert_allclose(clip.mean((1, 2)), [colour(1), colour(4), colour(20)], atol=2)


def test_window_of_the_paper() -> None:
    """Centre 100: RGB 84, 86, ..., 114 and the 16 consecutive flow frames 42 to 57."""
    window = window_at(100, WindowRule())
    assert window.tolist() == list(range(84, 115, 2))
    assert FLOW_INDEX["authors"].files(window).tolist() == list(range(42, 58))


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("authors", [0, 1, 1, 2, 2, 3, 50]),  # int(n / 2)
        ("ceil", [1, 1, 2, 2, 3, 3, 50]),
        ("ceil-1", [0, 0, 1, 1, 2, 2, 49]),  # PyKale: 100 ... 107 gives 49 50 50 51 51 52 52 53
        ("same", [1, 2, 3, 4, 5, 6, 100]),
    ],
)
def test_conventions_of_the_flow_index(name: str, files: list[int]) -> None:
    frames = np.array([1, 2, 3, 4, 5, 6, 100])
    assert FLOW_INDEX[name].files(frames).tolist() == files
    if name == "ceil-1":
        assert FLOW_INDEX[name].files(np.arange(100, 108)).tolist() == [49, 50, 50, 51, 51, 52, 52, 53]


@pytest.mark.parametrize("index", FLOW_INDEX.values(), ids=FLOW_INDEX)
def test_extent_is_exactly_what_reads_without_clipping(index: FrameIndex) -> None:
    first, last = index.frames(3, 9)
    files = index.files(np.arange(first - 1, last + 2))
    assert (files[0], files[1], files[-2], files[-1]) == (2, 3, 9, 10)


@pytest.mark.parametrize("name", FLOW_INDEX)
def test_flow_reader_follows_its_index(name: str, video: Path) -> None:
    reader, frames = flow_reader(video / "flow", index=name), np.array([5, 6, 7, 8])
    numbers = FLOW_INDEX[name].files(frames)
    clip = reader.read(SEGMENT, frames)
    assert clip.shape == (4, 24, 32, 2)
    np.testing.assert_allclose(clip.mean((1, 2)), np.stack([8 * numbers, 9 * numbers], 1), atol=1)
    assert reader.extent(SEGMENT) == FLOW_INDEX[name].frames(1, 20)


def test_frames_beyond_either_end_are_the_end(video: Path) -> None:
    ends = rgb_reader(video / "rgb").read(SEGMENT, np.array([-5, 0, 1, 40, 41, 999]))
    np.testing.assert_array_equal(ends, ends[[2, 2, 2, 3, 3, 3]])
    flow = flow_reader(video / "flow").read(SEGMENT, np.array([-3, 0, 1, 2, 40, 47]))
    np.testing.assert_array_equal(flow, flow[[3, 3, 3, 3, 4, 4]])


def test_order_and_repeats_are_kept_and_decoded_once(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = simplejpeg.decode_jpeg

    def counted(data: bytes, **options: Any) -> Frames:
        decoded.append(data)
        return decode(data, **options)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", counted)
    clip = rgb_reader(video / "rgb").read(SEGMENT, np.array([9, 3, 9, 9, 5]))
    np.testing.assert_allclose(clip.mean((1, 2))[:, 0], [45, 15, 45, 45, 25], atol=2)
    assert decoded == [(video / "rgb" / f"frame_{number:010d}.jpg").read_bytes() for number in (3, 5, 9)]


@pytest.mark.parametrize("modality", ["rgb", "flow"])
@pytest.mark.parametrize("numbers", [[4, 6, 8, 10], [9, 3, 9, 2, 9, 5], [-5, 0, 1, 40, 41, 999]])
def test_pictures_one_by_one_make_up_the_clip(modality: str, numbers: list[int], video: Path) -> None:
    """Each is decoded once, into memory that the next one takes."""
    reader = rgb_reader(video / "rgb") if modality == "rgb" else flow_reader(video / "flow")
    frames = np.array(numbers)
    clip = reader.read(SEGMENT, frames)
    made, addresses, channels = np.full_like(clip, 77), set(), []
    for channel, times, pixels in read_frame_parts(reader, SEGMENT, frames):
        made[times, :, :, channel : channel + pixels.shape[2]] = pixels
        addresses.add(pixels.ctypes.data)
        channels.append(channel)
    np.testing.assert_array_equal(made, clip)
    assert len(addresses) == 1
    files = len(np.unique(reader.index.files(frames.clip(1, 40)).clip(1)))
    assert channels == ([0] * files if modality == "rgb" else [0] * files + [1] * files)


def test_a_reader_of_whole_clips_gives_their_pictures(video: Path) -> None:
    kept = KeptFrames(flow_reader(video / "flow"), FrameIndex(2))
    frames = np.array([4, 6, 6, 9])
    found = list(read_frame_parts(kept, SEGMENT, frames))
    assert [(channel, times) for channel, times, _ in found] == [(0, [0]), (0, [1]), (0, [2]), (0, [3])]
    np.testing.assert_array_equal(np.stack([pixels for *_, pixels in found]), kept.read(SEGMENT, frames))


@pytest.mark.parametrize("centre", [1, 8, 20, 36])
def test_windows_around_both_ends_of_a_segment(video: Path, centre: int) -> None:
    window = window_at(centre, WindowRule())
    rgb = rgb_reader(video / "rgb").read(SEGMENT, window)
    flow = flow_reader(video / "flow").read(SEGMENT, window)
    np.testing.assert_allclose(rgb[:, 0, 0, 0], 5 * window.clip(1, 40), atol=2)
    np.testing.assert_allclose(flow[:, 0, 0, 0], 8 * (window // 2).clip(1, 20), atol=1)


def test_grey_pictures_come_out_as_three_equal_channels(tmp_path: Path) -> None:
    write_folder(tmp_path / "V", {f"frame_{n}.jpg": picture(20 * n) for n in (1, 2)})
    clip = rgb_reader(tmp_path / "V").read(SEGMENT, np.array([1, 2]))
    assert (clip == clip[..., :1]).all()
    np.testing.assert_allclose(clip.mean((1, 2, 3)), [20, 40], atol=1)


@pytest.mark.parametrize("name", ["frame_{n}.jpg", "frame_{n:04d}.JPG", "FRAME_{n:012d}.jpeg"])
@pytest.mark.parametrize("tar", [False, True])
def test_any_padding_and_suffix(name: str, tar: bool, tmp_path: Path) -> None:
    files = {name.format(n=n): picture(15 * n) for n in range(1, 13)}
    (write_tar if tar else write_folder)(tmp_path / "V", files)
    clip = rgb_reader(tmp_path / "V", tar=tar).read(SEGMENT, np.array([2, 9, 10, 12]))
    np.testing.assert_allclose(clip.mean((1, 2, 3)), [30, 135, 150, 180], atol=1)


# --- tars -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "./", "V/", "./V/"])
@pytest.mark.parametrize("form", FORMS)
def test_tars_give_the_pixels_of_folders(form: str, prefix: str, video: Path, tmp_path: Path) -> None:
    for modality, reader in (("rgb", rgb_reader), ("flow", flow_reader)):
        files = {prefix + name: data for name, data in video_files()[modality].items()}
        write_tar(tmp_path / modality / "V.tar", files, form=FORMS[form])
        frames = np.arange(-2, 50, 3)
        expected = reader(video / modality).read(SEGMENT, frames)
        np.testing.assert_array_equal(reader(tmp_path / modality / "V.tar", tar=True).read(SEGMENT, frames), expected)


def test_odd_members_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture(200))
    tar = tmp_path / "V.tar"
    write_tar(tar, {"../frame_0000000003.jpg": picture(9), "/frame_0000000003.jpg": picture(9), "x": b"y"})
    add_to_tar(tar, "frame_0000000002.jpg", kind=tarfile.SYMTYPE, target=str(tmp_path / "secret.jpg"))
    add_to_tar(tar, "frame_0000000003.jpg", kind=tarfile.LNKTYPE, target="frame_0000000001.jpg")
    for number in (1, 4):
        add_to_tar(tar, f"frame_{number:010d}.jpg", data=picture(50))
    reader = rgb_reader(tar, tar=True)
    assert reader.read(SEGMENT, np.array([1, 4])).shape[0] == 2
    for number in (2, 3):
        with pytest.raises(
            UserError, match=rf"V\.tar: frame_000000000{number}\.jpg is missing, but there are frames before"
        ):
            reader.read(SEGMENT, np.array([1, number]))


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("/data/frame_0000000001.jpg", tarfile.REGTYPE, "an absolute name"),
        ("../frame_0000000001.jpg", tarfile.REGTYPE, "a name with '..'"),
        ("V/../frame_0000000001.jpg", tarfile.REGTYPE, "a name with '..'"),
        ("frame_0000000001.jpg", tarfile.SYMTYPE, "a link"),
        ("frame_0000000001.jpg", tarfile.LNKTYPE, "a link"),
        ("frame_0000000001.jpg", tarfile.CHRTYPE, "not a file"),
        ("frame_0000000001.jpg", tarfile.FIFOTYPE, "not a file"),
    ],
)
def test_tars_of_nothing_but_odd_members_are_refused(name: str, kind: bytes, why: str, tmp_path: Path) -> None:
    tar = tmp_path / "V.tar"
    write_tar(tar, {"readme.txt": b"x"})
    add_to_tar(tar, name, kind=kind, target="/etc/passwd" if kind != tarfile.REGTYPE else "")
    for _ in range(2):  # scanned, and from the cache
        frame_files._index_tar.cache_clear()
        with pytest.raises(UserError) as caught:
            rgb_reader(tar, tar=True).read(SEGMENT, np.array([1]))
        assert f"{tar} holds no frame_*.jpg" in str(caught.value)
        assert f"{name!r} ({why}) is not followed" in str(caught.value)


def test_damaged_tars_are_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "V.tar", video_files()["rgb"])
    whole = (tmp_path / "V.tar").read_bytes()
    reader = rgb_reader(tmp_path / "V.tar", tar=True)
    assert reader.read(SEGMENT, np.array([1])).shape[0] == 1
    negative = whole[:124] + b"-0000001000\0" + whole[136:]
    flipped = whole[:6000].replace(b"frame_0000000003", b"frame_00000000#3") + whole[6000:]
    end = whole.rstrip(b"\0")
    for broken in (whole[:5000], whole[:4096], whole[:4300], end, b"\x1f\x8b" + whole[2:], negative, flipped, b""):
        (tmp_path / "V.tar").write_bytes(broken)
        frame_files._index_tar.cache_clear()  # the clock may not have moved
        with pytest.raises(UserError, match=r"V\.tar is not a whole, uncompressed tar"):
            reader.read(SEGMENT, np.array([1]))


# --- the index on disk ------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_tar(tmp_path / "V.tar", video_files()["flow"])
    return tmp_path / "V.tar"


def count_scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    scanned: list[Path] = []
    plain = tar_index._scan

    def counted(tar: Path) -> tar_index.TarIndex:
        scanned.append(tar)
        return plain(tar)

    monkeypatch.setattr(tar_index, "_scan", counted)
    return scanned


def same(first: tar_index.TarIndex, second: tar_index.TarIndex) -> bool:
    equal = np.array_equal(first.numbers, second.numbers) and np.array_equal(first.spans, second.spans)
    return equal and (first.forms, first.refused) == (second.forms, second.refused)


def test_a_tar_is_scanned_once(packed: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = count_scans(monkeypatch)
    first, second = tar_index.index_tar(packed), tar_index.index_tar(packed)
    assert same(first, second)
    assert first.forms == (("u/frame_", ".jpg"), ("v/frame_", ".jpg"))
    with packed.open("rb") as file:
        for offset, size in first.spans.tolist():
            file.seek(offset)
            assert file.read(size)[:2] == b"\xff\xd8", "a JPEG begins there"
    assert scanned == [packed]
    assert [path.suffix for path in own_cache.rglob("*") if path.is_file()] == [".npz"], "and no draft is left"


@pytest.mark.parametrize("change", ["size", "time", "place"])
def test_a_changed_tar_is_scanned_again(change: str, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar_index.index_tar(packed)
    scanned = count_scans(monkeypatch)
    if change == "size":
        status = packed.stat()
        write_tar(packed, {"u/frame_1.jpg": b"x"})
        os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(packed, ns=(1, 1))
    else:
        packed = packed.rename(packed.with_name("W.tar"))
    assert len(tar_index.index_tar(packed).numbers) == (1 if change == "size" else 40)
    assert scanned == [packed]
    tar_index.index_tar(packed)
    assert len(scanned) == 1


def damaged(data: bytes, how: str) -> bytes:
    ruins = {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "other": b"not a zip",
        "flipped": data[:200] + bytes([data[200] ^ 255]) + data[201:],
    }
    return ruins[how]


@pytest.mark.parametrize("how", ["empty", "cut", "other", "flipped"])
def test_a_damaged_index_is_written_anew(how: str, packed: Path, own_cache: Path) -> None:
    expected = tar_index.index_tar(packed)
    (kept,) = own_cache.rglob("*.npz")
    kept.write_bytes(damaged(kept.read_bytes(), how))
    assert same(tar_index.index_tar(packed), expected)
    with np.load(kept, allow_pickle=False) as again:
        np.testing.assert_array_equal(again["spans"], expected.spans)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spans": np.full((40, 2), 10**12)},
        {"spans": np.full((40, 2), -1)},
        {"spans": np.full((40, 2), 40_000)},  # each within the 60 kB of the tar, but not what begins and ends there
        {"spans": np.zeros((3, 2), np.int64)},
        {"numbers": np.array([[{"a": 1}] * 3] * 40, dtype=object)},
        {"numbers": np.zeros((40, 3))},
        {"numbers": np.full((40, 3), 2)},
        {"text": np.frombuffer(b"u/frame_\0.jpg\0v\0", dtype=np.uint8)},
    ],
)
def test_an_index_that_cannot_be_of_this_tar_is_written_anew(
    wrong: dict[str, Any], packed: Path, own_cache: Path
) -> None:
    expected = tar_index.index_tar(packed)
    (kept,) = own_cache.rglob("*.npz")
    with np.load(kept) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(kept, **(arrays | wrong))
    assert same(tar_index.index_tar(packed), expected)


def test_a_cache_that_cannot_be_written_is_done_without(packed: Path, tmp_path: Path, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    assert len(tar_index.index_tar(packed).numbers) == 40


# --- bad files --------------------------------------------------------------------------------------------------


def one_video(folder: Path, files: dict[str, bytes]) -> Callable[[list[int]], Any]:
    write_folder(folder / "V", files)
    reader = rgb_reader(folder / "V")
    return lambda frames: reader.read(SEGMENT, np.array(frames))


def test_bad_pictures_are_named(tmp_path: Path) -> None:
    good = picture(10, 20, 30)
    files = {"frame_001.jpg": good, "frame_002.jpg": good[: len(good) // 2], "frame_003.jpg": b"GIF89a"}
    clip = one_video(tmp_path, files | {"frame_004.jpg": b"", "frame_005.jpg": picture(1, 2, 3, width=40)})
    assert clip([1]).shape == (1, 24, 32, 3)
    for number in (2, 3, 4):
        with pytest.raises(UserError, match=rf"V/frame_00{number}\.jpg is not a whole JPEG"):
            clip([number])
    with pytest.raises(UserError, match=r"frame_005\.jpg is 40x24, but the clip began with 32x24 .*V/frame_001\.jpg"):
        clip([1, 5])


@pytest.mark.parametrize(("width", "height"), [(40, 24), (16, 24), (24, 32)])
def test_pictures_of_another_size_are_refused_whether_they_fit_or_not(width: int, height: int, tmp_path: Path) -> None:
    other = picture(1, 2, 3, width=width, height=height)
    clip = one_video(tmp_path, {"frame_001.jpg": picture(10, 20, 30), "frame_002.jpg": other})
    with pytest.raises(UserError, match=rf"frame_002\.jpg is {width}x{height}, but the clip began with 32x24"):
        clip([1, 2])


@pytest.mark.parametrize("name", ["frame_02.jpg", "frame_2.jpeg", "Frame_2.jpg"])
def test_bad_pictures_in_tars_are_named_as_stored(name: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "V.tar", {"frame_1.jpg": picture(1), name: b""})
    with pytest.raises(UserError, match=rf"V\.tar: {name} is not a whole JPEG"):
        rgb_reader(tmp_path / "V.tar", tar=True).read(SEGMENT, np.array([2]))


def test_hole_in_a_video_is_named(tmp_path: Path) -> None:
    clip = one_video(tmp_path, {f"frame_{n:04d}.jpg": picture(n) for n in (5, 6, 8)})
    assert clip([1, 5, 99]).shape[0] == 3
    with pytest.raises(UserError, match=r"V/frame_0007\.jpg is missing, but there are frames before and after it"):
        clip([5, 7])


def test_a_frame_that_vanishes_is_named(tmp_path: Path) -> None:
    clip = one_video(tmp_path, {f"frame_{n}.jpg": picture(n) for n in (1, 2)})
    clip([1, 2])
    status = (tmp_path / "V").stat()
    (tmp_path / "V" / "frame_2.jpg").rename(tmp_path / "gone")
    os.utime(tmp_path / "V", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UserError, match=r"(cannot read .*frame_2\.jpg: No such file)"):
        clip([2])


def test_ambiguous_and_empty_folders(tmp_path: Path) -> None:
    clip = one_video(tmp_path / "twice", {"frame_1.jpg": picture(1), "frame_01.jpg": picture(1)})
    with pytest.raises(UserError, match=r"holds frame 1 twice: frame_01\.jpg and frame_1\.jpg"):
        clip([1])
    with pytest.raises(UserError, match=r"V holds no frames: no frame_\*\.jpg"):
        one_video(tmp_path / "none", {"img_1.jpg": picture(1)})([1])
    write_folder(tmp_path / "half", {"u/frame_1.jpg": picture(1)})
    with pytest.raises(UserError, match=r"half/v cannot be read"):
        flow_reader(tmp_path / "half").read(SEGMENT, np.array([1]))


def test_segment_beyond_the_end_of_its_video(video: Path) -> None:
    reader = flow_reader(video / "flow")
    assert reader.read(Segment("9", "V", 41, 80), np.array([41])).shape[0] == 1
    with pytest.raises(
        UserError, match=r"segment 9 starts at RGB frame 42, but .* ends with its frame 20, RGB frame 41"
    ):
        reader.read(Segment("9", "V", 42, 80), np.array([42]))
    with pytest.raises(UserError, match=r"unknown video 'U'; choose V"):
        reader.read(Segment("9", "U", 1, 8), np.array([5]))


def open_files() -> int:
    """How many files this process has open, where the system tells."""
    handles = Path("/proc/self/fd")
    return len(list(handles.iterdir())) if handles.is_dir() else 0


@pytest.mark.parametrize("tar", [False, True])
def test_readers_are_picklable_and_keep_no_file_open(tar: bool, video: Path, packed: Path) -> None:
    reader = flow_reader(packed if tar else video / "flow", tar=tar)
    before = open_files()
    expected = reader.read(SEGMENT, np.array([2, 8]))
    copied = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copied.read(SEGMENT, np.array([2, 8])), expected)
    assert open_files() == before
