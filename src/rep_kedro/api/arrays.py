"""Arrays of any kind as torch tensors; what cannot be one is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.parameter_rules import require_once

Array: TypeAlias = Any  # numpy.ndarray, torch.Tensor, or what numpy.asarray takes
Representations: TypeAlias = Mapping[str, Array] | Sequence[Array]

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
_EXACT = 2**53  # integers up to here are exact in float64
_TYPES = "floats of 16 to 64 bits, integers, booleans"


def name_tensors(representations: Representations, names: Sequence[str] | None) -> dict[str, Tensor]:
    """Return tensors by name.

    Args:
        representations: By name, or a sequence; its members are called x0, x1 and so on without
            names.
        names: Of the members of a sequence.

    Raises:
        UserError: If it is a single array, names do not fit, or a member does not hold real numbers.
    """
    if isinstance(representations, np.ndarray | Tensor | str):
        raise UserError("representations must be a list of arrays or a dict of them by name, got one array")
    if isinstance(representations, Mapping):
        if names is not None:
            raise UserError("representations have names already, as keys of the dict; leave names out")
        require_once(list(map(str, representations)), "names")
        members = {str(name): array for name, array in representations.items()}
    else:
        arrays = list(representations)
        labels = [f"x{index}" for index in range(len(arrays))] if names is None else list(map(str, names))
        if len(labels) != len(arrays):
            raise UserError(f"{len(arrays)} representations need as many names, got {len(labels)}")
        require_once(labels, "names")
        members = dict(zip(labels, arrays, strict=True))
    return {name: to_tensor(array, f"the representation {name!r}") for name, array in members.items()}


def to_tensor(array: Array, what: str) -> Tensor:
    """Return a tensor that shares the array's memory where torch allows it.

    Args:
        array: Numbers.
        what: What it is, for messages.

    Raises:
        UserError: If it does not hold real numbers of a type that torch knows, or integers that are not exact
            in float64.
    """
    if isinstance(array, Tensor):
        return _require_real(to_strided(array, what), what)
    numbers = to_numpy(array, what)
    if numbers.dtype.kind not in "biuf" or numbers.dtype == np.longdouble:
        raise UserError(f"{what} has type {numbers.dtype}; give real numbers: {_TYPES}")
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8 and numbers.size:
        _require_exact(int(numbers.min()), int(numbers.max()), what)
    if numbers.dtype.kind == "u" and numbers.dtype.itemsize > 1:
        numbers = numbers.astype(np.float64)  # torch does not compute with wider unsigned integers
    # torch refuses foreign byte order and negative strides, and warns of memory that is read-only
    return torch.from_numpy(np.require(numbers, numbers.dtype.newbyteorder("="), ["C", "W"]))


def to_numpy(array: Array, what: str) -> np.ndarray:
    """Return an array of any type.

    Args:
        array: What numpy takes.
        what: What it is, for messages.

    Raises:
        UserError: If its rows differ in length, or values are masked.
    """
    try:
        found = np.asanyarray(array)
    except (ValueError, TypeError, RuntimeError) as problem:
        raise UserError(f"{what} is not an array of numbers: {problem}") from problem
    n_masked = int(np.ma.getmaskarray(found).sum()) if isinstance(found, np.ma.MaskedArray) else 0
    if n_masked:
        raise UserError(f"{what} has {n_masked} masked values; leave out their samples (rows), in all arrays")
    return np.asarray(found)


def require_device(device: torch.device | str) -> torch.device:
    """Return a device that holds numbers.

    Raises:
        UserError: If it is unknown, or this machine does not have it.
    """
    try:
        place = torch.device(device)
        torch.empty(1, device=place).cpu()
    except (RuntimeError, AssertionError, TypeError) as problem:
        cause = str(problem).partition("\n")[0][:200]
        raise UserError(f"device {str(device)!r} cannot be used here: {cause}; use cpu") from problem
    return place


def to_strided(tensor: Tensor, what: str) -> Tensor:
    """Return a tensor without its graph.

    Args:
        tensor: Of any kind.
        what: What it is, for messages.

    Raises:
        UserError: If it is sparse, nested or without values.
    """
    if tensor.is_meta:
        raise UserError(f"{what} is on the device meta and has no values; move the network to another one")
    if tensor.is_nested or tensor.layout != torch.strided:
        raise UserError(f"{what} is a sparse or nested tensor; give a dense one (`.to_dense()`)")
    return tensor.detach()


def _require_real(tensor: Tensor, what: str) -> Tensor:
    """Return a tensor of a type that torch computes with."""
    if tensor.dtype not in (*_FLOATS, *_WHOLE, *_WIDE_UNSIGNED):
        raise UserError(f"{what} has type {tensor.dtype}; give real numbers: {_TYPES}")
    if tensor.dtype in (torch.int64, torch.uint64) and tensor.numel():
        numbers = tensor.cpu().numpy()
        _require_exact(int(numbers.min()), int(numbers.max()), what)
    return tensor.double() if tensor.dtype in _WIDE_UNSIGNED else tensor


def _require_exact(smallest: int, largest: int, what: str) -> None:
    if largest > _EXACT or smallest < -_EXACT:
        raise UserError(
            f"{what} holds integers from {smallest} to {largest}; beyond 2^53 they are not exact in float64,"
            " so subtract a constant first"
        )


def to_matrix(array: Array, what: str, *, fewest: int, of_tokens: bool = False) -> Tensor:
    """Return a finite matrix (n_samples, n_features), or of tokens (n_samples, n_tokens, n_features).

    Args:
        array: Numbers.
        what: What it is, for messages.
        fewest: Samples that are needed.
        of_tokens: Whether each sample has several tokens.

    Raises:
        UserError: If it has other axes, too small, or holds NaN or infinity.
    """
    x = to_tensor(array, what)
    if x.ndim != 2 + of_tokens or 0 in x.shape[1:]:
        axes = "(n_samples, n_tokens, n_features)" if of_tokens else "(n_samples, n_features)"
        raise UserError(f"{what} has shape {tuple(x.shape)}; give {axes} with at least one feature")
    if len(x) < fewest:
        raise UserError(f"{what} has shape {tuple(x.shape)}; give at least {fewest} samples (rows)")
    is_finite = torch.isfinite(x).flatten(1).all(dim=1)
    if not bool(is_finite.all()):
        rows = (~is_finite).nonzero().flatten()
        raise UserError(
            f"{what} holds NaN or infinity in {len(rows)} of {len(x)} samples, first in sample {int(rows[0])}"
        )
    return x if x.is_floating_point() else x.double()
