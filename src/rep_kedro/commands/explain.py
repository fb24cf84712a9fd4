"""Turns the errors that users cause into one line; anything else stays a traceback."""

import re
from collections.abc import Iterator

_ANSI_OR_MARKUP = re.compile(r"\x1b\[[0-9;]*m")
_WRAPPER = re.compile(r"^Failed while (saving|loading) data (to|from) dataset [^\n]*\n", re.MULTILINE)
_PYDANTIC_NOISE = re.compile(r"\s*For further information visit \S+")


def explain(problem: BaseException) -> str | None:
    """Return what went wrong in one line (or one line per member), or None for an unexpected error.

    Expected are the kinds that this project raises for a user's mistakes: bad values, missing or damaged
    artifacts, refused parameters, storage that cannot be written.
    """
    from kedro.io import DatasetError
    from kedro.validation.exceptions import ParameterValidationError

    for cause in _chain(problem):
        if isinstance(cause, DatasetError | ParameterValidationError):
            return _clean(str(cause))
    if isinstance(problem, KeyError):
        return _clean(str(problem.args[0])) if problem.args else None
    if isinstance(problem, ValueError | FileNotFoundError | PermissionError | NotADirectoryError):
        return _clean(str(problem))
    return None


def _chain(problem: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = problem
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _clean(text: str) -> str:
    text = _PYDANTIC_NOISE.sub("", _WRAPPER.sub("", _ANSI_OR_MARKUP.sub("", text)))
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
