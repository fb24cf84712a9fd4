"""Read configuration files within bounds on size, depth and the expansion of aliases.

A few hundred bytes of YAML can refer to themselves, unfold to gigabytes or nest deeper than Python's stack:
events are counted first, in one pass over the file, and no parser builds objects of what is refused here.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rep_kedro.errors import UserError

MAX_BYTES = 4_000_000
MAX_DEPTH = 40
MAX_NODES = 200_000
MAX_DIGITS = 100
_NUMBER = re.compile(r"[-+]?(0[xob])?[0-9a-fA-F_.:]+([eE][-+]?[0-9]+)?")
_OTHER_BASE = re.compile(r"[-+]?([0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|0[0-7_]+)")
"""What YAML 1.1 reads in base 60 or 8: ``1:30`` as 90, ``010`` as 8."""
_TRUTH = re.compile("yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_TYPES = frozenset(f"tag:yaml.org,2002:{name}" for name in ("set", "omap", "pairs", "binary"))


def require_bounded(path: Path) -> None:
    """Refuse a file that is no file, too large, no UTF-8 text, or unfolds to too much.

    Raises:
        UserError: If it is one of these; the message has the line. Broken YAML is left to whoever parses it.
    """
    import yaml

    shown = shown_path(path)
    if path.is_dir():
        raise UserError(f"{shown} is a folder where a file is expected; rename or remove it")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(
                f"{shown} has {path.stat().st_size:,} bytes; configuration files may have {MAX_BYTES:,}"
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{shown} is not UTF-8 text") from None
    except OSError as problem:
        raise UserError(f"{shown} cannot be read: {problem.strerror or problem}") from problem
    counter = _Counter(shown)
    try:
        for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            counter.count(event)
    except yaml.YAMLError:
        return


def shown_path(path: Path) -> str:
    """Return a path as the user would write it from the project's folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@dataclass
class _Collection:
    """A mapping or list whose end has not come yet; before counts the nodes that came before it."""

    anchor: str | None
    before: int
    is_mapping: bool
    n_parts: int = 0


class _Counter:
    """Counts what a file's nodes unfold to, event by event."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._open: list[_Collection] = []
        self._sizes: dict[str, int] = {}
        self._total = 0

    def count(self, event: Any) -> None:
        import yaml

        if getattr(event, "tag", None) in _TYPES:
            kind = event.tag.rpartition(":")[2]
            self._refuse(event, f"has a value of the type !!{kind}; write text, a list or `key: value` lines")
        if isinstance(event, yaml.NodeEvent):
            self._require_named(event)
        if isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            self._open.append(_Collection(event.anchor, self._total, is_mapping))
            if len(self._open) > MAX_DEPTH:
                self._refuse(event, f"is nested more than {MAX_DEPTH} levels deep")
            self._add(event, 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = self._open.pop()
            if ended.anchor is not None:
                self._sizes[ended.anchor] = self._total - ended.before
        elif isinstance(event, yaml.ScalarEvent):
            self._require_number(event)
            self._add(event, 1)
            if event.anchor is not None:
                self._sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if any(around.anchor == event.anchor for around in self._open):
                self._refuse(event, f"refers to itself: *{event.anchor} is inside &{event.anchor}")
            self._add(event, self._sizes.get(str(event.anchor), 0))

    def _add(self, event: Any, n_nodes: int) -> None:
        self._total += n_nodes
        if self._total > MAX_NODES:
            self._refuse(event, f"expands to more than {MAX_NODES:,} values")

    def _require_named(self, event: Any) -> None:
        """Refuse keys that YAML reads as true or false."""
        if not self._open:
            return
        around = self._open[-1]
        around.n_parts += 1
        is_key = around.is_mapping and around.n_parts % 2 == 1
        if is_key and getattr(event, "implicit", None) == (True, False) and _TRUTH.fullmatch(event.value):
            meaning = event.value.lower() in {"yes", "true", "on"}
            self._refuse(
                event, f"YAML reads the key {event.value} as {str(meaning).lower()}; quote it, or rename it"
            )

    def _require_number(self, event: Any) -> None:
        """Refuse numbers that are too long, or that YAML reads as others than a reader does."""
        value = event.value
        if not event.implicit[0]:
            return
        if len(value) > MAX_DIGITS and _NUMBER.fullmatch(value):
            self._refuse(event, f"has a number of {len(value):,} digits; at most {MAX_DIGITS} are allowed")
        if _OTHER_BASE.fullmatch(value):
            base = 60 if ":" in value else 8
            self._refuse(
                event, f"YAML reads {value} as a number to the base {base}; write decimals, or quote it"
            )

    def _refuse(self, event: Any, why: str) -> None:
        raise UserError(f"{self._shown}, line {event.start_mark.line + 1}: {why}")
