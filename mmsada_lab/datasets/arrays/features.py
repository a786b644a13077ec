"""The format `features:DIR`: features of segments, one or several a segment.

    DIR/segments.csv, DIR/classes.txt   as for `arrays:DIR`
    DIR/rgb.npz                         modality "rgb": arrays `uid` (N,) and, in the same order,
                                        `features` (N, T, F) or (N, F)
    DIR/rgb.npy, DIR/rgb/UID.npy        or as for `arrays:DIR`

or, as EPIC-100's challenge of unsupervised domain adaptation gives them out,

    DIR/source_train.pkl, source_val.pkl, target_train.pkl, target_val.pkl (and source_test.pkl, target_test.pkl)
    DIR/EPIC_100_uda_*.csv              or in DIR/annotations

where a pickle is a dict of `narration_ids` (N,) and `features`, a dict of `(N, T, F)` by modality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.clips.segments import MultiDomainData
from mmsada_lab.datasets.arrays.assembly import FoundModality, assemble
from mmsada_lab.datasets.arrays.challenge import find_pickles, read_challenge
from mmsada_lab.datasets.arrays.files import locate_npz
from mmsada_lab.datasets.arrays.loader import check_modality, find_arrays, modality_files, row_numbers, stack, uid_text
from mmsada_lab.datasets.arrays.readers import sample_spec
from mmsada_lab.datasets.arrays.table import ARRAY_COLUMNS, SegmentTable, check_rows, read_array_table
from mmsada_lab.datasets.folders import count, open_folder, slug
from mmsada_lab.datasets.tables import CLASSES_TXT, SEGMENTS_CSV, write_segments
from mmsada_lab.errors import UserError
from mmsada_lab.files import write_atomic, write_whole


def load_features(root: Path | str, *, missing: str = "error", evaluate: str = "val") -> MultiDomainData:
    """Load a folder of features; of large files only headers and uids are read.

    Args:
        root: the folder.
        missing: what becomes of a segment that lacks a modality: ``error`` or ``drop``.
        evaluate: which split of the challenge is the test part: its labelled ``val`` or its ``test``. A table of
            one's own names the test part itself.

    Raises:
        UserError: table or features are missing, damaged, or do not fit each other.
    """
    root = open_folder(root, content="the features")
    notes: Sequence[str] = ()
    if (root / SEGMENTS_CSV).is_file():
        table = read_array_table(root)
        modalities = _find_features(root, table)
    elif pickles := find_pickles(root):
        table, modalities, notes = read_challenge(root, pickles, evaluate=evaluate)
    else:
        raise UserError(
            f"{root} has neither a table {SEGMENTS_CSV} (columns {', '.join(ARRAY_COLUMNS)}) with features "
            "MODALITY.npz beside it, nor the challenge's source_train.pkl, source_val.pkl, target_train.pkl and "
            "target_val.pkl"
        )
    return assemble(f"features-{slug(root)}", table, modalities=modalities, missing=missing, notes=notes)


def _find_features(root: Path, table: SegmentTable) -> dict[str, FoundModality]:
    archives = modality_files(root, ".npz")
    modalities = find_arrays(root, table)
    if both := sorted(modalities.keys() & archives.keys()):
        raise UserError(f"{root} has {both[0]} as .npz and as .npy; remove one of them")
    modalities |= {modality: _find_archive(path, table) for modality, path in archives.items()}
    if not modalities:
        raise UserError(f"no features in {root}: no file MODALITY.npz with arrays uid and features, nor MODALITY.npy")
    return dict(sorted(modalities.items()))


def _find_archive(path: Path, table: SegmentTable) -> FoundModality:
    uid, features = locate_npz(path, ("uid", "features"))
    if len(uid.shape) != 1 or features.shape[:1] != uid.shape:
        raise UserError(f"{path} has {uid.shape} uids for features {features.shape}; each row needs one uid")
    if uid.dtype.kind not in "USiu":
        raise UserError(f"{path} has uids of type {uid.dtype}; make them text with np.array(uids, dtype=str)")
    numbers = row_numbers(uid_text(uid.open()), str(path))
    rows = {row.uid: (0, numbers[row.uid]) for row in table.rows if row.uid in numbers}
    if not rows:
        there, here = table.rows[0].uid, next(iter(numbers))
        raise UserError(f"{path} has no uid of {table.place}; there it is {there!r}, here {here!r}")
    ignored = [name for name in numbers if name not in rows]
    note = (f"ignored {count(ignored, 'row', of=len(numbers))} of {path} that {table.place} does not list",)
    return stack([features], rows, sizes=[f"{path.name} {path.stat().st_size}"], notes=note if ignored else ())


def write_features(
    root: Path, table: pd.DataFrame, features: Mapping[str, NDArray[Any]], *, classes: Sequence[str] = ()
) -> None:
    """Write features as `load_features` reads them: `segments.csv` and an `.npz` for each modality.

    The table is written last and removed first, so that a folder that has one is complete.

    Args:
        root: the folder; made if it is not there.
        table: a row for each segment; columns uid, domain, split, label (empty or missing where unknown), and any
            others.
        features: `(N, T, F)` or `(N, F)` by modality, rows as in the table.
        classes: class names in their order; written if given, otherwise they follow from the labels.

    Raises:
        UserError: rows and features do not fit, a table could not be read back, or the folder holds other features.
    """
    text = table.rename(columns=str).apply(lambda cells: ["" if pd.isna(c) else str(c).strip() for c in cells])
    rows = check_rows(text.astype(object), "the table of features")
    _check_shapes(root, features, len(rows))
    root = root.expanduser()
    _refuse_others(root, features)
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / SEGMENTS_CSV).unlink(missing_ok=True)
        (root / CLASSES_TXT).unlink(missing_ok=True)
        for modality, array in features.items():
            _write_archive(root / f"{modality}.npz", [row.uid for row in rows], array)
    except OSError as error:
        raise UserError(f"cannot write features into {root}: {error.strerror}; choose another folder") from error
    if classes:
        write_whole(root / CLASSES_TXT, "".join(f"{name}\n" for name in classes).encode())
    further = [name for name in text.columns if name not in ARRAY_COLUMNS]
    write_segments(root / SEGMENTS_CSV, text[[*ARRAY_COLUMNS, *further]])


def _check_shapes(root: Path, features: Mapping[str, NDArray[Any]], rows: int) -> None:
    for modality, array in features.items():
        sample_spec(array.dtype, array.shape[1:], f"modality {check_modality(modality, root)}")
        if len(array) != rows:
            raise UserError(f"modality {modality} has {len(array)} rows, but the table of features has {rows}")


def _refuse_others(root: Path, features: Mapping[str, NDArray[Any]]) -> None:
    """Old features of a modality that is not written now would be read together with the new ones."""
    if not features:
        raise UserError("no features to write; give at least one modality")
    written = {f"{modality}.npz" for modality in features}
    others = [p.name for s in ("npy", "npz") for p in sorted(root.glob(f"*.{s}")) if p.name not in written]
    others += sorted(p.parent.name for p in root.glob("*/*.npy"))
    if others:
        raise UserError(f"{root} already holds {others[0]}; remove it or choose another folder")


def _write_archive(path: Path, uids: Sequence[str], array: NDArray[Any]) -> None:
    # Not compressed: features hardly shrink, and what is stored as it is can be memory-mapped.
    names = np.array(uids, dtype=str)
    write_atomic(path, lambda file: np.savez(file, allow_pickle=False, uid=names, features=array))
