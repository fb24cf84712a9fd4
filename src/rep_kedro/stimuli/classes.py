"""Names and numbers of classes, where a source declares none or counts them in its own way."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rep_kedro.errors import UserError, shorten
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus

_NUMBER = re.compile(r"([0-9]{1,18})")
MAX_FOUND_CLASSES = 1 << 16  # classes without names; where there are more, they are something else
LOOK_LIKE_IDS = (
    "labels look like ids, not classes; name another label column (or none), class_names or a label_map"
)


def order_names(found: Iterable[str]) -> list[str]:
    """Return the distinct names in the order of their labels: by their letters, or by their numbers.

    Example:
        >>> order_names(["10", "9", "2"]), order_names(["b10", "b9"]), order_names(["b10", "b9", "a"])
        (['2', '9', '10'], ['b9', 'b10'], ['a', 'b10', 'b9'])
    """
    names = set(found)
    numbers = numbers_of(names)
    return sorted(names, key=lambda name: (numbers.get(name, 0), name))


def numbers_of(names: Iterable[str]) -> dict[str, int]:
    """Return the number in each name if names differ in nothing else; otherwise nothing.

    Example:
        >>> numbers_of(["class_10", "class_9"]), numbers_of(["10", "cat"])
        ({'class_10': 10, 'class_9': 9}, {})
    """
    parts = {name: _NUMBER.split(name) for name in names}
    frames = {(len(part), part[0], part[-1]) for part in parts.values()}
    if len(frames) != 1 or next(iter(frames))[0] != 3:
        return {}
    return {name: int(number) for name, (_, number, _) in parts.items()}


def is_number(name: str) -> bool:
    """Return whether a name is an integer in digits."""
    return bool(_NUMBER.fullmatch(name))


def names_in_order(names: Any, place: str) -> list[str]:
    """Return class names that a description declares as a list, or by label.

    Raises:
        DamagedSourceError: If they are in another form, or two classes have one name.
    """
    try:
        if isinstance(names, Mapping):
            names = [names[key] for key in sorted(names, key=int)]
        ordered = [str(name) for name in names]
    except (TypeError, ValueError) as problem:
        raise DamagedSourceError(f"{place} names its classes in an unknown form: {problem}") from problem
    shared = shared_names(ordered)
    if shared:
        raise DamagedSourceError(
            f"{place} gives several classes one name: {shorten(shared)}; rename them, or set class_names"
        )
    return ordered


def shared_names(names: Iterable[str]) -> list[str]:
    """Return the names that several classes have.

    Example:
        >>> shared_names(["crane", "maillot", "crane"])
        ['crane']
    """
    return [name for name, count in Counter(names).items() if count > 1]


def require_one_list(declared: Iterable[tuple[str, Sequence[str]]]) -> list[str] | None:
    """Return the class names that every place of a source declares; None where none declares any.

    Args:
        declared: (place, names by label), such as the names in each file of a set.

    Raises:
        DamagedSourceError: If two places disagree, so that one label means two classes.

    Example:
        >>> require_one_list([("a.parquet", ["cat", "dog"]), ("b.parquet", ["cat", "dog"])])
        ['cat', 'dog']
    """
    found = dict[tuple[str, ...], str]()
    for place, names in declared:
        found.setdefault(tuple(names), place)
    if len(found) > 1:
        (names, place), (others, other) = list(found.items())[:2]
        label = next(n for n, pair in enumerate(zip_longest(names, others)) if pair[0] != pair[1])
        here, there = (_shown(each[label : label + 1]) for each in (names, others))
        raise DamagedSourceError(
            f"class names disagree between {place} and {other}: label {label} is {here} in the first, {there}"
            " in the second; make each a stimulus set of its own, or set class_names if all files number the"
            " classes in that order"
        )
    return list(next(iter(found))) if found else None


def _shown(name: Sequence[str]) -> str:
    return repr(name[0]) if name else "without a name"


class LabelsByName:
    """Labels of a source whose samples give the names of their classes.

    Args:
        class_names: By label; None where the source has none.
    """

    def __init__(self, class_names: Sequence[str] | None) -> None:
        names = list(class_names or [])
        self._labels = {name: label for label, name in enumerate(names)}
        self._shared = set(shared_names(names))

    def find(self, name: str) -> int | str:
        """Return the label of a class, or why there is none."""
        if name in self._shared:
            return f"label {name!r} is the name of several classes"
        reason = f"label {name[:20]!r} is neither a whole number nor among the class names"
        return self._labels.get(name, reason)


def note_shared_names(class_names: Sequence[str] | None, log: DamageLog) -> None:
    """Note names that several classes have; their labels keep these classes apart."""
    shared = shared_names(class_names or [])
    if shared:
        log.notes.append(
            f"several classes share a name, and stay classes of their own by their labels: {shorten(shared)}"
        )


def require_distinct(names: Collection[str], *, is_settled: bool) -> None:
    """Require that no two names differ in case, in separators or in leading zeros only.

    Args:
        names: Of classes that were found.
        is_settled: True where the parameters say what becomes of them (class_names or label_map).

    Raises:
        UserError: Names the first two, and what to write.
    """
    if is_settled:
        return
    known: dict[str, str] = {}
    for name in sorted(names):
        twin = known.setdefault(_plain(name), name)
        if twin != name:
            is_one_text = unicodedata.normalize("NFC", twin) == unicodedata.normalize("NFC", name)
            shown = (ascii(twin), ascii(name)) if is_one_text else (repr(twin), repr(name))
            in_what = "their Unicode form" if is_one_text else "case, separators or leading zeros"
            raise UserError(
                f"classes {shown[0]} and {shown[1]} differ in {in_what} only; rename one,"
                f" or join them with `label_map: {{classes: {{{name}: [{twin!r}, {name!r}], ...}}}}`, or list"
                " both in class_names to keep them apart"
            )


def _plain(name: str) -> str:
    if re.fullmatch(r"-?[0-9]{1,18}", name):
        return str(int(name))
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def name_by_number(labels: Collection[int]) -> list[str] | None:
    """Return names for labels that have none: their numbers, from 0 on; None where there are no labels.

    Raises:
        UserError: If the labels look like ids.

    Example:
        >>> name_by_number({0, 3})
        ['0', '1', '2', '3']
    """
    if not labels:
        return None
    largest = max(labels)
    if largest >= MAX_FOUND_CLASSES:
        raise UserError(f"labels up to {largest}: {LOOK_LIKE_IDS}")
    return [str(label) for label in range(largest + 1)]


def require_few_classes(n_classes: int, where: str) -> None:
    """Raise if there are more different labels than there may be classes.

    Raises:
        DamagedSourceError: Says what to do.
    """
    if n_classes > MAX_FOUND_CLASSES:
        raise DamagedSourceError(f"{where}: more than {MAX_FOUND_CLASSES:,} different {LOOK_LIKE_IDS}")


class Numbering:
    """How a source numbers its classes, determined while its stimuli are read.

    Attributes:
        n_classes: Number of the source's class names; None where it has none.
        largest: Largest label so far; -1 before the first.
    """

    def __init__(self, class_names: Sequence[str] | None, first_label: int | None) -> None:
        self.n_classes = len(class_names) if class_names is not None else None
        self.largest = -1
        self._smallest: int | None = None
        self._first = first_label

    def follow(self, stimuli: Iterator[Stimulus], log: DamageLog) -> Iterator[Stimulus]:
        """Yield the stimuli, their labels counted from 0 where the parameters state the first one."""
        for stimulus in stimuli:
            if stimulus.label is None:
                yield stimulus
                continue
            label = stimulus.label - (self._first or 0)
            self.largest = max(self.largest, label)
            self._smallest = label if self._smallest is None else min(self._smallest, label)
            if label < 0 <= stimulus.label:
                log.add(stimulus.stimulus_id, f"label {stimulus.label} is below first_label {self._first}")
            else:
                yield stimulus._replace(label=label)

    def is_from_one(self) -> bool:
        """Return whether labels run from 1 to K for K names, which only counting from 1 explains."""
        return self._first is None and self._smallest == 1 and self.largest == self.n_classes

    def hint(self) -> str:
        """Return what to try where labels are too large by one and none is 0."""
        may_be = self._first is None and (self._smallest or 0) > 0
        return ", counted from 0; say first_label: 1 if the source counts from 1" if may_be else ""

    def note_doubt(self, class_names: Sequence[str] | None, log: DamageLog) -> None:
        """Note that the first class has no stimulus, which may mean that labels are counted from 1."""
        if class_names and self._first is None and self._smallest == 1 and self.largest < len(class_names):
            log.notes.append(
                f"no stimulus has label 0 ({class_names[0]}); if the source counts from 1, say first_label: 1"
            )

    def require_unmapped(self, log: DamageLog, *, is_mapped: bool) -> None:
        """Note that labels are counted from 1; refuse where a label map has taken them for others.

        Raises:
            UserError: If the labels went through a label map.
        """
        finding = f"labels run from 1 to {self.n_classes}, as many as there are class names"
        if is_mapped:
            raise UserError(f"{finding}; say first_label: 1, so that label_map meets the right classes")
        log.notes.append(f"{finding}: the first class has label 1 (to state it: first_label: 1)")
