"""Turn errors that users can fix into one line; any other error keeps its traceback."""

import os
import re
from typing import Any

from rep_kedro.errors import UserError

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_WRAPPED = re.compile(r"^(?:(?P<name>[^\s:]+): )?Failed while (?:saving|loading) data (?:to|from) dataset ")
_NAMED = re.compile(r"^(?P<name>[^\s:]+): (?=(?P=name)\b)")
_SHOWN_LINES, _SHOWN_CHARS = 8, 400
_SHOWN_KEYS = 3


def explain(problem: BaseException) -> str | None:
    """Return a one-line explanation (or one line per item), or None for an unexpected error.

    Expected errors are :class:`rep_kedro.errors.UserError`, errors of Kedro's catalog and parameter models,
    files that cannot be read or written, and configuration that cannot be parsed. Any other error is a bug,
    even if it is a ``ValueError`` that a kernel or a library raises on purpose.
    """
    return _first(problem, (_explain_data, _explain_files, _explain_configuration, _explain_users))


def own_error(problem: Exception) -> Exception:
    """Return the error that Kedro wrapped, with a note that names the dataset.

    Tables are computed as they are saved, so that Kedro reports a bug of a table's function as one of saving.
    """
    name = None
    while (wrapped := _WRAPPED.match(str(problem))) and isinstance(problem.__cause__, Exception):
        name, problem = name or wrapped["name"], problem.__cause__
    if name:
        problem.add_note(f"in {name}")
    return problem


def _first(problem: BaseException, explanations: Any) -> str | None:
    for explanation in explanations:
        text = explanation(problem)
        if text:
            return _clean(text)
    return None


def _explain_data(problem: BaseException) -> str | None:
    """Explain a catalog error by its cause."""
    from kedro.io import DatasetError
    from kedro.validation import DataValidationError

    if not isinstance(problem, DatasetError):
        return None
    cause = problem.__cause__
    if isinstance(problem, DataValidationError):
        if cause is not None and not isinstance(cause, DatasetError | UserError):
            return None  # the validator itself has failed
        return f"{problem.dataset_name} breaks its contract in the catalog: {problem.message}"
    wrapped = _WRAPPED.match(str(problem))
    if wrapped and cause is not None and not isinstance(cause, DatasetError):
        inner = explain(cause)
        return f"{wrapped['name'] or 'a dataset'}: {inner}" if inner else None
    if isinstance(cause, DatasetError) and str(problem).endswith(str(cause)):
        name = str(problem).partition(":")[0]
        inner = explain(cause)
        return inner.replace("a dataset:", f"{name}:", 1) if inner else None
    return str(problem)


def _explain_files(problem: BaseException) -> str | None:
    if not isinstance(problem, OSError) or problem.errno is None:
        return None
    place = f"{problem.filename}: " if problem.filename else ""
    return f"{place}{os.strerror(problem.errno)}; fix this and run again (finished results are kept)"


def _explain_configuration(problem: BaseException) -> str | None:
    """Explain Kedro's error about a missing configuration."""
    from kedro.config import MissingConfigException

    return str(problem) if isinstance(problem, MissingConfigException) else None


def _explain_users(problem: BaseException) -> str | None:
    """Explain an error raised for users by this project or by a library that validates parameters."""
    from kedro.validation.exceptions import ParameterValidationError
    from pydantic import ValidationError

    if isinstance(problem, ParameterValidationError):
        return str(problem)
    if isinstance(problem, ValidationError):
        from rep_kedro.checks.parameters import explain_validation

        return explain_validation(problem)
    if not isinstance(problem, UserError):
        return None
    node = next((note for note in getattr(problem, "__notes__", []) if note.startswith("in node ")), "")
    return f"{node.removeprefix('in node ')}: {problem}" if node else str(problem)


def _clean(text: str) -> str:
    """Return the text without colours and repetition, with long lists and lines truncated."""
    text = _NAMED.sub("", _ANSI.sub("", text)).replace(f"{os.getcwd()}{os.sep}", "")
    lines = _join_equal([line.rstrip() for line in text.splitlines() if line.strip()])
    lines = [line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}..." for line in lines]
    more = len(lines) - _SHOWN_LINES
    if more > 1:
        lines = [*lines[:_SHOWN_LINES], f"  and {more} more"]
    return "\n".join(lines)


def _join_equal(lines: list[str]) -> list[str]:
    """Give each reason once for all its items, from lines like ``  <item>: <reason>``."""
    items: dict[str, list[str]] = {}
    for line in lines:
        item, colon, reason = line.strip().partition(": ")
        is_item = line.startswith("  ") and colon
        items.setdefault(reason if is_item else line, []).append(item if is_item else "")
    joined = []
    for reason, names in items.items():
        more = f" and {len(names) - _SHOWN_KEYS} more" if len(names) > _SHOWN_KEYS else ""
        shown = ", ".join(names[:_SHOWN_KEYS])
        joined.append(f"  {shown}{more}: {reason}" if shown else reason)
    return joined
