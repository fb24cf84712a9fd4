"""The revision of code: a digest of what it does, blind to how it is laid out or explained.

A recipe holds the revision of the code that makes its member, so an edited kernel recomputes exactly
what depends on it, and an edited comment nothing. No module is imported for it; the digest is the same
under every supported Python.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_PACKAGE = "rep_kedro"
_ROOT = Path(__file__).parents[1]
_NEUTRAL = f"{_PACKAGE}.datasets"  # file formats carry their own version in each header
_DIGEST_CHARS = 16


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
    digest = hashlib.sha256()
    for piece in _pieces(_tree(name)):
        digest.update(piece.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _pieces(node: object) -> Iterator[str]:
    """Yield a syntax tree as text, without places, explanations and what differs between Python versions."""
    if isinstance(node, ast.Constant):
        yield f"{type(node.value).__name__} {node.value!r};"
    elif isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for field, value in ast.iter_fields(node):
            if value is not None and value != []:
                yield f"{field}="
                yield from _pieces(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for element in node:
            if not _is_explanation(element):
                yield from _pieces(element)
        yield "]"
    else:
        yield f"{node!r};"


def _is_explanation(node: object) -> bool:
    """Tell whether a statement does nothing: a docstring or a ``pass``."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


@cache
def _imports(name: str) -> tuple[str, ...]:
    found: set[str] = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == _PACKAGE}
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(node, name)
            if base.split(".")[0] == _PACKAGE:
                found |= {_module_of(base, alias.name) for alias in node.names}
    return tuple(sorted(found - {_PACKAGE}))


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
