"""One pass through a network: which of its modules are called, in which order, and their outputs."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rep_kedro.errors import contained

CALL_SEPARATOR = "@"  # relu@2 is the second call of a module that one pass calls several times


class Call(NamedTuple):
    """One call of a part.

    Attributes:
        layer: Its name as an entry's `layers` takes it: `a`, or `a@1`, `a@2` for a part called twice.
        module: The part.
        shape: Of its output for one stimulus, with the batch axis; None if the output is not one tensor.
        is_complex: Whether that tensor holds complex numbers.
    """

    layer: str
    module: nn.Module
    shape: tuple[int, ...] | None
    is_complex: bool = False


@dataclass(frozen=True)
class Survey:
    """What one pass calls.

    Attributes:
        calls: In order of execution.
        uncalled: Names of parts that exist, but are never called.
        image_px: Height and width of the stimulus; None if it is not an image.
    """

    calls: tuple[Call, ...]
    uncalled: tuple[str, ...]
    image_px: tuple[int, int] | None

    @property
    def layers(self) -> list[str]:
        """Names of the calls."""
        return [call.layer for call in self.calls]


def survey_network(
    module: nn.Module, example: Tensor, run: Callable[[Tensor], object] | None = None
) -> Survey:
    """Pass one stimulus through a network and note every call.

    Args:
        module: Any network, in evaluation mode.
        example: One stimulus with a batch axis.
        run: How the network is called, if not `module(x)`.
    """
    found: list[Call] = []
    parts = dict(module.named_modules())

    def note(call: str, output: object) -> None:
        part = parts[call.partition(CALL_SEPARATOR)[0]]
        tensor = sole_tensor(part, output)
        shape = None if tensor is None else tuple(tensor.shape)
        found.append(Call(call, part, shape, tensor is not None and tensor.is_complex()))

    with listening(module, note), torch.no_grad():
        (run or module)(example)
    totals = Counter(call.layer.partition(CALL_SEPARATOR)[0] for call in found)
    calls = []
    for call in found:
        base = call.layer.partition(CALL_SEPARATOR)[0]
        calls.append(call if totals[base] > 1 else call._replace(layer=base))
    uncalled = tuple(name for name in parts if name and name not in totals)
    image_px = (example.shape[-2], example.shape[-1]) if example.ndim == 4 else None
    return Survey(tuple(calls), uncalled, image_px)


@contextmanager
def listening(
    module: nn.Module, listen: Callable[[str, object], object], only: set[str] | None = None
) -> Iterator[None]:
    """Call `listen(name@call, output)` after each call of a submodule, counted from 1.

    What it returns replaces the output, unless it is None.

    Raises:
        RuntimeError: If the network's own code would end the program.
    """
    counts: Counter[str] = Counter()
    handles = []

    def make_hook(name: str) -> Callable[[nn.Module, object, object], object]:
        def hook(_: nn.Module, __: object, output: object) -> object:
            counts[name] += 1
            return listen(f"{name}{CALL_SEPARATOR}{counts[name]}", output)

        return hook

    try:
        for name, part in module.named_modules():
            if name and (only is None or name in only):
                handles.append(part.register_forward_hook(make_hook(name)))
        with contained():
            yield
    finally:
        for handle in handles:
            handle.remove()


def sole_tensor(part: nn.Module, output: object) -> Tensor | None:
    """Return the one tensor of an output, or None if there is none or there are several.

    torch's attention also returns its weights; they are left out.
    """
    if isinstance(output, Tensor):
        return output
    if not isinstance(output, tuple | list):
        return None
    tensors = [value for value in output if isinstance(value, Tensor)]
    return tensors[0] if len(tensors) == 1 or (tensors and isinstance(part, nn.MultiheadAttention)) else None
