"""Seeded choices that depend neither on other choices and their order nor on a library's generator.

Each item gets the rank of a hash of (seed, item). Taking the first k ranks is a draw without replacement; it
stays the same when other items come or go, and a smaller draw with the same seed is part of a larger one.
"""

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def rank_by_seed(items: Sequence[str], seed: int | str) -> list[int]:
    """Return the positions of the items in a random order that depends only on the seed and the items.

    Args:
        items: Distinct names.
        seed: A number, or a text such as ``digits/analysis/0``.

    Returns:
        A permutation of ``range(len(items))``.

    Example:
        >>> rank_by_seed(["a", "b", "c", "d"], 0), rank_by_seed(["a", "b", "c", "d"], 1)
        ([0, 1, 2, 3], [0, 1, 3, 2])
    """
    digests = [hash_of(seed, item) for item in items]
    return sorted(range(len(items)), key=digests.__getitem__)


def hash_of(*parts: int | str) -> int:
    """Return 256 random bits that depend only on the parts, as an integer.

    Example:
        >>> hash_of("digits", 0) == hash_of("digits", 0), hash_of("digits", 0) == hash_of("digits", 1)
        (True, False)
    """
    text = "".join(f"{len(str(part))}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def draw_test_rows(
    ids: Sequence[str],
    labels: Sequence[int | None],
    *,
    test_fraction: float,
    seed: int,
    originals: Sequence[int] | None = None,
) -> list[bool]:
    """Say for each stimulus whether it belongs to the test split; stratified by label.

    Args:
        ids: Distinct stimulus ids.
        labels: Label of each; None counts as a class of its own.
        test_fraction: Share of each class, from 0 to 1; rounded to whole stimuli.
        seed: Decides which.
        originals: Row of the first copy of each stimulus; copies stay together, with the label of the first.
            A class gets fewer test stimuli where its share would part copies. None: there are no copies.

    Returns:
        True for test, in the order of the ids.
    """
    originals = range(len(ids)) if originals is None else originals
    copies = group_rows(originals)
    is_test = [False] * len(ids)
    for rows in group_rows(labels).values():
        firsts = [row for row in rows if originals[row] == row]
        left = round(test_fraction * len(rows))
        for position in rank_by_seed([ids[row] for row in firsts], seed):
            together = copies[firsts[position]]
            if len(together) <= left:
                left -= len(together)
                for row in together:
                    is_test[row] = True
    return is_test


def group_rows(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Return the rows of each key, ascending, keys in the order in which they come.

    Example:
        >>> group_rows("abca")
        {'a': [0, 3], 'b': [1], 'c': [2]}
    """
    rows: dict[Key, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def share_equally(total: int, n_shares: int) -> list[int]:
    """Return whole shares of a total that differ by one at most, larger ones first.

    Example:
        >>> share_equally(200, 6)
        [34, 34, 33, 33, 33, 33]
    """
    whole, rest = divmod(total, n_shares)
    return [whole + (index < rest) for index in range(n_shares)]
