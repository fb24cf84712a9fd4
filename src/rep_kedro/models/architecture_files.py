"""Architectures by name: those of the package, and those of users in `conf/<environment>/architectures`.

A file is one architecture, of its own name, or the variants of a family, each of which has a name.
`<name>_w<n>` multiplies the widths of `<name>` by n; `resnet_w<n>` is `resnet20_w<n>`, as its authors write.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import Field, ValidationError

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.architecture import Architecture, DefinedNetwork
from rep_kedro.models.families.registry import OWN_CODE, make_variant
from rep_kedro.parameter_model import Parameters

FOLDER = Path(__file__).parent / "architectures"
_SUFFIXES = frozenset({".yml", ".yaml"})

_LARGEST_FILE = 1_000_000
_MOST_NODES = 200_000
_SHOWN = 3
_SHOWN_CHARS = 100
_OF_FAMILY = re.compile(rb"^family\s*:", re.MULTILINE)
_WIDENED = re.compile(r"(\w+)_w([1-9]\d{0,2})")
_WIDENED_AS = {"resnet": "resnet20"}  # Csiszarik et al. 2021, arXiv:2110.14633
_configuration = {"folder": Path("conf")}


def look_in(configuration: Path) -> None:
    """Look for users' architectures in the environments of this configuration folder, if not in `conf`."""
    _configuration["folder"] = configuration


class _Place(NamedTuple):
    """Where an architecture is written: a file, and the variant in it where the file is of a family."""

    path: Path
    variant: str | None = None

    def __str__(self) -> str:
        return _shown(self.path) + (f", variant {self.variant!r}" if self.variant else "")


class _FamilyFile(Parameters):
    """Variants of one family.

    Attributes:
        family: Its name.
        shared: What all variants here say, unless they differ.
        variants: What each says, by name.
    """

    family: str
    shared: dict[str, Any] = {}
    variants: dict[Annotated[str, Field(pattern=r"^\w{1,100}$")], dict[str, Any]] = Field(min_length=1)


def load_definition(name: str) -> DefinedNetwork:
    """Return the network called `name`; `<name>_w<n>` multiplies its widths by n.

    Raises:
        ValueError: If the name is unknown or of two files, or the file is not a sound graph.
    """
    places = _find_places()
    base, factor = name, 1
    if name not in places and (match := _WIDENED.fullmatch(name)):
        base, factor = _WIDENED_AS.get(match[1], match[1]), int(match[2])
    if base not in places:
        where = f"{_configuration['folder']}/<environment>/architectures/<name>.yml"
        raise UserError(
            f"unknown architecture {name[:_SHOWN_CHARS]!r} (your own go to {where}); "
            f"{suggest(Path(base).name, places)}"
        )
    definition = _read(places[base])
    return definition if factor == 1 else require_layers(base, definition).widened(factor)


def load_architecture(name: str) -> Architecture:
    """Return the layers of the network called `name`, as `load_definition` does.

    Raises:
        ValueError: Also if the network is one of a library or of own code, which has no layers as data.
    """
    return require_layers(name, load_definition(name))


def require_layers(name: str, definition: DefinedNetwork) -> Architecture:
    """Return a definition if it is one of named layers.

    Raises:
        UserError: If it is one of a library or of own code.
    """
    if not isinstance(definition, Architecture):
        raise UserError(
            f"architecture {name!r} is not made of layers as data ({definition.description}); this needs one"
            " that is"
        )
    return definition


def list_architectures() -> frozenset[str]:
    """Return the names of all architectures, without those that a factor widens.

    Raises:
        ValueError: If two places have one name.
    """
    return frozenset(_find_places())


def read_architecture(path: Path) -> Architecture:
    """Return the architecture of a file.

    Raises:
        ValueError: If the file is too large, no YAML, or no sound graph; one line with the first few reasons.
    """
    with _explained(_shown(path)):
        return Architecture.model_validate(_read_yaml(path))


def _read(place: _Place) -> DefinedNetwork:
    """Return a definition; those of code are read again each time, since the code may have changed."""
    state = _state_of(place.path)
    if place.variant is not None and _read_family(place.path, *state).family == OWN_CODE:
        return _define(place, *state)
    return _define_once(place, *state)


@lru_cache(maxsize=256)
def _define_once(place: _Place, *state: int) -> DefinedNetwork:
    return _define(place, *state)


def _define(place: _Place, *state: int) -> DefinedNetwork:
    if place.variant is None:
        return read_architecture(place.path)
    file = _read_family(place.path, *state)
    with _explained(str(place)):
        variant = make_variant(file.family, {**file.shared, **file.variants[place.variant]})
        return variant.define()


@lru_cache(maxsize=64)
def _read_family(path: Path, *_state: int) -> _FamilyFile:
    with _explained(_shown(path)):
        return _FamilyFile.model_validate(_read_yaml(path))


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Say in one line what is wrong with a definition, and where it is."""
    try:
        yield
    except ValidationError as problem:
        errors = problem.errors(include_input=False, include_url=False)
        reasons = [_reason(error["loc"], error["msg"]) for error in errors]
        more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        raise UserError(f"architecture {where}: {'; '.join(reasons[:_SHOWN])}{more}") from problem
    except UserError as problem:
        if str(problem).startswith("architecture "):
            raise
        raise UserError(f"architecture {where}: {problem}") from problem


def _find_places() -> dict[str, _Place]:
    """Return where each architecture is written, by name.

    Raises:
        ValueError: If two have one name.
    """
    places: dict[str, _Place] = {}
    for path in (*_files(FOLDER), *_users_files()):
        state = _state_of(path)
        is_family = _names_family(path, *state)
        names = _read_family(path, *state).variants if is_family else (path.stem,)
        for name in names:
            if name in places:
                raise UserError(
                    f"architecture {name!r} is in {places[name]} and in {_shown(path)}; rename one of them"
                )
            places[name] = _Place(path, name if is_family else None)
    return places


@lru_cache(maxsize=256)
def _names_family(path: Path, _modified_ns: int, size: int) -> bool:
    return size <= _LARGEST_FILE and _OF_FAMILY.search(path.read_bytes()) is not None


def _state_of(path: Path) -> tuple[int, int]:
    """Return by what a file that was written again is recognised."""
    state = path.stat()
    return state.st_mtime_ns, state.st_size


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
