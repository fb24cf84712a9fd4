"""Which tensors of a file are a network's: its own names, found below wrappers and prefixes, never guessed.

A file may hold several sets of weights: a network and its moving average, teacher and student, two encoders.
What fits the network is a reading; where there are several that differ, the user chooses.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rep_kedro.errors import UserError, shorten
from rep_kedro.models.places import StatePlace
from rep_kedro.models.sources.file_kinds import show_name

_DEEPEST = 6
_MOST_PARTS = 20_000
_SHOWN = 4
_PREFIX_PARTS = ("module", "_orig_mod", "model", "network", "net", "backbone", "encoder", "trunk", "visual")
_COMMON_PREFIX = re.compile(rf"((?:{'|'.join(_PREFIX_PARTS)})\.)+")


@dataclass(frozen=True)
class Reading:
    """One way of reading a file.

    Attributes:
        within: Dotted path to the tensors in the file.
        prefix: What is cut off their names.
        sources: Name in the file of each tensor, by the network's name.
        tensors: By the network's name.
        outside: Names in the file that lack the prefix, or are another reading's.
    """

    within: str
    prefix: str
    sources: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    outside: tuple[str, ...]

    def settings(self) -> str:
        """Return what an entry says to ask for this reading."""
        within = [f"within: {self.within!r}"] if self.within else []
        return ", ".join([*within, f"prefix: {self.prefix!r}"])


def find_states(content: Any) -> dict[str, dict[str, Tensor]]:
    """Return all mappings of names to tensors, by dotted path; everything else is left out."""
    states: dict[str, dict[str, Tensor]] = {}
    for path, part in _walk(content):
        if isinstance(part, Mapping):
            tensors = {str(name): value for name, value in part.items() if isinstance(value, Tensor)}
            if tensors:
                states[path] = tensors
    return states


def tell_content(content: Any) -> str:
    """Return in a few words what a file holds."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    states = find_states(content)
    parts = [
        f"{show_name(path or 'tensors')} ({shorten([show_name(name) for name in state], _SHOWN)})"
        for path, state in list(states.items())[:_SHOWN]
    ]
    covered = {path.partition(".")[0] for path in states}
    others = [str(key) for key in content if str(key) not in covered and "" not in states]
    parts += [f"{show_name(key)} ({type(content[key]).__name__})" for key in content if str(key) in others][
        :_SHOWN
    ]
    more = len(states) + len(others) - len(parts)
    return f"{', '.join(parts) or 'nothing'}{f' and {more} more' if more > 0 else ''}"


def list_readings(
    states: Mapping[str, Mapping[str, Tensor]], needed: set[str], spec: StatePlace
) -> list[Reading]:
    """Return the readings whose names cover those the network needs; else the single best guesses.

    Raises:
        ValueError: If rules of renaming give two tensors one name.
    """
    found: list[Reading] = []
    partial: list[Reading] = []
    for path, state in states.items():
        renamed = {name: name for name in state} if spec.prefix is not None else _rename(state, spec)
        counts = _count_prefixes(renamed, needed)
        whole = [prefix for prefix, count in counts.items() if count == len(needed)]
        if spec.rename and "" in whole:
            whole = [""]  # the rules give the network's own names: they have chosen
        for prefix in [spec.prefix] if spec.prefix is not None else whole:
            reading = _read(path, state, prefix, [p for p in whole if p != prefix], needed, spec)
            (found if needed <= reading.tensors.keys() else partial).append(reading)
        if spec.prefix is None and not whole:
            best = max(counts, key=lambda prefix: counts[prefix], default=_shared_prefix(state))
            partial.append(_read(path, state, best, [], needed, spec))
    return _distinct(found) or sorted(partial, key=lambda reading: -len(needed & reading.tensors.keys()))


def _read(
    path: str, state: Mapping[str, Tensor], prefix: str, others: list[str], needed: set[str], spec: StatePlace
) -> Reading:
    """Return the tensors behind a prefix, and those without it that the network needs."""
    rivals = tuple(other for other in others if other.startswith(prefix) and other != prefix)
    inside = {
        name: name.removeprefix(prefix)
        for name in state
        if name.startswith(prefix) and not (rivals and name.startswith(rivals))
    }
    named = {own: state[name] for name, own in inside.items()}
    own_names = _rename(named, spec)
    sources = {own_names[own]: name for name, own in inside.items()}
    outside = []
    for name in state:
        if name not in inside:
            own = _apply_rules(name, spec.rename)
            if own in needed and own not in sources:
                sources[own] = name
            else:
                outside.append(name)
    tensors = {own: state[name] for own, name in sources.items()}
    return Reading(path, prefix, sources, tensors, tuple(outside))


def _rename(state: Mapping[str, Tensor], spec: StatePlace) -> dict[str, str]:
    """Return the new name of each tensor.

    Raises:
        ValueError: If two get one name; both are named.
    """
    new = {name: _apply_rules(name, spec.rename) for name in state}
    first: dict[str, str] = {}
    clashes = []
    for name, own in new.items():
        if own in first:
            clashes.append((own, first[own], name))
        first.setdefault(own, name)
    if clashes:
        own, one, two = clashes[0]
        more = f" (and {len(clashes) - 1} more clashes)" if len(clashes) > 1 else ""
        raise UserError(
            f"rename gives one name, {show_name(own)!r}, to {show_name(one)!r} and {show_name(two)!r}{more};"
            " let it name one of them"
        )
    return new


def _apply_rules(name: str, rules: Mapping[str, str]) -> str:
    for pattern, replacement in rules.items():
        try:
            name = re.sub(pattern, replacement, name, count=1)
        except (re.error, IndexError) as problem:
            raise UserError(f"rename {pattern!r} to {replacement!r}: {problem}") from problem
    return name


def _count_prefixes(names: Mapping[str, str], needed: set[str]) -> Counter[str]:
    """Return how many of the network's names there are behind each prefix that ends at a dot."""
    counts: Counter[str] = Counter()
    for name in names.values():
        start = 0
        while True:
            if name[start:] in needed:
                counts[name[:start]] += 1
            start = name.find(".", start) + 1
            if start == 0:
                break
    return counts


def _shared_prefix(names: Mapping[str, Tensor]) -> str:
    """Return the usual prefix that all names share, for files whose names are changed afterwards."""
    found = _COMMON_PREFIX.match(next(iter(names), ""))
    return found[0] if found and all(name.startswith(found[0]) for name in names) else ""


def _distinct(readings: list[Reading]) -> list[Reading]:
    """Return readings of different numbers; a set of weights that is saved twice is one."""
    kept: list[Reading] = []
    for reading in readings:
        if not any(_hold_the_same(reading.tensors, other.tensors) for other in kept):
            kept.append(reading)
    return kept


def _hold_the_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(_are_equal(first[name], second[name]) for name in first)


def _are_equal(first: Tensor, second: Tensor) -> bool:
    if first is second:
        return True
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if any(each.layout != torch.strided or each.is_meta for each in (first, second)):
        return False
    is_one_view = first.data_ptr() == second.data_ptr() and first.stride() == second.stride()
    return is_one_view or torch.equal(first, second)


def _walk(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of nested mappings and lists, each object once, with their paths."""
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_PARTS:
        path, part, depth = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        if depth < _DEEPEST and isinstance(part, Mapping | list | tuple):
            items = part.items() if isinstance(part, Mapping) else enumerate(part)
            waiting += [
                (f"{path}.{key}" if path else str(key), value, depth + 1)
                for key, value in items
                if isinstance(value, Mapping | list | tuple)
            ]
