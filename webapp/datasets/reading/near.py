"""Texts that are nearly the same: MinHash over shingles of characters, so that any language works."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

SHINGLE = 5  # characters
HASHES, BANDS = 64, 8
ALIKE = 0.8  # share of common shingles
SHORTEST = 20  # characters; of shorter texts a single letter is too much
READ = 5_000  # characters of a text that are compared
MOST = 20_000  # texts that are compared
CROWD = 8  # texts of one bucket that a new one is compared with

_random = np.random.default_rng(13)
_times = _random.integers(1, 2**63, (HASHES, 1), dtype=np.uint64) | np.uint64(1)
_plus = _random.integers(0, 2**63, (HASHES, 1), dtype=np.uint64)
_powers = np.uint64(1_000_003) ** np.arange(SHINGLE, dtype=np.uint64)


def count(texts: list[str]) -> int:
    """How many of these distinct texts have a near twin before them."""
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    seen: dict[int, np.ndarray] = {}
    twins = 0
    for number, text in enumerate(texts[:MOST]):
        if len(text) < SHORTEST:
            continue
        mine = shingles(text[:READ])
        keys = [(band, part.tobytes()) for band, part in enumerate(signature(mine).reshape(BANDS, -1))]
        others = {other for key in keys if key in buckets for other in buckets[key][:CROWD]}
        twins += any(alike(mine, seen[other]) for other in others)
        seen[number] = mine
        for key in keys:
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
    first, second = set(one.tolist()), set(other.tolist())
    return len(first & second) >= ALIKE * len(first | second)
