"""Annotations: CSV, pickles and the challenge's tables, honest, relaxed and bad ones, each in one tidy table."""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path

import pandas as pd
import pytest
from tiny_epic import edited, table, write_pickles

from mmsada_lab.datasets.epic.annotations import Annotations, read_annotations
from mmsada_lab.datasets.epic100 import read_epic100_uda, verb_keys
from mmsada_lab.datasets.open import load_data
from mmsada_lab.datasets.pickles import read_pickle_frame
from mmsada_lab.datasets.tables import read_table
from mmsada_lab.errors import UserError
from mmsada_lab.paper import KITCHENS, TRAINING_SEGMENTS, VERBS


@pytest.fixture(scope="module")
def real() -> Path:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    return Path(os.environ["MMSADA_TEST_DATA"])


def annotated(frame: pd.DataFrame, folder: Path, *, classes: str = "") -> Annotations:
    """What is read of a frame written as `segments.csv`, with a list of classes if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "segments.csv", index=False)
    if classes:
        (folder / "classes.txt").write_text(classes, encoding="utf-8")
    return read_annotations(folder)


# --- one table from every form ----------------------------------------------------------------------------------


def test_pickles_and_csv_give_the_same_table(tmp_path: Path) -> None:
    write_pickles(table(), tmp_path / "pickles" / "annotations")
    first, second = annotated(table(), tmp_path / "csv"), read_annotations(tmp_path / "pickles")
    pd.testing.assert_frame_equal(first.table.drop(columns="further"), second.table.drop(columns="further"))
    assert (first.classes, first.ids) == (second.classes, second.ids) == (("open", "wash", "fold"), (2, 4, 9))
    times = (("start_timestamp", "00:00:00.00"), ("stop_timestamp", "00:00:01.00"))
    assert second.table["further"][0] == (("narration", "open"), *times)


def test_row_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    tidy = annotated(table(), tmp_path / "a").table
    pd.testing.assert_frame_equal(tidy, annotated(table().sample(frac=1, random_state=0), tmp_path / "b").table)
    assert tidy.uid.tolist() == [str(n) for n in range(16)], "numbers sort as numbers"
    assert tidy.split.tolist() == (["train"] * 4 + ["test"] * 4) * 2


def test_further_columns_are_kept(tmp_path: Path) -> None:
    frame = table().assign(hand="left", weight=[None, *range(15)])
    found = annotated(frame, tmp_path).table["further"]
    assert found[0] == (("narration", "open"), ("hand", "left")), "an empty cell says nothing"
    assert found[3] == (("narration", "wash"), ("hand", "left"), ("weight", "2.0"))


def test_a_domain_may_lack_a_part_and_a_segment_its_label(tmp_path: Path) -> None:
    frame = edited("verb_class", None, rows=[4, 5, 8]).assign(verb=lambda t: t.verb.where(t.verb_class.notna()))
    frame = frame[(frame.domain == "X") | (frame.split == "train")]
    found = annotated(frame, tmp_path)
    assert found.table.groupby(["domain", "split"]).size().to_dict() == {
        ("X", "train"): 4,
        ("X", "test"): 4,
        ("Y", "train"): 4,
    }
    assert found.table.uid[found.table.verb_class.isna()].tolist() == ["4", "5", "8"]
    assert found.classes == ("open", "wash", "fold")
    assert annotated(frame[frame.split == "test"], tmp_path / "test only").table.split.unique().tolist() == ["test"]


@pytest.mark.parametrize("column", ["verb", "label"])
def test_classes_by_name_alone(column: str, tmp_path: Path) -> None:
    frame = table().drop(columns="verb_class").rename(columns={"verb": column})
    frame.loc[[5, 9], column] = None
    found = annotated(frame.assign(verb="other") if column == "label" else frame, tmp_path)
    assert (found.classes, found.ids) == (("fold", "open", "wash"), (0, 1, 2)), "sorted"
    numbers = found.table.set_index("uid")["verb_class"]
    assert numbers.loc[["0", "1", "2"]].tolist() == [1, 2, 0]
    assert numbers.index[numbers.isna()].tolist() == ["5", "9"]
    if column == "label":
        assert ("verb", "other") in found.table["further"][0]


def test_numbers_as_names_sort_as_numbers(tmp_path: Path) -> None:
    frame = table().drop(columns=["verb_class", "verb"]).assign(label=[10, 9, 2, 9] * 4)
    assert annotated(frame, tmp_path).classes == ("2", "9", "10")


def test_participants_may_be_told_by_the_names_of_videos(tmp_path: Path) -> None:
    found = annotated(table().drop(columns="participant_id"), tmp_path).table
    assert found.participant.tolist() == annotated(table(), tmp_path).table.participant.tolist()


# --- the list of classes ----------------------------------------------------------------------------------------

TEN = "zero one open three wash five six seven eight fold".replace(" ", "\n")


def test_a_list_fixes_the_classes(tmp_path: Path) -> None:
    numbered = annotated(table(), tmp_path / "numbered", classes=TEN + "\n\n")
    assert (numbered.classes, numbered.ids) == (tuple(TEN.split()), tuple(range(10)))
    assert numbered.table.verb_class.head(3).tolist() == [2, 4, 9], "line 0 is class 0"
    named = annotated(table().drop(columns="verb_class"), tmp_path / "named", classes="wash\nopen\nfold\nspin")
    assert named.classes == ("wash", "open", "fold", "spin")
    assert named.table.verb_class.head(4).tolist() == [1, 0, 2, 0]


def test_a_data_set_without_any_label_needs_a_list(tmp_path: Path) -> None:
    frame = table().assign(verb_class=None, verb=None)
    with pytest.raises(UserError, match=r"no segment has a label; list the classes in .*classes\.txt"):
        annotated(frame, tmp_path)
    assert annotated(frame, tmp_path, classes="a\nb").classes == ("a", "b")


def test_labels_off_the_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"verb classes that classes\.txt, with 5 lines \(from 0\), lacks: 4, such as uid 2"
    ):
        annotated(table(), tmp_path / "numbered", classes="a\nb\nc\nd\ne")
    with pytest.raises(UserError, match=r"unknown class 'wash'; choose fold, open, washing\. Did you mean 'washing'"):
        annotated(table().drop(columns="verb_class"), tmp_path / "named", classes="fold\nopen\nwashing")


@pytest.mark.parametrize(
    ("classes", "what"),
    [("a\n\nb", "line 2 is empty"), ("a\nb\na", "lists the class 'a' twice"), ("\n", "lists no classes")],
)
def test_bad_lists_are_refused(classes: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"classes\.txt:? {what}"):
        annotated(table(), tmp_path, classes=classes)


# --- bad tables -------------------------------------------------------------------------------------------------

BAD_TABLES = {
    "stop before they start: 1, such as uid 2": edited("stop_frame", 1, rows=[2]),
    "has start_frame '-4'; it must be a whole number": edited("start_frame", -4, rows=[0]),
    "row 4 has stop_frame 'soon'": edited("stop_frame", "soon", rows=[3]),
    "segment 3 has no stop_frame": edited("stop_frame", None, rows=[3]),
    "row 1 has verb_class '1.5'": edited("verb_class", 1.5, rows=[0]),
    "uids given more than once: 2, such as uid 1": edited("uid", 1, rows=[0]),
    "unknown split 'tset'; choose train, test. Did you mean 'test'": edited("split", "tset", rows=[5]),
    "lacks the columns video_id; found uid": table().drop(columns="video_id"),
    "lacks the columns verb_class or verb or label": table().drop(columns=["verb", "verb_class"]),
    "lacks the columns domain": table().drop(columns="domain"),
    "video that has two participants": edited("participant_id", "P09", rows=[1]),
    "'../../x' cannot name a file": edited("video_id", "../../x", rows=[1]),
    "row 2 has no video_id": edited("video_id", None, rows=[1]),
    "has no segments": table().iloc[:0],
}


@pytest.mark.parametrize("message", BAD_TABLES)
def test_bad_tables_are_refused(message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        annotated(BAD_TABLES[message], tmp_path)
    assert message in str(caught.value)


GOOD = b"uid,video_id,start_frame,stop_frame,verb,domain,split\n1,P01_01,1,9,cut,X,train\n"
BAD_FILES = {
    "is not UTF-8": GOOD.replace(b"cut", b"m\xe9lange"),
    "is not UTF-8 ": GOOD.decode().encode("utf-16"),
    "has a NUL byte at character": GOOD.replace(b"cut", b"c\0t"),
    "is empty": b"\n\n",
    "line 3 has 4 cells, but the header has 7": GOOD + b"2,P01_01,1,9\n",
    "line 2 has 8 cells": GOOD[:-1] + b",more\n",
    "has the column 'uid' twice": GOOD.replace(b"verb", b"uid"),
    "as a CSV table": GOOD + b'"2,P01_01',
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_bad_files_are_refused(message: str, tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_bytes(BAD_FILES[message])
    with pytest.raises(UserError) as caught:
        read_annotations(tmp_path)
    assert message.strip() in str(caught.value)
    assert str(tmp_path / "segments.csv") in str(caught.value)


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD + b"\n", GOOD[:-1]])
def test_usual_ways_to_write_a_csv(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_bytes(data)
    assert read_annotations(tmp_path).table[["uid", "verb", "split"]].to_numpy().tolist() == [["1", "cut", "train"]]


def test_text_is_not_taken_for_numbers(tmp_path: Path) -> None:
    frame = table().assign(participant_id="01", video_id="NA")
    found = annotated(frame, tmp_path).table
    assert {*found.participant} == {"01"}
    assert {*found.video} == {"NA"}


def test_cells_of_blanks_are_empty(tmp_path: Path) -> None:
    found = annotated(edited("verb_class", "  ", rows=[4]), tmp_path).table
    assert found.uid[found.verb_class.isna()].tolist() == ["4"]


def test_missing_annotations_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"put segments\.csv, or a pair DOMAIN_train\.pkl"):
        read_annotations(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        load_data(f"epic:{tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match=r"unknown evaluate 'vla'; choose val, test\. Did you mean 'val'"):
        load_data(f"epic:{tmp_path},evaluate=vla")


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


def test_pickles_with_missing_columns_are_named(tmp_path: Path) -> None:
    write_pickles(table(), tmp_path)
    plain = pd.DataFrame({"uid": [1], "verb_class": [1]}).set_axis(
        pd.Index(["uid", "verb_class"], dtype=object), axis=1
    )
    plain.to_pickle(tmp_path / "X_train.pkl")
    with pytest.raises(UserError, match=r"X_train\.pkl lacks the columns video_id, start_frame"):
        read_annotations(tmp_path)


def test_pickles_number_all_classes_or_none(tmp_path: Path) -> None:
    write_pickles(table(), tmp_path)
    columns = ["uid", "video_id", "start_frame", "stop_frame", "verb"]
    plain = table().query("domain == 'X' and split == 'train'")[columns].astype({"video_id": object, "verb": object})
    plain.set_axis(pd.Index(columns, dtype=object), axis=1).to_pickle(tmp_path / "X_train.pkl")
    with pytest.raises(UserError, match=r"X_train\.pkl lacks the column verb_class, which X_test\.pkl has"):
        read_annotations(tmp_path)


# --- names of classes -------------------------------------------------------------------------------------------


def class_names(tmp_path: Path, verbs: list[tuple[int, str]]) -> tuple[str, ...]:
    """Classes of annotations whose rows have these verb classes and verbs."""
    rows = pd.concat([table().iloc[[0]]] * len(verbs), ignore_index=True)
    return annotated(
        rows.assign(uid=range(len(verbs)), verb_class=[c for c, _ in verbs], verb=[v for _, v in verbs]), tmp_path
    ).classes


def test_epic_classes_get_their_canonical_names(tmp_path: Path) -> None:
    raw = [(c, verb) for c, name in enumerate(VERBS) for verb in ("other", "other", name)]
    assert class_names(tmp_path, raw) == VERBS


def test_other_classes_get_their_commonest_verb(tmp_path: Path) -> None:
    eight = [(c, f"act {c}") for c in range(8)] + [(3, "rare"), (3, "act 3")]
    assert class_names(tmp_path / "eight", eight) == tuple(f"act {c}" for c in range(8))
    assert class_names(tmp_path / "same", [(5, "cut"), (7, "cut"), (9, "")]) == ("cut (5)", "cut (7)", "class 9")


# --- the challenge's tables -------------------------------------------------------------------------------------


def challenge(folder: Path, *, skip: str = "", classes: tuple[int, ...] = (0, 96)) -> Path:
    """Six small tables with the names and columns of the challenge's."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, name in enumerate(("source_train", "source_val", "target_val")):
        rows = [
            (f"P{at:02d}_01_{n}", f"P{at:02d}", f"P{at:02d}_01", 1, 9, "cut" if n else "pick", c, "pan")
            for n, c in enumerate(classes)
        ]
        columns = [
            "narration_id",
            "participant_id",
            "video_id",
            "start_frame",
            "stop_frame",
            "verb",
            "verb_class",
            "noun",
        ]
        pd.DataFrame(rows, columns=columns).to_csv(folder / f"EPIC_100_uda_{name}.csv", index=False)
    for at, name in enumerate(("source_test", "target_train", "target_test")):
        rows = [(f"P{at:02d}_10{at}_{n}", f"P{at:02d}", f"P{at:02d}_10{at}", 1, 9) for n in range(3)]
        frame = pd.DataFrame(rows, columns=["narration_id", "participant_id", "video_id", "start_frame", "stop_frame"])
        frame.to_csv(folder / f"EPIC_100_uda_{name}_timestamps.csv", index=False)
    for path in folder.glob(f"*{skip}*") if skip else ():
        path.unlink()
    return folder


