"""Architectures by name: those of the package, and those of users in `conf/<environment>/architectures`.

`<name>_w<n>` multiplies the widths of `<name>` by n; `resnet_w<n>` is `resnet20_w<n>`, as its authors write.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.architecture import Architecture

FOLDER = Path(__file__).parent / "architectures"
_SUFFIXES = frozenset({".yml", ".yaml"})

_LARGEST_FILE = 1_000_000
_MOST_NODES = 200_000
_SHOWN = 3
_SHOWN_CHARS = 100
_WIDENED = re.compile(r"(\w+)_w([1-9]\d{0,2})")
_WIDENED_AS = {"resnet": "resnet20"}  # Csiszarik et al. 2021, arXiv:2110.14633
_configuration = {"folder": Path("conf")}


def look_in(configuration: Path) -> None:
    """Look for users' architectures in the environments of this configuration folder, if not in `conf`."""
    _configuration["folder"] = configuration


def load_architecture(name: str) -> Architecture:
    """Return the architecture called `name`; `<name>_w<n>` multiplies its widths by n.

    Raises:
        ValueError: If the name is unknown or of two files, or the file is no sound graph.
    """
    files = _find_files()
    base, factor = name, 1
    if name not in files and (match := _WIDENED.fullmatch(name)):
        base, factor = _WIDENED_AS.get(match[1], match[1]), int(match[2])
    if base not in files:
        where = f"{_configuration['folder']}/<environment>/architectures/<name>.yml"
        raise UserError(
            f"unknown architecture {name[:_SHOWN_CHARS]!r} (your own go to {where}); "
            f"{suggest(Path(base).name, files)}"
        )
    state = files[base].stat()
    architecture = _read(files[base], state.st_mtime_ns, state.st_size)
    return architecture if factor == 1 else architecture.widened(factor)


def list_architectures() -> frozenset[str]:
    """Return the names of all architectures, without those that a factor widens.

    Raises:
        ValueError: If two files have one name.
    """
    return frozenset(_find_files())


def read_architecture(path: Path) -> Architecture:
    """Return the architecture of a file.

    Raises:
        ValueError: If the file is too large, no YAML, or no sound graph; one line with the first few reasons.
    """
    try:
        return Architecture.model_validate(_read_yaml(path))
    except ValidationError as problem:
        errors = problem.errors(include_input=False, include_url=False)
        reasons = [_reason(error["loc"], error["msg"]) for error in errors]
        more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        raise UserError(f"architecture {_shown(path)}: {'; '.join(reasons[:_SHOWN])}{more}") from problem


@lru_cache(maxsize=256)
def _read(path: Path, _modified_ns: int, _size: int) -> Architecture:
    return read_architecture(path)


def _find_files() -> dict[str, Path]:
    """Return all files by the name of their architecture.

    Raises:
        ValueError: If two have one name.
    """
    files = {path.stem: path for path in _files(FOLDER)}
    for path in _users_files():
        if path.stem in files:
            raise UserError(
                f"architecture {path.stem!r} is in {_shown(files[path.stem])} and in {_shown(path)};"
                " rename one of the files"
            )
        files[path.stem] = path
    return files


def _users_files() -> Iterator[Path]:
    for folder in sorted(_configuration["folder"].glob("*/architectures")):
        yield from _files(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())


def _read_yaml(path: Path) -> object:
    """Return the content of a YAML file, unless it is large or its aliases expand to too much."""
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise UserError(f"architecture {_shown(path)} has {size} bytes; at most {_LARGEST_FILE} are allowed")
    try:
        text = path.read_text(encoding="utf-8")
        content: object = None
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and _count_nodes(node, {}) <= _MOST_NODES:
            content = yaml.safe_load(text)
        elif node is not None:
            raise UserError(
                f"architecture {_shown(path)}: its YAML aliases expand to too many values; write them out"
            )
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
        cause = " ".join(str(problem).split())[:200]
        raise UserError(f"architecture {_shown(path)} is not valid YAML: {cause}") from problem
    except ValueError as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(f"architecture {_shown(path)}: {problem}") from problem
    return content


def _count_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many nodes there are with all aliases unfolded; one that is within itself is too many."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES + 1
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = list(node.value)
        known[id(node)] = 1 + sum(_count_nodes(part, known) for part in parts)
    return known[id(node)]


def _reason(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in place)
    reason = " ".join(message.removeprefix("Value error, ").split())[:300]
    return f"{where}: {reason}" if where else reason


def _shown(path: Path) -> str:
    return str(path.relative_to(FOLDER.parent)) if path.is_relative_to(FOLDER) else str(path)
