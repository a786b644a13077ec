"""The explorer: domains, clips and predictions of runs, linked, in a notebook and as one page that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsada_lab.errors import UserError

if TYPE_CHECKING:
    from mmsada_lab.explorer.widget import Explorer


def explore(runs_dir: Path | str, **options: Any) -> Explorer:
    """An interactive explorer of finished runs, for the last line of a notebook's cell.

    Args:
        runs_dir: folder or zip file of runs.
        options: of `build_scene`, such as ``source="D1", target="D3"``.

    Returns:
        A widget; its `selected`, `pinned` and `view` follow what is done in it, and can be set.

    Raises:
        UserError: no runs that can be shown, or anywidget is not installed.
    """
    try:
        from mmsada_lab.explorer.widget import Explorer
    except ImportError:
        raise UserError("anywidget is not installed; run pip install -e '.[notebooks]', or mmsada explore") from None
    from mmsada_lab.explorer.scene import build_scene

    return Explorer(build_scene(Path(runs_dir), **options))
