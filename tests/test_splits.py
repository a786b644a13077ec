"""Splits for any kitchens and verbs: the authors' own, held-out videos, and what cannot be split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmsada_lab.datasets.epic.annotations import read_annotations
from mmsada_lab.errors import UserError
from mmsada_lab.paper import KITCHENS, VERBS
from mmsada_lab.prepare.epic_split import build_split, parse_domains, parse_verbs, write_split


@pytest.fixture(scope="module")
def real() -> Path:
    if "MMSADA_TEST_DATA" not in os.environ:
        pytest.skip("MMSADA_TEST_DATA is not set")
    return Path(os.environ["MMSADA_TEST_DATA"])


NARRATED = {0: ["get", "take", "get"], 1: ["put"], 2: ["rinse", "wash"], 11: ["fold"], 12: [""]}


def rows(*, kitchens: tuple[str, ...] = ("P01", "P02", "P03"), videos: int = 6, uid: str = "uid") -> pd.DataFrame:
    """Labelled segments in the columns of EPIC-55 or, by `narration_id`, of EPIC-100; video k has 5 + k segments."""
    found = []
    for kitchen in kitchens:
        for video in range(1, videos + 1):
            for at in range(5 + video):
                class_id = [*NARRATED][at % 5]
                verb = NARRATED[class_id][at % len(NARRATED[class_id])]
                name = f"{kitchen}_{video:02d}"
                key = len(found) if uid == "uid" else f"{name}_{at}"
                found.append((key, kitchen, name, f"{verb} it", 10 * at, 10 * at + 9, verb, class_id, "pan", "['pan']"))
    columns = [uid, "participant_id", "video_id", "narration", "start_frame", "stop_frame", "verb", "verb_class"]
    return pd.DataFrame(found, columns=[*columns, "noun", "all_nouns"])


def written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(rows(), tmp_path / "train.csv")


TWO: dict[str, Any] = {"X": "P01", "Y": ["P02", "P03"]}


# --- kitchens and verbs -----------------------------------------------------------------------------------------


def test_kitchens_become_domains(source: Path) -> None:
    split = build_split([source], domains=TWO)
    assert split.groupby("domain").participant_id.unique().map(sorted).to_dict() == {"X": ["P01"], "Y": ["P02", "P03"]}
    assert len(split) == len(rows()), "every segment, once"
    assert split.columns.tolist() == [
        *["uid", "participant_id", "video_id", "narration", "noun", "start_frame", "stop_frame", "verb", "verb_class"],
        *["domain", "split", "verb_narrated"],
    ]
    ours = split.set_index(split.uid.astype(int)).sort_index()
    for name in ("video_id", "start_frame", "stop_frame", "verb_class", "narration"):
        assert (ours[name] == rows()[name]).all()


def test_videos_become_domains_by_a_pattern(source: Path) -> None:
    split = build_split([source], domains={"X": "P01_0[1-3]", "Y": ["P01_04", "P01_05"]}, test_fraction=0)
    assert split.groupby("domain").video_id.nunique().to_dict() == {"X": 3, "Y": 2}


@pytest.mark.parametrize(
    ("verbs", "ids"),
    [(None, {0, 1, 2, 11, 12}), (8, {0, 1, 2}), (1, {0}), (["put", "take"], {0, 1}), (["fold"], {11}), (["get"], {0})],
)
def test_verbs_are_chosen_and_class_ids_kept(verbs: Any, ids: set[int], source: Path) -> None:
    split = build_split([source], domains=TWO, verbs=verbs)
    assert {*split.verb_class} == ids
    assert len(split) == rows().verb_class.isin(ids).sum()


def test_verbs_get_canonical_names(source: Path, tmp_path: Path) -> None:
    """The paper knows EPIC-55's first eight; a list of verb classes knows all; else it is the commonest verb."""
    names = {0: "take", 1: "put", 2: "open", 11: "fold", 12: "class 12"}
    assert build_split([source], domains=TWO).groupby("verb_class").verb.unique().str.join("+").to_dict() == names
    listed = tmp_path / "EPIC_verb_classes.csv"
    listed.write_text("verb_id,class_key,verbs\n" + "\n".join(f"{n},key{n},[]" for n in range(13)))
    split = build_split([source], domains=TWO, verbs=["key2", "get"])
    assert split.groupby("verb_class").verb.unique().str.join("+").to_dict() == {0: "key0", 2: "key2"}
    assert {*split.verb_narrated[split.verb_class == 0]} == {"get", "take"}
    moved = listed.rename(tmp_path / "other.csv")
    assert {*build_split([source], domains=TWO, verbs=["key1"], verb_classes=moved).verb} == {"key1"}


def test_tables_of_epic_100(tmp_path: Path) -> None:
    path = written(rows(uid="narration_id"), tmp_path / "EPIC_100_train.csv")
    split = build_split([path], domains=TWO, verbs=["take", "wash"])
    assert split.groupby("verb_class").verb.unique().str.join("+").to_dict() == {0: "take", 2: "wash"}
    assert split.uid.str.match(r"P0\d_0\d_\d").all()
    assert {*build_split([path], domains=TWO, verbs=1).verb} == {"get"}, "the commonest, where no list tells"