def test_challenge_of_epic_100(tmp_path: Path) -> None:
    challenge(tmp_path / "annotations")
    val, test = (read_annotations(tmp_path, evaluate=part) for part in ("val", "test"))
    sizes = {("source", "train"): 2, ("source", "test"): 2, ("target", "train"): 3, ("target", "test"): 2}
    assert val.table.groupby(["domain", "split"]).size().to_dict() == sizes
    assert test.table.groupby(["domain", "split"]).size().to_dict() == sizes | {
        (d, "test"): 3 for d in ("source", "target")
    }
    assert val.classes == test.classes, "what is trained with one part can be tested on the other"
    assert (len(val.classes), val.classes[:2], val.classes[96]) == (97, ("pick", "class 1"), "cut")
    assert val.table.query("domain == 'target'").verb_class.tolist() == [pd.NA] * 3 + [0, 96]
    assert test.table.query("split == 'test'").verb_class.isna().all()
    assert val.table["further"][0] == (("noun", "pan"),)


def test_canonical_names_of_the_challenge(tmp_path: Path) -> None:
    challenge(tmp_path)
    lines = ["id,key,instances,category", *(f"{n},verb{n},[],x" for n in range(97))]
    (tmp_path / "EPIC_100_verb_classes.csv").write_text("\n".join(lines))
    assert read_annotations(tmp_path).classes == tuple(f"verb{n}" for n in range(97))
    (tmp_path / "bad.csv").write_text("id,key\nx,take\n")
    with pytest.raises(UserError, match=r"bad\.csv: column id holds something else"):
        verb_keys(tmp_path / "bad.csv")


