"""How sure so few rows make a score: 95 % intervals, [low, high], of what was measured on held-out rows. Numpy only.

A share of rows that are right has Wilson's interval (1927). All else has the percentile bootstrap over rows (Efron 1979):
the rows are drawn again with replacement, the score is taken anew, and the middle 95 % of what comes out is the interval.
Where every row is right, or none, drawing again changes nothing: then it is Wilson's too, of as many rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

RESAMPLES = 1_000
DRAWS = 5_000_000  # rows drawn in all: of very many, a hundred resamples say the same
SEED = 13
Z = 1.959964  # of 95 %

Interval = list[float]


def wilson(right: float, rows: int) -> Interval:
    """Of `right` out of `rows`; of no rows, everything is possible."""
    if not rows:
        return [0.0, 1.0]
    share, spread = right / rows, Z**2 / rows
    middle = (share + spread / 2) / (1 + spread)
    reach = Z / (1 + spread) * math.sqrt(share * (1 - share) / rows + spread / rows / 4)
    return [max(0.0, middle - reach), min(1.0, middle + reach)]


def bootstrap(rows: int, scored: Callable[[Any], Mapping[str, float]]) -> dict[str, Interval]:
    """Of every number that `scored` gives for some rows; it takes their indices, in which a row may stand several times."""
    import numpy as np

    if not rows:
        return {}
    draw = np.random.default_rng(SEED)
    times = max(100, min(RESAMPLES, DRAWS // rows))
    found = [scored(draw.integers(0, rows, rows)) for _time in range(times)]
    ends = {name: np.percentile([each[name] for each in found], [2.5, 97.5]) for name in found[0]}
    return {
        name: wilson(float(low) * rows, rows) if low == high and low in (0, 1) else [float(low), float(high)]
        for name, (low, high) in ends.items()
    }


def of_means(scores: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Of the mean of each number over rows; `scores` has those of each row."""
    import numpy as np

    names = list(scores[0]) if scores else []
    table = np.array([[each[name] for name in names] for each in scores], dtype=float)
    return bootstrap(len(scores), lambda rows: dict(zip(names, table[rows].mean(0).tolist(), strict=True)))
