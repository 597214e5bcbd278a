"""Which rows make which step. A pure function of (lengths, settings, seed, epoch), so that a resume in mid-epoch is exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LIKE = 50  # for padded models: so many batches' worth of rows are sorted by length together


def plan(lengths: Sequence[int], *, seed: int, epoch: int, rows: int, tokens: int, padded: bool = False) -> list[list[int]]:
    """The batches of one epoch as row numbers, the rows of each sorted by length.

    Rows come in the order of a counter-based permutation; a batch closes at `rows` rows or before `tokens` tokens
    (padding included where `padded`). A single row longer than `tokens` makes a batch of its own.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order: list[int] = random.permutation(len(lengths)).tolist()
    if padded:
        order = [i for at in range(0, len(order), rows * LIKE) for i in sorted(order[at : at + rows * LIKE], key=lambda i: lengths[i])]
    batches: list[list[int]] = []
    batch: list[int] = []
    filled = 0
    for i in order:
        cost = (len(batch) + 1) * max(filled, lengths[i]) if padded else filled + lengths[i]
        if batch and (len(batch) == rows or cost > tokens):
            batches.append(batch)
            batch, filled = [], 0
        batch.append(i)
        filled = max(filled, lengths[i]) if padded else filled + lengths[i]
    if batch:
        batches.append(batch)
    if padded:
        batches = [batches[i] for i in random.permutation(len(batches)).tolist()]
    return [sorted(b, key=lambda i: lengths[i]) for b in batches]


def parts(batch: list[int], count: int) -> list[list[int]]:
    """A batch in `count` parts of like size, for less memory and the same gradient."""
    size = -(-len(batch) // count)
    return [batch[at : at + size] for at in range(0, len(batch), size)]