def test_challenge_tables_that_lack_something(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks the EPIC_100_uda table of the target's val segments"):
        read_annotations(challenge(tmp_path / "a", skip="target_val"))
    assert len(read_annotations(tmp_path / "a", evaluate="test").table) == 2 + 3 + 3 + 3
    with pytest.raises(UserError, match="verb classes from 97 on: 3, such as uid P00_01_1"):
        read_annotations(challenge(tmp_path / "b", classes=(0, 97)))
    with pytest.raises(UserError, match="has no EPIC_100_uda_source_train"):
        read_epic100_uda(tmp_path)


# --- real data --------------------------------------------------------------------------------------------------


def test_authors_splits(real: Path) -> None:
    annotations = read_annotations(real / "mmsada_splits")
    found = annotations.table
    sizes = found.groupby(["domain", "split"]).size().to_dict()
    counts = {"D1": (1543, 435), "D2": (2495, 750), "D3": (3897, 974)}
    assert sizes == {(d, s): n for d, pair in counts.items() for s, n in zip(("train", "test"), pair, strict=True)}
    assert found.groupby("domain").participant.unique().str.join("").to_dict() == KITCHENS
    classes = found.groupby(["domain", "split", "verb_class"]).size()
    assert {d: tuple(classes[d, "train"]) for d in KITCHENS} == TRAINING_SEGMENTS
    assert tuple(classes["D1", "test"]) == (124, 104, 52, 34, 66, 13, 20, 22)
    assert tuple(classes["D2", "test"]) == (208, 217, 68, 56, 136, 14, 26, 25)
    assert tuple(classes["D3", "test"]) == (241, 280, 102, 71, 245, 29, 1, 5)
    assert annotations.classes == VERBS


def test_real_challenge_tables(real: Path) -> None:
    found = read_epic100_uda(real / "epic100_uda")
    assert found.groupby(["domain", "split"]).size().to_dict() == {
        ("source", "train"): 16115,
        ("source", "val"): 5002,
        ("source", "test"): 4298,
        ("target", "train"): 26115,
        ("target", "val"): 7906,
        ("target", "test"): 5909,
    }
    labelled = found.groupby(["domain", "split"]).verb_class.apply(lambda ids: ids.notna().mean()).to_dict()
    assert {part for part, share in labelled.items() if share == 1} == {
        ("source", "train"),
        ("source", "val"),
        ("target", "val"),
    }
    assert {*labelled.values()} == {0, 1}
    raw = read_table(real / "epic100_uda" / "EPIC_100_uda_target_val.csv").set_index("narration_id")
    ours = found.query("domain == 'target' and split == 'val'").set_index("uid")
    raw = raw.loc[ours.index]
    for new, old in (("start", "start_frame"), ("stop", "stop_frame"), ("verb_class", "verb_class")):
        assert (ours[new].astype("int64") == raw[old].astype("int64")).all()
    assert (ours.video == raw.video_id).all()
