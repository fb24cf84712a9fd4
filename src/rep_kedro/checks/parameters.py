"""Validate every parameter of a run against its model before any node; one line for each error."""

import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from rep_kedro.checks.configuration import Loader, find_origin
from rep_kedro.errors import UserError, suggest

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from pydantic import BaseModel, ValidationError

UNTYPED = frozenset({"threads"})
"""Top-level parameters that no node reads."""

_PREFIX = "params:"
_ABOUT_KEYS = frozenset({"missing", "extra_forbidden"})
_SHOWN_CHARS = 60
_SHOULD = "Input should be "
_YAML_WORDS = {
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "`key: value` lines"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "text",
}
Loc = tuple[str | int, ...]


def require_known_parameters(
    parameters: Mapping[str, Any], given: Mapping[str, Any], pipeline: "Pipeline", loader: Loader
) -> None:
    """Refuse top-level parameters that no node reads.

    Raises:
        ValueError: If one is unknown; the message has its place and close matches.
    """
    known = read_parameters(pipeline) | UNTYPED
    lines = []
    for name in parameters:
        if name not in known:
            place = "--params" if name in given else find_origin(loader, (name,)) or "the configuration"
            lines.append(f"unknown parameter {name!r} in {place}; {suggest(name, known)}")
    if lines:
        raise UserError("\n".join(lines))


def read_parameters(pipeline: "Pipeline") -> frozenset[str]:
    """Return the top-level parameters that nodes read."""
    return frozenset(
        name.removeprefix(_PREFIX).partition(".")[0] for name in pipeline.inputs() if name.startswith(_PREFIX)
    )


def require_valid_parameters(
    parameters: Mapping[str, Any], given: Mapping[str, Any], pipeline: "Pipeline", loader: Loader
) -> None:
    """Check parameters against the models that the nodes' type hints name.

    Raises:
        ValueError: If a value is missing, unknown, of a wrong type or out of range; a line for each.
    """
    from kedro.validation.type_extractor import TypeExtractor
    from pydantic import ValidationError

    lines: list[str] = []
    for name, model in TypeExtractor({"": pipeline}).extract_types_from_pipelines().items():
        if name not in parameters:
            lines.append(f"parameter {name} is missing; conf/base should define it")
            continue
        try:
            model.model_validate(parameters[name])  # type: ignore[attr-defined]
        except ValidationError as problem:
            lines += _lines_of(problem, name, model, parameters, given, loader)
    if lines:
        raise UserError("\n".join(dict.fromkeys(lines)))


def explain_validation(problem: "ValidationError") -> str:
    """Return the errors of a model that was not made of parameters, one line each."""
    return "\n".join(
        f"{'.'.join(map(str, error['loc'])) or problem.title}: {_reason(error, '')}"
        for error in problem.errors()
    )


def _lines_of(
    problem: "ValidationError",
    name: str,
    model: Any,
    parameters: Mapping[str, Any],
    given: Mapping[str, Any],
    loader: Loader,
) -> Iterator[str]:
    by_place: dict[Loc, list[Any]] = {}
    for error in problem.errors():
        has_key = error["type"] in _ABOUT_KEYS
        place = (name, *_place_of(error["loc"], parameters[name], has_key=has_key))
        by_place.setdefault(place, []).append(error)
    for place, errors in by_place.items():
        if any(_is_below(other, place) for other in by_place):
            continue  # a tuple is too short because one of its elements is wrong
        origin = "--params" if is_given(place, given) else find_origin(loader, place)
        where = f" in {origin}" if origin else ""
        wanted = list(dict.fromkeys(_wanted(error) for error in errors))
        if len(wanted) > 1 and all(wanted):  # a value that may be one of several things
            reasons = [f"should be {' or '.join(wanted)}, got {_shown(errors[0]['input'])}"]
        else:
            reasons = [_reason(error, _hint(error, model, parameters[name])) for error in errors]
        yield from (f"parameter {_dotted(place)}{where}: {reason}" for reason in reasons)


def _wanted(error: Any) -> str:
    """Return what a value should be in YAML terms, or an empty string for any other error."""
    if error["type"] in _YAML_WORDS:
        return _YAML_WORDS[error["type"]]
    message = str(error["msg"])
    return message.removeprefix(_SHOULD) if message.startswith(_SHOULD) else ""


def _is_below(lower: Loc, upper: Loc) -> bool:
    return len(lower) > len(upper) and lower[: len(upper)] == upper


