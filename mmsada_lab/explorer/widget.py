"""The explorer in a notebook: the view of the page; clips are sent as they are wanted, uids come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from mmsada_lab.explorer.live import somebody_watches
from mmsada_lab.explorer.page import still_frame, view_source, view_style
from mmsada_lab.explorer.scene import ExplorerScene

_LARGEST = 2_000_000  # bytes of one message; sockets of notebooks end near ten million


class Explorer(anywidget.AnyWidget):
    """An interactive explorer of finished runs.

    Attributes:
        scene: what is shown; `show` replaces it.
        selected: uids of the segments that are selected in the view, to go on with in Python; can be set.
        pinned: uid of the clip that is looked at, or an empty text; can be set.
        view: series and view that are shown, such as ``method/mmsada``; can be set.
    """

    _esm = view_source()
    _css = view_style()
    scene = traitlets.Dict().tag(sync=True)
    selected = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pinned = traitlets.Unicode().tag(sync=True)
    view = traitlets.Unicode().tag(sync=True)

    def __init__(self, scene: ExplorerScene) -> None:
        super().__init__(scene=scene.content)
        self._strips = scene.strips
        self.on_msg(self._answer)

    def show(self, scene: ExplorerScene) -> None:
        """Show another scene in place of this one, in every cell where this one stands.

        What is selected and pinned stays as far as the other scene has it, and so does the view.
        """
        uids = set(scene.content["points"]["uid"])
        self._strips = scene.strips  # before the view, which asks for clips as soon as it has a scene
        with self.hold_sync():
            self.selected = [uid for uid in self.selected if uid in uids]
            self.pinned = self.pinned if self.pinned in uids else ""
            self.scene = scene.content

    def __repr__(self) -> str:
        points = len(self.scene["points"]["uid"])
        return f"Explorer of {self.scene['title']}: {points} segments, {len(self.scene['series'])} series"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and for readers without a kernel the page (gallery, viewers of notebooks)."""
        alone = {"text/plain": repr(self), "text/html": still_frame(ExplorerScene(self.scene, self._strips))}
        shown = super()._repr_mimebundle_(**options) if somebody_watches() else None
        data, metadata = shown if shown is not None else ({}, {})
        return {**data, **alone}, metadata

    def _answer(self, _: object, content: dict[str, Any], buffers: object) -> None:
        """Send the clips of some rows, in messages that a socket lets through."""
        if content.get("kind") != "clips" or self._strips is None:
            return
        for modality, strips in self._strips.coded.items():
            first, stop = (min(max(int(row), 0), len(strips)) for row in content["rows"])
            for begin, end in pieces([len(strip) for strip in strips[first:stop]], _LARGEST):
                of_piece = strips[first + begin : first + end]
                message = {"kind": "clips", "modality": modality, "rows": [first + begin, first + end]}
                self.send({**message, "sizes": [len(strip) for strip in of_piece]}, [b"".join(of_piece)])


def pieces(sizes: Sequence[int], largest: int) -> list[tuple[int, int]]:
    """Cut a row of sizes into stretches of at most `largest` each, or of one where that is larger.

    Example:
        >>> pieces([3, 3, 3, 9, 1], 6)
        [(0, 2), (2, 3), (3, 4), (4, 5)]
    """
    cut, begin, total = [], 0, 0
    for k, size in enumerate(sizes):
        if k > begin and total + size > largest:
            cut.append((begin, k))
            begin, total = k, 0
        total += size
    return [*cut, (begin, len(sizes))] if len(sizes) > begin else cut
