"""The revision of code: a digest of what it does, blind to how it is laid out or explained.

A recipe holds the revision of the code that makes its member, so an edited kernel recomputes exactly
what depends on it, and an edited comment nothing. No module is imported for it; the digest is the same
under every supported Python.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

_PACKAGE = "rep_kedro"
_ROOT = Path(__file__).parents[1]
_NEUTRAL = f"{_PACKAGE}.datasets"  # file formats carry their own version in each header
_DIGEST_CHARS = 16
_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})  # fields that hold statements


@cache
def code_revision(*modules: str) -> str:
    """Return the revision of some modules of this project and of the project modules they import.

    Imports inside functions count; ``rep_kedro.datasets`` does not (formats are versioned in each header).
    Modules named only at run time (``import_module``) and files of data are not seen: a recipe holds what it
    takes from those.

    Args:
        modules: Dotted names, such as ``rep_kedro.kernels.cka``. Name the narrowest modules that
            determine the value; a registry that lists everything would make every value depend on all.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: If a module is unknown or not of this project.
    """
    if not modules:
        raise ValueError("code_revision needs at least one module name")
    digest = hashlib.sha256()
    for name in sorted(_closure(modules)):
        digest.update(f"{name}:{_module_digest(name)};".encode())
    return digest.hexdigest()[:_DIGEST_CHARS]


def module_closure(*modules: str) -> dict[str, Path]:
    """Return the source files of some modules and of all project modules they import, by dotted name."""
    return {name: _source_of(name) for name in sorted(_closure(modules))}


def _closure(modules: tuple[str, ...]) -> set[str]:
    todo, seen = list(modules), set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += [found for found in _imports(name) if not f"{found}.".startswith(f"{_NEUTRAL}.")]
    return seen


def _source_of(name: str) -> Path:
    if name.split(".", maxsplit=1)[0] != _PACKAGE:
        raise ValueError(f"{name!r} is not a module of {_PACKAGE}")
    path = _path_of(name)
    if path is None:
        raise ValueError(
            f"no module {name!r} to take the revision of: there is no {_ROOT.parent / _inner(name)}.py"
        )
    return path


def _inner(name: str) -> Path:
    return Path(*name.split("."))


def _path_of(name: str) -> Path | None:
    """Return a module's source, or None if there is no such module."""
    inner = _ROOT.parent / _inner(name)
    for path in (inner / "__init__.py", inner.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_source_of(name).read_bytes())


@cache
def _module_digest(name: str) -> str:
    pieces: list[str] = []
    _write_pieces(_tree(name), pieces.append)
    return hashlib.sha256("".join(pieces).encode("utf-8", "surrogatepass")).hexdigest()


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
    """Tell whether a statement does nothing: a docstring or a ``pass``."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


@cache
def _imports(name: str) -> tuple[str, ...]:
    found: set[str] = set()
    for node in _statements(_tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == _PACKAGE}
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(node, name)
            if base.split(".")[0] == _PACKAGE:
                found |= {_module_of(base, alias.name) for alias in node.names}
    return tuple(sorted(found - {_PACKAGE}))


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


def _base_of(node: ast.ImportFrom, name: str) -> str:
    """Return the module that a ``from`` imports from, relative ones resolved."""
    if node.level == 0:
        return node.module or ""
    parts = name.split(".")
    if _source_of(name).name == "__init__.py":
        parts.append("__init__")
    return ".".join([*parts[: -node.level], *([node.module] if node.module else [])])


def _module_of(base: str, attribute: str) -> str:
    """Return ``base.attribute`` if that is a module, else ``base``."""
    return f"{base}.{attribute}" if _path_of(f"{base}.{attribute}") is not None else base
