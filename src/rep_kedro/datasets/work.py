"""Computes and writes the members that are to do, reports progress, and never stops for one that fails."""

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kedro.io import DatasetError

from rep_kedro.datasets.journal import append_failure, append_to_journal, journal_path
from rep_kedro.datasets.member import MemberDataset
from rep_kedro.datasets.plan import Batch, Planned, digest_of
from rep_kedro.errors import UserError

_STORAGE_ERRORS = {
    errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
}  # fmt: skip
_WRAPPED = "Failed while "  # how Kedro begins its message around another error
_SECONDS_PER_MINUTE, _SECONDS_PER_HOUR = 60, 3600
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemberWork:
    """One member to make: its key, what was planned, and where it goes."""

    key: str
    planned: Planned
    dataset: MemberDataset


class _Spent(NamedTuple):
    """What a member took.

    Attributes:
        seconds: Its own time and its share of what was spent on it together with others.
        n_ready: How many other members were worked on together with it and are still to be yielded.
    """

    seconds: float
    n_ready: int = 0


class Worker:
    """Makes members one after another, batch by batch.

    Args:
        name: The collection's name, for messages.
        folder: The collection's folder; its journal is next to it.
        validate: Given each computed value; raises if it breaks the contract.
        n_kept: How many members were kept, for the summary.

    Attributes:
        n_done: How many members were made and written.
    """

    def __init__(
        self, name: str, folder: Path, validate: Callable[[Any], Any] | None, *, n_kept: int
    ) -> None:
        self._name = name
        self._journal = journal_path(folder)
        self._validate = validate
        self._n_kept = n_kept
        self.n_done = 0
        self._n_bytes = 0
        self._last_why: str | None = None

    def run(self, work: Sequence[MemberWork]) -> dict[str, str]:
        """Make all members.

        Returns:
            Why each failed member failed, by key.

        Raises:
            DatasetError: If the disk is full or the folder cannot be written: nothing more can be done then.
        """
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        failed: dict[str, str] = {}
        began = time.perf_counter()
        with (
            tqdm(
                total=len(work), desc=self._name, unit="member", disable=not (work and sys.stderr.isatty())
            ) as bar,
            logging_redirect_tqdm(),
        ):
            for item, box, measured in _values_of(work):
                spent = measured._replace(seconds=_own_seconds(box[0], measured.seconds))
                why = self._finish(item, box.pop(), spent.seconds)  # nothing else holds the value now
                if why is not None:
                    failed[item.key] = why
                bar.update()
                self._log_member(item, why, spent, len(work), len(failed), time.perf_counter() - began)
        _log.info(
            "%s: %d members: %d computed, %d kept, %d failed in %s, %s written",
            self._name, len(work) + self._n_kept, self.n_done, self._n_kept, len(failed),
            format_seconds(time.perf_counter() - began), format_bytes(self._n_bytes),
        )  # fmt: skip
        return failed

    def _finish(self, item: MemberWork, value: object, seconds: float) -> str | None:
        """Check, write and journal one value; return why it failed, or None."""
        try:
            if isinstance(value, Exception):
                raise value
            if value is None:
                raise TypeError("its compute returned None where a value to store was expected")
            if self._validate is not None:
                self._validate(value)
        except Exception as problem:
            return self._why(item, problem)
        try:
            item.dataset.save(value)
            n_bytes = item.dataset.path.stat().st_size
        except Exception as problem:
            self._raise_if_storage(problem)
            return self._why(item, problem)
        self.n_done += 1
        self._n_bytes += n_bytes
        try:
            digest = digest_of(item.planned.recipe)
            facts = getattr(value, "journal", {})
            append_to_journal(
                self._journal, key=item.key, digest=digest, seconds=seconds, n_bytes=n_bytes, facts=facts
            )
        except OSError as problem:
            self._raise_if_storage(problem)
            _log.warning("%s: no journal line for %s: %s", self._name, item.key, problem.strerror or problem)
        return None

    def _why(self, item: MemberWork, problem: Exception) -> str:
        why = describe_problem(problem)
        with suppress(OSError):  # the reason is reported now in any case
            append_failure(self._journal, key=item.key, digest=digest_of(item.planned.recipe), why=why)
        level = logging.ERROR if is_unexpected(problem) and why != self._last_why else logging.DEBUG
        _log.log(level, "%s %s failed", self._name, item.key, exc_info=problem)
        return why

    def _raise_if_storage(self, problem: BaseException) -> None:
        if why := storage_trouble(problem):
            raise DatasetError(
                f"cannot write {self._name} in {self._journal.parent}: {why}; "
                f"{self.n_done + self._n_kept} members are whole and kept: fix this and run again"
            ) from problem

    def _log_member(
        self, item: MemberWork, why: str | None, spent: "_Spent", n_work: int, n_failed: int, elapsed: float
    ) -> None:
        n_ended = self.n_done + n_failed
        n_paid = n_ended + spent.n_ready
        left = elapsed / n_paid * (n_work - n_paid)
        remaining = f"; about {format_seconds(left)} left" if n_paid < n_work else ""
        if why is None:
            _log.info(
                "%s [%d/%d] %s in %s%s",
                self._name,
                n_ended,
                n_work,
                item.key,
                format_seconds(spent.seconds),
                remaining,
            )
        else:
            shown = "for the same reason" if why == self._last_why else why
            _log.error("%s [%d/%d] %s failed: %s%s", self._name, n_ended, n_work, item.key, shown, remaining)
        self._last_why = why


