"""The EPIC door: annotations from hostile and honest files, frames from folders and tars, both ends of a video."""

from __future__ import annotations

import base64
import io
import os
import pickle
import pickletools
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simplejpeg

from mmsada_lab.data import frame_files
from mmsada_lab.data.annotations import read_annotations, read_pickle_frame
from mmsada_lab.data.epic import load_epic
from mmsada_lab.data.kept_frames import KeptFrames
from mmsada_lab.data.segments import DataSource, Reader, Segment
from mmsada_lab.data.windows import WindowRule, test_centres, window_at
from mmsada_lab.errors import UserError
from mmsada_lab.paper import KITCHENS, TRAINING_SEGMENTS, VERBS

RGB_FRAMES, FLOW_FRAMES = 40, 20
AUTHORS = ["uid", "participant_id", "video_id", "narration", "start_timestamp", "stop_timestamp"]
AUTHORS += ["start_frame", "stop_frame", "verb", "verb_class"]


@pytest.fixture(scope="module")
def real() -> Path:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    return Path(os.environ["MMSADA_TEST_DATA"])


@pytest.fixture(scope="module")
def utd(real: Path) -> DataSource:
    return load_epic(real / "utd_video")


# --- a tiny data set of our own ---------------------------------------------------------------------------------


def colour(number: int, *, shift: int = 0) -> tuple[int, int, int]:
    """The flat colour of RGB frame `number`: tells frames, and red from blue, apart."""
    return (5 * number + shift, 128, 240 - 5 * number)


def picture(*levels: int, height: int = 24, width: int = 32) -> bytes:
    pixels = np.broadcast_to(np.array(levels, dtype=np.uint8), (height, width, len(levels)))
    space = "GRAY" if len(levels) == 1 else "RGB"
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=98, colorspace=space, colorsubsampling="444")


def video_files(*, shift: int = 0) -> dict[str, dict[str, bytes]]:
    rgb = {f"frame_{n:010d}.jpg": picture(*colour(n, shift=shift)) for n in range(1, RGB_FRAMES + 1)}
    flow = {
        f"{c}/frame_{n:010d}.jpg": picture(n * (8 + k)) for n in range(1, FLOW_FRAMES + 1) for k, c in enumerate("uv")
    }
    return {"rgb": rgb, "flow": flow}


