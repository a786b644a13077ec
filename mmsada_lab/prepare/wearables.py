"""A recording of two wearable sensors to try the way of one's own data with: a phone, and a watch that sits askew."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmsada_lab.errors import UserError

SENSOR_CHANNELS = ["ax", "ay", "az", "gx", "gy", "gz"]
"""Accelerometer and gyroscope along three axes; of the simulation in m/s² and in arbitrary units."""

HERTZ = {"walk": 1.8, "run": 2.7, "stairs": 1.4, "sit": 0.3}
"""Activity -> how often a second it swings."""

SAMPLES, SAMPLING_RATE = 250, 50
"""Of a bout; a second."""

_DEVICES = {"phone": (1.0, 0.0), "watch": (1.6, 0.8)}  # how far it swings, and how it is turned (radians)
_GRAVITY = 9.8


def simulate_wearables(*, seed: int = 0, bouts_per_activity: int = 30) -> pd.DataFrame:
    """A long table as loggers write it: a row per sample, bouts one after the other, first of the phone.

    Args:
        seed: of everything random.
        bouts_per_activity: on each device.

    Returns:
        Columns `SENSOR_CHANNELS`, activity, device, bout (numbered from 0 on each device); `SAMPLES` rows a bout.

    Raises:
        UserError: no bout asked for.

    Example:
        >>> recording = simulate_wearables(bouts_per_activity=1)
        >>> recording.groupby(["device", "bout"])["activity"].first().tolist()[:4]
        ['walk', 'run', 'stairs', 'sit']
    """
    if bouts_per_activity < 1:
        raise UserError(f"{bouts_per_activity} bouts of an activity; give 1 or more")
    rng = np.random.default_rng(seed)
    activities = list(HERTZ) * bouts_per_activity
    bouts = [
        pd.DataFrame(_swing(rng, HERTZ[activity], gain, turn), columns=SENSOR_CHANNELS).assign(
            activity=activity, device=device, bout=bout
        )
        for device, (gain, turn) in _DEVICES.items()
        for bout, activity in enumerate(activities)
    ]
    return pd.concat(bouts, ignore_index=True)


def _swing(rng: np.random.Generator, hertz: float, gain: float, turn: float) -> NDArray[np.float64]:
    """One bout `(SAMPLES, 6)`: a swing of that frequency, turned about one axis, with gravity and noise."""
    phase = 2 * np.pi * hertz * rng.normal(1, 0.06) * np.arange(SAMPLES) / SAMPLING_RATE + rng.uniform(0, 6)
    swing = np.stack([np.sin(phase), np.sin(2 * phase) / 2, np.cos(phase)]) * gain * hertz * rng.normal(1, 0.2)
    turned = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ swing
    gravity = _GRAVITY * np.array([[0], [np.cos(turn)], [np.sin(turn)]])
    values = np.concatenate([turned + gravity, np.roll(turned, 1, axis=0)])
    return np.asarray((values + rng.normal(scale=0.5, size=values.shape)).T)
