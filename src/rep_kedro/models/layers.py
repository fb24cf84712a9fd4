"""Layer access for any module: read many layers in one pass, copied or pooled the moment they appear.

A layer's output must not be kept by reference: an in-place ReLU behind it would overwrite what was read.
Every hook here pools or copies at once. The pass ends at the last layer that is wanted.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.network import unknown_layer
from rep_kedro.models.pooling import pool_activation
from rep_kedro.models.pooling_names import Layout, Pooling

GLOB_CHARACTERS = frozenset("*?")
CALL_SEPARATOR = "@"  # relu@2 is the second call of a module that one pass calls several times


class _LastLayerReached(Exception):  # noqa: N818 - not an error, it ends a pass
    pass


class LayerReader:
    """Reads layers of a network, in depth order.

    Args:
        module: Any network in evaluation mode.
        layers: Names of submodules as in `named_modules`, or glob patterns. A module that a pass calls
            several times is named with the call: `layer1.0.relu@2`.
        example: One stimulus with a batch axis, as the network takes it; it is passed through once to learn
            the order of the layers.
        run: How the network is called, if not `module(x)`.

    Attributes:
        layers: The names that were found, in the order in which a pass reaches them.

    Raises:
        ValueError: If the network is in training mode, a name or pattern fits no layer that a pass reaches, a
            module is called several times and the name does not say which call, or no layer was asked for.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[str],
        *,
        example: Tensor,
        run: Callable[[Tensor], object] | None = None,
    ) -> None:
        if module.training:
            raise ValueError("layers are read in evaluation mode; call .eval() on the network first")
        self._module = module
        self._run = run or module
        self.layers = select_layers(self._survey(example), layers)
        self._by_call = {_call_of(name): name for name in self.layers}

    def read(
        self,
        x: Tensor,
        pooling: Pooling | None = None,
        *,
        layout: Layout = "auto",
        n_prefix_tokens: int = 1,
    ) -> dict[str, Tensor]:
        """Return the output of each layer for one batch.

        Args:
            x: Stimuli as the network takes them.
            pooling: How to pool; None returns copies of the activations as they are.
            layout: See `pool_activation`.
            n_prefix_tokens: See `pool_activation`.

        Returns:
            By layer, in depth order: features (n_stimuli, n_features) if pooled, else the activation.

        Raises:
            ValueError: If an output is no tensor, has another number of stimuli, or cannot be pooled.
        """
        found: dict[str, Tensor] = {}

        def keep(call: str, output: object) -> None:
            if call in self._by_call:
                name = self._by_call[call]
                activation = _require_batch(name, output, len(x), layout)
                # A copy in any case: pooling may return a view of what a later layer overwrites in place.
                found[name] = _pool(name, activation, pooling, layout, n_prefix_tokens).clone()
                if len(found) == len(self.layers):
                    raise _LastLayerReached

        modules = {call.partition(CALL_SEPARATOR)[0] for call in self._by_call}
        with _listening(self._module, keep, modules), torch.no_grad(), suppress(_LastLayerReached):
            self._run(x)
        return {name: found[name] for name in self.layers}

    def _survey(self, example: Tensor) -> list[str]:
        """Return the calls of one pass by name, in order: `a`, or `a@1`, `a@2` for a module called twice."""
        calls: list[str] = []
        with _listening(self._module, lambda name, _: calls.append(name)), torch.no_grad():
            self._run(example)
        totals = Counter(call.partition(CALL_SEPARATOR)[0] for call in calls)
        bases = [call.partition(CALL_SEPARATOR)[0] for call in calls]
        return [call if totals[base] > 1 else base for call, base in zip(calls, bases, strict=True)]


def select_layers(known: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """Return the known layers that names or glob patterns ask for, in the order of `known`.

    `*` stands for anything within one part of a dotted name and `**` for anything at all: `blocks.*` is every
    block, `blocks.**` also what is inside them.

    Raises:
        ValueError: If a name or pattern fits nothing, names a module that is called several times without
            saying which call, or if nothing was asked for.

    Example:
        >>> select_layers(["conv1", "relu1", "conv2", "relu2"], ["relu*", "conv1"])
        ('conv1', 'relu1', 'relu2')
    """
    if not layers:
        raise UserError("no layers were asked for; name at least one, or a pattern such as 'layer*'")
    chosen: set[str] = set()
    for pattern in layers:
        if GLOB_CHARACTERS & set(pattern):
            expression = _compile_pattern(pattern)
            matches = [name for name in known if expression.fullmatch(name)]
        else:
            matches = [name for name in known if name == pattern]
            calls = [name for name in known if name.startswith(pattern + CALL_SEPARATOR)]
            if not matches and calls:
                raise UserError(
                    f"layer {pattern!r} is called {len(calls)} times; name one of {', '.join(calls)}"
                )
        if not matches:
            raise UserError(unknown_layer(pattern, known))
        chosen.update(matches)
    return tuple(name for name in known if name in chosen)


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meanings = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.compile("".join(meanings.get(part) or re.escape(part) for part in parts))


@contextmanager
def _listening(
    module: nn.Module, listen: Callable[[str, object], None], only: set[str] | None = None
) -> Iterator[None]:
    """Call `listen(name@call, output)` after each call of a submodule, counted from 1."""
    counts: Counter[str] = Counter()
    handles = []

    def make_hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            counts[name] += 1
            listen(f"{name}{CALL_SEPARATOR}{counts[name]}", output)

        return hook

    try:
        for name, part in module.named_modules():
            if name and (only is None or name in only):
                handles.append(part.register_forward_hook(make_hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _call_of(name: str) -> str:
    return name if CALL_SEPARATOR in name else f"{name}{CALL_SEPARATOR}1"


def _require_batch(name: str, output: object, n_stimuli: int, layout: Layout) -> Tensor:
    """Return the output, or the first of several as attention gives, if it has a row per stimulus."""
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, Tensor):
        raise UserError(
            f"layer {name!r} gives {type(output).__name__}, not a tensor; choose a layer inside or behind it"
        )
    stimulus_axis = 1 if layout == "tokens_first" and first.ndim == 3 else 0
    if first.ndim <= stimulus_axis or first.shape[stimulus_axis] != n_stimuli:
        raise UserError(
            f"layer {name!r} gave shape {tuple(first.shape)} for {n_stimuli} stimuli;"
            " if its tokens come first, set layout: tokens_first"
        )
    return first


def _pool(
    name: str, activation: Tensor, pooling: Pooling | None, layout: Layout, n_prefix_tokens: int
) -> Tensor:
    if pooling is None:
        return activation
    try:
        return pool_activation(activation, pooling, layout=layout, n_prefix_tokens=n_prefix_tokens)
    except UserError as error:
        raise UserError(f"layer {name!r}: {error}") from error
