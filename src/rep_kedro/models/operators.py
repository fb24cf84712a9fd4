"""What each operator of torch does to what positions see of the image.

One function per kind of operator, found by its name in ATen; pointwise ones are known by their tag.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rep_kedro.kernels.layers import sighted
from rep_kedro.kernels.layers.sighted import Sighted
from rep_kedro.models.operator_call import CannotFollowError, Operator
from rep_kedro.models.unbounded_operators import UNBOUNDED_RULES
from rep_kedro.models.window_operators import WINDOW_RULES


def follow(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any,
           look_up: Callable[[Any], Sighted | None]) -> Sighted | list[Sighted]:  # fmt: skip
    """Return what the output of an operator sees.

    Args:
        func: The operator with its overload.
        args: What it is given.
        kwargs: What it is given by name.
        output: What it gave.
        look_up: What a tensor sees of the image; None if it does not depend on it.

    Returns:
        Of its first output, or of each where it gives a list.

    Raises:
        CannotFollowError: If that is not known.
    """
    schema = func._schema.arguments
    given = {argument.name: argument.default_value for argument in schema}
    given |= {argument.name: value for argument, value in zip(schema, args, strict=False)} | dict(kwargs)
    first = output if isinstance(output, Tensor) else next(x for x in output if isinstance(x, Tensor))
    name = func.overloadpacket.__name__
    base = name.removesuffix("_") if func._schema.is_mutable else name
    operator = Operator(base, given, tuple(first.shape), look_up)
    if base.startswith("_scaled_dot_product"):
        return _attend(operator)
    rule = _RULES.get(name) or _RULES.get(base)
    if rule is not None:
        return rule(operator)
    if base in _POINTWISE or torch.Tag.pointwise in func.tags or _is_pointwise(base):
        return sighted.combine(operator.inputs, operator.shape)
    raise CannotFollowError(f"the operator {name}, whose receptive field is not known")


def makes_constant(func: Any) -> bool:
    """Return whether an operator takes shape and type of what it is given, but no number."""
    name = func.overloadpacket.__name__
    return bool(name.startswith("new_") or name.endswith("_like"))


def _is_pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, each).tags for each in packet.overloads()
    )


_POINTWISE = frozenset(
    {
        *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
        *(
            "native_layer_norm",
            "native_group_norm",
            "_fused_rms_norm",
            "rms_norm",
            "batch_norm",
            "layer_norm",
        ),
        *("clone", "detach", "alias", "_to_copy", "contiguous", "dropout", "native_dropout", "lift_fresh"),
        *("hardswish", "_prelu_kernel", "glu_jvp", "channel_shuffle", "native_channel_shuffle"),
    }
)
"""Change numbers position by position; statistics of normalisations are taken as constants."""


def _slice(op: Operator) -> Sighted:
    (axis,) = op.axes()
    step = op.given["step"]
    kept = range(op.x.shape[axis])[op.given["start"] : op.given["end"] : step]
    if len(kept) == op.x.shape[axis]:
        return op.x
    return sighted.read(op.x, axis, np.array(kept)[:, None], step)


def _select(op: Operator) -> Sighted:
    (axis,) = op.axes()
    return sighted.select(op.x, axis, op.given["index"] % op.x.shape[axis])


def _split(op: Operator) -> list[Sighted]:
    (axis,) = op.axes()
    n = op.x.shape[axis]
    sizes = op.given.get("split_sizes", op.given.get("split_size"))
    sizes = [min(sizes, n - start) for start in range(0, n, sizes)] if isinstance(sizes, int) else sizes
    starts = np.cumsum([0, *sizes])
    return [
        sighted.read(op.x, axis, np.arange(start, start + size)[:, None])
        for start, size in zip(starts, sizes, strict=False)
    ]


def _unbind(op: Operator) -> list[Sighted]:
    (axis,) = op.axes()
    return [sighted.select(op.x, axis, position) for position in range(op.x.shape[axis])]


def _reduce(op: Operator) -> Sighted:
    if "other" in op.given:  # the larger of two numbers
        return sighted.combine(op.inputs, op.shape)
    axes = op.axes()
    x = sighted.reduce(op.x, axes)
    return x if len(op.shape) == len(x.dims) else sighted.leave_out(x, axes)


def _normalise(op: Operator) -> Sighted:
    """Softmax and the like: every number depends on all along an axis."""
    return sighted.expand(sighted.reduce(op.x, op.axes()), op.shape)


def _multiply(op: Operator) -> Sighted:
    names = (
        ("mat1", "mat2")
        if "mat1" in op.given
        else ("batch1", "batch2")
        if "batch1" in op.given
        else ("self", "mat2")
    )
    left, right = (op.look_up(op.given[name]) for name in names)
    terms = [] if left is None else [sighted.reduce(left, [len(left.dims) - 1])]
    terms += [] if right is None else [sighted.reduce(right, [len(right.dims) - 2])]
    added = op.look_up(op.given["self"]) if names[0] != "self" else None
    return sighted.combine([*terms, *([] if added is None else [added])], op.shape)


def _apply_linear(op: Operator) -> Sighted:
    x = sighted.reduce(op.x, [len(op.x.dims) - 1])
    return sighted.expand(x, op.shape)


def _attend(op: Operator) -> Sighted:
    terms = []
    for name, axes in (("query", (1,)), ("key", (1, 2)), ("value", (2,))):
        found = op.look_up(op.given[name])
        if found is not None:
            terms.append(sighted.reduce(found, [len(found.dims) - axis for axis in axes]))
    return sighted.combine(terms, op.shape)


def _join(op: Operator) -> Sighted:
    tensors = [each for each in op.given["tensors"] if each.ndim == len(op.shape)]
    axis = op.given["dim"] % len(op.shape)
    parts = [op.look_up(each) for each in tensors]
    return sighted.join(parts, [each.shape[axis] for each in tensors], axis, op.shape)


def _stack(op: Operator) -> Sighted:
    axis = op.given["dim"] % len(op.shape)
    return sighted.combine([sighted.insert(x, axis) for x in op.inputs], op.shape)


def _permute(op: Operator) -> Sighted:
    return sighted.permute(op.x, op.axes("dims"))


def _transpose(op: Operator) -> Sighted:
    order = list(range(len(op.shape)))
    a, b = (order[0], order[-1]) if op.name == "t" else (op.given["dim0"], op.given["dim1"])
    order[a], order[b] = order[b], order[a]
    return sighted.permute(op.x, order)


def _index(op: Operator) -> Sighted | list[Sighted]:
    """Pick along axes of channels, which all see the same; which positions are picked only numbers say."""
    found = sighted.resize(op.x, op.shape) if len(op.shape) == len(op.x.dims) else None
    return UNBOUNDED_RULES[op.name](op) if found is None else found


def _repeat(op: Operator) -> Sighted:
    x = op.x
    for _ in range(len(op.shape) - len(x.dims)):
        x = sighted.insert(x, 0)
    for axis, (n, n_out) in enumerate(zip(x.shape, op.shape, strict=True)):
        if n_out > n > 1:
            x = sighted.read(x, axis, np.tile(np.arange(n), n_out // n)[:, None])
    return sighted.expand(x, op.shape)


def _flip(x: Sighted, axes: Sequence[int]) -> Sighted:
    for axis in axes:
        x = sighted.read(x, axis, np.arange(x.shape[axis])[::-1, None])
    return x


def _turn(op: Operator) -> Sighted:
    """Turn by right angles, from the first axis to the second."""
    axes, order = op.axes("dims"), list(range(len(op.shape)))
    x = _flip(op.x, {0: [], 1: axes[1:], 2: axes, 3: axes[:1]}[op.given["k"] % 4])
    if op.given["k"] % 2:
        order[axes[0]], order[axes[1]] = axes[1], axes[0]
    return sighted.permute(x, order)


def _copy(op: Operator) -> Sighted:
    found = op.look_up(op.given["src"])
    return op.x if found is None else sighted.expand(found, op.shape)


def _keep(op: Operator) -> Sighted:
    """Another order in memory."""
    if op.x.shape != op.shape:
        raise CannotFollowError(f"the operator {op.name}, whose receptive field is not known")
    return op.x


_RULES: Mapping[str, Callable[[Operator], Sighted | list[Sighted]]] = {
    **WINDOW_RULES,
    **UNBOUNDED_RULES,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze"),
                    lambda op: sighted.reshape(op.x, op.shape)),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "prod", "norm",
                     "linalg_vector_norm", "logsumexp", "any", "all"), _reduce),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "softmax"), _normalise),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _multiply),
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _split),
    **dict.fromkeys(("index", "index_select"), _index),
    "repeat": _repeat,
    "flip": lambda op: _flip(op.x, op.axes("dims")),
    "rot90": _turn,
    "linear": _apply_linear,
    "expand": lambda op: sighted.expand(op.x, op.shape),
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "slice": _slice,
    "select": _select,
    "unbind": _unbind,
    "cat": _join,
    "stack": _stack,
    "copy": _copy,
    "as_strided_": _keep,
}  # fmt: skip

WINDOWS = frozenset({"convolution", "max_pool2d_with_indices", "avg_pool2d"})
"""Operators that read windows of a map with two axes of positions."""
