"""Folders that appear whole or not at all, and what is left when writing fails."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmsada_lab.files import DRAFT, remove_drafts, write_atomic, write_folder


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, and its text."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(path: Path, *files: str, replace: bool = False, then: Callable[[], None] = lambda: None) -> None:
    """Write a folder of empty files; `then` is called before it is complete."""
    with write_folder(path, replace=replace) as draft:
        for name in files:
            (draft / name).write_text("")
        then()


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "frames"
    with write_folder(path) as draft:
        (draft / "u").mkdir()
        (draft / "u" / "1.jpg").write_text("one")
        assert not path.exists()
    assert contents(tmp_path) == {"new/frames/u/1.jpg": "one"}
    assert list(path.parent.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_writer_leaves_what_was_there(tmp_path: Path, error: BaseException, replace: bool) -> None:
    path = tmp_path / "frames"
    path.mkdir()
    (path / "1.jpg").write_text("old")

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        fill(path, "1.jpg", replace=replace, then=fail)
    assert contents(tmp_path) == {"frames/1.jpg": "old"}
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.mkdir()  # an empty folder is none
    fill(path, "1.jpg")
    with pytest.raises(FileExistsError, match="frames"):
        fill(path, "2.jpg")
    assert contents(tmp_path) == {"frames/1.jpg": ""}
    fill(path, "2.jpg", replace=True)
    assert contents(tmp_path) == {"frames/2.jpg": ""}
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    with pytest.raises(FileExistsError):
        fill(path, "slow.jpg", then=lambda: fill(path, "fast.jpg"))
    assert contents(tmp_path) == {"frames/fast.jpg": ""}


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "frames").write_text("a file")
    with pytest.raises(FileExistsError):
        fill(tmp_path / "frames", replace=replace)
    with pytest.raises(OSError, match="frames"):
        fill(tmp_path / "frames" / "inside", replace=replace)
    assert contents(tmp_path) == {"frames": "a file"}


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = tmp_path / "frames", Path.rename
    path.mkdir()
    (path / "1.jpg").write_text("old")

    def fail(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise PermissionError(13, "Permission denied", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(PermissionError):
        fill(path, "2.jpg", replace=True)
    assert contents(tmp_path) == {"frames/1.jpg": "old"}


def test_drafts_of_killed_writers_are_removed_to_a_depth(tmp_path: Path) -> None:
    path = tmp_path / "rgb" / "D1" / "video"
    with write_folder(path) as draft:
        (draft / f".deep{DRAFT}").write_text("part of the video")
    for folder in (tmp_path, tmp_path / "rgb" / "D1"):
        (folder / f".killed.a1b2{DRAFT}" / "new").mkdir(parents=True)
        (folder / f".killed.json{DRAFT}").write_text("")
    (tmp_path / f"mine{DRAFT}").write_text("")
    remove_drafts(tmp_path, depth=2)
    assert contents(tmp_path) == {f"mine{DRAFT}": "", f"rgb/D1/video/.deep{DRAFT}": "part of the video"}
    assert sorted(entry.name for entry in (tmp_path / "rgb" / "D1").iterdir()) == ["video"]


def test_drafts_of_others_at_work_stay(tmp_path: Path) -> None:
    for name, age in ((f".killed{DRAFT}", 4000), (f".being-written{DRAFT}", 10)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_drafts(tmp_path, depth=0, older_than=3600)
    assert [entry.name for entry in tmp_path.iterdir()] == [f".being-written{DRAFT}"]


def test_unfinished_files_and_folders_are_drafts(tmp_path: Path) -> None:
    """`remove_drafts` finds what either function would leave if it was killed now."""

    def look(_: object) -> None:
        hidden = [entry.name for entry in tmp_path.iterdir()]
        assert hidden
        assert all(name.startswith(".x.") and name.endswith(DRAFT) for name in hidden)

    write_atomic(tmp_path / "x", look)
    (tmp_path / "x").unlink()
    fill(tmp_path / "x", then=lambda: look(None))
