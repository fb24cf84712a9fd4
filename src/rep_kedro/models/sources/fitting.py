"""Check that a file's weights fit a network by name, shape and type before any number is copied."""

import logging
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError, shorten
from rep_kedro.models.files import is_here
from rep_kedro.models.places import StatePlace
from rep_kedro.models.sources.file_content import read_content
from rep_kedro.models.sources.file_kinds import show_name
from rep_kedro.models.sources.readings import Reading, find_states, list_readings, tell_content

_SHOWN = 3
_COUNTER = "num_batches_tracked"
_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
Change = Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]]
_log = logging.getLogger(__name__)


class _Misfit(NamedTuple):
    """The names that keep a reading of a file from fitting the network."""

    missing: list[str]
    unexpected: list[str]
    shapes: list[str]
    types: list[str]


def fit_weights(
    content: Any, module: nn.Module, spec: StatePlace, name: str, change: Change | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a file that fit the network, under the network's names.

    Args:
        content: The content of the file.
        module: The network; may be on the meta device to check the fit only.
        spec: Which tensors to take and what may be missing.
        name: The file's name in messages.
        change: The library's conversion of files by the authors of the architecture.

    Raises:
        ValueError: If nothing fits, or several readings do; one line describes the content of the file.
    """
    own = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    needed = {key for key in own if not _matches(key, spec.left_out) and not key.endswith(_COUNTER)}
    states = _within(find_states(content), content, spec, name)
    try:
        readings = list_readings(states, needed, spec)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    changed = [(reading, _change(reading, module, change)) for reading in readings]
    judged = [(reading, state, _compare(state, own, spec)) for reading, state in changed]
    fitting = [(reading, state) for reading, state, misfit in judged if not any(misfit)]
    if len(fitting) > 1:
        choices = " or ".join(f"({reading.settings()})" for reading, _ in fitting[:_SHOWN])
        more = f" or {len(fitting) - _SHOWN} more" if len(fitting) > _SHOWN else ""
        raise UserError(
            f"{name} contains {len(fitting)} sets of weights that fit; choose one: {choices}{more}"
        )
    if not fitting:
        misfit = _describe_misfit(name, *judged[0], own)
        present = f"; the file contains {tell_content(content)}" if judged[0][2].missing else ""
        raise UserError(f"{misfit}{present}")
    reading, state = fitting[0]
    if not any(value.is_meta for value in own.values()):
        _log_reading(name, reading, state, own)
    used = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    if not used:
        raise UserError(
            f"{name}: none of its tensors is used; left_out: {list(spec.left_out)} leaves out all of them"
        )
    return used


def load_file(spec: StatePlace, module: nn.Module, kind: str, change: Change | None = None) -> None:
    """Copy the weights of a file into a network.

    Raises:
        ValueError: If they do not fit, or contain NaN or infinity where the network's own values are finite.
    """
    name = f"{kind} {spec.path or spec.url}"
    state = fit_weights(read_content(spec, kind), module, spec, name, change)
    own = module.state_dict()
    for key, value in state.items():
        if own[key].is_floating_point():
            broken = int((~torch.isfinite(value.to(own[key].dtype)) & torch.isfinite(own[key])).sum())
            if broken:
                raise UserError(
                    f"{name}: {broken} of {value.numel()} values of {key} are NaN or infinite;"
                    " the training failed or the file is damaged"
                )
    module.load_state_dict(state, strict=False)


def require_fitting_file(
    spec: StatePlace, module: nn.Module, kind: str, change: Change | None = None
) -> None:
    """Refuse a file whose weights do not fit a network, without reading values or fetching anything.

    Args:
        spec: Where the file is, and which of its tensors to take.
        module: The network on the meta device.
        kind: The kind of file in messages.
        change: See `fit_weights`.

    Raises:
        ValueError: If the file exists locally and does not fit.
    """
    if is_here(spec):
        content = read_content(spec, kind, only_shapes=True)
        fit_weights(content, module, spec, f"{kind} {spec.path or spec.url}", change)


def _within(
    states: dict[str, dict[str, Tensor]], content: Any, spec: StatePlace, name: str
) -> dict[str, dict[str, Tensor]]:
    """Return the states at or below the path in the entry, or all without a path."""
    if not states:
        raise UserError(f"{name} is not a state dict of tensors: it contains {tell_content(content)}")
    path = spec.within
    chosen = {key: state for key, state in states.items() if not path or f"{key}.".startswith(f"{path}.")}
    if not chosen:
        raise UserError(f"{name} has no part {path!r} with tensors; it contains {tell_content(content)}")
    return chosen


def _change(reading: Reading, module: nn.Module, change: Change | None) -> dict[str, Tensor]:
    """Return the tensors after the library's conversion, or unchanged where it fails."""
    tensors = dict(reading.tensors)
    if change is None:
        return tensors
    try:
        return {
            key: value for key, value in change(dict(tensors), module).items() if isinstance(value, Tensor)
        }
    except Exception:  # made for files of other networks; the error names what does not fit
        _log.debug("the library's changes to names failed", exc_info=True)
        return tensors


def _compare(state: Mapping[str, Tensor], own: Mapping[str, Tensor], spec: StatePlace) -> _Misfit:
    may_lack = [*spec.left_out, f"*{_COUNTER}"]
    shapes, types = [], []
    for key in (key for key in state if key in own):
        if state[key].shape != own[key].shape:
            if not _matches(key, spec.left_out):
                shapes.append(key)
        elif not _has_fitting_type(state[key], own[key], key):
            types.append(key)
    return _Misfit(
        missing=[key for key in own if key not in state and not _matches(key, may_lack)],
        unexpected=[key for key in state if key not in own and not _matches(key, spec.ignored)],
        shapes=shapes,
        types=types,
    )


def _has_fitting_type(value: Tensor, own: Tensor, key: str) -> bool:
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        return False
    if own.is_floating_point():
        return value.dtype in _FLOATS
    if own.is_complex() or own.dtype == torch.bool:
        return value.dtype == own.dtype
    is_whole = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    return is_whole or key.endswith(_COUNTER)


def _describe_misfit(
    name: str, reading: Reading, state: Mapping[str, Tensor], misfit: _Misfit, own: Mapping[str, Tensor]
) -> str:
    if misfit.types:
        key = misfit.types[0]
        return (
            f"{name} has values of type {_type(state[key])} where the network has {_type(own[key])}"
            f" ({_listed(misfit.types)}): quantised weights and masks are not supported;"
            " use a file of floating-point weights"
        )
    parts = []
    if misfit.missing:
        parts.append(f"it lacks {_listed(misfit.missing)}")
    if misfit.unexpected:
        parts.append(f"it also has {_listed(reading.sources.get(k, k) for k in misfit.unexpected)}")
    if misfit.shapes:
        pairs = [f"{key} is {_side(state[key])}, not {_side(own[key])}" for key in misfit.shapes]
        parts.append(shorten(pairs, _SHOWN))
    where = f" ({show_name(reading.within)})" if reading.within else ""
    return f"{name}{where} does not fit: {'; '.join(parts)}; {_advise(misfit, state, own)}"


def _advise(misfit: _Misfit, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Return which settings may help, such as n_classes for a head of another width."""
    heads = {(state[key].shape[:1], own[key].shape[:1]) for key in misfit.shapes}
    if len(heads) == 1 and not misfit.missing and (width := heads.pop()[0]):
        layers = ", ".join(dict.fromkeys(key.rpartition(".")[0] for key in misfit.shapes))
        return f"set n_classes: {width[0]}, or left_out: [{layers}]"
    return "see left_out, ignored, prefix, within and rename"


def _log_reading(name: str, reading: Reading, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Log what is left out, initialised at random or converted."""
    if reading.outside:
        _log.info(
            "%s: left out what does not begin with %r: %s", name, reading.prefix, _listed(reading.outside)
        )
    drawn = [key for key in own if _is_left(key, state, own)]
    if drawn:
        _log.info(
            "%s: not in the file, or of another shape, so initialised at random: %s", name, _listed(drawn)
        )
    kinds = {
        _type(value)
        for key, value in state.items()
        if key in own and own[key].is_floating_point() and value.dtype != own[key].dtype
    }
    if kinds:
        _log.info("%s: %s converted to float32", name, " and ".join(sorted(kinds)))


def _is_left(key: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return not key.endswith(_COUNTER) and (key not in state or state[key].shape != own[key].shape)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a pattern matches a name, or the name of a layer around it."""
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def _listed(names: Iterable[str]) -> str:
    return shorten([show_name(name) for name in names], _SHOWN)


def _type(tensor: Tensor) -> str:
    layout = "" if tensor.layout == torch.strided else "sparse "
    return layout + str(tensor.dtype).removeprefix("torch.")


def _side(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
