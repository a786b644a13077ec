"""A segment shown: a page that is whole, needs no network and lets nothing through; a GIF that plays all pictures."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence
from toy import HEIGHT, WIDTH, toy_data

from mmsada_lab.clips.segments import Domain, MultiDomainData, Segment
from mmsada_lab.clips.windows import WindowRule, test_windows
from mmsada_lab.errors import UserError
from mmsada_lab.prepare.show.images import SMALLEST, as_rgb, colour_flow, resize_for_screen
from mmsada_lab.prepare.show.segment import MOST_FRAMES, show_segment

VOID = {"meta", "img", "input", "br"}
HOSTILE = "<script>alert('x')</script>\"&"
Put = Callable[[MultiDomainData], None]


class Page(HTMLParser):
    """What a page holds; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))

    def texts_of(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]

    def facts(self) -> dict[str, str]:
        """Names and values of the first table, which has a cell for each heading."""
        pairs = list(zip(self.texts_of("th"), self.texts_of("td"), strict=False))
        return dict(pairs[: self.texts_of("th").index("window")])

    def constant(self, name: str) -> Any:
        """The value that the script gives to a constant."""
        (script,) = self.texts_of("script")
        return json.loads(re.findall(rf"^const {name} = (.*);$", script, re.MULTILINE)[0])

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for found, attrs in self.tags if found == tag and name in attrs]


@dataclass
class Numbers:
    """A series or a vector whose values are known."""

    kind: str
    channels: int
    mirror_negates: tuple[int, ...] = ()
    asked: list[int] = field(default_factory=list)

    def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
        self.asked += frames.tolist()
        rows = np.zeros(len(frames)) if self.kind == "vector" else frames
        return (rows[:, None] + np.arange(self.channels)).astype(np.float32)

    def extent(self, segment: Segment) -> tuple[int, int]:
        return 3, 90

    def length(self, segment: Segment) -> int:
        return 17


def sensors(*, series: int = 6, vector: int = 5, **facts: object) -> MultiDomainData:
    segment = replace(Segment("u1", "V1", 10, 60, 1, (("hand", "left"),)), **facts)
    readers = {"imu": Numbers("series", series), "embedding": Numbers("vector", vector)}
    return MultiDomainData("sensors", ("sit", "walk"), {"P1": Domain("P1", readers, (segment,), ())}, "d")


def shown(tmp_path: Path, uid: str = "A-train-4", **options: object) -> tuple[Page, str]:
    text = show_segment("toy", uid, tmp_path / "page.html", **options).read_text()
    return Page(text), text


# --- the page ---------------------------------------------------------------------------------------------------


def test_the_page_needs_no_network(toy_format: None, tmp_path: Path) -> None:
    page, text = shown(tmp_path)
    sources = page.attributes("img", "src")
    assert len(sources) == 3
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in sources)
    names = Counter(name for _, attrs in page.tags for name in attrs)
    assert not names.keys() & {"href", "srcset", "onload", "onerror"}
    assert len(page.attributes("script", "src")) == 0
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    assert text.startswith("<!DOCTYPE html>")


def test_facts_are_told(toy_format: None, tmp_path: Path) -> None:
    page, _ = shown(tmp_path)
    segment = toy_data().domain("A").train[4]
    facts = page.facts()
    assert facts["uid"] == "A-train-4"
    assert (facts["domain"], facts["split"], facts["label"], facts["video"]) == ("A", "train", "poke", "A_train")
    count = segment.stop - segment.start + 1
    assert facts["frames"] == f"{segment.start} to {segment.stop} ({count})"
    assert facts["flow"] == f"video, 2 channels, frames 1 to {segment.stop + WIDTH}"


def test_pictures_play_together(toy_format: None, tmp_path: Path) -> None:
    page, _ = shown(tmp_path)
    segment = toy_data().domain("A").train[4]
    tracks, numbers = page.constant("tracks"), page.constant("numbers")
    assert numbers == list(range(segment.start, segment.stop + 1))
    assert [len(track) for track in tracks.values()] == [len(numbers)] * 3
    names = page.attributes("img", "data-track")
    assert [tracks[name][0] for name in names] == page.attributes("img", "src")
    for track in tracks.values():
        assert len(set(track)) == len(track), "every picture is another"
        picture = Image.open(io.BytesIO(base64.b64decode(track[-1].partition(",")[2])))
        assert picture.size == (WIDTH * 6, HEIGHT * 6)


def test_windows_are_those_of_training_and_testing(toy_format: None, tmp_path: Path) -> None:
    rule = WindowRule(length=4, stride=3)
    page, _ = shown(tmp_path, windows=2, rule=rule)
    segment = toy_data().domain("A").train[4]
    expected = [", ".join(map(str, window)) for window in test_windows(segment, rule, count=2).tolist()]
    cells = [cell for cell in page.texts_of("td") if cell.count(", ") == 3]
    rows = [cells[at : at + 4] for at in range(0, len(cells), 4)]
    assert [row[0] for row in rows[:2]] == expected
    assert len(rows) == 2 + 3
    assert all(row[0] == row[1] == row[2] == row[3] for row in rows), "nothing of these leaves its video"
    assert [t for t in page.texts_of("span") if t.startswith("test")] == ["test 1", "test 2"]
    again, _ = shown(tmp_path, windows=2, rule=rule)
    assert again.texts == page.texts, "the training windows are seeded"


