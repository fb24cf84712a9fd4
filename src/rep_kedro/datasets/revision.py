"""The revision of code: a digest of what it does, blind to how it is laid out or explained.

A recipe holds the revision of the code that makes its member, so an edited kernel recomputes exactly
what depends on it, and an edited comment nothing. No module is imported for it; the digest is the same
under every supported Python.
"""

import hashlib
from functools import cache
from pathlib import Path

from rep_kedro.datasets.source_facts import SourceFacts, read_facts

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
        modules: Dotted names, such as ``rep_kedro.kernels.similarity.cka``. Name the narrowest modules that
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
        digest.update(f"{name}:{_facts_of(name).digest};".encode())
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
def _facts_of(name: str) -> SourceFacts:
    return read_facts(_source_of(name))


@cache
def _imports(name: str) -> tuple[str, ...]:
    found: set[str] = set()
    for module, level, attribute in _facts_of(name).imports:
        base = _base_of(module, level, name)
        if base.split(".")[0] == _PACKAGE:
            found.add(_module_of(base, attribute) if attribute else base)
    return tuple(sorted(found - {_PACKAGE}))


def _base_of(module: str, level: int, name: str) -> str:
    """Return the module that an import in the module ``name`` imports from, relative ones resolved."""
    if level == 0:
        return module
    parts = name.split(".")
    if _source_of(name).name == "__init__.py":
        parts.append("__init__")
    return ".".join([*parts[:-level], *([module] if module else [])])


def _module_of(base: str, attribute: str) -> str:
    """Return ``base.attribute`` if that is a module, else ``base``."""
    return f"{base}.{attribute}" if _path_of(f"{base}.{attribute}") is not None else base
