"""Texts that are nearly the same: MinHash over shingles of characters, so that any language works."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

SHINGLE = 5  # characters
HASHES, BANDS = 64, 8
ALIKE = 0.8  # share of common shingles
SHORTEST = 20  # characters; of shorter texts a single letter is too much
READ = 5_000  # characters of a text that are compared
MOST = 20_000  # texts that are compared
CROWD = 8  # texts of one bucket that a new one is compared with
CANDIDATES = 4  # of all of them, those whose signatures are most like its own
HOPEFUL = 0.6  # share of equal hashes; of texts that are ALIKE it is so low once in 10,000 times
TOLD = 200  # texts between two words of progress

_random = np.random.default_rng(13)
_times = _random.integers(1, 2**63, (HASHES, 1), dtype=np.uint64) | np.uint64(1)
_plus = _random.integers(0, 2**63, (HASHES, 1), dtype=np.uint64)
_powers = np.uint64(1_000_003) ** np.arange(SHINGLE, dtype=np.uint64)


def count(texts: list[str], progress: Callable[[str, int, int], None]) -> int:
    """How many of these distinct texts have a near twin before them."""
    texts = [text[:READ] for text in texts[:MOST] if len(text) >= SHORTEST]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    signatures = np.empty((len(texts), HASHES), np.uint64)
    twins = 0
    for number, text in enumerate(texts):
        if number % TOLD == 0:
            progress("comparing", number, len(texts))
        mine = shingles(text)
        signatures[number] = signature(mine)
        keys = [(band, part.tobytes()) for band, part in enumerate(signatures[number].reshape(BANDS, -1))]
        others = sorted({other for key in keys if key in buckets for other in buckets[key][:CROWD]})
        likeness = (signatures[others] == signatures[number]).mean(axis=1)
        best = [others[at] for at in np.argsort(-likeness, kind="stable")[:CANDIDATES] if likeness[at] >= HOPEFUL]
        twins += any(alike(mine, shingles(texts[other])) for other in best)
        for key in keys:
            if len(buckets[key]) < CROWD:
                buckets[key].append(number)
    return twins


def shingles(text: str) -> np.ndarray:
    """Hashes of all runs of SHINGLE characters."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    hashes = np.zeros(codes.size - SHINGLE + 1, np.uint64)
    for at in range(SHINGLE):
        hashes += codes[at : at + hashes.size] * _powers[at]
    return hashes


def signature(hashes: np.ndarray) -> np.ndarray:
    mixed = (hashes[None, :] * _times + _plus) >> np.uint64(16)
    lowest: np.ndarray = mixed.min(axis=1)
    return lowest


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    first, second = np.unique(one), np.unique(other)
    both = np.intersect1d(first, second, assume_unique=True).size
    return bool(both >= ALIKE * (first.size + second.size - both))
