"""Kedro's configuration loader with bounds, and with every error in a file reported in one line."""

import re
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rep_kedro.checks.configuration import configuration_files, find_unreadable
from rep_kedro.checks.interpolations import require_bounded_interpolations
from rep_kedro.checks.yaml_files import require_bounded
from rep_kedro.errors import UserError

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
            raise UserError(find_unreadable(source, self) or _why(problem)) from problem
        return found

    def _merge_and_resolve(self, key: str, config_per_file: dict[Path, Any]) -> dict[str, Any]:
        for content in config_per_file.values():
            plain = OmegaConf.to_container(content, resolve=False)
            if isinstance(plain, dict):
                require_bounded_interpolations(plain)
        resolved: dict[str, Any] = super()._merge_and_resolve(key, config_per_file)
        return resolved


def _why(problem: Exception) -> str:
    """Return what the loader says, in one line, with the key where it is known."""
    if isinstance(problem, RecursionError):
        return "configuration: values refer to each other in a circle or are nested too deeply"
    first = (str(problem) or type(problem).__name__).splitlines()[0].rstrip(".")
    lacking = re.fullmatch(r"Interpolation key '([A-Z][A-Z0-9_]*)' not found", first)
    if lacking:
        first += f"; an environment variable is written ${lacking[1]}, without braces"
    key = getattr(problem, "full_key", None)
    return f"configuration, key {key}: {first}" if key else f"configuration: {first}"
