"""Which batches are at work in a runs folder, so that no two of them want the same run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmsada_lab.errors import UserError
from mmsada_lab.runs import now, write_json

FOLDER = ".batches"


@contextmanager
def claimed(runs_dir: Path, digests: Iterable[str]) -> Iterator[Path]:
    """Hold some runs of a folder for one batch; other batches may work on others. A claim goes with its process.

    Args:
        runs_dir: where run folders lie.
        digests: of the configurations the batch will run.

    Returns:
        The claim's file, which is there as long as the batch.

    Raises:
        UserError: if a batch that is still at work wants one of them, or the folder cannot be written.
    """
    folder, wanted = runs_dir / FOLDER, sorted(digests)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to the runs folder {runs_dir}: {error}; choose another") from error
    who = {"host": platform.node(), "process": os.getpid(), "started": now(), "digests": wanted}
    mine = folder / f"{who['host']}-{who['process']}.json"
    with FileLock(folder / "register.lock"):
        _refuse_overlap(folder, set(wanted))
        held = FileLock(mine.with_suffix(".held"), timeout=0)
        held.acquire()
        write_json(mine, who)
    try:
        yield mine
    finally:
        _forget(mine)
        held.release()


def _refuse_overlap(folder: Path, wanted: set[str]) -> None:
    for other in sorted(folder.glob("*.json")):
        try:
            with FileLock(other.with_suffix(".held"), timeout=0):
                _forget(other)  # its process is gone
        except Timeout:
            found = json.loads(other.read_text())
            if common := wanted & set(found["digests"]):
                raise UserError(
                    f"another batch (process {found['process']} on {found['host']}, since {found['started']}) is at "
                    f"{len(common)} of these runs in {folder.parent}; wait for it or stop it, then start again"
                ) from None


def _forget(claim: Path) -> None:
    claim.unlink(missing_ok=True)
    claim.with_suffix(".held").unlink(missing_ok=True)
