"""What a measure is asked for, by a name of the caller's: checked before anything is computed."""

from collections.abc import Iterable


def require_choice(name: str, setting: str, chosen: object, known: Iterable[str]) -> None:
    """Refuse a statistic, or another choice, that there is not."""
    known = list(known)
    if chosen not in known:
        raise ValueError(f"request {name!r} has unknown {setting} {chosen!r}; known: {', '.join(known)}")


def require_parameters(name: str, what: str, given: Iterable[str], accepted: Iterable[str] = ()) -> None:
    """Refuse parameters that are missing, or that ``what`` does not take."""
    given, accepted = sorted(given), sorted(accepted)
    if given != accepted:
        takes = ", ".join(accepted) or "none"
        raise ValueError(f"request {name!r} gives {what} the parameters {given}; it takes {takes}")
