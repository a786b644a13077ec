"""Import of videos: what is decoded, what flow it gets, what a table says, and what survives a kill."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import wave
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import psutil
import pytest
import simplejpeg
from filelock import FileLock
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from mmsada_lab.datasets.flow import dequantise_flow
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.videos import frames as video_frames
from mmsada_lab.prepare.videos.decoding import UnreadableVideoError, inspect_video, resample, sample_video
from mmsada_lab.prepare.videos.importing import ImportReport, import_videos
from mmsada_lab.prepare.videos.listing import VideoSegment, list_segments, safe_name, video_names
from mmsada_lab.prepare.videos.splits import draw_splits

Pictures = Sequence[NDArray[np.uint8]]
EXACT = {"codec": "ffv1", "pixels": "bgr0"}  # lossless, so that a level is a level


# --- small videos of our own ------------------------------------------------------------------------------------


def level(number: int) -> int:
    return 20 + 12 * number


def flat(count: int, *, height: int = 24, width: int = 32) -> Pictures:
    """Grey pictures whose level tells their number."""
    return [np.full((height, width, 3), level(n), dtype=np.uint8) for n in range(count)]


def numbers(pictures: Iterator[NDArray[np.uint8]]) -> list[int]:
    return [round((float(p.mean()) - 20) / 12) for p in pictures]


def write_video(
    path: Path,
    pictures: Pictures,
    *,
    rate: Fraction | int = 10,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    ticks: Sequence[int] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Encode pictures; `ticks` are their times in hundredths of a second, in place of a constant rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        prepare(stream)
        for at, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[at], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def own_rate(path: Path, *, height: int = 24) -> list[NDArray[np.uint8]]:
    return list(sample_video(path, inspect_video(path).rate, height=height))


# --- time -------------------------------------------------------------------------------------------------------


@given(
    steps=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    rate=st.sampled_from([Fraction(5), Fraction(25), Fraction(30000, 1001), Fraction(60)]),
)
def test_at_each_time_stands_the_last_picture_that_has_begun(steps: list[int], rate: Fraction) -> None:
    begins = [Fraction(sum(steps[:n]), 100) for n in range(len(steps))]
    held = list(resample([(b, Fraction(s, 100), n) for n, (b, s) in enumerate(zip(begins, steps, strict=True))], rate))
    expected, at = [], 0
    while at / rate < Fraction(sum(steps), 100):
        expected.append(max(n for n, begin in enumerate(begins) if begin <= at / rate))
        at += 1
    assert held == expected


@pytest.mark.parametrize(
    ("name", "rate", "codec", "pixels"),
    [
        ("a.mp4", 25, "libx264", "yuv420p"),
        ("a.mkv", Fraction(30000, 1001), "libx264", "yuv420p"),  # a clock of milliseconds: no frame time is exact
        ("a.webm", 30, "libvpx-vp9", "yuv420p"),
        ("a.avi", 24, "mpeg4", "yuv420p"),
        ("a.mov", 60, "libx265", "yuv420p10le"),
        ("a.ts", 50, "libx264", "yuv420p"),
        ("a.gif", 20, "gif", "rgb8"),
    ],
)
def test_a_constant_rate_gives_every_picture_once(
    tmp_path: Path, name: str, rate: Fraction | int, codec: str, pixels: str
) -> None:
    path = write_video(tmp_path / name, flat(17, height=48, width=64), rate=rate, codec=codec, pixels=pixels)
    found = inspect_video(path)
    assert abs(found.rate / rate - 1) < 0.02
    assert (found.width, found.height) == (64, 48)
    pictures = own_rate(path)
    assert {p.shape for p in pictures} == {(24, 32, 3)}
    tolerance = 20 if name == "a.gif" else 5  # eight bits for all three colours
    np.testing.assert_allclose([p.mean() for p in pictures], [level(n) for n in range(17)], atol=tolerance)


def test_a_variable_rate_comes_out_in_real_time(tmp_path: Path) -> None:
    ticks = [0, 10, 50, 55, 60, 100, 101, 150]
    path = write_video(tmp_path / "a.mkv", flat(len(ticks)), ticks=ticks, **EXACT)
    found = numbers(sample_video(path, Fraction(20), height=24))
    expected = [max(n for n, tick in enumerate(ticks) if tick <= 5 * k) for k in range(31)]
    assert found[:31] == expected
    assert set(found[31:]) <= {7}
    assert 5 <= inspect_video(path).rate <= 7


def test_old_avi_files_with_packed_pictures_keep_their_order(tmp_path: Path) -> None:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    path = Path(os.environ["MMSADA_TEST_DATA"]) / "clips/mmaction2/test.avi"
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    stamps = [frame.pts for frame in frames]
    assert stamps != sorted(stamps)  # or else this file proves nothing
    pictures = own_rate(path, height=60)
    assert len(pictures) == len(frames) == 164
    thumbnails = [frame.to_ndarray(format="gray", width=80, height=60).astype(float) for frame in frames[8:]]
    for shown, decoded in zip(pictures[8:], thumbnails, strict=True):
        grey = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY).astype(float)
        differences = [np.abs(grey - other).mean() for other in thumbnails]
        assert np.abs(grey - decoded).mean() <= min(differences) + 0.05


# --- the picture ------------------------------------------------------------------------------------------------

QUADRANTS = np.kron(np.array([[30, 90], [150, 220]], dtype=np.uint8), np.ones((24, 32), dtype=np.uint8))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_pictures_are_turned_upright(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    coded = np.repeat(QUADRANTS[..., None], 3, axis=2)
    path = write_video(
        tmp_path / "a.mp4", [coded] * 3, prepare=lambda stream: stream.set_display_rotation(degrees, mirrored)
    )
    shown = np.rot90(coded, k=degrees // 90)[:, :: -1 if mirrored else 1]  # counter-clockwise, then mirrored
    picture = own_rate(path, height=shown.shape[0])[0]
    assert picture.shape == shown.shape
    np.testing.assert_allclose(picture[6::12, 6::12], shown[6::12, 6::12], atol=4)


def test_pixels_become_square_and_odd_sizes_stay(tmp_path: Path) -> None:
    def stretch(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    wide = write_video(tmp_path / "a.mkv", flat(3, height=40, width=60), prepare=stretch)
    assert own_rate(wide, height=40)[0].shape == (40, 90, 3)
    assert own_rate(wide, height=20)[0].shape == (20, 45, 3)
    odd = write_video(tmp_path / "b.mkv", flat(3, height=33, width=47), **EXACT)
    assert own_rate(odd, height=33)[1].shape == (33, 47, 3)
    assert own_rate(odd, height=66)[1].shape == (66, 94, 3)  # enlarged
    assert np.ptp(own_rate(odd, height=33)[1]) == 0


@pytest.mark.parametrize(("tag", "red", "blue"), [(5, 0.299, 0.114), (1, 0.2126, 0.0722)])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_colours_follow_the_tags(tmp_path: Path, tag: int, red: float, blue: float, full: bool, bits: int) -> None:
    luma, cb, cr = 150, 110, 170
    pixels = "yuv444p" if bits == 8 else "yuv444p10le"
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, pixels
        stream.codec_context.color_range, stream.codec_context.colorspace = 1 + full, tag
        for _ in range(2):
            frame = av.VideoFrame(32, 24, pixels)
            for plane, value in zip(frame.planes, (luma, cb, cr), strict=True):
                size = plane.line_size * plane.height
                plane.update(bytes([value]) * size if bits == 8 else np.full(size // 2, value * 4, "<u2").tobytes())
            frame.color_range, frame.colorspace = 1 + full, tag
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    y, u, v = (
        (luma, cb - 128, cr - 128) if full else ((luma - 16) * 255 / 219, *((c - 128) * 255 / 224 for c in (cb, cr)))
    )
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    expected = [r, (y - red * r - blue * b) / (1 - red - blue), b]
    np.testing.assert_allclose(own_rate(tmp_path / "a.mkv")[0][12, 16], expected, atol=1.5)


def test_a_gif_has_delays_of_its_own_and_is_white_where_transparent(tmp_path: Path) -> None:
    pictures = []
    for n in range(4):
        pixels = np.full((24, 32, 4), level(5 * n), dtype=np.uint8)
        pixels[..., 3] = 255
        pixels[:, :8, 3] = 0
        pictures.append(Image.fromarray(pixels))
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 300, 200, 100], disposal=2)
    shown = list(sample_video(path, Fraction(10), height=24))
    assert all((picture[:, :6] == 255).all() for picture in shown)
    assert numbers(iter([picture[:, 12:] for picture in shown]))[:7] == [0, 5, 5, 5, 10, 10, 15]


# --- what cannot be used ----------------------------------------------------------------------------------------


def cut(path: Path, *, share: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def noise(count: int, *, height: int = 48, width: int = 64) -> Pictures:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def damaged(path: Path) -> Path:
    data = bytearray(write_video(path, noise(40)).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    return path


def sound(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    return path


def text(path: Path, content: bytes = b"not a video\n" * 50) -> Path:
    path.write_bytes(content)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty.mp4": (lambda path: text(path, b""), "0 bytes"),
    "junk.mp4": (text, "cannot be decoded"),
    "sound.avi": (sound, "no video stream"),
    "gone.mp4": (lambda path: path, "No such file"),
    "one.mp4": (lambda path: write_video(path, flat(1)), "single frame"),
    "cut.mp4": (lambda path: cut(write_video(path, noise(40))), "cannot be decoded"),
    "cut.mkv": (lambda path: cut(write_video(path, noise(40))), "states 4.0 s"),
    "cut.avi": (lambda path: cut(write_video(path, noise(40), codec="mpeg4")), r"damaged after \d+ frames"),
    "cut.ts": (lambda path: cut(write_video(path, noise(40))), r"damaged at [12]\.\d+ s"),
    "cut.gif": (lambda path: cut(write_video(path, noise(10), codec="gif", pixels="rgb8")), "cut off"),
    "damaged.mp4": (damaged, "damaged at|cannot be decoded"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_files_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    path = make(tmp_path / name)
    with pytest.raises(UnreadableVideoError, match=reason):
        own_rate(path)


# --- names, tables, splits --------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1).filter(lambda s: "\0" not in s and "/" not in s), unique=True, max_size=8))
def test_names_are_safe_and_unique_whatever_the_files_are_called(stems: list[str]) -> None:
    names = video_names(f"d/{stem}.mp4" for stem in stems)
    assert len({name.casefold() for name in names.values()}) == len(stems)
    assert all(safe_name(name) == name and not name.startswith(".") for name in names.values())


def test_equal_stems_get_a_suffix_that_others_do_not_change() -> None:
    two = video_names(["A/open/1.mp4", "A/close/1.mp4", "A/open/2.mp4"])
    assert two["A/open/2.mp4"] == "2"
    assert two["A/open/1.mp4"] != two["A/close/1.mp4"]
    assert all(two[path].startswith("1-") for path in ("A/open/1.mp4", "A/close/1.mp4"))
    three = video_names([*two, "B/open/1.mp4"])
    assert {path: three[path] for path in two} == two


def clip(at: int, *, label: str = "a", video: str = "", domain: str = "D", split: str = "") -> VideoSegment:
    video = video or f"v{at}"
    return VideoSegment(f"u{at}", video, f"{video}.mp4", domain, label, split=split)


@given(labels=st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=40), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_every_class_of_two_is_on_both_sides(labels: list[str], seed: int) -> None:
    drawn = draw_splits([clip(n, label=label) for n, label in enumerate(labels)], test_fraction=0.25, seed=seed)
    for label, total in Counter(labels).items():
        tested = sum(c.split == "test" for c in drawn if c.label == label)
        expected = 0 if not label or total == 1 else max(1, round(total / 4))
        assert tested == expected
    assert {c.split for c in drawn} <= {"train", "test"}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(["", "", "train"])), max_size=40),
    st.integers(0, 99),
)
@settings(max_examples=50)
def test_segments_of_a_video_stay_together_and_given_splits_stay(rows: list[tuple[str, int, str]], seed: int) -> None:
    clips = [clip(n, label=label, video=f"v{v}", split=split) for n, (label, v, split) in enumerate(rows)]
    drawn = draw_splits(clips, test_fraction=0.3, seed=seed)
    assert all(new.split == old.split for new, old in zip(drawn, clips, strict=True) if old.split)
    for video in {c.video for c in clips}:
        assert (
            len({new.split for new, old in zip(drawn, clips, strict=True) if new.video == video and not old.split}) <= 1
        )
    for label in {c.label for c in clips}:
        assert any(c.split == "train" for c in drawn if c.label == label)


def test_an_unlabelled_segment_is_for_training_even_in_a_test_video() -> None:
    clips = [clip(n, label=label, video=f"v{n // 2}") for n, label in enumerate(["a", "", "a", ""])]
    splits = [c.split for c in draw_splits(clips, test_fraction=0.5, seed=0)]
    assert sorted(splits[::2]) == ["test", "train"]
    assert splits[1::2] == ["train", "train"]


def test_a_draw_depends_on_the_seed_and_on_its_domain_alone() -> None:
    clips = [clip(n, label="ab"[n % 2]) for n in range(40)]
    first, again, other = (draw_splits(clips, test_fraction=0.5, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    beside = draw_splits([*clips, *(clip(99 + n, domain="E") for n in range(9))], test_fraction=0.5, seed=0)
    assert beside[:40] == first


def csv_of(tmp_path: Path, *rows: str, header: str = "video,start,stop,label,domain") -> Path:
    path = tmp_path / "list.csv"
    path.write_text("\ufeff" + "\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["a.mp4"], "video", "lacks the columns domain; found video"),
        ([], None, "lists no segments"),
        (["a.mp4,x,2,run,D"], None, "line 2: start is 'x'; give seconds"),
        (["a.mp4,-1,2,run,D"], None, "start is '-1'"),
        (["a.mp4,nan,2,run,D"], None, "start is 'nan'"),
        (["a.mp4,2,2,run,D"], None, "stop 2 is not after start 2"),
        ([",0,2,run,D"], None, "line 2: no video"),
        (["a.mp4,0,2,run,D,more"], None, "line 2 has 6 cells, but the header has 5; quote"),
        (["a.mp4,,,run,D", "./a.mp4,,,run,E"], None, "line 3: a.mp4 is also given domain 'D'"),
        (["a.mp4,,,run,D D", "b.mp4,,,run,D-D", "c.mp4,,,run,D_D"], None, "'D D' and 'D_D' would have the same folder"),
        (["a.mp4,D,run,tset"], "video,domain,label,split", "unknown split 'tset'.*Did you mean 'test'"),
        (["a.mp4,D,,test"], "video,domain,label,split", "a test segment without a label"),
        (["a.mp4,D,7", "b.mp4,D,7"], "video,domain,uid", "uid '7' is given to more than one"),
        (["a.mp4,D,7"], "video,domain,verb_class", "'verb_class' is made here; rename"),
        (["a.mp4,D,7"], "video,domain,video", "'video' twice"),
    ],
)
def test_a_wrong_table_is_answered_with_its_line(
    tmp_path: Path, rows: list[str], header: str | None, message: str
) -> None:
    path = csv_of(tmp_path, *rows, header=header or "video,start,stop,label,domain")
    with pytest.raises(UserError, match=message):
        list_segments(path)


def test_times_are_exact_in_either_form(tmp_path: Path) -> None:
    clips = list_segments(csv_of(tmp_path, "a.mp4,0.1,1:00:02.25,run,D", "a.mp4,,,,D")).segments
    assert [(c.start, c.stop) for c in clips] == [(Fraction(1, 10), Fraction(360225, 100)), (None, None)]
    assert [c.uid for c in clips] == ["a_1", "a_2"]


# --- the import -------------------------------------------------------------------------------------------------


def small_source(root: Path, *, count: int = 14) -> Path:
    """Two domains, two labels, two videos each."""
    for domain in "AB":
        for label in ("open", "pour"):
            for n in range(2):
                write_video(root / domain / label / f"{label}{n}{domain}.mkv", flat(count), **EXACT)
    return root


def quick(source: Path, destination: Path, **options: Any) -> ImportReport:
    return import_videos(source, destination, **{"algorithm": "dis", "height": 24, "jobs": 1, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_flow_frame_k_leads_from_rgb_frame_2k_to_2k_plus_the_dilation(tmp_path: Path) -> None:
    texture = cv2.GaussianBlur(np.random.default_rng(0).random((64, 200, 3)).astype(np.float32), (0, 0), 2.5)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    places = [0, 1, 2, 4, 6, 7, 10, 11, 11, 9, 8, 6, 5, 5, 4, 2]  # left edge of frame n + 1
    write_video(tmp_path / "S/D/a/v.mkv", [texture[:, 40 + p : 136 + p] for p in places], **EXACT)
    for dilation in (3, 4):
        report = quick(tmp_path / "S", tmp_path / f"T{dilation}", height=64, bound=10, dilation=dilation, quality=100)
        assert report.imported == ("v",)
        flow = tmp_path / f"T{dilation}/flow/D/v"
        assert len(list((flow / "u").iterdir())) == len(list((flow / "v").iterdir())) == (16 - dilation) // 2
        for k in range(1, (16 - dilation) // 2 + 1):
            name = f"frame_{k:010d}.jpg"
            u, v = (simplejpeg.decode_jpeg((flow / c / name).read_bytes(), "GRAY")[16:-16, 16:-16] for c in "uv")
            expected = places[2 * k - 1] - places[2 * k + dilation - 1]  # the view moves right, the texture left
            assert np.median(dequantise_flow(u, bound=10)) == pytest.approx(expected, abs=0.2), k
            assert np.median(dequantise_flow(v, bound=10)) == pytest.approx(0, abs=0.2)


def test_a_folder_becomes_a_data_set_that_opens(tmp_path: Path) -> None:
    source = small_source(tmp_path / "S")
    write_video(source / "A/Unlabelled/x y.mkv", flat(10), **EXACT)
    report = quick(source, tmp_path / "T")
    assert len(report.imported) == 9
    assert not report.skipped
    assert report.counts == {"A": {"": (1, 0), "open": (1, 1), "pour": (1, 1)}, "B": {"open": (1, 1), "pour": (1, 1)}}
    rgb = sorted((tmp_path / "T/rgb/A/open0A").iterdir())
    assert [path.name for path in rgb] == [f"frame_{n:010d}.jpg" for n in range(1, 15)]
    assert numbers(simplejpeg.decode_jpeg(path.read_bytes()) for path in rgb) == list(range(14))
    table = pd.read_csv(tmp_path / "T/segments.csv", keep_default_na=False)
    assert set(table.uid) == {*report.imported}
    assert table[table.video_id == "x_y"].iloc[0].tolist() == ["x_y", "A", "x_y", 1, 10, "", "", "A", "train"]
    data = load_data(f"epic:{tmp_path / 'T'}")
    assert data.classes == ("open", "pour")
    segment = data.domain("A").test[0]
    clips = {m: reader.read(segment, np.arange(1, 9)) for m, reader in data.domain("A").readers.items()}
    assert numbers(iter(clips["rgb"])) == list(range(8))
    assert clips["flow"].shape == (8, 24, 32, 2)
    assert report.lines().__next__().endswith("9 videos imported, 0 finished before, 0 files or segments rejected")


def test_a_table_cuts_segments_and_decodes_each_video_once(tmp_path: Path) -> None:
    write_video(tmp_path / "deep/v.mkv", flat(15), **EXACT)
    rows = ["deep/v.mkv,0.25,0.51,run,D,7,test,first", "deep/v.mkv,,,run,D,8,,", "./deep/v.mkv,0.3,0.4,walk,D,9,,"]
    rows += ["deep/v.mkv,0.5,99,,D,10,,", "deep/v.mkv,1.4,1.5,run,D,11,,", "deep/v.mkv,2,3,run,D,12,,"]
    source = csv_of(tmp_path, *rows, header="video,start,stop,label,domain,uid,split,note")
    report = quick(source, tmp_path / "T")
    table = pd.read_csv(tmp_path / "T/segments.csv", keep_default_na=False).set_index("uid")
    assert report.imported == ("v",)
    # ten frames a second, frame n shown from (n - 1) / 10
    shown = {
        uid: [n for n in range(1, 16) if (n - 1) / 10 < b and n / 10 > a]
        for uid, a, b in [(7, 0.25, 0.51), (9, 0.3, 0.4)]
    }
    for uid, frames in shown.items():
        assert table.loc[uid, ["start_frame", "stop_frame"]].tolist() == [frames[0], frames[-1]]
    assert table.loc[[8, 10], ["start_frame", "stop_frame"]].values.tolist() == [[1, 15], [6, 15]]
    assert table.split.to_dict() == {7: "test", 8: "train", 9: "train", 10: "train"}
    assert table.note.to_dict() == {7: "first", 8: "", 9: "", 10: ""}
    assert [r.what for r in report.rejected] == ["segment 11", "segment 12"]
    assert any("segments stop after their video ends" in note and "10" in note for note in report.notes)


def test_one_rate_for_all_and_a_bound_in_proportion(tmp_path: Path) -> None:
    for n, rate in enumerate((10, 20)):
        write_video(tmp_path / f"S/D/a/v{n}.mkv", flat(20), rate=rate, **EXACT)
    own = quick(tmp_path / "S", tmp_path / "own")
    assert any("frame rates differ, 10 to 20" in note for note in own.notes)
    one = quick(tmp_path / "S", tmp_path / "one", fps="40/2", height=64)
    assert not any("frame rates" in note for note in one.notes)
    assert any("2 of 2 videos are lower" in note for note in one.notes)
    records = [json.loads((tmp_path / f"one/imported/v{n}.json").read_text()) for n in range(2)]
    assert [record["rgb"] for record in records] == [40, 20]
    assert records[0]["settings"]["bound"] == pytest.approx(25 * 64 / 256)


def test_unusable_videos_do_not_stop_the_others(tmp_path: Path) -> None:
    source = small_source(tmp_path / "S")
    for name in ("junk.mp4", "one.mp4"):
        BAD[name][0](source / "A/open" / name)
    write_video(source / "A/open/short.mkv", flat(4), **EXACT)
    text(source / "A/open/readme.txt")
    text(source / "LICENSE")
    text(source / "A/stray.mp4")
    (source / "A/open/deeper").mkdir()
    report = quick(source, tmp_path / "T")
    reasons = {rejected.what: rejected.reason for rejected in report.rejected}
    assert len(report.imported) == 8
    assert reasons.keys() == {f"A/open/{n}" for n in ("deeper", "junk.mp4", "one.mp4", "short.mkv")} | {"A/stray.mp4"}
    assert "4 frames at 10 a second; flow needs at least 5" in reasons["A/open/short.mkv"]
    assert "skipped 2 files that are not videos by their names: 1 .txt, 1 LICENSE" in report.notes
    assert "outside a label" in reasons["A/stray.mp4"]
    assert {path.name for path in (tmp_path / "T/rgb/A").iterdir()} == {
        f"{v}{n}A" for v in ("open", "pour") for n in "01"
    }
    assert load_data(f"epic:{tmp_path / 'T'}").domains.keys() == {"A", "B"}


def test_nothing_usable_is_an_error_and_so_is_a_source_without_videos(tmp_path: Path) -> None:
    (tmp_path / "S/A/open").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds no video.*DOMAIN/LABEL"):
        quick(tmp_path / "S", tmp_path / "T")
    text(tmp_path / "S/A/open/junk.mp4")
    with pytest.raises(UserError, match=r"nothing could be imported.*A/open/junk.mp4: it cannot be decoded"):
        quick(tmp_path / "S", tmp_path / "T")
    with pytest.raises(UserError, match="found nothing"):
        quick(tmp_path / "nowhere", tmp_path / "T")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "tvl"}, "Did you mean 'tvl1'"),
        ({"bound": 0}, "positive number of pixels"),
        ({"bound": float("nan")}, "positive number of pixels"),
        ({"height": 8}, "height = 8; choose a whole number from 16"),
        ({"dilation": 0}, "dilation = 0"),
        ({"quality": 101}, "quality = 101"),
        ({"fps": "fast"}, "fps = 'fast'"),
        ({"fps": 0}, "fps = 0"),
        ({"fps": "1/0"}, "fps = '1/0'"),
        ({"test_fraction": 1}, "test_fraction = 1"),
        ({"jobs": 0}, "jobs = 0"),
    ],
)
def test_wrong_settings_are_answered_before_any_work(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        quick(tmp_path / "S", tmp_path / "T", **options)
    assert not (tmp_path / "T").exists()


def test_a_destination_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    source = small_source(tmp_path / "S")
    with pytest.raises(UserError, match="lies inside the folder of videos"):
        quick(source, source / "T")
    text(tmp_path / "T", b"mine")
    with pytest.raises(UserError, match="is a file"):
        quick(source, tmp_path / "T")
    (tmp_path / "U").mkdir()
    text(tmp_path / "U/segments.csv", b"mine")
    with pytest.raises(UserError, match="no import has made"):
        quick(source, tmp_path / "U")
    assert contents(tmp_path / "U") == {"segments.csv": b"mine"}
    (tmp_path / "V/imported").mkdir(parents=True)
    with FileLock(tmp_path / "V/.import.lock"), pytest.raises(UserError, match="another import is writing"):
        quick(source, tmp_path / "V")


def test_what_is_finished_is_not_touched_and_what_changed_is_made_again(tmp_path: Path) -> None:
    source, target = small_source(tmp_path / "S"), tmp_path / "T"
    quick(source, target)
    before, files = contents(target), sorted(target.rglob("*.jpg"))
    stamps = [path.stat().st_mtime_ns for path in files]
    report = quick(source, target)
    assert (len(report.imported), len(report.skipped)) == (0, 8)
    assert contents(target) == before
    assert [path.stat().st_mtime_ns for path in files] == stamps
    with pytest.raises(UserError, match=r"other settings: algorithm 'dis', now 'farneback'.*overwrite=True"):
        quick(source, target, algorithm="farneback")
    assert contents(target) == before
    write_video(source / "B/pour/new.mkv", flat(11), **EXACT)
    write_video(source / "A/open/open0A.mkv", flat(12), **EXACT)
    report = quick(source, target)
    assert report.imported == ("new", "open0A")
    assert len(list((target / "rgb/A/open0A").iterdir())) == 12
    (source / "B/pour/new.mkv").unlink()
    report = quick(source, target, algorithm="farneback", overwrite=True)
    assert len(report.imported) == 8
    assert any("1 videos of earlier imports" in note and "new" in note for note in report.notes)
    write_video(tmp_path / "R/A/open/other.mkv", flat(9), **EXACT)
    with pytest.raises(UserError, match="holds an import of other videos"):
        quick(tmp_path / "R", target)
    assert len(quick(source, target, algorithm="farneback").skipped) == 8  # what is left over does not count


def test_an_interrupted_overwrite_is_not_taken_for_the_earlier_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = small_source(tmp_path / "S"), tmp_path / "T"
    quick(source, target)
    before = contents(target)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(video_frames, "write_atomic", interrupt)  # after the frames, before the record
    with pytest.raises(KeyboardInterrupt):
        quick(source, target, quality=20, overwrite=True)
    monkeypatch.undo()
    assert contents(target) != before
    assert len(quick(source, target).imported) == 1
    assert contents(target) == before


def test_a_full_disk_is_said_and_what_is_finished_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, write, written = small_source(tmp_path / "S"), video_frames._write_jpeg, Counter[str]()

    def fill(folder: Path, *rest: Any) -> None:
        written["frames"] += 1
        if written["frames"] > 100:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        write(folder, *rest)

    monkeypatch.setattr(video_frames, "_write_jpeg", fill)
    with pytest.raises(UserError, match="No space left on device; finished videos are kept"):
        quick(source, tmp_path / "T")
    monkeypatch.undo()
    report = quick(source, tmp_path / "T")
    assert report.skipped
    assert report.imported
    quick(source, tmp_path / "U")
    assert contents(tmp_path / "T") == contents(tmp_path / "U")


KILLED = """
import sys
from pathlib import Path
from mmsada_lab.prepare.videos.importing import import_videos
if __name__ == "__main__":
    import_videos(Path(sys.argv[1]), Path(sys.argv[2]), algorithm="dis", height=64, jobs=2)
