"""Kedro's configuration loader with bounds, and with every error in a file reported in one line."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException
from yaml import YAMLError

from rep_kedro.checks.configuration import Loader, configuration_files, find_origin, find_unreadable
from rep_kedro.checks.interpolations import require_bounded_interpolations
from rep_kedro.checks.yaml_files import require_bounded
from rep_kedro.errors import UserError, close_names

_MISTAKES = (
    YAMLError,
    OmegaConfBaseException,
    ValueError,
    OSError,
    RecursionError,
    TypeError,
    AttributeError,
)
"""Exceptions of Kedro and OmegaConf for files with unexpected content."""


class BoundedConfigLoader(OmegaConfigLoader):
    """Reads the files of an environment only if they are of a sound size, and says where one is wrong."""

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return the configuration of a kind.

        Raises:
            UserError: If a file cannot be read or resolved; names the file, or the key.
            MissingConfigException: If there is no file of this kind.
        """
        source = Path(self.conf_source)
        if key not in self and source.is_dir():
            for path in configuration_files(source, self):
                require_bounded(path)
        try:
            found: dict[str, Any] = super().__getitem__(key)
        except (MissingConfigException, UserError):
            raise
        except _MISTAKES as problem:
            raise UserError(find_unreadable(source, self) or _why(problem, self)) from problem
        return found

    def _merge_and_resolve(self, key: str, config_per_file: dict[Path, Any]) -> dict[str, Any]:
        for content in config_per_file.values():
            plain = OmegaConf.to_container(content, resolve=False)
            if isinstance(plain, dict):
                require_bounded_interpolations(plain)
        try:
            resolved: dict[str, Any] = super()._merge_and_resolve(key, config_per_file)
        except InterpolationKeyError as problem:
            raise UserError(_why(problem, self, config_per_file.values())) from problem
        return resolved


def _why(problem: Exception, loader: Loader, contents: Iterable[Any] = ()) -> str:
    """Return what the loader says, in one line, with the file and the key where they are known."""
    if isinstance(problem, RecursionError):
        return "configuration: values refer to each other in a circle or are nested too deeply"
    first = (str(problem) or type(problem).__name__).splitlines()[0].rstrip(".") + _advice(
        str(problem), contents
    )
    key = getattr(problem, "full_key", None)
    if not key:
        return f"configuration: {first}"
    origin = find_origin(loader, [part for part in re.split(r"[.\[\]]+", str(key)) if part])
    return f"{origin or 'configuration'}, key {key}: {first}"


def _advice(problem: str, contents: Iterable[Any]) -> str:
    """Return what to do about a reference, as the end of a message, or an empty text."""
    variable = re.search(r"Interpolation key '([A-Z][A-Z0-9_]*)' not found|type (?:oc\.)?env$", problem, re.M)
    if variable:
        return f"; an environment variable is written ${variable[1] or 'NAME'}, without braces"
    lacking = re.search(r"Interpolation key '(.+)' not found", problem)
    known = [name for content in contents for name in _paths(OmegaConf.to_container(content, resolve=False))]
    close = close_names(lacking[1], known) if lacking else []
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _paths(content: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all keys, at any depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield f"{prefix}{key}"
            yield from _paths(value, f"{prefix}{key}.")
