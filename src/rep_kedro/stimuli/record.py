"""What a source yields, one stimulus at a time, and the list of what was wrong with it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rep_kedro.errors import UserError

SHOWN_IN_ERRORS = 5  # so many damaged items are named in the error; the count tells of the rest


class Stimulus(NamedTuple):
    """One stimulus on its way into a set.

    Attributes:
        stimulus_id: Stable within the set, free of machine paths.
        image: Encoded bytes as they came.
        label: Index into the stream's class names; None where the source has no label.
        split: ``train``, ``test`` or any other name of a part.
    """

    stimulus_id: str
    image: bytes
    label: int | None
    split: str


@dataclass(frozen=True)
class StimulusStream:
    """An opened source.

    Attributes:
        class_names: By label; None where the set has no classes or they have no names.
        stimuli: Yields each stimulus once; nothing is read before it is asked for.
        is_encoded_here: True if this project encoded the pixels itself, so that images need no check.
    """

    class_names: Sequence[str] | None
    stimuli: Iterator[Stimulus]
    is_encoded_here: bool = False


class DamagedSourceError(UserError):
    """A source that cannot be read in full."""


@dataclass
class DamageLog:
    """Collects what is wrong with single items of a source, so that all are known at the end.

    Attributes:
        damaged: (item, reason) of each item that cannot be used.
        ignored: Names of hidden files, of those that operating systems leave (such as ``Thumbs.db``), and of
            those that hold no stimuli (such as ``README.md`` among shards).
        left_out: Number of stimuli, or of files with stimuli, that the parameters leave out, by the split
            (label maps) or the folder (stated splits).
        notes: What was decided on the way that another reading would decide otherwise, in words.
    """

    damaged: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, item: str, reason: str) -> None:
        """Record one item that cannot be used; what is not text in it is shown by its bytes."""
        self.damaged.append((_as_text(item), _as_text(reason)))

    def ignore(self, item: str) -> None:
        """Record a file that operating systems leave."""
        self.ignored.append(_as_text(item))

    def first_damaged(self) -> str:
        """Return the first damaged items with their reasons, and how many more there are."""
        shown = "; ".join(f"{item} ({reason})" for item, reason in self.damaged[:SHOWN_IN_ERRORS])
        more = len(self.damaged) - SHOWN_IN_ERRORS
        return f"{shown}; and {more} more" if more > 0 else shown

    def require_none(self) -> None:
        """Raise if anything was recorded.

        Raises:
            DamagedSourceError: Names the first items with their reasons, and tells the count.
        """
        if not self.damaged:
            return
        raise DamagedSourceError(
            f"{len(self.damaged)} damaged items: {self.first_damaged()}; repair them, or set on_damaged: skip"
            " to leave them out and record them"
        )


def _as_text(name: str) -> str:
    """Return text of one line in UTF-8; other characters are escaped."""
    shown = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == " " else ascii(c)[1:-1] for c in shown)
