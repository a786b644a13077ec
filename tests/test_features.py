"""The format `features:`: what is written is read back, uids decide, the challenge's pickles and tables fit."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmsada_lab.clips.segments import MultiDomainData, Segment
from mmsada_lab.datasets.arrays.features import load_features, write_features
from mmsada_lab.datasets.open import load_data
from mmsada_lab.errors import UserError

Array = np.ndarray[Any, Any]
UIDS = ["b", "10", "9", "ü,1", "x"]


def table() -> pd.DataFrame:
    columns = {
        "uid": UIDS,
        "domain": ["A", "A", "B", "B", "B"],
        "split": ["train", "test", "train", "train", "test"],
        "label": ["cut", "10", None, "9", ""],
        "person": [1, 2, 3, 4, 5],
    }
    return pd.DataFrame(columns)


def features() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {"rgb": rng.normal(size=(5, 4, 6)).astype("f4"), "audio": rng.normal(size=(5, 3))}


def segments(data: MultiDomainData) -> dict[str, Segment]:
    return {s.uid: s for d in data.domains.values() for s in (*d.train, *d.test)}


def read(data: MultiDomainData, modality: str, uid: str) -> Array:
    here = segments(data)[uid]
    reader = next(iter(data.domains.values())).readers[modality]
    return reader.read(here, np.arange(1, here.stop + 1))


def everything(data: MultiDomainData) -> list[Array]:
    modalities = next(iter(data.domains.values())).readers
    return [read(data, modality, uid) for modality in modalities for uid in segments(data)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_features(tmp_path / "deep" / "run 1", table(), features())
    return tmp_path / "deep" / "run 1"


# --- a table and archives ---------------------------------------------------------------------------------------


def test_round_trip(root: Path) -> None:
    data, stored = load_features(root), features()
    assert (data.name, data.in_memory, data.notes) == ("features-run-1", True, ())
    assert data.classes == ("9", "10", "cut")
    assert [(s.uid, s.label) for s in data.domain("B").train] == [("9", None), ("ü,1", 0)]
    assert [(s.uid, s.label, s.further) for s in data.domain("B").test] == [("x", None, (("person", "5"),))]
    assert {(s.start, s.stop) for s in segments(data).values()} == {(1, 4)}
    readers = data.domain("A").readers
    assert {m: (r.kind, r.channels) for m, r in readers.items()} == {"audio": ("vector", 3), "rgb": ("series", 6)}
    for row, uid in enumerate(UIDS):
        np.testing.assert_array_equal(read(data, "rgb", uid), stored["rgb"][row])
        np.testing.assert_array_equal(read(data, "audio", uid), np.stack([stored["audio"][row].astype("f4")] * 4))
    assert sorted(p.name for p in root.iterdir()) == ["audio.npz", "rgb.npz", "segments.csv"], "no drafts are left"


def test_written_again_and_with_classes(root: Path) -> None:
    before = load_features(root)
    write_features(root, table(), features())
    assert load_features(root).digest == before.digest
    write_features(root, table(), features(), classes=["cut", "never", "10", "9"])
    assert load_features(root).classes == ("cut", "never", "10", "9")
    assert load_features(root).digest != before.digest
    write_features(root, table(), features())
    assert load_features(root).classes == before.classes, "an old list of classes does not stay"


def test_a_folder_that_was_not_finished_has_no_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"cannot write features into .*No space left on device; choose another"):
        write_features(root, table(), features())
    assert sorted(p.name for p in root.iterdir()) == ["audio.npz", "rgb.npz"]
    with pytest.raises(UserError, match=r"has neither a table segments\.csv"):
        load_features(root)


def test_features_that_cannot_be_written(root: Path) -> None:
    with pytest.raises(UserError, match=r"run 1 already holds audio\.npz; remove it"):
        write_features(root, table(), {"rgb": features()["rgb"]})
    before = load_features(root).digest
    for bad, message in (
        ({}, r"no features to write"),
        ({"rgb": np.zeros((4, 2))}, r"modality rgb has 4 rows, but the table of features has 5"),
        ({"rgb": np.zeros(5)}, r"modality rgb has shape \(\)"),
        ({"rgb": np.zeros((5, 2), "c8")}, r"modality rgb holds complex64"),
        ({"r.gb": np.zeros((5, 2))}, r"'r\.gb' cannot name a modality"),
    ):
        with pytest.raises(UserError, match=message):
            write_features(root, table(), bad)
    with pytest.raises(UserError, match=r"the table of features: rows 1 and 2 both have uid b"):
        write_features(root, table().assign(uid=["b", "b", "c", "d", "e"]), features())
    with pytest.raises(UserError, match=r"the table of features lacks the columns split"):
        write_features(root, table().drop(columns="split"), features())
    assert load_features(root).digest == before, "nothing was touched"


def save(path: Path, uids: object, content: Array, *, compressed: bool = False) -> None:
    (np.savez_compressed if compressed else np.savez)(path, uid=uids, features=content)


@pytest.mark.parametrize("compressed", [False, True])
def test_rows_are_found_by_uid(compressed: bool, root: Path) -> None:
    before, content = everything(load_features(root)), features()["rgb"]
    order = [4, 2, 0, 1, 3]
    extra = np.concatenate([content[order], np.ones((2, 4, 6), "f4")])
    save(root / "rgb.npz", np.array([*(UIDS[i] for i in order), "p", "q"]), extra, compressed=compressed)
    data = load_features(root)
    assert data.notes == (
        f"ignored 2 of 7 rows (p, q) of {root / 'rgb.npz'} that {root / 'segments.csv'} does not list",
    )
    for found, expected in zip(everything(pickle.loads(pickle.dumps(data))), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    digest = data.digest
    save(root / "rgb.npz", np.array([*(UIDS[i] for i in order[::-1]), "p", "q"]), extra, compressed=compressed)
    assert load_features(root).digest != digest, "the same numbers now belong to others"


def test_uids_may_be_numbers_or_bytes(tmp_path: Path) -> None:
    frame = table().assign(uid=["1", "2", "3", "4", "5"])
    write_features(tmp_path, frame, features())
    before = everything(load_features(tmp_path))
    for uids in (np.arange(1, 6), np.array([b"1", b"2", b"3", b"4", b"5"])):
        save(tmp_path / "rgb.npz", uids, features()["rgb"])
        for found, expected in zip(everything(load_features(tmp_path)), before, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_archives_and_plain_arrays_together(root: Path) -> None:
    np.save(root / "imu.npy", np.arange(5 * 8 * 2).reshape(5, 8, 2))
    data = load_features(root)
    assert sorted(data.domain("A").readers) == ["audio", "imu", "rgb"]
    assert segments(data)["x"].stop == 8
    np.testing.assert_array_equal(read(data, "rgb", "b"), features()["rgb"][0][np.arange(8) // 2])
    np.save(root / "rgb.npy", np.zeros((5, 3)))
    with pytest.raises(UserError, match=r"has rgb as \.npz and as \.npy"):
        load_features(root)


def test_segments_without_a_row(root: Path) -> None:
    save(root / "rgb.npz", np.array(UIDS[:4]), features()["rgb"][:4])
    with pytest.raises(
        UserError, match=r"1 of 5 segments lack rgb, such as segment x: nothing in .*rgb\.npz; .*missing=drop"
    ):
        load_features(root)
    data = load_features(root, missing="drop")
    assert data.notes == ("segments.csv: dropped 1 of 5 segments (x) that lack rgb",)
    assert data.domain("B").test == ()


BAD_ARCHIVES: dict[str, dict[str, Any]] = {
    r"rgb\.npz lacks the arrays uid; found features": {"features": np.zeros((5, 3))},
    r"rgb\.npz lacks the arrays uid, features; found RGB": {"RGB": np.zeros((5, 3))},
    r"has \(4,\) uids for features \(5, 3\)": {"uid": np.array(UIDS[:4]), "features": np.zeros((5, 3))},
    r"rows 0 and 1 \(from 0\) both have uid b": {"uid": np.array(["b", "b"]), "features": np.zeros((2, 3))},
    r"has no uid of .*; there it is 'b', here 'q'": {"uid": np.array(["q"]), "features": np.zeros((1, 3))},
    r"has uids of type float64; make them text": {"uid": np.zeros(5), "features": np.zeros((5, 3))},
    r"rgb\.npz holds object": {"uid": np.array(UIDS, dtype=object), "features": np.zeros((5, 3))},
    r"rgb\.npz holds complex128": {"uid": np.array(UIDS), "features": np.zeros((5, 3), complex)},
}


@pytest.mark.parametrize("message", list(BAD_ARCHIVES))
def test_bad_archives(message: str, root: Path) -> None:
    np.savez(root / "rgb.npz", **BAD_ARCHIVES[message])
    with pytest.raises(UserError, match=message):
        load_features(root)


def test_archives_of_other_things(root: Path) -> None:
    with zipfile.ZipFile(root / "rgb.npz", "w") as archive:
        archive.writestr("uid.npy", b"not an array")
        archive.writestr("features.npy", b"\x93NUMPY\x01\x00\xff\xff")
    with pytest.raises(UserError, match=r"rgb\.npz is not a \.npy file|rgb\.npz ends within its header"):
        load_features(root)
    (root / "rgb.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=r"cannot read .*rgb\.npz: BadZipFile"):
        load_features(root)


def test_neither_form(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has neither a table segments\.csv .* nor the challenge's source_train\.pkl"):
        load_features(tmp_path)
    table().to_csv(tmp_path / "segments.csv", index=False)
    with pytest.raises(UserError, match=r"no features in .*: no file MODALITY\.npz"):
        load_features(tmp_path)
    with pytest.raises(UserError, match=r"unknown evaluate 'all'; choose val, test"):
        load_data(f"features:{tmp_path},evaluate=all")


# --- the challenge ----------------------------------------------------------------------------------------------

LABELLED = {("source", "train"), ("source", "val"), ("target", "val")}
PARTS = [(domain, split) for domain in ("source", "target") for split in ("train", "val", "test")]


def narrations(domain: str, split: str) -> list[str]:
    return [f"P{PARTS.index((domain, split)):02d}_01_{n}" for n in range(4)]


def challenge_content(domain: str, split: str) -> dict[str, Any]:
    """Sample t of row n of part p holds 100 p + 10 n + t; flow is the negative of it."""
    rgb = 100 * PARTS.index((domain, split)) + 10 * np.arange(4)[:, None, None] + np.arange(5)[:, None] + np.zeros(3)
    ids = np.array(narrations(domain, split))
    return {"features": {"RGB": rgb.astype("f4"), "Flow": -rgb.astype("f4")}, "narration_ids": ids}


def write_challenge(root: Path, *, protocol: int = 4) -> Path:
    (root / "annotations").mkdir(parents=True)
    for domain, split in PARTS:
        with (root / f"{domain}_{split}.pkl").open("wb") as file:
            pickle.dump(challenge_content(domain, split), file, protocol=protocol)
        columns = {
            "narration_id": narrations(domain, split),
            "participant_id": [u[:3] for u in narrations(domain, split)],
            "video_id": [u[:6] for u in narrations(domain, split)],
            "start_frame": [1, 11, 21, 31],
            "stop_frame": [10, 20, 30, 40],
        }
        if (domain, split) in LABELLED:
            columns |= {"verb": ["open", "take", "pick-up", "take"], "verb_class": [3, 0, 0, 0]}
        suffix = "" if (domain, split) in LABELLED else "_timestamps"
        name = f"EPIC_100_uda_{domain}_{split}{suffix}.csv"
        pd.DataFrame(columns).to_csv(root / "annotations" / name, index=False)
    return root


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    return write_challenge(tmp_path / "epic 100")


def assert_challenge_samples(data: MultiDomainData) -> None:
    for uid in segments(data):
        part, number = int(uid[1:3]), int(uid[-1])
        expected = np.repeat(100 * part + 10 * number + np.arange(5.0)[:, None], 3, axis=1)
        np.testing.assert_array_equal(read(data, "rgb", uid), expected)
        np.testing.assert_array_equal(read(data, "flow", uid), -expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_challenge(protocol: int, tmp_path: Path) -> None:
    data = load_features(write_challenge(tmp_path / "epic 100", protocol=protocol))
    assert (data.name, data.in_memory, data.notes) == ("features-epic-100", True, ())
    assert list(data.domains) == ["source", "target"]
    assert (len(data.classes), data.classes[0], data.classes[3]) == (97, "take", "open")
    labels = {n: ([s.label for s in d.train], [s.label for s in d.test]) for n, d in data.domains.items()}
    assert labels == {"source": ([3, 0, 0, 0], [3, 0, 0, 0]), "target": ([None] * 4, [3, 0, 0, 0])}
    assert [s.uid for s in data.domain("target").test] == narrations("target", "val")
    here = data.domain("source").train[1]
    assert (here.start, here.stop) == (1, 5)
    assert here.further[:3] == (("video", "P00_01"), ("start_frame", "11"), ("stop_frame", "20"))
    assert {m: (r.kind, r.channels) for m, r in data.domain("source").readers.items()} == {
        "flow": ("series", 3),
        "rgb": ("series", 3),
    }
    assert_challenge_samples(data)
    assert_challenge_samples(pickle.loads(pickle.dumps(data)))
    assert len(pickle.dumps(data)) < 20_000, "no feature travels"


def test_challenge_of_its_test_part(challenge: Path) -> None:
    data, other = load_features(challenge, evaluate="test"), load_features(challenge)
    assert [s.uid for s in data.domain("target").test] == narrations("target", "test")
    assert {s.label for d in data.domains.values() for s in d.test} == {None}
    assert [s.label for s in data.domain("source").train] == [3, 0, 0, 0]
    assert data.digest != other.digest
    assert_challenge_samples(data)


def test_challenge_with_other_names_and_top_level_arrays(challenge: Path) -> None:
    before = everything(load_features(challenge))
    for domain, split in PARTS:
        content = challenge_content(domain, split)
        path = challenge / f"{domain}_{split}.pkl"
        flat = {"narration_ids": content["narration_ids"].tolist(), **content["features"]}
        path.write_bytes(pickle.dumps(flat))
        path.rename(challenge / f"tbn_{path.name}")
    for found, expected in zip(everything(load_features(challenge)), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    (challenge / "source_val.pkl").write_bytes(pickle.dumps(challenge_content("source", "val")))
    with pytest.raises(UserError, match=r"has both source_val\.pkl and tbn_source_val\.pkl"):
        load_features(challenge)


def test_challenge_with_parts_and_rows_missing(challenge: Path) -> None:
    (challenge / "source_val.pkl").unlink()
    content = challenge_content("target", "val")
    short = {m: array[[3, 0]] for m, array in content["features"].items()}
    more = {"features": short, "narration_ids": [content["narration_ids"][3], "P99_01_0"]}
    (challenge / "target_val.pkl").write_bytes(pickle.dumps(more))
    with pytest.raises(
        UserError, match=r"3 of 12 segments lack flow, such as segment P04_01_0: nothing in .*missing=drop"
    ):
        load_features(challenge)
    data = load_features(challenge, missing="drop")
    assert data.notes[0] == f"no source_val.pkl in {challenge}: source has no test segments"
    assert data.notes[1].startswith(f"ignored 1 of 2 rows (P99_01_0) of {challenge / 'target_val.pkl'}")
    assert data.notes[2] == "EPIC_100_uda_*.csv: dropped 3 of 12 segments (P04_01_0, P04_01_1, P04_01_2) that lack flow"
    assert (data.domain("source").test, len(data.domain("target").test)) == ((), 1)
    assert_challenge_samples(data)


def test_rows_of_another_part_are_not_taken(challenge: Path) -> None:
    content, before = challenge_content("target", "val"), everything(load_features(challenge))
    strange = {m: np.concatenate([array, array]) for m, array in content["features"].items()}
    ids = np.array([*content["narration_ids"], *narrations("source", "train")])
    (challenge / "target_val.pkl").write_bytes(pickle.dumps({"features": strange, "narration_ids": ids}))
    data = load_features(challenge)
    assert data.notes[0].startswith("ignored 4 of 8 rows (P00_01_0, P00_01_1, P00_01_2, P00_01_3)")
    for found, expected in zip(everything(data), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def bad_contents() -> dict[str, Any]:
    good = challenge_content("source", "train")
    rgb, ids = good["features"]["RGB"], good["narration_ids"]
    return {
        r"has no narration_ids; found features": {"features": good["features"]},
        r"has narration_ids but no features": {"narration_ids": ids},
        r"RGB is an array \(3, 5, 3\); .* one array with 4 rows": good | {"features": {"RGB": rgb[:3]}},
        r"RGB is a list; ": good | {"features": {"RGB": [1, 2, 3, 4]}},
        r"rgb is an array": good | {"features": {"RGB": rgb, "rgb": rgb}},
        r"uids of type float64": good | {"narration_ids": [1.0, 2.0, 3.0, 4.0]},
        r"uids are no plain list": good | {"narration_ids": [["a"], ["b", "c"]]},
        r"rows 0 and 1 \(from 0\) both have uid": good | {"narration_ids": ids[[0, 0, 1, 2]]},
        r"'r gb' cannot name a modality": good | {"features": {"R GB": rgb}},
        r"holds object; a modality": good | {"features": {"RGB": np.full((4, 2), None), "Flow": rgb}},
        r"source_train\.pkl \(features, RGB\) holds a vector": good | {"features": {"RGB": rgb[:, 0, :], "Flow": rgb}},
        r"is not a plain pickled dict of arrays": [1, 2],
    }


@pytest.mark.parametrize("message", list(bad_contents()))
def test_challenge_pickles_that_do_not_fit(message: str, challenge: Path) -> None:
    (challenge / "source_train.pkl").write_bytes(pickle.dumps(bad_contents()[message]))
    reverse = message.replace(r"source_train\.pkl", r"source_val\.pkl .* holds a series .*source_train\.pkl")
    with pytest.raises(
        UserError, match=reverse.replace(" holds a vector", " a vector") if "vector" in message else message
    ):
        load_features(challenge)


def test_challenge_without_tables(challenge: Path) -> None:
    for path in (challenge / "annotations").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"no EPIC_100_uda_\*\.csv in .*annotations; the labels are in these tables"):
        load_features(challenge)
    for domain, split in PARTS[:2] + PARTS[3:5]:
        (challenge / f"{domain}_{split}.pkl").unlink()
    with pytest.raises(UserError, match=r"has none of source_train\.pkl, source_val\.pkl, target_train\.pkl"):
        load_features(challenge)


class Calls:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def test_challenge_pickles_do_not_run(challenge: Path) -> None:
    content = challenge_content("source", "train")
    content["features"]["Audio"] = Calls(challenge / "mark")
    (challenge / "source_train.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"source_train\.pkl is not a plain .* asks for posix\.system"):
        load_features(challenge)
    assert not (challenge / "mark").exists()


def test_challenge_tables_as_they_are(tmp_path: Path) -> None:
    """The real tables, with small features for each of their segments in an order of their own."""
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    real = Path(os.environ["MMSADA_TEST_DATA"]) / "epic100_uda"
    (tmp_path / "annotations").symlink_to(real)
    rows = {}
    for path in real.glob("EPIC_100_uda_*.csv"):
        part = path.stem.removeprefix("EPIC_100_uda_").removesuffix("_timestamps")
        ids = pd.read_csv(path).narration_id.sample(frac=1, random_state=0).to_numpy(dtype=str)
        rows[part] = len(ids)
        content = np.arange(len(ids), dtype="f4")[:, None, None] + np.zeros((2, 1), "f4")
        (tmp_path / f"{part}.pkl").write_bytes(pickle.dumps({"features": {"RGB": content}, "narration_ids": ids}))
    data = load_features(tmp_path)
    counts = {n: (len(d.train), len(d.test)) for n, d in data.domains.items()}
    assert counts == {"source": (16115, 5002), "target": (26115, 7906)}
    assert [sum(s.label is not None for s in p) for d in data.domains.values() for p in (d.train, d.test)] == [
        *(16115, 5002),
        *(0, 7906),
    ]
    frame = pd.read_csv(real / "EPIC_100_uda_target_val.csv").set_index("narration_id")
    ids = frame.reset_index().narration_id.sample(frac=1, random_state=0).tolist()
    for here in data.domain("target").test[::500]:
        assert here.label == frame.verb_class[here.uid]
        assert read(data, "rgb", here.uid)[0, 0] == ids.index(here.uid)


# --- seeded damage ----------------------------------------------------------------------------------------------


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    at = int(rng.integers(len(changed)))
    match int(rng.integers(4)):
        case 0 | 1:
            for _ in range(int(rng.integers(1, 4))):
                changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        case 2:
            del changed[at:]
        case _:
            changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(changed)


def try_to_read(root: Path) -> str:
    """All of it, or the error."""
    try:
        assert all(np.isfinite(found).all() for found in everything(load_features(root, missing="drop")))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_archives(compressed: bool, root: Path) -> None:
    save(root / "rgb.npz", np.array(UIDS), features()["rgb"], compressed=compressed)
    rng, whole = np.random.default_rng(5), (root / "rgb.npz").read_bytes()
    errors = []
    for _ in range(100):
        (root / "rgb.npz").write_bytes(damaged(whole, rng))
        errors.append(try_to_read(root))
    assert len([*filter(None, errors)]) > 30
    assert all(str(root) in error for error in errors if error)


def test_damaged_pickles(challenge: Path) -> None:
    path = challenge / "target_val.pkl"
    rng, whole = np.random.default_rng(6), path.read_bytes()
    errors = []
    for _ in range(60):
        path.write_bytes(damaged(whole, rng))
        errors.append(try_to_read(challenge))
    assert len([*filter(None, errors)]) > 20
    assert all(str(challenge) in error for error in errors if error)
