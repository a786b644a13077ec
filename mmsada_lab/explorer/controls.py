"""Controls above the picture that they change; where nobody can move them, the picture alone, as any other figure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go
from markupsafe import escape

from mmsada_lab.analysis.lessons.clip_grid import AnimatedPng
from mmsada_lab.errors import UserError
from mmsada_lab.explorer.live import somebody_watches

try:
    import anywidget  # noqa: F401  (figures that change are its widgets)
    import ipywidgets as widgets
except ImportError as error:
    raise UserError(f"{error.name} is not installed; run pip install -e '.[notebooks]', or use the figures") from None

__all__ = ["WIDE", "Controls", "Shown", "widgets"]

WIDE: dict[str, Any] = {"style": {"description_width": "22em"}, "layout": {"width": "46em", "max_width": "100%"}}
"""How a control looks: a description with its unit takes more room than usual."""


class Shown(NamedTuple):
    """A picture (a figure, a PNG or HTML), and a sentence on what it shows."""

    picture: go.Figure | AnimatedPng | str
    sentence: str = ""


class Controls(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Controls, a sentence and a picture, each below the other.

    Attributes:
        controls: name -> the control; setting its `value` is the same as moving it.
        shown: the picture and the sentence as they are now.
    """

    def __init__(self, controls: Mapping[str, Any], show: Callable[..., Shown]) -> None:
        super().__init__()
        self.controls, self._show = dict(controls), show
        self.shown = self._ask()
        self._sentence, self._screen = widgets.HTML(), _screen_for(self.shown.picture)
        self._put()
        self.children = [*self.controls.values(), self._sentence, *([self._screen] if self._screen else [])]
        for control in self.controls.values():
            control.observe(self._move, names="value")

    def _ask(self) -> Shown:
        return self._show(**{name: control.value for name, control in self.controls.items()})

    def _move(self, _: object) -> None:
        try:
            self.shown = self._ask()
        except UserError as error:  # in a callback it would be lost
            self._sentence.value = f"<b>not shown:</b> {escape(str(error))}"
        else:
            self._put()

    def _put(self) -> None:
        picture, self._sentence.value = self.shown.picture, str(escape(self.shown.sentence))
        if isinstance(picture, go.Figure):
            if self._screen is not None:
                with self._screen.batch_update():
                    self._screen.data = []
                    self._screen.add_traces(picture.data)
                    self._screen.layout = picture.layout
        else:
            self._screen.value = picture.png if isinstance(picture, AnimatedPng) else picture

    def __repr__(self) -> str:
        states = (f"{c.description} = {getattr(c, 'label', c.value)}" for c in self.controls.values())
        return f"Controls: {'; '.join(states)}. {self.shown.sentence}".strip()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        alone = {**_alone(self.shown), "text/plain": repr(self)}
        return {**super()._repr_mimebundle_(**options), **alone} if somebody_watches() else alone


def _screen_for(picture: object) -> Any:
    """The widget that shows pictures of a kind; none for a figure that nobody can change: it takes megabytes."""
    if isinstance(picture, AnimatedPng):
        return widgets.Image(format="png", layout={"object_fit": "contain", "align_self": "flex-start"})
    if isinstance(picture, str):
        return widgets.HTML()
    return go.FigureWidget() if somebody_watches() else None


def _alone(shown: Shown) -> dict[str, Any]:
    """A picture as a notebook stores it."""
    picture = shown.picture
    if isinstance(picture, AnimatedPng):
        return {"image/png": base64.b64encode(picture.png).decode()}
    if isinstance(picture, str):
        return {"text/html": f"<p>{escape(shown.sentence)}</p>{picture}"}
    from plotly.io import renderers

    return dict(renderers["plotly_mimetype"].to_mimebundle(picture.to_dict()))
