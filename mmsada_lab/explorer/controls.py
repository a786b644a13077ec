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
        player: buttons that play a control, if there is one to be played.

    Args:
        controls: name -> the control; its value is the argument of that name.
        show: what is shown at some values.
        play: name of an integer control that play, pause and stop move from its lowest value to its highest.
        tick: milliseconds from one value to the next.
    """

    def __init__(
        self, controls: Mapping[str, Any], show: Callable[..., Shown], *, play: str = "", tick: int = 200
    ) -> None:
        super().__init__()
        self.controls, self._show = dict(controls), show
        self.shown = self._ask()
        self._sentence, self._screen = widgets.HTML(), _screen_for(self.shown.picture)
        self._put()
        self.player = _player(self.controls[play], tick) if play else None
        below = [self.player, self._sentence, self._screen]
        self.children = [*self.controls.values(), *(widget for widget in below if widget is not None)]
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
                _draw_on(self._screen, picture)
        else:
            self._screen.value = picture.png if isinstance(picture, AnimatedPng) else picture

    def __repr__(self) -> str:
        states = (f"{c.description} = {getattr(c, 'label', c.value)}" for c in self.controls.values())
        return f"Controls: {'; '.join(states)}. {self.shown.sentence}".strip()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        alone = {**_alone(self.shown), "text/plain": repr(self)}
        return {**super()._repr_mimebundle_(**options), **alone} if somebody_watches() else alone


def _player(control: Any, tick: int) -> Any:
    """Buttons that move an integer control; linked in the browser, so that the kernel hears of each value once."""
    limits = {"min": control.min, "max": control.max, "step": control.step, "value": control.value}
    player = widgets.Play(interval=tick, show_repeat=False, **limits)
    player.link = widgets.jslink((player, "value"), (control, "value"))
    return player


def _draw_on(screen: Any, picture: go.Figure) -> None:
    """Show another figure; one with the same traces moves them, so that a game that is played does not flicker."""
    with screen.batch_update():
        if [trace.type for trace in screen.data] == [trace.type for trace in picture.data]:
            for trace, new in zip(screen.data, picture.data, strict=True):
                looks = new.to_plotly_json()
                gone = dict.fromkeys(trace.to_plotly_json().keys() - looks.keys() - {"type", "uid"})
                trace.update({**gone, **looks}, overwrite=True)
        else:
            screen.data = []
            screen.add_traces(picture.data)
        screen.layout = picture.layout


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
