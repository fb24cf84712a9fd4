"""Where in configuration files something is that OmegaConf refuses without naming file, line or key."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from rep_kedro.checks.yaml_files import shown_path

_NULL = "tag:yaml.org,2002:null"


def find_fault(path: Path) -> str | None:
    """Return the first null key or reference that cannot be parsed in a file of valid YAML, or None."""
    import yaml

    root = yaml.compose(path.read_text(encoding="utf-8-sig"), yaml.SafeLoader)
    return next((f"{shown_path(path)}, {why}" for why in _faults(root, "")), None) if root else None


def find_conflict(paths: list[Path]) -> str | None:
    """Return where one file has a list and an earlier one has keys with values, or the reverse, or None."""
    import yaml

    contents = [(path, yaml.safe_load(path.read_text(encoding="utf-8-sig"))) for path in paths]
    for (earlier, first), (later, second) in combinations(contents, 2):
        found = _conflict(first, second, ())
        if found is not None:
            keys, is_list = found
            kinds = ("a list", "`key: value` lines")
            held, wanted = kinds if is_list else kinds[::-1]
            return (
                f"{shown_path(later)}, key {'.'.join(map(str, keys))}: holds {held},"
                f" but {shown_path(earlier)} has {wanted} there"
            )
    return None


def _faults(node: Any, key: str) -> Iterator[str]:
    """Yield what is wrong in a node, with line and key."""
    import yaml

    place = f"line {node.start_mark.line + 1}, key {key}"
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.tag == _NULL:
                within = f" in {key}" if key else ""
                yield f"line {name.start_mark.line + 1}: a key{within} is null; name it, or quote it"
            yield from _faults(value, f"{key}.{name.value}" if key else str(name.value))
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _faults(value, f"{key}.{position}")
    elif "${" in node.value and not _can_be_parsed(node.value):
        yield (
            f"{place}: {node.value!r} is not a reference;"
            r" write ${name of a key}, or \${ where the characters themselves are meant"
        )


def _can_be_parsed(text: str) -> bool:
    from omegaconf import OmegaConf
    from omegaconf.errors import GrammarParseError

    try:
        OmegaConf.create({"value": text})
    except GrammarParseError:
        return False
    return True


def _conflict(first: Any, second: Any, keys: tuple[Any, ...]) -> tuple[tuple[Any, ...], bool] | None:
    """Return the keys at which one has a list, the other a mapping, and whether the second has the list."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        found = (_conflict(first[key], second[key], (*keys, key)) for key in first if key in second)
        return next((each for each in found if each is not None), None)
    kinds = (isinstance(first, list), isinstance(second, list))
    others = (isinstance(first, Mapping), isinstance(second, Mapping))
    return (keys, kinds[1]) if kinds == others[::-1] and any(kinds) else None
