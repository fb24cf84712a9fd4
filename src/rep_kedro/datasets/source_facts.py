"""What the source of a module says: a digest of what it does, and what it imports.

Parsing all modules takes a second, so the facts of each file of the package are noted next to the compiled
modules, with the digest of the source that they describe. Notes that are damaged, or were written by other
code, are not used; those of files that no longer exist are dropped.
"""

import ast
import atexit
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.seal import BLANK_SEAL, DamagedMemberError, require_seal, sealed

_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})  # fields that hold statements
_PACKAGE = Path(__file__).parents[1]
_NOTES = Path(__file__).parent / "__pycache__" / f"source_facts.{sys.implementation.cache_tag}.json"


class SourceFacts(NamedTuple):
    """What is read off a source.

    Attributes:
        digest: SHA-256 of what it does, blind to layout and explanations.
        imports: Module, level and attribute of each import on any level, as written; the attribute is empty
            for ``import module``.
    """

    digest: str
    imports: tuple[tuple[str, int, str], ...]


class _Note(NamedTuple):
    """The SHA-256 of a source as it is, and its facts."""

    source: str
    facts: SourceFacts


def read_facts(path: Path) -> SourceFacts:
    """Return the facts of a source file; those of this package are noted for later processes."""
    source = path.read_bytes()
    if not path.is_relative_to(_PACKAGE):
        return _parse(source)
    notes, name = _known(), path.relative_to(_PACKAGE).as_posix()
    digest = hashlib.sha256(source).hexdigest()
    if name not in notes or notes[name].source != digest:
        notes[name] = _Note(digest, _parse(source))
    return notes[name].facts


def _parse(source: bytes) -> SourceFacts:
    tree, pieces = ast.parse(source), list[str]()
    _write_pieces(tree, pieces.append)
    digest = hashlib.sha256("".join(pieces).encode("utf-8", "surrogatepass")).hexdigest()
    return SourceFacts(digest, tuple(_imports_in(tree)))


def _imports_in(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", node.level, alias.name) for alias in node.names)


def _write_pieces(node: object, write: Callable[[str], None]) -> None:
    """Write a syntax tree as text, without places, explanations and what differs between Python versions."""
    if isinstance(node, ast.Constant):
        write(f"{type(node.value).__name__} {node.value!r};")
    elif isinstance(node, ast.AST):
        write(f"{type(node).__name__}(")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != []:
                write(f"{field}=")
                _write_pieces(value, write)
        write(")")
    elif isinstance(node, list):
        write("[")
        for element in node:
            if not _is_explanation(element):
                _write_pieces(element, write)
        write("]")
    else:
        write(f"{node!r};")


def _is_explanation(node: object) -> bool:
    """Return whether a statement does nothing: a docstring or a ``pass``."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements in a syntax tree, on every level; imports are statements."""
    todo = [node]
    while todo:
        node = todo.pop()
        for field in _BLOCKS.intersection(node._fields):
            for inner in getattr(node, field):
                todo.append(inner)
                if isinstance(inner, ast.stmt):
                    yield inner


@cache
def _known() -> dict[str, _Note]:
    """Return the notes of earlier processes by path in the package; new ones are written at the end."""
    found: dict[str, _Note] = {}
    with suppress(OSError, ValueError, LookupError, TypeError, DamagedMemberError):
        require_seal(_NOTES, at_end=True)
        content = json.loads(_NOTES.read_bytes())
        if content["maker"] == _maker():
            found = {
                name: _Note(source, SourceFacts(digest, tuple(map(tuple, imports))))
                for name, (source, (digest, imports)) in content["notes"].items()
            }
    atexit.register(_write, found, dict(found))
    return found


def _write(notes: dict[str, _Note], known: dict[str, _Note]) -> None:
    if notes != known:
        kept = {name: note for name, note in notes.items() if (_PACKAGE / name).is_file()}
        text = json.dumps({"maker": _maker(), "notes": kept, "seal": BLANK_SEAL})
        with suppress(OSError):  # a folder that cannot be written costs a second, no more
            write_bytes_atomically(_NOTES, sealed(text, at_end=True))


def _maker() -> str:
    """Return the digest of this file: other code may find other facts."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
