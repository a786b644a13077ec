"""What the game of a trained run came to: did its discriminators ever lead, and have the features answered?"""

from __future__ import annotations

import pandas as pd

ENDINGS = {
    "never": "it never learnt to tell the domains",
    "answered": "the features have answered",
    "ahead": "it is still ahead",
}
"""How a game ended, in words."""

LEARNT = 60.0
"""Percent that a discriminator must once have told right, or it has learnt nothing."""


def game_course(curves: pd.DataFrame) -> pd.DataFrame:
    """What each discriminator's game came to, from `game_curves` of the last stage: its accuracy and its loss.

    Returns:
        A row per discriminator; columns name, first, highest, last (percent told right, smoothed), highest_step (the
        optimiser step), loss_first, loss_last (nats, smoothed), ending (a key of `ENDINGS`: ``never`` if `highest` is
        below 60 %; ``answered`` if more than half of its lead over chance is lost again; else ``ahead``).

    Example:
        >>> game = {"quantity": "accuracy", "name": "rgb", "total_step": [1, 2, 3], "smooth": [50.0, 80.0, 60.0]}
        >>> loss = {**game, "quantity": "loss", "smooth": [0.7, 0.4, 0.6]}
        >>> course = game_course(pd.concat([pd.DataFrame(game), pd.DataFrame(loss)]))
        >>> course[["name", "highest", "highest_step", "last", "ending"]].to_numpy().tolist()
        [['rgb', 80.0, 2, 60.0, 'answered']]
    """
    rows = []
    for name, of_name in curves[curves["quantity"] == "loss"].groupby("name", sort=False):
        right = curves[(curves["quantity"] == "accuracy") & (curves["name"] == name)]
        top = right.loc[right["smooth"] == right["smooth"].max()].iloc[0]
        first, last = (float(right["smooth"].iloc[at]) for at in (0, -1))
        lead = float(top["smooth"])
        row = {"name": name, "first": first, "highest": lead, "highest_step": int(top["total_step"]), "last": last}
        row |= {f"loss_{when}": float(of_name["smooth"].iloc[at]) for when, at in (("first", 0), ("last", -1))}
        rows.append({**row, "ending": _ending(lead, last)})
    columns = ["name", "first", "highest", "highest_step", "last", "loss_first", "loss_last", "ending"]
    return pd.DataFrame(rows, columns=columns)


def _ending(highest: float, last: float) -> str:
    if highest < LEARNT:
        return "never"
    return "answered" if last - 50 < (highest - 50) / 2 else "ahead"


def write_course(course: pd.DataFrame) -> str:
    """`game_course` in a sentence for each discriminator.

    Example:
        >>> row = {"name": "rgb", "first": 50.0, "highest": 80.0, "highest_step": 20, "last": 60.0, "ending": "ahead"}
        >>> write_course(pd.DataFrame([row]))
        'D of rgb tells 50 % right at first, 80 % at most (step 20) and 60 % at the end: it is still ahead.'
    """
    return " ".join(
        f"D of {row['name']} tells {row['first']:.0f} % right at first, {row['highest']:.0f} % at most "
        f"(step {row['highest_step']}) and {row['last']:.0f} % at the end: {ENDINGS[row['ending']]}."
        for row in course.to_dict("records")
    )
