"""The revision of code: a digest of what it does, blind to how it is laid out or explained.

A recipe holds the revision of the code that makes its member, so an edited kernel recomputes exactly
what depends on it, and an edited comment nothing.
"""

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "rep_kedro"
_NEUTRAL = (f"{_PACKAGE}.datasets",)  # file formats carry their own version in each header
_DIGEST_CHARS = 16


@cache
def code_revision(*modules: str) -> str:
    """Return the revision of some modules of this project and of the project modules they import.

    Imports inside functions count; ``rep_kedro.datasets`` does not (formats are versioned in each header).

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
        todo += [found for found in _imports(name) if not found.startswith(_NEUTRAL)]
    return seen


@cache
def _source_of(name: str) -> Path:
    if name.split(".", maxsplit=1)[0] != _PACKAGE:
        raise ValueError(f"{name!r} is not a module of {_PACKAGE}")
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"no module {name!r} to take the revision of")
    return Path(spec.origin)


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_source_of(name).read_text(encoding="utf-8"))


@cache
def _module_digest(name: str) -> str:
    tree = ast.parse(_source_of(name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def _imports(name: str) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == _PACKAGE]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == _PACKAGE:
            base = node.module or ""
            found += [_module_of(base, alias.name) for alias in node.names]
    return tuple(sorted(set(found) - {_PACKAGE}))


def _module_of(base: str, attribute: str) -> str:
    """Return ``base.attribute`` if that is a module, else ``base``."""
    try:
        spec = find_spec(f"{base}.{attribute}")
    except ModuleNotFoundError:
        spec = None
    return f"{base}.{attribute}" if spec is not None else base
