"""One pass of an image without numbers through a network: what each layer's positions see of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from rep_kedro.errors import UserError, contained
from rep_kedro.kernels.layers.border import WindowStep
from rep_kedro.kernels.layers.receptive_field import ReceptiveField, measure
from rep_kedro.kernels.layers.sighted import Sighted, image_of
from rep_kedro.models.operator_call import CannotFollowError
from rep_kedro.models.operators import WINDOWS, follow, makes_constant
from rep_kedro.models.survey import CALL_SEPARATOR, sole_tensor

_BRANCHING = frozenset({"_local_scalar_dense", "equal"})
BothSteps = tuple[WindowStep, WindowStep]


@dataclass(frozen=True)
class LayerPass:
    """One call of a layer.

    Attributes:
        layer: Its name; from the second call on with the call, as `relu@2`.
        module: The layer.
        sees: What its output sees; None where that is not known, or it does not depend on the image.
        field: Its receptive field, rows and columns; None likewise.
        reason: Why not.
        is_lost: Whether that is because an operator cannot be followed.
        before_px: Smallest receptive field of what it is given, by axis.
        steps: The windows that it and its parts read, rows and columns.
    """

    layer: str
    module: nn.Module
    sees: Sighted | None
    field: tuple[ReceptiveField, ReceptiveField] | None
    reason: str
    is_lost: bool
    before_px: tuple[float, float]
    steps: tuple[BothSteps, ...]


def follow_image(
    module: nn.Module, image: Tensor, run: Callable[[Tensor], object] | None = None
) -> list[LayerPass]:
    """Return what each layer sees, in the order in which their calls end.

    Args:
        module: The network, in evaluation mode.
        image: One image (1, channels, rows, columns), on the device of the network; a meta tensor will do.
        run: How the network is called, if not `module(x)`.

    Raises:
        UserError: If the network branches on values of the image.
    """
    follower = _Follower(type(module).__name__)
    follower.seen[image] = image_of(tuple(image.shape))  # type: ignore[arg-type]
    with torch.no_grad(), contained(), follower.watching(module), follower, _PaddedOn():
        (run or module)(image)
    return follower.passes


class _PaddedOn(TorchFunctionMode):
    """Pads by repeating the edge where a network takes the other side: one shape, and the map goes on.

    Torch writes circular padding piece by piece into a new tensor, which is not followed.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.pad and "circular" in (*args[2:3], kwargs.get("mode")):
            args, kwargs = args[:2], {**kwargs, "mode": "replicate"}
        return func(*args, **kwargs)


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every operator; knows at any time which layer runs."""

    def __init__(self, title: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Any = WeakTensorKeyDictionary()  # of each tensor that depends on the image, or why unknown
        self.passes: list[LayerPass] = []
        self._steps: list[BothSteps] = []
        self._running: list[tuple[str, tuple[float, float], int]] = []
        self._title = title

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [
            self.seen[x] for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x in self.seen
        ]
        if given and func.overloadpacket.__name__ in _BRANCHING:
            raise UserError(
                f"cannot follow {self._title}: {self._where} branches on values that depend on the image"
            )
        output = func(*args, **kwargs)
        if given and not makes_constant(func):
            reason = next((each for each in given if isinstance(each, str)), "")
            found = reason or self._follow(func, args, kwargs, output)
            self._note(func, args, output, found)
        return output

    @property
    def _where(self) -> str:
        return f"layer {self._running[-1][0]!r}" if self._running else "its own forward"

    def _follow(self, func: Any, args: Any, kwargs: Any, output: Any) -> Sighted | list[Sighted] | str:
        try:
            found = follow(func, args, kwargs, output, self.seen.get)
        except CannotFollowError as problem:
            return f"{self._where} calls {problem}"
        if func.overloadpacket.__name__ in WINDOWS and isinstance(found, Sighted):
            self._steps.append(describe_windows(self.seen[args[0]], found, func, args))
        return found

    def _note(self, func: Any, args: Any, output: Any, found: Sighted | list[Sighted] | str) -> None:
        """Keep what the outputs see; statistics that follow a first output of another shape are constants."""
        outputs = [each for each in tree_leaves(output) if isinstance(each, Tensor)]
        parts = found if isinstance(found, list) else [found] * len(outputs)
        for place, (each, part) in enumerate(zip(outputs, parts, strict=True)):
            if isinstance(part, str) or part.shape == tuple(each.shape):
                self.seen[each] = part
            elif place == 0 or isinstance(found, list):
                self.seen[each] = (
                    f"{self._where} calls {func.overloadpacket.__name__} in a form that is not known"
                )
        if func._schema.is_mutable and isinstance(args[0], Tensor) and args[0]._base is not None:
            base = args[0]._base
            self.seen[base] = f"{self._where} writes into a part of a tensor, which is not followed"

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Note the calls of all layers."""
        calls: Counter[str] = Counter()
        handles = []
        for name, part in module.named_modules():
            if not name:
                continue

            def enter(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                calls[name] += 1
                layer = name if calls[name] == 1 else f"{name}{CALL_SEPARATOR}{calls[name]}"
                self._running.append((layer, self._smallest_of((args, kwargs)), len(self._steps)))

            def leave(part: nn.Module, _: Any, output: Any) -> None:
                self.passes.append(self._describe(part, output))
                self._running.pop()

            handles.append(part.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(part.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _smallest_of(self, given: Any) -> tuple[float, float]:
        tensors = [x for x in tree_leaves(given) if isinstance(x, Tensor) and x in self.seen]
        found = [self.seen[x] for x in tensors if not isinstance(self.seen[x], str)]
        rows, columns = ([smallest_px(x)[axis] for x in found] for axis in (0, 1))
        return min(rows, default=inf), min(columns, default=inf)

    def _describe(self, part: nn.Module, output: Any) -> LayerPass:
        layer, before, first_step = self._running[-1]
        tensor = sole_tensor(part, output)
        found = None if tensor is None else self.seen.get(tensor)
        sees = found if isinstance(found, Sighted) else None
        along = sees and (measure(sees.rows), measure(sees.columns))
        field = (along[0], along[1]) if along and along[0] and along[1] else None
        lack = "does not give one tensor" if tensor is None else "does not depend on the image"
        reason = found if isinstance(found, str) else "" if field else f"layer {layer!r} {lack}"
        steps = tuple(self._steps[first_step:])
        return LayerPass(layer, part, sees, field, reason, isinstance(found, str), before, steps)


def smallest_px(x: Sighted) -> tuple[float, float]:
    """Return the smallest fields through windows along rows and columns; infinite if there are none."""
    rows, columns = (
        min((paths.smallest_px for paths in sight.paths), default=inf) for sight in (x.rows, x.columns)
    )
    return rows, columns


def describe_windows(x: Sighted, y: Sighted, func: Any, args: Sequence[Any]) -> BothSteps:
    """Return kernel and map of an operator that reads windows of a map."""
    kernel = args[1].shape[2:] if isinstance(args[1], Tensor) else args[1]
    sizes = [kernel] * 2 if isinstance(kernel, int) else [kernel[0], kernel[-1]]
    is_convolution = func.overloadpacket.__name__ == "convolution"
    dilation, strides = (args[5], args[3] if args[6] else [1]) if is_convolution else ([1], [1])
    before, after = smallest_px(x), smallest_px(y)
    rows, columns = (
        WindowStep(  # of a transposed convolution, the positions that one position is made of
            kernel=(sizes[axis] - 1) * dilation[axis % len(dilation)] // strides[axis % len(strides)] + 1,
            map_size=x.shape[-2 + axis],
            jump_px=sight.jump_px,
            before_px=before[axis],
            after_px=after[axis],
        )
        for axis, sight in enumerate((x.rows, x.columns))
    )
    return rows, columns
