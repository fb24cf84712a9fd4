"""The configuration as files: does the environment exist, is each file readable, where is a key set?"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rep_kedro.checks.yaml_files import shown_path
from rep_kedro.checks.yaml_places import find_conflict, find_fault
from rep_kedro.errors import UserError, suggest

_SUFFIXES = frozenset({".yml", ".yaml", ".json"})
_TOP_KEYS = ("catalog", "credentials", "globals", "logging", "parameters")


class Loader(Protocol):
    """What is needed of Kedro's configuration loader."""

    conf_source: Any
    base_env: Any
    default_run_env: Any
    env: Any
    merge_strategy: Any


def require_environment(loader: Loader) -> None:
    """Refuse a configuration folder or an environment that is not there.

    Raises:
        ValueError: If one is missing; the message lists the environments there are.
    """
    source = Path(loader.conf_source)
    if source.is_file() or "://" in loader.conf_source:
        return  # an archive, or elsewhere
    if not source.is_dir():
        raise UserError(f"there is no configuration folder {source}; restore it (git checkout -- conf)")
    environments = sorted(folder.name for folder in source.iterdir() if folder.is_dir())
    for name in _environments(loader):
        if name not in environments:
            raise UserError(
                f"there is no environment {name!r} in {shown_path(source)}; {suggest(name, environments)}"
            )


def configuration_files(source: Path, loader: Loader) -> list[Path]:
    """Return the files, and folders with the name of one, of the loader's environments."""
    return [path for name in _environments(loader) for path in _files(source / name)]


def find_unreadable(source: Path, loader: Loader) -> str | None:
    """Return what is wrong with the first configuration file that cannot be read or merged, or None."""
    files = configuration_files(source, loader)
    problem = next(filter(None, map(_why_unreadable, files)), None)
    if problem is None and "soft" in loader.merge_strategy.values():
        return find_conflict([path for path in files if _is_parameters(path)])
    return problem


def _why_unreadable(path: Path) -> str | None:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError, YAMLError

    shown = shown_path(path)
    try:
        content = OmegaConf.load(path)
    except YAMLError as problem:
        mark = problem.problem_mark if isinstance(problem, MarkedYAMLError) else None
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = getattr(problem, "problem", None) or " ".join(str(problem).split())
        return f"{shown}{line}: {why}; this is not valid YAML"
    except (OmegaConfBaseException, RecursionError, ValueError, TypeError) as problem:
        return find_fault(path) or f"{shown}: {str(problem).splitlines()[0]}"
    except OSError as problem:
        if "scalar" not in str(problem) and problem.errno is None:
            return f"{shown} must contain `key: value` lines, not a single value"
        return f"{shown} cannot be read: {problem.strerror or problem}"
    return None if isinstance(content, DictConfig) else f"{shown} must contain `key: value` lines, not a list"


def find_origin(loader: Loader, keys: Sequence[str | int]) -> str:
    """Return the file that sets a parameter, as far down as it is set, or an empty text.

    Args:
        loader: Kedro's loader; the run's environment goes before the base.
        keys: Way to the parameter, such as ``("similarity", "measures", 0)``.
    """
    import yaml

    best, found = 0, ""
    for name in reversed(_environments(loader)):
        for path in _files(Path(loader.conf_source) / name):
            if not _is_parameters(path):
                continue
            try:
                content = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                continue
            depth = _depth(content, keys)
            if depth > best:
                best, found = depth, shown_path(path)
    return found


def _depth(content: Any, keys: Sequence[str | int]) -> int:
    """Return how many of the keys a file decides: environments add to mappings and replace all else."""
    for depth, key in enumerate(keys):
        if not isinstance(content, Mapping):
            return len(keys)
        if key not in content:
            return depth
        content = content[key]
    return len(keys)


def _environments(loader: Loader) -> list[str]:
    names = [loader.base_env or "base", loader.env or loader.default_run_env or "local"]
    return list(dict.fromkeys(names))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SUFFIXES and any(key in str(path.relative_to(folder)) for key in _TOP_KEYS):
            yield path


def _is_parameters(path: Path) -> bool:
    return any(part.startswith("parameters") for part in path.parts)
