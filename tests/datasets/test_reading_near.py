"""Texts that are nearly the same are counted, also among thousands of long ones of the same few words."""

import random
from itertools import combinations

from tests.datasets.files import WORDS
from webapp.datasets.reading import near


def texts(rows, words, seed=3):
    chance = random.Random(seed)
    common = [f"{word}{end}" for word in WORDS for end in ("", ",", "s", "ing")]
    return [" ".join(chance.choices(common, k=words)) for _ in range(rows)]


def test_near_twins_are_counted_and_texts_of_the_same_words_are_not():
    some = texts(120, 60)
    twins = [text[:-9] + "and more" for text in some[:30]]
    assert near.count([*some, *twins], lambda *_: None) == 30


def test_the_count_agrees_with_every_pair_compared_in_full():
    some = texts(60, 400)
    mixed = [" ".join([*one.split()[: 40 * n], *other.split()[40 * n :]]) for n, (one, other) in enumerate(combinations(some[:5], 2))]
    every = [*some, *mixed]
    rows = [near.shingles(text[: near.READ]) for text in every]
    right = sum(any(near.alike(row, before) for before in rows[:at]) for at, row in enumerate(rows))
    assert 0 < right <= len(mixed) and abs(near.count(every, lambda *_: None) - right) <= 2


def test_long_counts_say_that_they_go_on():
    told = []
    near.count(texts(2 * near.TOLD + 1, 8), lambda *words: told.append(words))
    assert [done for _what, done, _total in told] == [0, near.TOLD, 2 * near.TOLD]
