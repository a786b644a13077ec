"""Copies the figures of the benchmarks' JSON files into README.md beside them, between markers.

    python benchmarks/tables.py            # rewrite
    python benchmarks/tables.py --check    # fail if the page and the files differ

A marker is ``<!-- step.json -->``; what stands between it and ``<!-- end -->`` is what this script writes. Of a file
that does not exist it says so.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_BLOCK = re.compile(r"<!-- (\w+\.json) -->\n.*?<!-- end -->", re.DOTALL)


def filled(page: str, folder: Path) -> str:
    """The page with every block made anew from the files of a folder."""
    return _BLOCK.sub(lambda found: f"<!-- {found[1]} -->\n{block(folder / found[1])}<!-- end -->", page)


def block(path: Path) -> str:
    """What is said of one file: where and when it was measured, and its tables."""
    if not path.exists():
        return "\nNot measured yet.\n\n"
    report = json.loads(path.read_text())
    quick = " A test's size: these figures mean nothing." if report.get("quick") else ""
    where = f"{report['device']}, torch {report['versions']['torch']}, {report['date']}.{quick}"
    return "\n".join(["", where, "", *map(markdown, report["tables"])]) + "\n"


def markdown(table: Mapping[str, Any]) -> str:
    """One table, its title above it."""
    columns: Sequence[str] = table["columns"]
    rule = ["---", *["---:"] * (len(columns) - 1)]
    lines = [columns, rule, *([cell(value) for value in row] for row in table["rows"])]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table['title']}:\n\n{rows}\n"


def cell(value: object) -> str:
    """A value as `measure.shown` prints it, without needing torch."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|")


def main() -> None:
    """Rewrite the page, or say that it is out of date."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--check", action="store_true", help="change nothing; fail if something would change")
    made.add_argument("--page", type=Path, default=HERE / "README.md", help="(%(default)s)")
    options = made.parse_args()
    page = options.page.read_text()
    found = filled(page, options.page.parent)
    if options.check and found != page:
        raise SystemExit(f"{options.page} differs from the JSON files; run python benchmarks/tables.py")
    if not options.check:
        options.page.write_text(found)


if __name__ == "__main__":
    main()
