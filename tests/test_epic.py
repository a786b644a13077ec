"""The format `epic:`: a data set from annotations and frames, what is done where frames are missing, and real data."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_epic import edited, from_files, picture, read, table, unpack, write_pickles, write_root

from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.clips.windows import WindowRule, test_centres, window_at
from mmsada_lab.datasets.epic import frame_files, loader as epic
from mmsada_lab.datasets.epic.frame_digest import sample_sizes
from mmsada_lab.datasets.epic.jpeg_reader import FLOW_INDEX, JpegReader
from mmsada_lab.datasets.epic.loader import load_epic
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError
from mmsada_lab.paper import VERBS


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSADA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def real() -> Path:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    return Path(os.environ["MMSADA_TEST_DATA"])


@pytest.fixture(scope="module")
def utd(real: Path) -> MultiDomainData:
    return load_epic(real / "utd_video")


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("epic") / "tiny set")


@pytest.fixture(scope="module")
def tiny(shared_root: Path) -> MultiDomainData:
    return load_epic(shared_root)


def bare(segments: tuple[Segment, ...]) -> list[tuple[object, ...]]:
    """Segments without what their tables say besides."""
    return [(s.uid, s.video, s.start, s.stop, s.label) for s in segments]


# --- the source -------------------------------------------------------------------------------------------------


def test_source_of_the_tiny_set(tiny: MultiDomainData) -> None:
    assert tiny.name == "epic-tiny-set"
    assert tiny.classes == ("open", "wash", "fold")
    assert list(tiny.domains) == ["X", "Y"]
    assert [s.label for s in tiny.domain("X").train] == [0, 1, 2, 1]
    assert tiny.domain("Y").test[0] == Segment("12", "P02_01", 5, 36, 0, (("narration", "open"),))
    readers = tiny.domain("X").readers
    assert {m: (r.kind, r.channels, r.mirror_negates) for m, r in readers.items()} == {
        "rgb": ("video", 3, ()),
        "flow": ("video", 2, (0,)),
    }
    assert tiny.in_memory
    assert tiny.notes == ()


def test_pickles_and_csv_give_the_same_source(shared_root: Path, tmp_path: Path) -> None:
    other = tmp_path / shared_root.name
    other.mkdir()
    for modality in ("rgb", "flow"):
        (other / modality).symlink_to(shared_root / modality)
    write_pickles(table(), other / "annotations")
    first, second = load_epic(shared_root), load_epic(other)
    assert (first.name, first.classes, first.digest) == (second.name, second.classes, second.digest)
    for one, two in zip(first.domains.values(), second.domains.values(), strict=True):
        assert (bare(one.train), bare(one.test)) == (bare(two.train), bare(two.test))


def test_segments_without_labels_and_a_domain_without_tests(tmp_path: Path) -> None:
    frame = edited("verb_class", None, rows=[4, 8, 9, 10, 11])
    frame = frame[(frame.domain == "X") | (frame.split == "train")].assign(verb=lambda t: t.verb.where(t.index < 4))
    data = load_epic(write_root(tmp_path, annotations=frame))
    assert [s.label for s in data.domain("Y").train] == [None] * 4
    assert [s.label for s in data.domain("X").test] == [None, 1, 2, 1]
    assert data.domain("Y").test == ()
    assert read(data, "rgb", [3], domain="Y").shape == (1, 24, 32, 3)


def test_tar_root_equals_folder_root(tiny: MultiDomainData, tmp_path: Path) -> None:
    packed = load_epic(write_root(tmp_path / "packed", tars=True))
    for domain in "XY":
        for modality in ("rgb", "flow"):
            frames = [2, 11, 30]
            expected = read(tiny, modality, frames, domain=domain)
            np.testing.assert_array_equal(read(packed, modality, frames, domain=domain), expected)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", FLOW_INDEX)
def test_flow_index(name: str, kept: bool, shared_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kept:
        monkeypatch.setattr(epic, "KEEP_BYTES", 0)
    data, frames = load_epic(shared_root, flow_index=name), [4, 5, 6, 7, 4]
    assert data.in_memory == kept
    numbers = FLOW_INDEX[name].files(np.array(frames))
    for _ in range(2):
        clip = read(data, "flow", frames)
        np.testing.assert_allclose(clip.mean((1, 2)), np.stack([8 * numbers, 9 * numbers], 1), atol=1)
    domain = data.domain("X")
    assert domain.readers["flow"].extent(domain.train[0]) == FLOW_INDEX[name].frames(1, 20)
    assert domain.readers["rgb"].extent(domain.train[0]) == (1, 40)


def test_unknown_options(shared_root: Path) -> None:
    with pytest.raises(
        UserError, match=r"unknown flow_index 'cell'; choose authors, ceil, ceil-1, same\. Did you mean 'ceil'"
    ):
        load_data(f"epic:{shared_root},flow_index=cell")
    with pytest.raises(UserError, match="unknown missing 'ignore'; choose error, drop"):
        load_data(f"epic:{shared_root},missing=ignore")


def test_large_folders_are_not_listed_at_load(shared_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epic, "KEEP_BYTES", 0)
    monkeypatch.setattr(epic, "_KEEP_FRAMES", 0)
    frame_files._index_folder.cache_clear()
    data = load_epic(shared_root)
    assert frame_files._index_folder.cache_info().misses == 0
    read(data, "flow", [5])
    assert frame_files._index_folder.cache_info().misses == 2, "u and v of the one video"


def test_readers_are_picklable(tiny: MultiDomainData) -> None:
    copied = pickle.loads(pickle.dumps(tiny))
    np.testing.assert_array_equal(read(copied, "flow", [2, 8]), read(tiny, "flow", [2, 8]))


# --- missing frames ---------------------------------------------------------------------------------------------


def test_a_video_without_frames_is_an_error(tmp_path: Path) -> None:
    root = write_root(tmp_path, tars=True)
    (root / "rgb" / "P02" / "P02_01.tar").unlink()
    with pytest.raises(UserError) as caught:
        load_epic(root)
    for part in (
        "domain Y: 4 of 8 segments lack rgb, such as segment 12: video 'P02_01' has no rgb frames",
        "rgb/[P02/]P02_01 with frame_*.jpg",
        "or leave such segments out with missing=drop",
    ):
        assert part in str(caught.value)


def test_a_domain_may_be_absent_until_it_is_read(tmp_path: Path) -> None:
    root = write_root(tmp_path)
    shutil.rmtree(root / "rgb" / "P02")
    data = load_epic(root)
    assert data.notes == ("domain Y has no rgb frames here and can only be used without them",)
    assert len(data.domain("Y").train) == 4
    assert read(data, "flow", [5], domain="Y").shape[0] == 1, "the other modality is there"
    with pytest.raises(UserError, match=r"segment 8: video 'P02_00' has no rgb frames\. Looked in"):
        read(data, "rgb", [1], domain="Y")
    (tmp_path / "bare").mkdir()
    table().to_csv(tmp_path / "bare" / "segments.csv", index=False)
    for policy in ("error", "drop"):
        with pytest.raises(UserError, match="no video of the annotations has frames"):
            load_epic(tmp_path / "bare", missing=policy)


def test_segments_without_frames_are_dropped_on_request(tmp_path: Path) -> None:
    root = write_root(tmp_path)
    first = load_epic(root, missing="drop")
    assert first.notes == ()
    shutil.rmtree(root / "flow" / "P02" / "P02_01")
    (root / "rgb" / "P01" / "P01_00").rename(root / "rgb" / "P01" / "gone")
    data = load_epic(root, missing="drop")
    assert data.notes == (
        "domain X: dropped 4 of 8 segments (0, 1, 2, 3) that lack rgb",
        "domain Y: dropped 4 of 8 segments (12, 13, 14, 15) that lack flow",
    )
    assert (data.domain("X").train, data.domain("Y").test) == ((), ())
    assert (data.domain("X").test, data.domain("Y").train) == (first.domain("X").test, first.domain("Y").train)
    assert data.classes == first.classes, "a label keeps its number"
    assert data.digest != first.digest


def test_a_long_list_of_dropped_segments_is_cut(tmp_path: Path) -> None:
    frame = edited("video_id", "P01_01", rows=[*range(1, 8)])
    root = write_root(tmp_path, annotations=frame)
    shutil.rmtree(root / "rgb" / "P01" / "P01_01")
    (note,) = load_epic(root, missing="drop").notes
    assert note.endswith("dropped 7 of 8 segments (1, 2, 3, 4, 5, ...) that lack rgb")


# --- the digest -------------------------------------------------------------------------------------------------


def test_digest_sees_frames_and_segments(tmp_path: Path) -> None:
    root = write_root(tmp_path / "a")
    found = [load_epic(root).digest]
    assert load_epic(root).digest == found[0]
    assert load_epic(write_root(tmp_path / "b")).digest == found[0], "not the place, not the time"
    found.append(load_epic(root, flow_index="ceil").digest)
    frame = root / "flow" / "P01" / "P01_00" / "v" / "frame_0000000003.jpg"
    frame.write_bytes(frame.read_bytes() + b"\0")
    found.append(load_epic(root).digest)
    frame.with_name("frame_0000000018.jpg").unlink()
    found.append(load_epic(root).digest)
    edited("stop_frame", 35, rows=[0]).to_csv(root / "segments.csv", index=False)
    found.append(load_epic(root).digest)
    edited("verb_class", 4, rows=[0]).to_csv(root / "segments.csv", index=False)
    found.append(load_epic(root).digest)
    assert len({*found}) == 6


def test_digest_of_a_tar_is_its_size(tmp_path: Path) -> None:
    root = write_root(tmp_path / "a", tars=True)
    first = load_epic(root).digest
    assert load_epic(write_root(tmp_path / "b", tars=True)).digest == first
    assert load_epic(root, flow_index="ceil").digest != first
    with (root / "rgb" / "P01" / "P01_00.tar").open("ab") as file:
        file.write(bytes(512))
    assert load_epic(root).digest != first


@pytest.mark.parametrize("name", ["frame_{n}.jpg", "frame_{n:03d}.jpeg"])
def test_digest_does_not_depend_on_the_order_of_a_listing(name: str, tmp_path: Path) -> None:
    """Names without leading zeros: whichever file is met first, all are found."""
    files = [picture(n) + bytes(n) for n in range(120)]
    lines = set()
    for place, order in (("a", [*range(9, 120)]), ("b", [*range(119, 8, -1)])):
        (tmp_path / place).mkdir()
        for n in order:
            (tmp_path / place / name.format(n=n)).write_bytes(files[n])
        found = frame_files.FrameLocation(tmp_path / place, (frame_files.FramePattern("", "frame_"),))
        lines |= {*sample_sizes(found, [9, 10, 99, 100, 119, 120])}
    sizes = " ".join(str(len(files[n])) for n in (9, 10, 99, 100, 119))
    assert lines == {f"frame_*.jpg {sizes} -"}


# --- real data --------------------------------------------------------------------------------------------------


def with_one_frame_each(root: Path, videos: pd.DataFrame, *, path: str) -> None:
    for video, person in zip(videos.video, videos.participant, strict=True):
        folder = root / path.format(person=person, video=video)
        folder.mkdir(parents=True)
        (folder / "frame_0000000001.jpg").touch()


def test_authors_splits_load(real: Path, tmp_path: Path) -> None:
    from mmsada_lab.datasets.epic.annotations import read_annotations

    rows = read_annotations(real / "mmsada_splits").table
    (tmp_path / "annotations").symlink_to(real / "mmsada_splits")
    with_one_frame_each(tmp_path, rows.drop_duplicates("video"), path="rgb/{person}/{video}")
    data = load_epic(tmp_path)
    assert data.classes == VERBS
    assert {n: (len(d.train), len(d.test)) for n, d in data.domains.items()} == {
        "D1": (1543, 435),
        "D2": (2495, 750),
        "D3": (3897, 974),
    }
    assert data.notes == tuple(
        f"domain {name} has no flow frames here and can only be used without them" for name in ("D1", "D2", "D3")
    )
    assert not data.in_memory


def test_challenge_loads(real: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").symlink_to(real / "epic100_uda")
    videos = pd.DataFrame({"video": ["P01_01"], "participant": ["P01"]})
    with_one_frame_each(tmp_path, videos, path="{person}/rgb_frames/{video}")
    data = load_epic(tmp_path, evaluate="test", missing="drop")
    assert data.notes[0].startswith("domain source: dropped ")
    assert [n.split(" has ")[0] for n in data.notes[1:]] == ["domain target", "domain source", "domain target"]
    target = data.domain("target")
    assert (len(target.train), len(target.test)) == (26115, 5909), "a domain that is absent altogether stays as it is"
    assert {s.video for s in data.domain("source").train} == {"P01_01"}
    assert all(s.label is None for s in (*target.train, *target.test))
    assert len(data.classes) == 97


def test_utd_video(utd: MultiDomainData) -> None:
    assert utd.name == "epic-utd_video"
    assert len(utd.classes) == 8
    assert {n: (len(d.train), len(d.test)) for n, d in utd.domains.items()} == {
        "A": (48, 48),
        "B": (48, 48),
        "C": (32, 32),
    }
    for name in "ABC":
        domain = utd.domain(name)
        for segment in (domain.train[0], domain.test[-1]):
            for centre in test_centres(segment, WindowRule()):
                clips = {m: r.read(segment, window_at(int(centre), WindowRule())) for m, r in domain.readers.items()}
                assert {m: c.shape for m, c in clips.items()} == {"rgb": (16, 120, 160, 3), "flow": (16, 120, 160, 2)}
                assert (clips["rgb"][..., 0] == clips["rgb"][..., 2]).all(), "grey depth pictures"
                np.testing.assert_allclose(clips["flow"].mean((0, 1, 2)), 127.5, atol=4)


def test_utd_pickles_equal_its_csv(real: Path, utd: MultiDomainData, tmp_path: Path) -> None:
    other = tmp_path / "utd_video"
    other.mkdir()
    for path in (real / "utd_video").iterdir():
        if path.name != "segments.csv":
            (other / path.name).symlink_to(path)
    pickled = load_epic(other)
    assert (pickled.name, pickled.classes, pickled.digest) == (utd.name, utd.classes, utd.digest)
    for name, domain in utd.domains.items():
        found = pickled.domain(name)
        assert (bare(found.train), bare(found.test)) == (bare(domain.train), bare(domain.test))


def test_utd_tars_equal_their_unpacked_frames(utd: MultiDomainData, tmp_path: Path) -> None:
    segment = utd.domain("B").test[0]
    window = window_at(segment.stop, WindowRule())
    for modality, kept in utd.domain("B").readers.items():
        reader = from_files(kept)
        place = reader.locations[segment.video]
        assert place.tar
        unpack(place.path, tmp_path / modality)
        unpacked = JpegReader(
            {segment.video: frame_files.FrameLocation(tmp_path / modality, place.patterns)},
            channels=reader.channels,
            index=reader.index,
        )
        np.testing.assert_array_equal(unpacked.read(segment, window), reader.read(segment, window))
