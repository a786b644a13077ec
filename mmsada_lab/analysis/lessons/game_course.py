"""What the game of a trained run came to: did its discriminators ever lead, and have the features answered?"""

from __future__ import annotations

import pandas as pd

from mmsada_lab.analysis.game import game_verdicts, opponent


def game_course(curves: pd.DataFrame) -> pd.DataFrame:
    """What each discriminator's game came to, from `game_curves` of the last stage: its accuracy and its loss.

    Returns:
        A row per discriminator; columns name, first, highest, last (percent told right, smoothed), highest_step (the
        optimiser step), loss_first, loss_last (nats, smoothed), verdict (in words, see `game_verdicts`).

    Example:
        >>> game = {"quantity": "accuracy", "name": "rgb", "total_step": [1, 2, 3], "smooth": [50.0, 80.0, 60.0]}
        >>> loss = {**game, "quantity": "loss", "smooth": [0.7, 0.4, 0.6]}
        >>> course = game_course(pd.concat([pd.DataFrame(game), pd.DataFrame(loss)]))
        >>> course[["name", "highest", "highest_step", "last", "verdict"]].to_numpy().tolist()
        [['rgb', 80.0, 2, 60.0, 'was answered by the features']]
    """
    rows, verdicts = [], game_verdicts(curves).set_index("name")["verdict"]
    for name, of_name in curves[curves["quantity"] == "loss"].groupby("name", sort=False):
        right = curves[(curves["quantity"] == "accuracy") & (curves["name"] == name)]
        top = right.loc[right["smooth"] == right["smooth"].max()].iloc[0]
        first, last = (float(right["smooth"].iloc[at]) for at in (0, -1))
        lead = float(top["smooth"])
        row = {"name": name, "first": first, "highest": lead, "highest_step": int(top["total_step"]), "last": last}
        row |= {f"loss_{when}": float(of_name["smooth"].iloc[at]) for when, at in (("first", 0), ("last", -1))}
        rows.append({**row, "verdict": verdicts[opponent(str(name))]})
    columns = ["name", "first", "highest", "highest_step", "last", "loss_first", "loss_last", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def write_course(course: pd.DataFrame) -> str:
    """`game_course` in a sentence for each discriminator.

    Example:
        >>> row = {"name": "rgb", "first": 50.0, "highest": 80.0, "highest_step": 20, "last": 60.0}
        >>> write_course(pd.DataFrame([row | {"verdict": "is still ahead"}]))
        'D of rgb tells 50 % right at first, 80 % at most (step 20) and 60 % at the end: it is still ahead.'
    """
    return " ".join(
        f"D of {row['name']} tells {row['first']:.0f} % right at first, {row['highest']:.0f} % at most "
        f"(step {row['highest_step']}) and {row['last']:.0f} % at the end: it {row['verdict']}."
        for row in course.to_dict("records")
    )