def _place_of(loc: Loc, value: Any, *, has_key: bool) -> Loc:
    """Return the path to a value as the user wrote it, without the tags of unions.

    Example:
        >>> _place_of(("sets", "mine", "folder", "path"), {"sets": {"mine": {"at": 3}}}, has_key=True)
        ('sets', 'mine', 'path')
    """
    place: list[str | int] = []
    for position, part in enumerate(loc):
        found = list(_find_below(value, part)) if isinstance(value, Mapping) and part not in value else []
        found = [path for path in found if "." in path[-1]] or found  # an axis replaces what the grid has
        path: Loc = found[0] if len(found) == 1 else (part,)
        if _contains(value, path[0]):
            for key in path:
                value = value[key]
        elif position < len(loc) - 1 or not has_key:
            continue
        place += path
    return tuple(place)


def _contains(value: Any, part: str | int) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _find_below(value: Mapping[str, Any], part: str | int) -> Iterator[tuple[str, ...]]:
    """Yield the paths to a key within mappings, for a model that is validated apart from its parents.

    An axis of a grid is such a key, too.

    Example:
        >>> list(_find_below({"monitors": {"collapse": {"n_rows": 1}}}, "n_rows"))
        [('monitors', 'collapse', 'n_rows')]
        >>> list(_find_below({"product": {"options.temperature": [1]}}, "temperature"))
        [('product', 'options.temperature')]
    """
    for holder, inner in value.items():
        for key in inner if isinstance(inner, Mapping) else ():
            if str(key).rpartition(".")[2] == part:
                yield holder, key
        if isinstance(inner, Mapping):
            yield from ((holder, *path) for path in _find_below(inner, part))


def is_given(place: Loc, given: Mapping[str, Any]) -> bool:
    """Return whether a parameter, or a part of it, came from the command line."""
    value: Any = given
    for part in place:
        if not isinstance(value, Mapping):
            return True
        if part not in value:
            return False
        value = value[part]
    return True


def _dotted(place: Loc) -> str:
    text = str(place[0])
    for part in place[1:]:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def _reason(error: Any, hint: str) -> str:
    kind, message = error["type"], str(error["msg"])
    if kind in _ABOUT_KEYS:
        return "is missing" if kind == "missing" else f"unknown key{hint}"
    if kind in {"value_error", "assertion_error"}:
        return message.partition(", ")[2] or message
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        name = error["ctx"]["discriminator"].strip("'")
        return f"unknown {name} {error['ctx']['tag']!r}; {suggest(error['ctx']['tag'], tags)}"
    if kind == "union_tag_not_found":
        return f"key {error['ctx']['discriminator']} is missing, got {_shown(error['input'])}"
    if kind in _YAML_WORDS:
        return f"should be {_YAML_WORDS[kind]}, got {_shown(error['input'])}"
    message = message.replace(" after validation", "").removeprefix("Input ")
    return f"{message[0].lower()}{message[1:]}, got {_shown(error['input'])}"


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _hint(error: Any, model: Any, value: Any) -> str:
    if error["type"] != "extra_forbidden":
        return ""
    loc, place = error["loc"], _place_of(error["loc"], value, has_key=True)
    axis = str(place[-1]).split(".")
    if len(axis) > 1:
        place = (*place[:-2], *axis)  # as if the grid had it
    if "options" in place:
        at = place.index("options")
        model, loc = _objective_at(place[:at], value), place[at + 1 :]
    known = {name for found in _models_at(model, loc[:-1]) for name in found.model_fields}
    return f"; {suggest(loc[-1], known)}" if known else ""


def _objective_at(place: Loc, value: Any) -> "type[BaseModel] | None":
    """Return the objective that a grid names; None where it names none."""
    from rep_kedro.training.objectives.registry import OBJECTIVES

    for part in place:
        value = value[part]
    return OBJECTIVES.get(value.get("objective"))


def _models_at(model: Any, loc: Loc) -> "set[type[BaseModel]]":
    """Return the models that may validate a place."""
    models = _models_in(model)
    for part in loc:
        tagged = {found for found in models if part in _tags(found)}
        holders = {found for found in models if part in found.model_fields}
        if holders:
            models = {
                inner for found in holders for inner in _models_in(found.model_fields[str(part)].annotation)
            }
        elif tagged:
            models = tagged
    return models


def _models_in(annotation: Any) -> "set[type[BaseModel]]":
    from pydantic import BaseModel

    if isinstance(annotation, type) and not get_args(annotation):
        return {annotation} if issubclass(annotation, BaseModel) else set()
    return {model for inner in get_args(annotation) for model in _models_in(inner)}


def _tags(model: "type[BaseModel]") -> set[Any]:
    """Return the values of a model's discriminating fields."""
    found: set[Any] = set()
    for field in model.model_fields.values():
        annotation = field.annotation
        options = (
            get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
        )
        for option in options:
            if get_origin(option) is Literal:
                found |= set(get_args(option))
    return found