# --- the test part ----------------------------------------------------------------------------------------------


def test_nothing_is_held_out_of_a_fraction_of_0(source: Path) -> None:
    assert {*build_split([source], domains=TWO, test_fraction=0).split} == {"train"}


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_whole_videos_are_held_out(fraction: float, seed: int, source: Path) -> None:
    split = build_split([source], domains=TWO, test_fraction=fraction, seed=seed)
    assert (split.groupby("video_id").split.nunique() == 1).all()
    shares = (split.split == "test").groupby(split.domain).mean()
    assert (abs(shares - fraction) < 0.06).all(), shares
    assert (split.groupby("domain").split.nunique() == 2).all()


def test_seeds_choose_and_domains_do_not_disturb_each_other(tmp_path: Path) -> None:
    source = written(rows(videos=12), tmp_path / "train.csv")
    held_out = [build_split([source], domains=TWO, seed=seed).query("split == 'test'") for seed in range(6)]
    assert len({tuple(part.uid) for part in held_out}) == 6
    again = build_split([source], domains=TWO, seed=3)
    assert tuple(again.uid[again.split == "test"]) == tuple(held_out[3].uid)
    alone = build_split([source], domains={"Y": TWO["Y"]}, seed=3)
    pd.testing.assert_frame_equal(alone, again[again.domain == "Y"].reset_index(drop=True))
    shuffled = written(rows(videos=12).sample(frac=1, random_state=1), tmp_path / "shuffled.csv")
    pd.testing.assert_frame_equal(build_split([shuffled], domains=TWO, seed=3), again)


def test_a_domain_of_two_videos_keeps_one(tmp_path: Path) -> None:
    source = written(rows(kitchens=("P01",), videos=2), tmp_path / "train.csv")
    for fraction in (0.01, 0.99):
        split = build_split([source], domains={"X": "P01"}, test_fraction=fraction)
        assert split.groupby("split").video_id.nunique().to_dict() == {"train": 1, "test": 1}


def test_test_part_from_another_table(source: Path, tmp_path: Path) -> None:
    more = rows(videos=8).query("video_id.str[-2:] > '06'").assign(uid=lambda t: t.uid + 1000)
    other = written(more[more.participant_id != "P03"], tmp_path / "validation.csv")
    split = build_split([source], domains=TWO, verbs=["take", "fold"], test=[other], test_fraction=0.9)
    train, test = (split[split.split == part] for part in ("train", "test"))
    assert len(train) == rows().verb_class.isin([0, 11]).sum(), "the fraction plays no part"
    assert {*test.video_id} == {"P01_07", "P01_08", "P02_07", "P02_08"}
    assert {*test.verb_class} == {0, 11}


# --- what cannot be split ---------------------------------------------------------------------------------------


def refused(message: str, sources: list[Path], **options: Any) -> None:
    with pytest.raises(UserError) as caught:
        build_split(sources, **({"domains": TWO} | options))
    assert message in str(caught.value)


def test_impossible_splits_are_explained(source: Path, tmp_path: Path) -> None:
    refused("unknown kitchen 'P04'; choose P01, P02, P03. Did you mean", [source], domains={"X": "P04"})
    refused(
        "unknown verb 'foldd'; choose take, put, open, fold, class 12. Did you mean 'fold'?", [source], verbs=["foldd"]
    )
    refused("segments that belong to two domains: 102, such as uid 0", [source], domains={"X": "P01", "Y": "P0?_*"})
    refused("no domains were given", [source], domains={})
    refused("no annotations were given", [])
    refused("test_fraction is 1.5; give a share from 0", [source], test_fraction=1.5)
    refused("test_fraction is -0.1", [source], test_fraction=-0.1)
    refused("seed is -1; give a whole number from 0", [source], seed=-1)
    refused("domain X has only the video P01_02; whole videos are held out", [source], domains={"X": "P01_02"})
    refused(
        "test segments of videos that are in the training part",
        [source],
        test=[written(rows().assign(uid=lambda t: t.uid + 999), tmp_path / "same.csv")],
    )
    refused(
        "uids given more than once",
        [source],
        test=[written(rows().assign(video_id="P01_77", participant_id="P01"), tmp_path / "uids.csv")],
    )
    refused("uids that several of the tables have", [source, source.with_name("..") / tmp_path.name / "train.csv"])
    few = written(rows().query("verb_class != 11 or participant_id == 'P01'"), tmp_path / "few.csv")
    refused("domain Y has no training segments of these verbs", [few], verbs=["fold"])


def test_tables_without_labels_are_explained(source: Path, tmp_path: Path) -> None:
    bare = written(rows().drop(columns=["verb", "verb_class"]), tmp_path / "timestamps.csv")
    refused("timestamps.csv has no verb_class, so no verbs can be chosen from it", [bare])
    refused("hold out videos of a labelled table with test_fraction", [source], test=[bare])
    hole = written(
        rows().astype({"verb_class": object}).assign(verb_class=lambda t: t.verb_class.where(t.uid > 2)),
        tmp_path / "hole.csv",
    )
    refused("hole.csv: segments without verb_class: 3, such as uid 0", [hole])
    other = written(rows(uid="narration_id"), tmp_path / "epic100.csv")
    refused("epic100.csv lacks the column uid: the class ids of EPIC-55 and EPIC-100 differ", [source, other])


