"""What batch normalisation makes of a target feature, by whose statistics it goes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmsada_lab.errors import UserError


def normalised_target(*, mean: float = 3.0, sd: float = 1.5) -> pd.DataFrame:
    """Densities of a normal target feature after batch normalisation; the source has mean 0 and sd 1.

    Args:
        mean: of the target before.
        sd: of the target before, above 0.

    Returns:
        A column for the statistics of the source, of both domains half and half (means and variances averaged, as
        running statistics do), and of the target (AdaBN); indexed by the normalised feature (no unit).

    Raises:
        UserError: an sd that is not above 0.

    Example:
        >>> densities = normalised_target(mean=3.0, sd=1.5)
        >>> densities.idxmax().tolist()  # where each is centred
        [3.0, 1.2, 0.0]
    """
    if not sd > 0:
        raise UserError(f"the sd is {sd}; give a number above 0")
    statistics = {"the source's": (0.0, 1.0), "mixed, half and half": (mean / 2, (1 + sd**2) / 2)}
    statistics["its own (AdaBN)"] = (mean, sd**2)
    x = pd.Index(np.linspace(-4, 7, 56).round(4))
    columns = {}
    for name, (of_mean, of_variance) in statistics.items():
        centre, spread = (mean - of_mean) / of_variance**0.5, sd / of_variance**0.5
        columns[f"target by {name}"] = np.exp(-(((x - centre) / spread) ** 2) / 2) / spread / (2 * np.pi) ** 0.5
    return pd.DataFrame(columns, index=x)
