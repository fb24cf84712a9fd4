"""Expected counts of a stimulus set, compared with what was found in it."""

from collections.abc import Mapping
from typing import Any

from rep_kedro.errors import counted, shorten
from rep_kedro.stimuli.record import DamagedSourceError

CLASSES = "classes"


def require_expected(name: str, meta: Mapping[str, Any], expected: Mapping[str, int] | None) -> None:
    """Compare the counts of a stimulus set with those expected.

    Args:
        name: Of the set.
        meta: Of the set, as ``assemble_stimulus_set`` describes it.
        expected: Stimuli by split, and under ``classes`` how many classes have at least one stimulus; what is
            not named is not compared.

    Raises:
        DamagedSourceError: Names all that differs, with what was found and what was expected.
    """
    differences = []
    for item, wanted in (expected or {}).items():
        found = count_classes(meta) if item == CLASSES else meta["counts"].get(item, 0)
        if found != wanted:
            what = "classes" if item == CLASSES else f"stimuli in split {item}"
            differences.append(f"{found} {what}, expected {wanted}")
    if differences:
        damaged = counted(len(meta["damaged"]), "damaged item")
        left_out = f"; left out: {damaged}" if meta["damaged"] else ""
        raise DamagedSourceError(
            f"stimulus set {name!r} is not as expected: {', '.join(differences)}{left_out}; repair the"
            f" source, or correct expected of {name!r}"
        )


def count_classes(meta: Mapping[str, Any]) -> int:
    """Return how many classes of a stimulus set have at least one stimulus; 0 where they have no names.

    Example:
        >>> count_classes({"class_counts": {"train": {"cat": 2, "dog": 0, "cow": 0}, "test": {"dog": 1}}})
        2
    """
    return len({name for counts in meta["class_counts"].values() for name, count in counts.items() if count})


def describe_left_out(meta: Mapping[str, Any]) -> str:
    """Return in words how much of a source is not in the set; empty if all is.

    Example:
        >>> damaged = [{"item": "a.jpg", "reason": "truncated"}]
        >>> describe_left_out({"damaged": damaged, "left_out": {}, "ignored": []})
        '1 damaged item, first a.jpg (truncated)'
    """
    parts = []
    if meta["damaged"]:
        first = meta["damaged"][0]
        parts.append(
            f"{counted(len(meta['damaged']), 'damaged item')}, first {first['item']} ({first['reason']})"
        )
    if meta["left_out"]:
        parts.append(
            f"{sum(meta['left_out'].values())} stimuli or files that the parameters leave out, first of"
            f" {next(iter(meta['left_out']))}"
        )
    if meta["ignored"]:
        parts.append(f"{counted(len(meta['ignored']), 'file')} without stimuli, first {meta['ignored'][0]}")
    return "; ".join(parts)


def describe_doubts(meta: Mapping[str, Any]) -> list[str]:
    """Return in words what may affect conclusions from the set.

    Example:
        >>> meta = {"classes_of_test_alone": ["cat"], "n_copies": 3, "n_copies_across_splits": 2}
        >>> for doubt in describe_doubts(meta | {"counts": {"train": 4, "test": 3}}):
        ...     print(doubt)
        1 classes of the test split have no training stimulus: cat
        2 stimuli of other splits are exact copies of training stimuli
        3 stimuli are exact copies of others
    """
    doubts = []
    alone = meta["classes_of_test_alone"]
    if alone:
        doubts.append(f"{len(alone)} classes of the test split have no training stimulus: {shorten(alone)}")
    if meta["n_copies_across_splits"]:
        doubts.append(
            f"{meta['n_copies_across_splits']} stimuli of other splits are exact copies of training stimuli"
        )
    if meta["n_copies"]:
        doubts.append(f"{meta['n_copies']} stimuli are exact copies of others")
    others = [split for split in meta["counts"] if split not in {"train", "test"}]
    if others:
        doubts.append(
            f"{count_other(meta)} stimuli are in splits for neither training nor tests: {shorten(others)}"
        )
    return doubts


def count_other(meta: Mapping[str, Any]) -> int:
    """Return how many stimuli are neither in the split train nor in test."""
    return sum(count for split, count in meta["counts"].items() if split not in {"train", "test"})