# --- writing and the command line -------------------------------------------------------------------------------


def test_what_is_written_is_what_the_format_reads(source: Path, tmp_path: Path) -> None:
    split = build_split([source], domains=TWO, verbs=["put", "take", "fold"])
    root = tmp_path / "root"
    root.mkdir()
    assert write_split(split, root) == root / "segments.csv"
    found = read_annotations(root)
    assert (found.classes, found.ids) == (("take", "put", "fold"), (0, 1, 11))
    for ours, theirs in {
        "uid": "uid",
        "video": "video_id",
        "start": "start_frame",
        "stop": "stop_frame",
        "domain": "domain",
        "split": "split",
        "verb": "verb",
        "verb_class": "verb_class",
    }.items():
        assert found.table[ours].astype(str).tolist() == split[theirs].astype(str).tolist()
    assert dict(found.table["further"][0])["verb_narrated"] == split.verb_narrated[0]


def test_a_split_is_written_once(source: Path, tmp_path: Path) -> None:
    first, second = (build_split([source], domains=TWO, seed=seed) for seed in (0, 1))
    path = tmp_path / "new" / "split.csv"
    write_split(first, path)
    content = path.read_bytes()
    with pytest.raises(UserError, match=r"split\.csv is there already; choose another place"):
        write_split(second, path)
    assert path.read_bytes() == content
    write_split(second, path, overwrite=True)
    assert path.read_bytes() != content
    assert [p.name for p in path.parent.iterdir()] == ["split.csv"]


def test_words_of_the_command_line() -> None:
    assert parse_domains(["D1=P08", "D2=P01+P22", "T=P01_1??"]) == {
        "D1": ("P08",),
        "D2": ("P01", "P22"),
        "T": ("P01_1??",),
    }
    for bad in ("D1", "=P08", "D1=", "D1=P08+"):
        with pytest.raises(UserError, match="cannot be read; write NAME=KITCHEN"):
            parse_domains([bad])
    with pytest.raises(UserError, match="domain D1 was given twice"):
        parse_domains(["D1=P08", "D1=P01"])
    assert parse_verbs("take, put") == ("take", "put")
    assert (parse_verbs("first-8"), parse_verbs("")) == (8, None)
    for bad in ("first-", "first-0", "first-x"):
        with pytest.raises(UserError, match="write first-8"):
            parse_verbs(bad)


# --- real data --------------------------------------------------------------------------------------------------


def test_authors_training_sets_are_built_uid_for_uid(real: Path) -> None:
    split = build_split(
        [real / "epic55" / "EPIC_train_action_labels.csv"], domains=KITCHENS, verbs=VERBS, test_fraction=0
    )
    theirs = read_annotations(real / "mmsada_splits").table.query("split == 'train'").reset_index(drop=True)
    assert len(split) == 1543 + 2495 + 3897
    for ours, name in {
        "uid": "uid",
        "domain": "domain",
        "video_id": "video",
        "start_frame": "start",
        "stop_frame": "stop",
        "verb_class": "verb_class",
        "verb_narrated": "verb",
    }.items():
        assert split[ours].tolist() == theirs[name].tolist(), name
    assert split.drop_duplicates("verb_class").set_index("verb_class").verb.sort_index().tolist() == list(VERBS)


def test_held_out_videos_of_real_kitchens(real: Path, tmp_path: Path) -> None:
    epic = pd.read_csv(real / "epic55" / "EPIC_train_action_labels.csv", dtype=str)
    source = written(epic[epic.participant_id.isin(KITCHENS.values())], tmp_path / "train.csv")
    split = build_split([source], domains=KITCHENS, verbs=8)
    shares = (split.split == "test").groupby(split.domain).mean()
    assert (abs(shares - 0.2) < 0.005).all(), shares
    assert (split.groupby("video_id").split.nunique() == 1).all()
    assert len(split) == 7935


def test_real_tables_of_epic_100(real: Path) -> None:
    folder = real / "epic100_uda"
    domains = {"A": ["P01", "P02"], "B": "P22"}
    split = build_split([folder / "EPIC_100_uda_source_train.csv"], domains=domains, verbs=["take", "put", "wash"])
    raw = pd.read_csv(folder / "EPIC_100_uda_source_train.csv")
    raw = raw[raw.participant_id.isin(["P01", "P02", "P22"]) & raw.verb_class.isin([0, 1, 2])]
    assert {*split.uid} == {*raw.narration_id}
    assert split.groupby("verb").verb_class.unique().str[0].to_dict() == {"take": 0, "put": 1, "wash": 2}


def test_real_test_sets_have_no_labels(real: Path) -> None:
    timestamps = real / "epic55" / "EPIC_test_s1_timestamps.csv"
    refused("EPIC_test_s1_timestamps.csv has no verb_class", [timestamps], domains=KITCHENS)
