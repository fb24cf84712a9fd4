"""Unknown names: what was probably meant, and what there is."""

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 20


def suggest_known(unknown: object, known: Iterable[str]) -> str:
    """Return the tail of a message about an unknown name: close matches, or else all that is known.

    Example:
        >>> suggest_known("simlarity", ["similarity", "probing"])
        "did you mean 'similarity'?"
        >>> suggest_known("x", ["similarity", "probing"])
        'known: probing, similarity'
    """
    names = sorted(set(known) - {str(unknown)})
    close = get_close_matches(str(unknown), names, n=3)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"known: {', '.join(names[:_SHOWN]) or 'none'}{more}"