def write_folder(path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def write_tar(path: Path, files: dict[str, bytes], *, form: int = tarfile.USTAR_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1.5
            archive.addfile(member, io.BytesIO(data))


def table() -> pd.DataFrame:
    """Two domains, one participant and two videos each; three classes with ids 2, 4 and 9."""
    rows = []
    for domain, person in (("X", "P01"), ("Y", "P02")):
        for index in range(8):
            video, verb = f"{person}_{index // 4:02d}", (2, 4, 9, 4)[index % 4]
            name = {2: "open", 4: "wash", 9: "fold"}[verb]
            split = "train" if index < 4 else "test"
            rows.append((len(rows), person, video, name, 1 + index, 36, name, verb, domain, split))
    columns = ["uid", "participant_id", "video_id", "narration", "start_frame", "stop_frame", "verb", "verb_class"]
    return pd.DataFrame(rows, columns=[*columns, "domain", "split"])


def write_pickles(frame: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for (domain, split), rows in frame.groupby(["domain", "split"]):
        plain = rows.drop(columns=["domain", "split"]).assign(
            start_timestamp="00:00:00.00", stop_timestamp="00:00:01.00"
        )
        text = {name: object for name in plain.columns if plain[name].dtype != "int64"}
        plain = plain.astype(text)[AUTHORS]
        plain.columns = pd.Index(AUTHORS, dtype=object)  # as every pandas before 3 would write it
        plain.to_pickle(folder / f"{domain}_{split}.pkl", protocol=4)


def write_root(root: Path, *, tars: bool = False, annotations: pd.DataFrame | None = None) -> Path:
    frame = table() if annotations is None else annotations
    root.mkdir(parents=True, exist_ok=True)
    frame.to_csv(root / "segments.csv", index=False)
    for shift, (person, video) in enumerate(sorted({*zip(frame.participant_id, frame.video_id, strict=True)})):
        for modality, files in video_files(shift=shift).items():
            path = root / modality / person / video
            write_tar(path.with_name(f"{video}.tar"), files) if tars else write_folder(path, files)
    return root


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("epic") / "tiny set")


@pytest.fixture(scope="module")
def tiny(shared_root: Path) -> DataSource:
    return load_epic(shared_root)


def read(source: DataSource, modality: str, frames: list[int], *, domain: str = "X") -> np.ndarray[Any, Any]:
    where = source.domain(domain)
    return where.readers[modality].read(where.train[0], np.array(frames, dtype=np.int64))


# --- annotations ------------------------------------------------------------------------------------------------


def test_source_of_the_tiny_set(tiny: DataSource) -> None:
    assert tiny.name == "epic-tiny-set"
    assert tiny.classes == ("open", "wash", "fold")
    assert list(tiny.domains) == ["X", "Y"]
    assert [s.label for s in tiny.domain("X").train] == [0, 1, 2, 1]
    assert tiny.domain("Y").test[0] == Segment("12", "P02_01", 5, 36, 0)
    assert tiny.domain("X").readers["flow"].mirror_negates == (0,)
    assert {m: r.channels for m, r in tiny.domain("X").readers.items()} == {"rgb": 3, "flow": 2}


def test_pickles_and_csv_give_the_same_source(shared_root: Path, tmp_path: Path) -> None:
    other = tmp_path / shared_root.name
    other.mkdir()
    for modality in ("rgb", "flow"):
        (other / modality).symlink_to(shared_root / modality)
    write_pickles(table(), other / "annotations")
    pd.testing.assert_frame_equal(read_annotations(other), read_annotations(shared_root))
    first, second = load_epic(shared_root), load_epic(other)
    assert (first.name, first.classes, first.digest) == (second.name, second.classes, second.digest)
    assert [(d.train, d.test) for d in first.domains.values()] == [(d.train, d.test) for d in second.domains.values()]


def test_row_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    for name, frame in (("a", table()), ("b", table().sample(frac=1, random_state=0))):
        (tmp_path / name).mkdir()
        frame.to_csv(tmp_path / name / "segments.csv", index=False)
    tidy = read_annotations(tmp_path / "a")
    pd.testing.assert_frame_equal(tidy, read_annotations(tmp_path / "b"))
    assert tidy.uid.tolist() == [str(n) for n in range(16)], "numbers sort as numbers"
    assert tidy.split.tolist() == (["train"] * 4 + ["test"] * 4) * 2


def edited(column: str, value: object, *, rows: list[int]) -> pd.DataFrame:
    frame = table().astype({column: object})
    frame.loc[rows, column] = value
    return frame


BAD_TABLES = {
    "stop before they start: 1, such as uid 2": edited("stop_frame", 1, rows=[2]),
    "has start_frame '-4'; it must be a whole number": edited("start_frame", -4, rows=[0]),
    "row 4 has stop_frame 'soon'": edited("stop_frame", "soon", rows=[3]),
    "has no stop_frame": edited("stop_frame", None, rows=[3]),
    "row 1 has verb_class '1.5'": edited("verb_class", 1.5, rows=[0]),
    "uids given more than once: 2, such as uid 1": edited("uid", 1, rows=[0]),
    "unknown split 'tset'; choose train, test. Did you mean 'test'": edited("split", "tset", rows=[5]),
    "domain Y has no test segments": table()[lambda t: (t.domain == "X") | (t.split == "train")],
    "test segments without verb_class": edited("verb_class", None, rows=[5]),
    "lacks the columns participant_id, verb_class; found uid": table().drop(columns=["participant_id", "verb_class"]),
    "lacks the columns domain": table().drop(columns="domain"),
    "video that has two participants": edited("participant_id", "P09", rows=[1]),
    "'../../x' cannot name a file": edited("video_id", "../../x", rows=[1]),
    "row 2 has no video_id": edited("video_id", None, rows=[1]),
}


@pytest.mark.parametrize("message", BAD_TABLES)
def test_bad_tables_are_refused(message: str, tmp_path: Path) -> None:
    BAD_TABLES[message].to_csv(tmp_path / "segments.csv", index=False)
    with pytest.raises(UserError) as caught:
        read_annotations(tmp_path)
    assert message in str(caught.value)


def test_missing_annotations_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"put segments\.csv, or a pair DOMAIN_train\.pkl"):
        read_annotations(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        read_annotations(tmp_path / "nowhere")
    (tmp_path / "segments.csv").write_bytes(b"\xff\xfe\x00a,b\n")
    with pytest.raises(UserError, match="cannot read"):
        read_annotations(tmp_path)


def test_training_labels_may_be_missing(tmp_path: Path) -> None:
    unlabelled = edited("verb_class", None, rows=[8, 9, 10, 11])
    source = load_epic(
        write_root(tmp_path, annotations=unlabelled.assign(verb=unlabelled.verb.where(unlabelled.index < 8)))
    )
    assert [s.label for s in source.domain("Y").train] == [None] * 4
    assert [s.label for s in source.domain("X").train] == [0, 1, 2, 1]
    assert source.classes == ("open", "wash", "fold")


def class_names(tmp_path: Path, verbs: list[tuple[int, str]]) -> tuple[str, ...]:
    """Classes of a source whose training rows have these verb classes and verbs."""
    rows = pd.concat([table().iloc[[0]]] * len(verbs), ignore_index=True)
    rows = rows.assign(uid=range(100, 100 + len(verbs)), verb_class=[c for c, _ in verbs], verb=[v for _, v in verbs])
    test = rows.iloc[[0]].assign(uid=1, split="test")
    return load_epic(write_root(tmp_path, annotations=pd.concat([rows, test]))).classes


def test_epic_classes_get_their_canonical_names(tmp_path: Path) -> None:
    raw = [(c, verb) for c, name in enumerate(VERBS) for verb in ("other", "other", name)]
    assert class_names(tmp_path, raw) == VERBS


def test_other_classes_get_their_commonest_verb(tmp_path: Path) -> None:
    eight = [(c, f"act {c}") for c in range(8)] + [(3, "rare"), (3, "act 3")]
    assert class_names(tmp_path / "eight", eight) == tuple(f"act {c}" for c in range(8))
    assert class_names(tmp_path / "same", [(5, "cut"), (7, "cut"), (9, "")]) == ("cut (5)", "cut (7)", "class 9")


# --- pickles ----------------------------------------------------------------------------------------------------


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def payloads(mark: Path) -> dict[str, Any]:
    touch = f"touch {mark}"
    frame = pd.DataFrame({"uid": pd.Series([Call(os.system, touch)], dtype=object)})
    return {
        "posix.system": Call(os.system, touch),
        "builtins.eval": Call(eval, f"open({str(mark)!r}, 'w')"),
        "builtins.exec": Call(exec, f"open({str(mark)!r}, 'w')"),
        "builtins.getattr": Call(getattr, "text", "upper"),
        "subprocess.Popen": Call(subprocess.Popen, touch.split()),
        "pandas.read_pickle": Call(pd.read_pickle, str(mark)),
        "pandas.eval": Call(pd.eval, "1 + 1"),
        "numpy.load": Call(np.load, str(mark), None, True),
        "numpy.fromfile": Call(np.fromfile, str(mark)),
        "hidden in a cell: posix.system": frame,
        "io.open": Call(open, str(mark), "w"),
    }


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("name", list(payloads(Path("x"))))
def test_crafted_pickles_are_refused_and_do_not_run(name: str, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "D1_train.pkl"
    path.write_bytes(pickle.dumps(payloads(mark)[name], protocol=protocol))
    with pytest.raises(UserError, match=r"is not a plain pickled table and was not read: it asks for"):
        read_pickle_frame(path)
    assert not mark.exists()


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


@pytest.mark.parametrize(
    "stream",
    [
        opcodes(b"cpandas\nDataFrame\n", b"cpandas\nDataFrame\n", b"b"),  # state set on the class itself
        opcodes(b"cpandas\nDataFrame\n", b"}\x8c\x04kind\x8c\x01xs", b"b"),
        opcodes(b"cpandas\nDataFrame.eval\n"),
        opcodes(b"cpandas\nio.common.os.system\n"),
        opcodes(b"cnumpy\ndtype\n(\x8c\x05dtypetR"),
        opcodes(b"cpandas\nDataFrame\n)\x81N", b"b"),
        opcodes(b"]"),
        opcodes(b"Nr\xff\xff\xff\x7f"),  # a memo of two thousand million entries
        opcodes(b"\x96\x00\x00\x00\x00\x10\x00\x00\x00"),  # a byte array of 64 GiB
        b"",
        b"not a pickle",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    ],
)
def test_odd_streams_are_refused(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.pkl"
    path.write_bytes(stream)
    with pytest.raises(UserError, match=r"odd\.pkl is not a plain pickled table"):
        read_pickle_frame(path)
    pd.DataFrame({"a": [1]})  # and pandas still works


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_honest_pickles_of_this_pandas(protocol: int, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "t": ["a", "b", "ü"], "x": [0.5, np.nan, -1.0], "b": [True, False, True]})
    frame = frame.astype({"t": pd.StringDtype("python", na_value=np.nan)})
    frame.columns = pd.Index(frame.columns, dtype=object)
    frame[frame.n > 1].to_pickle(tmp_path / "frame.pkl", protocol=protocol)
    found = read_pickle_frame(tmp_path / "frame.pkl")
    assert found.columns.tolist() == ["n", "t", "x", "b"]
    assert found.astype(object).where(found.notna(), None).to_numpy().tolist() == [
        [2, "b", None, False],
        [3, "ü", -1.0, True],
    ]


OLD_PICKLE = (
    "c-oCpOK;RL5Z-LEv^+$q5Ktt<fm1n<GY6zf6d`Ctkb2@$Sx(~JM0K3V589QefCGI<zIFJY9J#@a(~4c_0Y~zTotgQ*@qAyB?|D25%dhubRotXy"
    "r$su|ycOWDzv7m^4*oej{R&60=@Zt@H2BAh;f=CFD=tmia>Zvt8}PSY%C6jhH=Hru-@nLUvMJ1;6!2@zslF-qrC<f+Q1CtF+I~J%Z=JLa*P73<"
    "D$}Cul(E{CmI5as5c~?(4k71|jlRKlRKN-B!e$oXH$H}X%}**j@2L|%Zl1&0>F_`H(F@4)eCHRguw^3)#o6|qmEmPZs}~mV+OHO_K{^U~PmF9z"
    "5daB=%4K8P>znoMdYx$0cb7?Q`0@KC=udw^ZxQq!K6BhV3qCpofj9LN%KvYO=>kOk=*r%Pj(%(n_UC69P{vujh;jl%Wn+2Nl{ge8Ex18}++a!^"
    "u(x!F?@+(-lS@BHr9%0@zeHm^JR7=nO$9#rD0G3v$gom!V?x(HQKY=w9aF<Q{^3<TG*>esvP*UWy#A2mfGpP*$Kw-YyB?b&N1zjhnu0bIG|B?C"
    "PGm22&st%5V84fR=GLO3kHBAJQ^{w+eZZyc4h*YYk1F6+Fv$ynay~V#NPh#K%}WC"
)
"""`DataFrame({"uid": [7, 8], "verb": ["put", "x"], "verb_class": [1.0, nan]})` of pandas 1.5, protocol 4."""


def test_honest_pickle_of_an_old_pandas(tmp_path: Path) -> None:
    (tmp_path / "old.pkl").write_bytes(zlib.decompress(base64.b85decode(OLD_PICKLE)))
    found = read_pickle_frame(tmp_path / "old.pkl")
    assert found.uid.tolist() == [7, 8]
    assert found.verb.tolist() == ["put", "x"]
    assert found.verb_class.isna().tolist() == [False, True]


def test_pickle_with_missing_columns_names_them(tmp_path: Path) -> None:
    write_pickles(table(), tmp_path)
    pd.DataFrame({"uid": [1], "verb_class": [1]}).set_axis(
        pd.Index(["uid", "verb_class"], dtype=object), axis=1
    ).to_pickle(tmp_path / "X_train.pkl")
    with pytest.raises(UserError, match=r"X_train\.pkl lacks the columns video_id, participant_id, start_frame"):
        read_annotations(tmp_path)


# --- frames -----------------------------------------------------------------------------------------------------


def test_frame_numbers_colours_and_shapes(tiny: DataSource) -> None:
    clip = read(tiny, "rgb", [1, 4, 20])
    assert (clip.shape, clip.dtype) == ((3, 24, 32, 3), np.uint8)
    np.testing.assert_allclose(clip.mean((1, 2)), [colour(1), colour(4), colour(20)], atol=2)


def test_flow_frame_is_half_the_rgb_frame(tiny: DataSource) -> None:
    clip = read(tiny, "flow", [2, 3, 4, 5, 21])
    assert clip.shape == (5, 24, 32, 2)
    np.testing.assert_allclose(clip.mean((1, 2)), [(8 * n, 9 * n) for n in (1, 1, 2, 2, 10)], atol=1)


def test_grey_pictures_come_out_as_three_equal_channels(tmp_path: Path) -> None:
    files = {f"frame_{n}.jpg": picture(20 * n) for n in (1, 2)}
    write_folder(tmp_path / "rgb" / "P01" / "V", files)
    reader = frame_files.JpegReader(tmp_path / "rgb", {"V": "P01/V"})
    clip = reader.read(Segment("0", "V", 1, 2), np.array([1, 2]))
    assert (clip == clip[..., :1]).all()
    np.testing.assert_allclose(clip.mean((1, 2, 3)), [20, 40], atol=1)


def test_frames_beyond_either_end_are_the_end(tiny: DataSource) -> None:
    ends = read(tiny, "rgb", [-5, 0, 1, 40, 41, 999])
    np.testing.assert_array_equal(ends, ends[[2, 2, 2, 3, 3, 3]])
    flow = read(tiny, "flow", [-3, 0, 1, 2, 40, 47])
    np.testing.assert_array_equal(flow, flow[[3, 3, 3, 3, 4, 4]])


def test_order_and_repeats_are_kept_and_decoded_once(tiny: DataSource, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    plain = frame_files._decode

    def counted(data: bytes, name: str, colours: str, *, out: frame_files.Frames) -> None:
        decoded.append(name)
        plain(data, name, colours, out=out)

    monkeypatch.setattr(frame_files, "_decode", counted)
    clip = read(tiny, "rgb", [9, 3, 9, 9, 5])
    np.testing.assert_allclose(clip.mean((1, 2))[:, 0], [45, 15, 45, 45, 25], atol=2)
    assert [name[-8:] for name in decoded] == ["0003.jpg", "0005.jpg", "0009.jpg"]


@pytest.mark.parametrize("centre", [1, 8, 20, 36])
def test_windows_around_both_ends_of_a_segment(tiny: DataSource, centre: int) -> None:
    window = window_at(centre, WindowRule())
    rgb, flow = (read(tiny, m, window.tolist()) for m in ("rgb", "flow"))
    np.testing.assert_allclose(rgb[:, 0, 0, 0], 5 * window.clip(1, 40), atol=2)
    np.testing.assert_allclose(flow[:, 0, 0, 0], 8 * (window // 2).clip(1, 20), atol=1)


FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def from_files(reader: Reader) -> frame_files.JpegReader:
    """What decodes behind a reader that keeps the frames of a small data set."""
    assert isinstance(reader, KeptFrames)
    assert isinstance(reader.reader, frame_files.JpegReader)
    return reader.reader


@pytest.mark.parametrize("prefix", ["", "./", "P01_00/", "./P01_00/"])
@pytest.mark.parametrize("form", FORMS)
def test_tars_give_the_pixels_of_folders(
    form: str, prefix: str, shared_root: Path, tiny: DataSource, tmp_path: Path
) -> None:
    videos = {"P01_00": "P01/P01_00"}
    for modality, files in video_files().items():
        named = {prefix + name: data for name, data in files.items()}
        write_tar(tmp_path / modality / "P01" / "P01_00.tar", named, form=FORMS[form])
        folder = from_files(tiny.domain("X").readers[modality])
        tar = frame_files.JpegReader(tmp_path / modality, videos, tracks=folder.tracks, stride=folder.stride)
        frames, segment = np.arange(-2, 50, 3), Segment("0", "P01_00", 1, 36)
        np.testing.assert_array_equal(tar.read(segment, frames), folder.read(segment, frames))


def test_tar_root_equals_folder_root(tiny: DataSource, tmp_path: Path) -> None:
    packed = load_epic(write_root(tmp_path / "packed", tars=True))
    for domain in "XY":
        for modality in ("rgb", "flow"):
            frames = [2, 11, 30]
            expected = read(tiny, modality, frames, domain=domain)
            np.testing.assert_array_equal(read(packed, modality, frames, domain=domain), expected)


def test_links_in_tars_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture(200))
    tar = tmp_path / "V.tar"
    write_tar(tar, {"../frame_0000000003.jpg": picture(9), "/frame_0000000003.jpg": picture(9), "x": b"y"})
    with tarfile.open(tar, "a") as archive:
        for number, kind, target in ((2, tarfile.SYMTYPE, str(secret)), (3, tarfile.LNKTYPE, "frame_0000000001.jpg")):
            member = tarfile.TarInfo(f"frame_{number:010d}.jpg")
            member.type, member.linkname = kind, target
            archive.addfile(member)
        for number in (1, 4):
            member = tarfile.TarInfo(f"frame_{number:010d}.jpg")
            member.size = len(picture(50))
            archive.addfile(member, io.BytesIO(picture(50)))
    reader = frame_files.JpegReader(tmp_path, {"V": "V"})
    assert reader.read(Segment("0", "V", 1, 4), np.array([1, 4])).shape[0] == 2
    for number in (2, 3):
        with pytest.raises(UserError, match=f"V.tar: has no frame_000000000{number}.jpg"):
            reader.read(Segment("0", "V", 1, 4), np.array([1, number]))


def test_damaged_tars_are_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "V.tar", video_files()["rgb"])
    whole = (tmp_path / "V.tar").read_bytes()
    reader = frame_files.JpegReader(tmp_path, {"V": "V"})
    negative = whole[:124] + b"-0000001000\0" + whole[136:]
    flipped = whole[:6000].replace(b"frame_0000000003", b"frame_00000000#3") + whole[6000:]
    for broken in (whole[:5000], whole[:4096], whole[:4300], b"\x1f\x8b" + whole[2:], negative, flipped, b""):
        (tmp_path / "V.tar").write_bytes(broken)
        frame_files._index_tar.cache_clear()  # the clock may not have moved
        with pytest.raises(UserError, match=r"V\.tar is not a whole, uncompressed tar"):
            reader.read(Segment("0", "V", 1, 9), np.array([1]))


def one_video(tmp_path: Path, files: dict[str, bytes]) -> Callable[[list[int]], Any]:
    write_folder(tmp_path / "V", files)
    reader = frame_files.JpegReader(tmp_path, {"V": "V"})
    return lambda frames: reader.read(Segment("7", "V", 1, 9), np.array(frames))


def test_bad_pictures_are_named(tmp_path: Path) -> None:
    good = picture(10, 20, 30)
    files = {"frame_001.jpg": good, "frame_002.jpg": good[: len(good) // 2], "frame_003.jpg": b"GIF89a"}
    clip = one_video(tmp_path, files | {"frame_004.jpg": b"", "frame_005.jpg": picture(1, 2, 3, width=40)})
    assert clip([1]).shape == (1, 24, 32, 3)
    for number in (2, 3, 4):
        with pytest.raises(UserError, match=rf"V/frame_00{number}\.jpg is not a whole JPEG"):
            clip([number])
    with pytest.raises(UserError, match=r"frame_005\.jpg is 40x24, but the clip began with 32x24"):
        clip([1, 5])


def test_hole_in_a_video_is_named(tmp_path: Path) -> None:
    clip = one_video(tmp_path, {f"frame_{n:04d}.jpg": picture(n) for n in (5, 6, 8)})
    assert clip([1, 5, 99]).shape[0] == 3
    with pytest.raises(UserError, match=r"V has no frame_0000000007\.jpg, but frames before and after it"):
        clip([5, 7])


def test_ambiguous_and_empty_folders(tmp_path: Path) -> None:
    clip = one_video(tmp_path / "twice", {"frame_1.jpg": picture(1), "frame_01.jpg": picture(1)})
    with pytest.raises(UserError, match=r"holds frame 1 twice: frame_01\.jpg and frame_1\.jpg"):
        clip([1])
    with pytest.raises(UserError, match="holds no frame_0000000001"):
        one_video(tmp_path / "none", {"img_1.jpg": picture(1)})([1])


def test_segment_beyond_the_end_of_its_video(tiny: DataSource) -> None:
    reader = from_files(tiny.domain("X").readers["flow"])
    with pytest.raises(UserError, match=r"segment 9 starts at RGB frame 50, but .* ends at its frame 20"):
        reader.read(Segment("9", "P01_00", 50, 80), np.array([50]))


def test_missing_videos(tmp_path: Path) -> None:
    root = write_root(tmp_path, tars=True)
    (root / "rgb" / "P02" / "P02_01.tar").unlink()
    with pytest.raises(UserError) as caught:
        load_epic(root)
    for part in (
        "domain Y: 1 of 2 videos lack rgb frames",
        "'P02_01'",
        "rgb/P02/P02_01 nor",
        "rgb/P02/P02_01.tar; put it",
    ):
        assert part in str(caught.value)
    (root / "rgb" / "P02" / "P02_00.tar").unlink()
    source = load_epic(root)  # a whole domain may be absent, until it is read
    with pytest.raises(UserError, match="video 'P02_00' has no frames: found neither"):
        read(source, "rgb", [1], domain="Y")
    (tmp_path / "bare").mkdir()
    table().to_csv(tmp_path / "bare" / "segments.csv", index=False)
    with pytest.raises(UserError, match="no video of the annotations has frames"):
        load_epic(tmp_path / "bare")


def test_digest_sees_frames_and_segments(tmp_path: Path) -> None:
    root = write_root(tmp_path / "a")
    first = load_epic(root).digest
    assert load_epic(root).digest == first
    assert load_epic(write_root(tmp_path / "b")).digest == first, "not the place, not the time"
    frame = root / "flow" / "P01" / "P01_00" / "v" / "frame_0000000003.jpg"
    frame.write_bytes(frame.read_bytes() + b"\0")
    second = load_epic(root).digest
    frame.with_name("frame_0000000021.jpg").write_bytes(b"")
    third = load_epic(root).digest
    edited("stop_frame", 35, rows=[0]).to_csv(root / "segments.csv", index=False)
    assert len({first, second, third, load_epic(root).digest}) == 4


def open_files() -> int:
    """How many files this process has open, where the system tells."""
    handles = Path("/proc/self/fd")
    return len(list(handles.iterdir())) if handles.is_dir() else 0


@pytest.mark.parametrize("tars", [False, True])
def test_readers_are_picklable_and_keep_no_file_open(tars: bool, tmp_path: Path) -> None:
    source = load_epic(write_root(tmp_path, tars=tars))
    before = open_files()
    expected = read(source, "flow", [2, 8])
    copied = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(read(copied, "flow", [2, 8]), expected)
    assert open_files() == before


# --- real data --------------------------------------------------------------------------------------------------


def test_authors_splits(real: Path) -> None:
    table = read_annotations(real / "mmsada_splits")
    sizes = table.groupby(["domain", "split"]).size().to_dict()
    counts = {"D1": (1543, 435), "D2": (2495, 750), "D3": (3897, 974)}
    assert sizes == {(d, s): n for d, pair in counts.items() for s, n in zip(("train", "test"), pair, strict=True)}
    assert table.groupby("domain").participant.unique().str.join("").to_dict() == KITCHENS
    classes = table.groupby(["domain", "split", "verb_class"]).size()
    assert {d: tuple(classes[d, "train"]) for d in KITCHENS} == TRAINING_SEGMENTS
    assert tuple(classes["D1", "test"]) == (124, 104, 52, 34, 66, 13, 20, 22)
    assert tuple(classes["D2", "test"]) == (208, 217, 68, 56, 136, 14, 26, 25)
    assert tuple(classes["D3", "test"]) == (241, 280, 102, 71, 245, 29, 1, 5)


def test_authors_training_sets_are_rows_of_epic(real: Path) -> None:
    epic = pd.read_csv(real / "epic55" / "EPIC_train_action_labels.csv", dtype={"uid": str})
    epic = epic[epic.participant_id.isin(KITCHENS.values()) & (epic.verb_class < 8)].set_index("uid")
    train = read_annotations(real / "mmsada_splits").query("split == 'train'").set_index("uid")
    assert set(train.index) == set(epic.index)
    epic = epic.loc[train.index]
    for ours, theirs in (("start", "start_frame"), ("stop", "stop_frame"), ("video", "video_id"), ("verb_class",) * 2):
        assert (train[ours] == epic[theirs]).all()


def test_authors_splits_use_no_other_names_than_a_table_needs(real: Path) -> None:
    for path in sorted((real / "mmsada_splits").glob("*.pkl")):
        names = {op.name for op, _, _ in pickletools.genops(path.read_bytes())}
        assert not names & {"PERSID", "BINPERSID", "EXT1", "INST", "OBJ"}
        ours, theirs = read_pickle_frame(path), pd.read_pickle(path)
        assert ours.columns.tolist() == AUTHORS
        assert all(ours[name].tolist() == theirs[name].tolist() for name in AUTHORS)


def test_authors_class_names(real: Path, tmp_path: Path) -> None:
    rows = read_annotations(real / "mmsada_splits")
    (tmp_path / "annotations").symlink_to(real / "mmsada_splits")
    for video, person in zip(rows.video, rows.participant, strict=True):
        (tmp_path / "rgb" / person / video).mkdir(parents=True, exist_ok=True)
        (tmp_path / "rgb" / person / video / "frame_0000000001.jpg").touch()
    source = load_epic(tmp_path)
    assert source.classes == VERBS
    assert [len(d.train) for d in source.domains.values()] == [1543, 2495, 3897]


def test_utd_video(utd: DataSource) -> None:
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


def test_utd_pickles_equal_its_csv(real: Path, utd: DataSource, tmp_path: Path) -> None:
    other = tmp_path / "utd_video"
    other.mkdir()
    for path in (real / "utd_video").iterdir():
        if path.name != "segments.csv":
            (other / path.name).symlink_to(path)
    pickled = load_epic(other)
    assert (pickled.name, pickled.classes, pickled.digest) == (utd.name, utd.classes, utd.digest)
    for name, domain in utd.domains.items():
        assert (pickled.domain(name).train, pickled.domain(name).test) == (domain.train, domain.test)


def test_utd_tars_equal_their_unpacked_frames(utd: DataSource, tmp_path: Path) -> None:
    segment = utd.domain("B").test[0]
    window = window_at(segment.stop, WindowRule())
    for kept in utd.domain("B").readers.values():
        reader = from_files(kept)
        stem = reader.videos[segment.video]
        with tarfile.open(reader.root / f"{stem}.tar") as archive:
            archive.extractall(tmp_path / reader.root.name / stem, filter="data")
        unpacked = frame_files.JpegReader(
            tmp_path / reader.root.name, reader.videos, tracks=reader.tracks, stride=reader.stride
        )
        np.testing.assert_array_equal(unpacked.read(segment, window), reader.read(segment, window))