"""


def test_a_killed_import_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    source, target = tmp_path / "S", tmp_path / "T"
    for n in range(6):
        write_video(source / "A" / "ab"[n % 2] / f"v{n}.mkv", noise(20 + 20 * n, height=24, width=32), **EXACT)
    (tmp_path / "run.py").write_text(KILLED)
    process = subprocess.Popen([sys.executable, tmp_path / "run.py", source, target], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(target.glob("imported/*.json")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(workers) >= 2
    assert not psutil.wait_procs(workers, timeout=10)[1]
    finished = {path.stem for path in target.glob("imported/[!.]*.json")}
    assert 0 < len(finished) < 6
    assert not (target / "segments.csv").exists()
    (target / "rgb/A/.removed.part").mkdir()  # of a video that is no longer in the source
    text(target / "imported/.removed.json.part")
    report = quick(source, target, height=64)
    assert set(report.skipped) == finished
    assert len(report.imported) == 6 - len(finished)
    quick(source, tmp_path / "U", height=64)
    assert contents(target) == contents(tmp_path / "U")
    assert not list(target.rglob("*.part"))


# --- real files -------------------------------------------------------------------------------------------------


def test_every_real_clip_is_imported(tmp_path: Path) -> None:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    root = (Path(os.environ["MMSADA_TEST_DATA"]) / "clips").resolve()
    clips = sorted(path for path in root.rglob("*") if path.suffix in {".mp4", ".avi", ".mkv", ".gif"})
    rows = [f"{path},{'xy'[n % 2]},{'AB'[n // 2 % 2]}" for n, path in enumerate(clips)]
    report = quick(csv_of(tmp_path, *rows, header="video,label,domain"), tmp_path / "T", height=32, fps=10)
    assert not report.rejected
    assert len(report.imported) == len(clips) == 14
    for path in (tmp_path / "T/imported").glob("*.json"):
        record = json.loads(path.read_text())
        with av.open(str(root / record["source"])) as container:
            assert container.duration is not None
            seconds = container.duration / 1e6
        assert abs(record["rgb"] / 10 - seconds) < 0.2
    data = load_data(f"epic:{tmp_path / 'T'}")
    assert {name: len(d.train) + len(d.test) for name, d in data.domains.items()} == {"A": 8, "B": 6}
