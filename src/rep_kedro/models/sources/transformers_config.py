"""What `config.json` of transformers may say: no code from elsewhere, known names, sizes that are built."""

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from torch import nn

from rep_kedro.errors import UserError, suggest

MAX_SIZE = 2**21
MAX_PARTS = 2_000
MAX_PARAMETERS = 10_000_000_000
_OWN_KERNELS = ("eager", "sdpa")  # any other is a library, or a repository whose code would be run
_DTYPES = ("float32", "float16", "bfloat16", "float64")
_LABELS = frozenset({"id2label", "label2id"})
_SHOWN_CHARS = 60

_KERNELS = re.compile(r"_implementation(_internal)?$|^kernel_config$|^use_kernels$")
_ACTIVATION = re.compile(r"(hidden|pooler)_act$|activation_function$|hidden_activation$")
_PARTS = re.compile(r"^(num|n)_(.*_)?(layer|block|stage|stack|expert)s?$|(^|_)depths?$|_layers$")


class _Value(NamedTuple):
    """A plain value of the file: where it is, the key that says what it is, and itself."""

    place: str
    key: str
    value: Any


def require_buildable(config: dict[str, Any], title: str, activations: Collection[str]) -> None:
    """Refuse a configuration of which the library would run code from elsewhere, or build without end.

    Args:
        config: Content of `config.json`.
        title: What messages call the network.
        activations: Names of the library's activation functions.

    Raises:
        UserError: Names the key and its value.
    """
    n_parts = 0
    for found in _values_of(config, "", ""):
        why = _why_not(found.key, found.value, activations)
        if _is_number(found.value) and _PARTS.search(found.key):
            n_parts += max(0, found.value)
            if n_parts > MAX_PARTS:
                why = f"at most {MAX_PARTS:,} layers, blocks and experts are built"
        if why:
            said = str(found.value)[:_SHOWN_CHARS]
            raise UserError(f"{title}: config.json says {found.place}: {said}; {why}")


def require_bounded(module: nn.Module, title: str) -> None:
    """Refuse a network, given on the meta device, that has more parameters than can be built.

    Raises:
        UserError: With their number.
    """
    n_parameters = sum(each.numel() for each in (*module.parameters(), *module.buffers()))
    if n_parameters > MAX_PARAMETERS:
        raise UserError(f"{title} has {n_parameters:,} parameters; at most {MAX_PARAMETERS:,} are built")


def _values_of(value: Any, place: str, key: str) -> Iterator[_Value]:
    """Yield all plain values; those of a list have its key, as those of kernels by part of the network."""
    if isinstance(value, dict):
        for inner, content in value.items():
            if inner not in _LABELS:
                said = key if _KERNELS.search(key) else inner
                yield from _values_of(content, f"{place}.{inner}" if place else inner, said)
    elif isinstance(value, list):
        for content in value:
            yield from _values_of(content, place, key)
    else:
        yield _Value(place, key, value)


def _why_not(key: str, value: Any, activations: Collection[str]) -> str:
    """Return what is wrong with a value, or an empty text."""
    if _KERNELS.search(key) and value not in {None, False, *_OWN_KERNELS}:
        return f"only {' and '.join(_OWN_KERNELS)} are used; code of a repository is not run"
    if _is_number(value) and abs(value) > MAX_SIZE and not key.endswith("_id"):
        return f"at most {MAX_SIZE:,} is built"
    if isinstance(value, str) and _ACTIVATION.search(key) and value not in activations:
        return f"transformers has no such activation; {suggest(value, activations)}"
    if key in {"dtype", "torch_dtype"} and value is not None:
        name = str(value).removeprefix("torch.")
        return "" if name in {*_DTYPES, "auto"} else f"it is no type of weights; {suggest(name, _DTYPES)}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