def test_numbers_outside_a_video_are_those_of_its_ends(open_as_toy: Put, tmp_path: Path) -> None:
    open_as_toy(sensors(start=1, stop=4))
    page, _ = shown(tmp_path, "u1", rule=WindowRule(length=3, stride=2, whole=False))
    cells = page.texts_of("td")
    at = cells.index("2, 4, 6")
    assert cells[at + 1] == "3, 4, 6"
    assert cells[at + 2] == "the same for every frame"


def test_file_numbers_are_shown_where_they_are_known(open_as_toy: Put, tmp_path: Path) -> None:
    data = sensors()
    data.domain("P1").readers["imu"].file_numbers = lambda frames: frames // 2
    open_as_toy(data)
    page, _ = shown(tmp_path, "u1", windows=1, rule=WindowRule(length=2, stride=40))
    assert "15, 55" not in page.texts_of("td")
    window = test_windows(data.domain("P1").train[0], WindowRule(length=2, stride=40), count=1)[0]
    first, second = (np.clip(window, 3, 90) // 2).tolist()
    assert f"files {first}, {second}" in page.texts_of("td")


def test_nothing_from_the_data_becomes_markup(open_as_toy: Put, tmp_path: Path) -> None:
    toy = toy_data(domains=("A", "B"))
    segment = Segment(f"{HOSTILE}-1", HOSTILE, 5, 40, 0, ((HOSTILE, HOSTILE),))
    readers = toy.domain("A").readers | {"imu": Numbers("series", 2), "embedding": Numbers("vector", 2)}
    readers = {f"{HOSTILE}{name}": reader for name, reader in readers.items()}
    domain = Domain(HOSTILE, readers, (segment,), ())
    open_as_toy(replace(toy, name=HOSTILE, classes=(HOSTILE,) * 3, domains={HOSTILE: domain}))
    page, text = shown(tmp_path, segment.uid)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "<script>alert" not in text
    assert page.constant("tracks").keys() == {*page.attributes("img", "alt")} <= readers.keys()
    assert HOSTILE in page.texts_of("td")


def test_series_and_vectors_are_drawn(open_as_toy: Put, tmp_path: Path) -> None:
    data = sensors()
    open_as_toy(data)
    page, _ = shown(tmp_path, "u1")
    points = page.attributes("polyline", "points")
    assert len(points) == 6
    assert [len(line.split()) for line in points] == [51] * 6
    y = np.array([[float(pair.split(",")[1]) for pair in line.split()] for line in points])
    assert (np.diff(y, axis=1) < 0).all(), "what grows rises on the page"
    assert (np.diff(y, axis=0) < 0).all()
    heights = [float(a["height"] or 0) for tag, a in page.tags if tag == "rect" and a.get("fill") == "#1f77b4"]
    np.testing.assert_allclose(heights, np.arange(5) * 35, atol=0.1)
    assert page.attributes("img", "src") == []
    facts = page.facts()
    assert facts["imu"] == "series, 6 channels, frames 3 to 90, 17 samples"
    assert facts["hand"] == "left"


def test_wide_signals_are_thinned(open_as_toy: Put, tmp_path: Path) -> None:
    open_as_toy(sensors(series=60, vector=2048, stop=20_000, label=None))
    page, text = shown(tmp_path, "u1")
    assert len(page.attributes("polyline", "points")) == 12
    assert "of 60, those that vary most" in text
    assert "2048 values; each bar is the mean of neighbours" in text
    assert len(page.attributes("polyline", "points")[0].split()) <= 600
    assert "(unlabelled)" in page.texts_of("td")


def test_a_constant_signal_can_be_drawn(open_as_toy: Put, tmp_path: Path) -> None:
    open_as_toy(sensors(start=7, stop=7, label=0))
    page, text = shown(tmp_path, "u1")
    assert "nan" not in text
    assert len(page.attributes("polyline", "points")) == 6


# --- the GIF ----------------------------------------------------------------------------------------------------


def test_the_gif_plays_every_picture(toy_format: None, tmp_path: Path) -> None:
    path = show_segment("toy", "A-train-4", tmp_path / "new folder" / "x.GIF")
    segment = toy_data().domain("A").train[4]
    with Image.open(path) as gif:
        assert gif.format == "GIF"
        assert gif.size == (3 * WIDTH * 6, HEIGHT * 6)
        assert gif.n_frames == segment.stop - segment.start + 1
        assert gif.info["loop"] == 0
        pictures = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(gif)]
    rgb = toy_data().domain("A").readers["rgb"].read(segment, np.arange(segment.start, segment.stop + 1))
    for picture, frame in zip(pictures, rgb.astype(int), strict=True):
        assert np.abs(picture[3::6, 3 : WIDTH * 6 : 6] - frame).mean() < 8
    assert [p.name for p in path.parent.iterdir()] == ["x.GIF"]


