"""Lists of names in messages."""

from collections.abc import Sequence

SHOWN_NAMES = 5  # so many are named in a message; the count says how many more there are


def shorten(names: Sequence[str]) -> str:
    """Return some names, and how many more there are.

    Example:
        >>> shorten(["a", "b", "c", "d", "e", "f", "g"])
        'a, b, c, d, e and 2 more'
    """
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
