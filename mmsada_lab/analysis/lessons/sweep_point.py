"""One value of a swept option beside the others: accuracy, opponents and label-free scores; data first."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmsada_lab.analysis import style
from mmsada_lab.analysis.game import opponent
from mmsada_lab.analysis.hover import hover_in_words
from mmsada_lab.analysis.selection import RULES, rule_title
from mmsada_lab.errors import UserError

_COLUMNS = ["group", "name", "value", "mean", "sd", "worlds", "seeds", "place", "chosen"]


def sweep_points(
    means: pd.DataFrame, *, value: float, game: pd.DataFrame | None = None, scores: pd.DataFrame | None = None
) -> pd.DataFrame:
    """What a sweep says at every value, and which of the values is looked at.

    Args:
        means: from `sweep_means`.
        value: the one that is looked at, of these means.
        game: from `sweep_game`.
        scores: from `value_scores`; only runs whose pair, seed and world have every value count, so that a score
            differs between values for no other reason.

    Returns:
        Columns group (accuracy, opponent, score), name, value, mean (percent; of a score its own unit), sd, worlds,
        seeds (missing of scores), place (of a score: 0 at the lowest of its values, 1 at the highest; missing where it
        does not vary), chosen (whether it is the value that is looked at).

    Raises:
        UserError: no values, or another value than those of the means.

    Example:
        >>> means = pd.DataFrame({"value": [0.5, 1.0], "top1": [58.0, 60.0], "sd": 1.0, "worlds": 1, "seeds": 3})
        >>> sweep_points(means, value=1.0)[["mean", "chosen"]].to_numpy().tolist()
        [[58.0, False], [60.0, True]]
    """
    values = means["value"].tolist()
    if value not in values:
        known = ", ".join(f"{each:g}" for each in values) or "none: train the sweep first, mmsada reproduce --help"
        raise UserError(f"{value:g} is no value of this sweep; there are {known}")
    tables = [means.assign(group="accuracy", name="target", mean=means["top1"])]
    if game is not None:
        tables.append(game[game["value"].isin(values)].assign(group="opponent", mean=game["right"]))
    if scores is not None:
        tables.append(_score_rows(scores[scores["value"].isin(values)]))
    joined = pd.concat([table.reindex(columns=_COLUMNS) for table in tables if len(table)], ignore_index=True)
    return joined.assign(chosen=joined["value"] == value)


def _score_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean of each rule at each value, and its place between the lowest and the highest of them."""
    run = [column for column in scores if column not in {"value", "top1", *RULES}]
    complete = scores.groupby(run)["value"].transform("nunique") == scores["value"].nunique()
    if not complete.any():
        raise UserError("no pair and seed has scores of every value; train the sweep first, or leave the scores out")
    rules = [rule for rule in RULES if rule in scores]
    means = scores[complete].groupby("value")[rules].mean().dropna(axis=1).rename_axis(columns="name")
    span = means.max() - means.min()
    places = (means - means.min()) / span.where(span > 0)
    rows = pd.DataFrame({"mean": means.T.stack(), "place": places.T.stack()}).reset_index()  # rule by rule
    return rows.assign(group="score")


@hover_in_words
def draw_sweep_point(points: pd.DataFrame, *, name: str, title: str = "One value of the sweep") -> go.Figure:
    """Draw `sweep_points`: accuracy and opponents over all values, the chosen one ringed; its scores as bars.

    Example:
        >>> means = pd.DataFrame({"value": [0.5, 1.0], "top1": [58.0, 60.0], "sd": 1.0, "worlds": 1, "seeds": 3})
        >>> figure = draw_sweep_point(sweep_points(means, value=1.0), name="λ")
        >>> [trace.name for trace in figure.data], figure.data[1].y
        (['target, top-1', 'λ = 1'], (60.0,))
    """
    scores = points[(points["group"] == "score") & points["chosen"] & points["place"].notna()]
    panels = (1, 2) if len(scores) else (1, 1)
    options = {"column_widths": [0.62, 0.38], "horizontal_spacing": 0.28} if len(scores) else {}
    figure = style.empty_figure(title, panels=panels, height=420, **options)
    lines, of_name = points[points["group"] != "score"], {"row": 1, "col": 1}
    palette = style.colours(list(lines.loc[lines["group"] == "opponent", "name"].unique()))
    for number, ((group, line_name), line) in enumerate(lines.groupby(["group", "name"], sort=False)):
        accuracy = group == "accuracy"
        look = style.line(style.TARGET if accuracy else palette[str(line_name)], number)
        entry = {"name": "target, top-1" if accuracy else opponent(str(line_name)), "mode": "lines+markers"}
        bars = style.error_bars(line["sd"])
        figure.add_scatter(
            x=style.categories(line["value"]),
            y=style.to_list(line["mean"], 2),
            error_y=bars,
            line=look,
            **entry,
            **of_name,
        )
    _ring(figure, lines[lines["chosen"]], name)
    if len(scores):
        _add_scores(figure, scores)
    figure.update_xaxes(title=name, type="category", col=1)
    spread = style.write_spread_over(lines[lines["group"] == "accuracy"])
    figure.update_yaxes(title=style.on_two_lines("right (%)", spread), col=1)
    return figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.25})


def _ring(figure: go.Figure, chosen: pd.DataFrame, name: str) -> None:
    """A ring around every line's point at the chosen value."""
    marker = {"symbol": "circle-open", "size": 18, "color": style.INK, "line": {"width": 2}}
    y = style.to_list(chosen["mean"], 2)
    figure.add_scatter(
        x=style.categories(chosen["value"]),
        y=y,
        mode="markers",
        marker=marker,
        name=f"{name} = {style.categories(chosen['value'])[0]}",
    )


def _add_scores(figure: go.Figure, scores: pd.DataFrame) -> None:
    text = [f"{mean:.3g}" for mean in scores["mean"]]
    places = {"x": style.to_list(scores["place"], 3), "y": [rule_title(name) for name in scores["name"]]}
    look = {"orientation": "h", "marker_color": style.GREY, "text": text, "showlegend": False}
    figure.add_bar(**places, **look, textposition="outside", cliponaxis=False, row=1, col=2)
    figure.update_xaxes(title="score (0 lowest,<br>1 highest of the sweep)", range=[0, 1.25], row=1, col=2)
    figure.update_yaxes(autorange="reversed", row=1, col=2)