def test_long_segments_are_shown_in_steps(open_as_toy: Put, tmp_path: Path) -> None:
    toy = toy_data(domains=("A", "B"), modalities=("depth",))
    long = Segment("A-train-0", "A_train", 1, 1000, 0)
    open_as_toy(replace(toy, domains={"A": replace(toy.domain("A"), train=(long,))}))
    page, text = shown(tmp_path, "A-train-0")
    assert page.constant("numbers") == list(range(1, 1001, 7))
    assert len(page.constant("numbers")) <= MOST_FRAMES
    assert "Frames, every 7" in text


def test_a_gif_needs_video(open_as_toy: Put, tmp_path: Path) -> None:
    open_as_toy(sensors())
    with pytest.raises(UserError, match=r"sensors has no video in domain P1; choose a name ending in \.html"):
        show_segment("toy", "u1", tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


# --- colours and sizes ------------------------------------------------------------------------------------------


def flow(u: int, v: int) -> np.ndarray:
    return np.broadcast_to(np.array([u, v], np.uint8), (1, 4, 4, 2)).copy()


def test_flow_has_the_colour_of_its_direction() -> None:
    assert colour_flow(flow(228, 128))[0, 0, 0].tolist() == [255, 0, 0]
    right, down, left, up = (colour_flow(flow(*uv))[0, 0, 0] for uv in ((228, 127), (127, 228), (27, 127), (127, 27)))
    assert len({tuple(c.tolist()) for c in (right, down, left, up)}) == 4
    np.testing.assert_allclose(left, [0, 255, 255], atol=3)
    for still in (flow(128, 128), flow(127, 127), flow(127, 128)):
        assert (colour_flow(still) == 255).all()


def test_stronger_motion_is_stronger_in_colour() -> None:
    clip = np.concatenate([flow(228, 128), flow(178, 128), flow(132, 128)])
    weakest = colour_flow(clip)[:, 0, 0].min(axis=1)
    assert weakest.tolist() == sorted(weakest.tolist())
    assert weakest[0] < 5
    assert 100 < weakest[1] < weakest[2] < 255


def test_other_channels_stand_side_by_side() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 4), dtype=np.uint8)
    seen = as_rgb(clip, is_flow=False)
    assert seen.shape == (2, 5, 28, 3)
    for channel in range(4):
        np.testing.assert_array_equal(seen[:, :, 7 * channel : 7 * channel + 7, 1], clip[..., channel])
    rgb = clip[..., :3]
    assert as_rgb(rgb, is_flow=False) is rgb
    assert as_rgb(clip[..., :2], is_flow=False).shape == (2, 5, 14, 3)
    assert as_rgb(clip[..., :2], is_flow=True).shape == (2, 5, 7, 3)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(36, 64, (144, 256)), (200, 300, (200, 300)), (512, 1000, (256, 500))]
)
def test_pictures_fit_the_screen(height: int, width: int, size: tuple[int, int]) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    seen = resize_for_screen(clip)
    assert seen.shape == (2, *size, 3)
    if height < SMALLEST:
        np.testing.assert_array_equal(seen[:, ::4, ::4], clip)


# --- mistakes ---------------------------------------------------------------------------------------------------


def test_unknown_segments_are_answered_with_near_ones(toy_format: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no segment 'A-tran-4' among the 81 of toy; the nearest are A-train-4, "):
        show_segment("toy", "A-tran-4", tmp_path / "x.html")
    with pytest.raises(UserError, match="they are written like A-train-0, A-train-1, A-train-2"):
        show_segment("toy", "????", tmp_path / "x.html")


@pytest.mark.parametrize("name", ["x.png", "x", "x.html.txt"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"choose a name ending in \.html for a page, or in \.gif"):
        show_segment("nonsense", "u", tmp_path / name)


def test_windows_are_counted_from_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="windows = 0; choose 1 or more"):
        show_segment("nonsense", "u", tmp_path / "x.html", windows=0)


def test_what_was_there_stays_when_reading_fails(open_as_toy: Put, tmp_path: Path) -> None:
    class Broken(Numbers):
        def read(self, segment: Segment, frames: np.ndarray) -> np.ndarray:
            raise UserError("file 7 is damaged; copy it again")

    data = sensors()
    domain = replace(data.domain("P1"), readers={"imu": Broken("series", 2)})
    open_as_toy(replace(data, domains={"P1": domain}))
    (tmp_path / "x.html").write_text("before")
    with pytest.raises(UserError, match="file 7 is damaged"):
        show_segment("toy", "u1", tmp_path / "x.html")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.html", "before")]


def test_a_place_that_cannot_be_written_is_told(toy_format: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*page\.html"):
        show_segment("toy", "A-train-4", tmp_path / "file" / "page.html")
