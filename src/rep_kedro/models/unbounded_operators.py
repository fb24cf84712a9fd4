"""Operators that read as much of a map as there is: running sums, spectra, and places that numbers choose.

Which places an index, an order or a grid chooses is not known without numbers, so each output is taken to
read all of them. Positions of the output are those of what chooses, where that depends on the image.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rep_kedro.kernels.layers import sighted
from rep_kedro.kernels.layers.sighted import Sighted
from rep_kedro.models.operator_call import CannotFollowError, Operator


def _read_all_along(op: Operator) -> Sighted:
    """Every output along an axis depends on all inputs along it."""
    return sighted.expand(sighted.reduce(op.x, op.axes()), op.shape)


def _gather(op: Operator) -> Sighted:
    (axis,) = op.axes()
    index = op.look_up(op.given["index"])
    chosen = sighted.expand(_along_size_one(op.x, axis, op.shape), op.shape)
    return chosen if index is None else sighted.combine([chosen, index], op.shape)


def _along_size_one(x: Sighted, axis: int, shape: Sequence[int]) -> Sighted:
    """Return what is read all along an axis; other axes may be cut off to the output's shape."""
    x = sighted.reduce(x, [axis])
    for other, size in enumerate(shape):
        if other != axis and size < x.shape[other]:
            x = sighted.read(x, other, np.arange(size)[:, None])
    return x


def _index(op: Operator) -> Sighted:
    """Places along some axes, chosen by numbers; along channels all see the same."""
    chosen = op.given["indices"] if op.name == "index" else _placed(op)
    axes = [axis for axis, each in enumerate(chosen) if each is not None]
    x = sighted.reduce(op.x, axes)
    if len(op.shape) != len(x.dims):
        if len(axes) < len(chosen) or len(axes) < len(x.dims):
            raise CannotFollowError(
                f"the operator {op.name} with several indices, whose receptive field is not known"
            )
        x = sighted.leave_out(x, axes)
    return sighted.expand(x, op.shape)


def _placed(op: Operator) -> list[object]:
    (axis,) = op.axes()
    return [None] * axis + [op.given["index"]]


def _sample(op: Operator) -> Sighted:
    """Interpolate a map at places that a grid names: (n, channels, rows, columns), (n, rows, columns, 2)."""
    n_spatial = len(op.shape) - 2
    terms = []
    if (x := op.look_up(op.given["input"])) is not None:
        terms.append(sighted.reduce(x, range(2, 2 + n_spatial)))
    if (grid := op.look_up(op.given["grid"])) is not None:
        grid = sighted.reduce(grid, [n_spatial + 1])
        terms.append(sighted.permute(grid, [0, n_spatial + 1, *range(1, n_spatial + 1)]))
    return sighted.combine(terms, op.shape)


def _make_grid(op: Operator) -> Sighted:
    return sighted.expand(sighted.reduce(op.x, [1, 2]), op.shape)


def _deform(op: Operator) -> Sighted:
    """A convolution whose windows are moved by offsets, as far as they say."""
    terms = []
    for name, axes in (("input", (1, 2, 3)), ("offset", (1,)), ("mask", (1,))):
        given = op.given.get(name)  # a mask is not in every version
        if given is not None and (found := op.look_up(given)) is not None:
            terms.append(sighted.reduce(found, axes))
    return sighted.combine(terms, op.shape)


def _transform(op: Operator) -> Sighted:
    """A Fourier transform: every frequency depends on all positions."""
    return sighted.expand(sighted.reduce(op.x, op.axes()), op.shape)


def _to_pairs(op: Operator) -> Sighted:
    """Complex numbers as pairs of real ones."""
    return sighted.expand(sighted.insert(op.x, len(op.x.dims)), op.shape)


def _from_pairs(op: Operator) -> Sighted:
    last = len(op.x.dims) - 1
    return sighted.leave_out(sighted.reduce(op.x, [last]), [last])


UNBOUNDED_RULES: Mapping[str, Callable[[Operator], Sighted | list[Sighted]]] = {
    **dict.fromkeys(
        ("cumsum", "cumprod", "cummax", "cummin", "_cummax_helper", "logcumsumexp"), _read_all_along
    ),
    **dict.fromkeys(("sort", "topk", "argsort"), _read_all_along),
    **dict.fromkeys(("gather", "take_along_dim"), _gather),
    **dict.fromkeys(("index", "index_select"), _index),
    **dict.fromkeys(("grid_sampler_2d", "grid_sampler_3d", "cudnn_grid_sampler"), _sample),
    "affine_grid_generator": _make_grid,
    "deform_conv2d": _deform,
    **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), _transform),
    "view_as_real": _to_pairs,
    "view_as_complex": _from_pairs,
    **dict.fromkeys(("_conj", "_conj_physical", "resolve_conj", "_neg_view"), lambda op: op.x),
}
