"""Run the part of a network behind one of its modules again, with another output of that module.

One pass keeps what every module gives. To resume behind a module, the network is called as usual, but the
modules that had ended before that one began hand out what they gave. Only what comes behind computes again,
and the few operations between modules, in any network that calls its modules in the same order every time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.survey import CALL_SEPARATOR

_Call = tuple[str, int]  # a module and which call of it, from 1
_NEVER = 2**62


@dataclass
class _Kept:
    """One call of a pass: when it began and ended, what it gave, and the calls within it."""

    began: int
    ended: int = 0
    output: Any = None
    within: Counter[str] = field(default_factory=Counter)


class Resuming:
    """A network that continues from any of its modules.

    Args:
        module: In evaluation mode; it gives the same for the same stimuli.
        run: How it is called, if not ``module(x)``.
    """

    def __init__(self, module: nn.Module, run: Callable[[Tensor], object] | None = None) -> None:
        self._module = module
        self._run = run or module
        self._parts = {name: part for name, part in module.named_modules() if name}
        self._kept: dict[_Call, _Kept] = {}
        self._copies = False
        self._x = torch.empty(0)

    def record(self, x: Tensor) -> Tensor:
        """Pass a batch through the network and keep what its modules give.

        Returns:
            The network's output.
        """
        self._x, self._kept = x, {}
        recorder = _Recorder(self._kept)
        with recorder.listening(self._parts), torch.no_grad():
            return _require_tensor(self._run(x))

    def output_of(self, layer: str) -> Tensor:
        """Return what a module gave in the recorded pass.

        Args:
            layer: Name of a module, with ``@2`` for its second call.
        """
        output = self._kept[_parse(layer)].output
        if not isinstance(output, Tensor):
            raise UserError(f"layer {layer!r} does not return a tensor; choose a layer inside or after it")
        return output

    def resume(self, layer: str, output: Tensor) -> Tensor:
        """Return what the network gives if one module gives another output.

        Args:
            layer: As `output_of` takes it.
            output: In the form of what the module gave.
        """
        found, is_intact = self._resume(layer, output)
        if not is_intact:  # the network overwrites what it reads: from now on it gets copies
            self._copies = True
            self.record(self._x)
            found, _ = self._resume(layer, output)
        return found

    def _resume(self, layer: str, output: Tensor) -> tuple[Tensor, bool]:
        target = _parse(layer)
        began = self._kept[target].began
        before = {call: kept for call, kept in self._kept.items() if kept.ended < began}
        versions = [(tensor, tensor._version) for kept in before.values() for tensor in _tensors(kept.output)]
        with _handing_out(self._parts, before, target, output, copies=self._copies), torch.no_grad():
            found = _require_tensor(self._run(self._x))
        return found, all(tensor._version == version for tensor, version in versions)


class _Recorder:
    """Hooks that note every call."""

    def __init__(self, kept: dict[_Call, _Kept]) -> None:
        self._kept = kept
        self._counts: Counter[str] = Counter()
        self._open: list[_Call] = []
        self._clock = 0
        self._last: tuple[object, int, object] = (None, 0, None)  # an output, its version, its copy

    @contextmanager
    def listening(self, parts: dict[str, nn.Module]) -> Iterator[None]:
        handles = []
        try:
            for name, part in parts.items():
                handles.append(part.register_forward_pre_hook(lambda *_, name=name: self._begin(name)))
                handles.append(part.register_forward_hook(lambda *args: self._end(args[-1])))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, name: str) -> None:
        for outer, number in self._open:
            self._kept[outer, number].within[name] += 1
        self._counts[name] += 1
        self._clock += 1
        call = (name, self._counts[name])
        self._open.append(call)
        self._kept[call] = _Kept(began=self._clock)

    def _end(self, output: object) -> None:
        call = self._open.pop()
        self._clock += 1
        kept = self._kept[call]
        kept.ended = self._clock
        version = output._version if isinstance(output, Tensor) else 0
        if output is not self._last[0] or version != self._last[1]:
            self._last = output, version, _copy(output)  # else a container gives what its last part gave
        kept.output = self._last[2]
        if kept.output is None:
            kept.ended = _NEVER  # it cannot be handed out, its parts can


@contextmanager
def _handing_out(
    parts: dict[str, nn.Module], before: dict[_Call, _Kept], target: _Call, output: Tensor, *, copies: bool
) -> Iterator[None]:
    """Let modules hand out what they gave, and one of them another output."""
    counts: Counter[str] = Counter()
    patched = sorted({name for name, _ in (*before, target)})
    own = {name: vars(parts[name])["forward"] for name in patched if "forward" in vars(parts[name])}

    def make_forward(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            call = (name, counts[name])
            if call == target:
                return output
            if call not in before:
                return original(*args, **options)
            counts.update(before[call].within)
            return _copy(before[call].output) if copies else before[call].output

        return forward

    try:
        for name in patched:
            parts[name].forward = make_forward(name, parts[name].forward)
        yield
    finally:
        for name in patched:
            vars(parts[name]).pop("forward", None)
            vars(parts[name]).update({"forward": own[name]} if name in own else {})


def _copy(output: Any) -> Any:
    """Return a copy of tensors, also in tuples and lists; None for anything else."""
    if isinstance(output, Tensor):
        return output.clone()
    if type(output) in (tuple, list):
        parts = [_copy(part) for part in output]
        return None if any(part is None for part in parts) else type(output)(parts)
    return None


def _tensors(output: Any) -> Sequence[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in output for tensor in _tensors(part)]


def _parse(layer: str) -> _Call:
    name, _, number = layer.partition(CALL_SEPARATOR)
    return name, int(number or 1)


def _require_tensor(output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise UserError(f"the network returns {type(output).__name__}, not one tensor of outputs")
    return output
