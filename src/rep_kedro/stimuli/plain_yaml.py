"""YAML from elsewhere, without the means that let a small text become an endless one."""

from typing import Any

from rep_kedro.stimuli.record import DamagedSourceError

_MAX_DEPTH = 50


def load_plain_yaml(text: str, where: str) -> Any:
    """Return the content of a YAML text.

    Raises:
        DamagedSourceError: If it is no YAML, is nested more than 50 levels deep, or repeats parts by aliases.
    """
    import yaml

    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _MAX_DEPTH:
                raise DamagedSourceError(
                    f"{where} has aliases (*name) or more than {_MAX_DEPTH} levels; write it out plainly"
                )
        return yaml.safe_load(text)
    except DamagedSourceError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as problem:
        first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise DamagedSourceError(f"{where} is no YAML: {first}") from problem