def _own_seconds(value: object, measured: float) -> float:
    """Return what a value says that it took: made next to others, it took longer than the wait for it."""
    own = getattr(value, "journal", {}).get("seconds")
    return measured if own is None else float(own)


def _values_of(work: Sequence[MemberWork]) -> Iterator[tuple[MemberWork, list[object], _Spent]]:
    """Yield each item with a box that holds its value, or the exception in its place, and what it took.

    The taker empties the box, so that a large value is freed before the next is computed.
    """
    by_batch: dict[int, list[MemberWork]] = {}
    for position, item in enumerate(work):
        shared = item.planned.compute
        by_batch.setdefault(id(shared) if isinstance(shared, Batch) else -position - 1, []).append(item)
    for items in by_batch.values():
        compute = items[0].planned.compute
        if isinstance(compute, Batch):
            yield from _batch_values(compute, items)
        else:
            began = time.perf_counter()
            box: list[object] = []
            try:
                box.append(compute())
            except Exception as problem:
                box.append(problem)
            yield items[0], box, _Spent(time.perf_counter() - began)


def _batch_values(
    batch: Batch, items: Sequence[MemberWork]
) -> Iterator[tuple[MemberWork, list[object], _Spent]]:
    waiting = {item.key: item for item in items}
    why: Exception = RuntimeError("its batch ended without a value for it")
    share, n_ready = 0.0, 0
    try:
        values = iter(batch.compute(list(waiting)))
        while waiting:
            began = time.perf_counter()
            try:
                key, *box = next(values)
            except StopIteration:
                break
            if key not in waiting or len(box) != 1:
                why = RuntimeError(
                    f"its batch gave {key!r} where one of its waiting keys and a value were expected"
                )
                break
            seconds = time.perf_counter() - began
            if n_ready == 0:
                n_ready = min(batch.n_together, len(waiting))
                share, seconds = seconds / n_ready, 0.0
            n_ready -= 1
            yield waiting.pop(key), box, _Spent(share + seconds, n_ready)
        if not waiting:
            next(values, None)  # the last value is stored: what the batch does after it is done now
    except Exception as problem:
        why = problem
    for item in waiting.values():
        yield item, [why], _Spent(0.0)


def storage_trouble(problem: BaseException) -> str | None:
    """Return what is wrong with the disk if that is behind a problem: it is full, or may not be written."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _STORAGE_ERRORS:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return None


def is_unexpected(problem: BaseException) -> bool:
    """Return whether a problem is a programming error: neither raised for users, nor of files or memory."""
    from pydantic import ValidationError

    cause = problem.__cause__
    if isinstance(problem, DatasetError) and str(problem).startswith(_WRAPPED) and cause is not None:
        return is_unexpected(cause)
    return not isinstance(problem, UserError | DatasetError | OSError | ValidationError | MemoryError)


def describe_problem(problem: BaseException) -> str:
    """Return a problem in one line: its message, with its kind where the message alone says too little."""
    if str(problem).startswith(_WRAPPED) and problem.__cause__ is not None:
        problem = problem.__cause__
    text = problem.args[0] if isinstance(problem, KeyError) and problem.args else str(problem)
    line = " ".join(str(text).split())
    known = isinstance(problem, ValueError | DatasetError | FileNotFoundError | KeyError)
    return line if line and known else f"{type(problem).__name__}: {line}".rstrip(": ")


def format_seconds(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> [format_seconds(x) for x in (0.04, 7.26, 95, 8100)]
        ['0.04 s', '7.3 s', '1 min 35 s', '2 h 15 min']
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < _SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _SECONDS_PER_HOUR:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def format_bytes(n_bytes: float) -> str:
    """Return a size for people, in powers of 1000.

    Example:
        >>> [format_bytes(x) for x in (12, 3400, 5.6e6, 7.8e9)]
        ['12 B', '3.4 kB', '5.6 MB', '7.8 GB']
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
