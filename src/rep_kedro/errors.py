"""Errors that are meant for users: one class, kinds of it, words of their messages; and errors of others."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

SHOWN_NAMES = 5
_LEAST_PART = 3  # letters that a name must share to be shown as containing the unknown one
_SHOWN = 20


class UserError(ValueError):
    """A mistake that the user can put right.

    Commands show it as one line (or one line per item) and exit with 1; every other exception shows its
    traceback. The message says what is wrong, where, and what to do. It is a ``ValueError`` so that pydantic
    validators may raise it.

    Kernels import torch and numpy alone and raise plain ``ValueError``. Who calls one with a user's choice
    checks it first, or turns the kernel's named error into this one.
    """


class MissingFileError(FileNotFoundError, UserError):
    """A file or folder that the configuration names is not there."""


class NotFiniteError(FloatingPointError, UserError):
    """Training or a network gave NaN or infinity."""


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one.

    Example:
        >>> counted(1, "network"), counted(1200, "stimulus set")
        ('1 network', '1,200 stimulus sets')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def suggest(unknown: object, known: Iterable[object]) -> str:
    """Return the end of a message about an unknown name: close matches, else what contains it or is known.

    Example:
        >>> suggest("simlarity", ["similarity", "probing"])
        "did you mean 'similarity'?"
        >>> suggest("cka", ["cka_linear_debiased", "cka_linear_biased", "procrustes_distance"])
        "with 'cka' in the name: cka_linear_biased, cka_linear_debiased"
        >>> suggest("x", ["similarity", "probing"])
        'known: probing, similarity'
    """
    names = sorted({str(name) for name in known} - {str(unknown)})
    if close := close_names(unknown, names):
        return f"did you mean {' or '.join(map(repr, close))}?"
    part = str(unknown).lower()
    containing = [name for name in names if part in name.lower()] if len(part) >= _LEAST_PART else []
    kind = f"with {unknown!r} in the name" if containing else "known"
    return f"{kind}: {shorten(containing or names, _SHOWN) or 'none'}"


def close_names(unknown: object, known: Iterable[object]) -> list[str]:
    """Return up to three known names that resemble an unknown one, the closest first."""
    return get_close_matches(str(unknown), [str(name) for name in known])


def shorten(names: Sequence[str], most: int = SHOWN_NAMES) -> str:
    """Return some names, and how many more there are.

    Example:
        >>> shorten(["a", "b", "c", "d", "e", "f", "g"])
        'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def require_known(kind: str, name: object, known: Collection[object]) -> None:
    """Refuse a name that is not known.

    Raises:
        UserError: The message has close matches, or else what is known.
    """
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}; {suggest(name, known)}")


@contextmanager
def contained() -> Iterator[None]:
    """Let code that is not the project's own fail, but not end the program.

    Raises:
        RuntimeError: In place of `SystemExit` and its like; Ctrl-C and plain errors pass.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as problem:
        raise RuntimeError(f"its code ends the program with {type(problem).__name__}: {problem}") from problem
