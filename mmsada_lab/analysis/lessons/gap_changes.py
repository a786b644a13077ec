"""What happened to the gap from one method to another, in numbers and in words."""

from __future__ import annotations

import pandas as pd

from mmsada_lab.errors import UserError


def gap_changes(bars: pd.DataFrame, *, measure: str) -> pd.DataFrame:
    """A measure of the gap with the first and with the last method of `gap_bars`, by modality and scope.

    Columns modality, scope, before, after (values as measured), before_row, after_row (titles of the methods), apart
    (whether the arms do not overlap: only then one seed says that the gap has changed; False where there are none).

    Raises:
        UserError: fewer than two methods were measured.

    Example:
        >>> numbers = {"value": [1.0, 1.4], "low": [0.8, 1.3], "high": [1.2, 1.5], "row": ["Source-only", "MM-SADA"]}
        >>> bars = pd.DataFrame({**numbers, "measure": "a_distance", "modality": "rgb", "scope": "all segments"})
        >>> gap_changes(bars, measure="a_distance")[["before", "after", "apart"]].to_numpy().tolist()
        [[1.0, 1.4, True]]
    """
    of_measure = bars[bars["measure"] == measure]
    keys, rows = ["modality", "scope"], list(of_measure["row"].unique())
    if len(rows) < 2:
        raise UserError(f"{measure} was measured of {len(rows)} methods; a change is from one to another, so give two")
    first, last = rows[0], rows[-1]
    before, after = (of_measure[of_measure["row"] == row].set_index(keys) for row in (first, last))
    before, after = before.align(after, join="inner", axis=0)
    apart = (before["high"] < after["low"]) | (after["high"] < before["low"])
    table = pd.DataFrame({"before": before["value"], "after": after["value"], "before_row": first, "after_row": last})
    return table.assign(apart=apart).reset_index()


def tell_changes(changes: pd.DataFrame, *, decimals: int = 2) -> str:
    """`gap_changes` in one sentence.

    Example:
        >>> change = {"modality": ["rgb"], "scope": "all segments", "before": 1.0, "after": 1.4, "apart": False}
        >>> tell_changes(pd.DataFrame({**change, "before_row": "Source-only", "after_row": "MM-SADA"}))
        'From Source-only to MM-SADA: rgb, all segments rises from 1.00 to 1.40 (arms overlap).'
    """
    told = []
    for row in changes.to_dict("records"):
        before, after = f"{row['before']:z.{decimals}f}", f"{row['after']:z.{decimals}f}"
        verb = "stays at" if before == after else "rises from" if row["after"] > row["before"] else "falls from"
        values = before if before == after else f"{before} to {after}"
        arms = "arms do not overlap" if row["apart"] else "arms overlap"
        told.append(f"{row['modality']}, {row['scope']} {verb} {values} ({arms})")
    return f"From {changes['before_row'].iloc[0]} to {changes['after_row'].iloc[0]}: {'; '.join(told)}."
