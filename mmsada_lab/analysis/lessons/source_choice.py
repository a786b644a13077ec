"""What the source's labels say of a swept weight, beside what the target's would have said; data first."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.errors import UserError

_SIDES = {"source_accuracy": "source", "top1": "target"}


def source_choice(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on either side at each value of a sweep, mean over pairs.

    Args:
        scores: of `value_scores`, percent.

    Returns:
        Columns side (source, target), value, mean (percent; over seeds of all worlds), sd (of the seeds' means over
        pairs; missing for one), seeds. Seeds that lack a pair are left out.

    Raises:
        UserError: scores without the accuracy on the source.

    Example:
        >>> scores = pd.DataFrame({"value": [0.0, 1.0], "world": 0, "seed": 0, "top1": [60.0, 64.0]})
        >>> points = source_choice(scores.assign(source_accuracy=[91.0, 90.0]))
        >>> points[["side", "mean"]].to_numpy().tolist()
        [['source', 91.0], ['source', 90.0], ['target', 60.0], ['target', 64.0]]
    """
    if "source_accuracy" not in scores:
        raise UserError("these runs have no accuracy on the source in their history; train them again")
    of_seeds = scores.groupby(["value", "world", "seed"])[list(_SIDES)]
    complete = of_seeds.mean()[of_seeds.size() == of_seeds.size().max()].groupby(level="value")
    sides = [
        pd.DataFrame(
            {"side": side, "mean": complete[name].mean(), "sd": complete[name].std(), "seeds": complete.size()}
        )
        for name, side in _SIDES.items()
    ]
    return pd.concat([side.reset_index() for side in sides], ignore_index=True)


@hover_in_words
def draw_source_choice(points: pd.DataFrame, *, name: str, title: str = "What would the source choose?") -> go.Figure:
    """Draw `source_choice`: a line per side in its colour, with error bars of one sd over seeds.

    Example:
        >>> points = pd.DataFrame({"side": ["source", "target"], "value": 1.0, "mean": 60.0, "sd": 1.0, "seeds": 4})
        >>> [trace.name for trace in draw_source_choice(points, name="λ").data]
        ['test segments of the source', 'test segments of the target']
    """
    figure = style.empty_figure(title)
    for number, (side, line) in enumerate(points.groupby("side", sort=False)):
        look = {"mode": "lines+markers", "line": style.line(style.DOMAIN_COLOURS[str(side)], number)}
        figure.add_scatter(
            x=style.categories(line["value"]),
            y=style.to_list(line["mean"], 2),
            error_y=style.error_bars(line["sd"].round(2)),
            name=f"test segments of the {side}",
            **look,
        )
    spread = style.write_spread(points["seeds"], "seeds of all worlds")
    figure.update_xaxes(title=name, type="category")
    return figure.update_layout(yaxis_title=style.on_two_lines("top-1, mean over pairs (%)", spread), showlegend=True)
