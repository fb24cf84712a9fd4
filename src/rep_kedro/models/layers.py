"""Layer access for any module: read many layers in one pass, copied or pooled the moment they appear.

A layer's output must not be kept by reference: an in-place ReLU behind it would overwrite what was read.
Every hook here pools or copies at once. The pass ends at the last layer that is wanted.
"""

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.activation_form import Evidence, Form, Prefix, find_form, find_prefix, is_grid
from rep_kedro.models.network import LayeredNetwork
from rep_kedro.models.pooling import pool_activation
from rep_kedro.models.pooling_names import Layout, Pooling
from rep_kedro.models.survey import CALL_SEPARATOR, Call, Survey, listening, sole_tensor, survey_network

GLOB_CHARACTERS = frozenset("*?")
_SHOWN = 8


class _LastLayerReached(Exception):  # noqa: N818 - not an error, it ends a pass
    pass


class LayerReader:
    """Reads layers of a network, in depth order.

    Args:
        module: Any network in evaluation mode.
        layers: Names of submodules as in `named_modules`, or glob patterns. A module that a pass calls
            several times is named with the call: `layer1.0.relu@2`.
        example: One stimulus with a batch axis, as the network takes it; it is passed through once to learn
            the order of the layers and the form of what they give.
        run: How the network is called, if not `module(x)`.
        layout: Where channels or tokens are in all the layers, if it is not to be found out.
        n_prefix_tokens: Tokens before the patches in all the layers, if they are not to be found out.

    Attributes:
        layers: The names that were found, in the order in which a pass reaches them.

    Raises:
        ValueError: If the network is in training mode, a name or pattern fits no layer that a pass reaches, a
            module is called several times and the name does not say which call, or no layer was requested.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[str],
        *,
        example: Tensor,
        run: Callable[[Tensor], object] | None = None,
        layout: Layout = "auto",
        n_prefix_tokens: int | None = None,
    ) -> None:
        if module.training:
            raise ValueError("layers are read in evaluation mode; call .eval() on the network first")
        self._module = module
        self._run = run
        self._example = example
        is_own = isinstance(module, LayeredNetwork) and layout == "auto"
        self._layout: Layout = "nchw" if is_own else layout
        self._n_prefix_tokens = n_prefix_tokens
        self.survey = survey_network(module, example, run)
        self.layers = select_layers(self.survey.layers, layers, self.survey.uncalled)
        self._by_call = {_call_of(name): name for name in self.layers}
        self._forms: dict[Pooling, dict[str, Form]] = {}

    def read(self, x: Tensor, pooling: Pooling | None = None) -> dict[str, Tensor]:
        """Return the output of each layer for one batch.

        Args:
            x: Stimuli as the network takes them.
            pooling: How to pool; None returns copies of the activations as they are.

        Returns:
            By layer, in depth order: features (n_stimuli, n_features) if pooled, else the activation.

        Raises:
            ValueError: If an output is not a tensor, has another number of stimuli, or cannot be pooled.
        """
        found: dict[str, Tensor] = {}
        forms = self.find_forms(pooling) if pooling else {}

        def keep(call: str, output: object) -> None:
            if call in self._by_call:
                name = self._by_call[call]
                part = self._module.get_submodule(call.partition(CALL_SEPARATOR)[0])
                activation = _require_batch(name, part, output, len(x), forms.get(name))
                # A copy in any case: pooling may return a view of what a later layer overwrites in place.
                found[name] = _pool(name, activation, pooling, forms.get(name)).clone()
                if len(found) == len(self.layers):
                    raise _LastLayerReached

        modules = {call.partition(CALL_SEPARATOR)[0] for call in self._by_call}
        with listening(self._module, keep, modules), torch.no_grad(), suppress(_LastLayerReached):
            (self._run or self._module)(x)
        require_reached(self.layers, found)
        return {name: found[name] for name in self.layers}

    def find_forms(self, pooling: Pooling) -> dict[str, Form]:
        """Return how each layer is read to be pooled so.

        Raises:
            ValueError: If a layer gives no tensor, or its form is not known or contradicts what was said.
        """
        if pooling not in self._forms:
            wanted, found, grids = set(self.layers), dict[str, Form](), set[tuple[int, int]]()
            for call in self.survey.calls:
                if call.layer in wanted:
                    found[call.layer] = self._find_form(call, frozenset(grids), pooling)
                grids.update(_grids_of(call, self.survey))
            self._forms[pooling] = found
        return self._forms[pooling]

    def widths(self, pooling: Pooling) -> dict[str, int]:
        """Return the number of features of each layer, in depth order, from shapes alone.

        Raises:
            ValueError: As `read`.
        """
        forms = self.find_forms(pooling)
        shapes = {call.layer: call.shape for call in self.survey.calls if call.layer in forms}
        outputs = {name: torch.empty(shape, device="meta") for name, shape in shapes.items() if shape}
        return {name: _pool(name, outputs[name], pooling, forms[name]).shape[1] for name in self.layers}

    def _find_form(self, call: Call, grids: frozenset[tuple[int, int]], pooling: Pooling) -> Form:
        if call.shape is None:
            raise UserError(
                f"layer {call.layer!r} does not return a single tensor; choose a layer inside or after it"
            )
        if call.is_complex:
            raise _complex_error(call.layer)
        evidence = Evidence(
            self.survey.image_px, grids, self._prefix, call.module, partial(self._larger_shape, call.layer)
        )
        try:
            return find_form(
                call.shape,
                evidence,
                pooling=pooling,
                layout=self._layout,
                n_prefix_tokens=self._n_prefix_tokens,
            )
        except UserError as error:
            raise UserError(f"layer {call.layer!r}: {error}") from error

    @cached_property
    def _prefix(self) -> Prefix:
        return find_prefix(self._module)

    def _larger_shape(self, layer: str) -> tuple[int, ...] | None:
        return self._larger_shapes.get(_call_of(layer))

    @cached_property
    def _larger_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by call for a stimulus of twice the size, as far as the network takes it."""
        if self.survey.image_px is None:
            return {}
        height, width = self.survey.image_px
        larger = self._example.new_zeros(1, self._example.shape[1], 2 * height, 2 * width)
        shapes: dict[str, tuple[int, ...]] = {}

        def note(call: str, output: object) -> None:
            if isinstance(output, Tensor):
                shapes[call] = tuple(output.shape)

        # The network's own code may raise anything; what it called before that is known all the same.
        with listening(self._module, note), torch.no_grad(), suppress(Exception):
            (self._run or self._module)(larger)
        return shapes


def require_reached(layers: Sequence[str], found: Collection[str]) -> None:
    """Refuse a pass that skipped layers which the pass of the first stimulus reached.

    Raises:
        UserError: The message names the first such layer.
    """
    skipped = [name for name in layers if name not in found]
    if skipped:
        raise UserError(
            f"layer {skipped[0]!r} is reached for some stimuli only: the network decides by their values;"
            " choose layers that it always calls"
        )


def select_layers(
    known: Sequence[str], layers: Sequence[str], uncalled: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the known layers that names or glob patterns ask for, in the order of `known`.

    `*` matches anything within one part of a dotted name and `**` anything at all: `blocks.*` is every
    block, `blocks.**` also what is inside them.

    Args:
        known: Layers that a pass calls, in this order.
        layers: Names or patterns.
        uncalled: Layers that exist, but that no pass calls.

    Raises:
        ValueError: If a name or pattern fits nothing, names a module that is called several times without
            saying which call, or if nothing was requested.

    Example:
        >>> select_layers(["conv1", "relu1", "conv2", "relu2"], ["relu*", "conv1"])
        ('conv1', 'relu1', 'relu2')
    """
    if not layers:
        raise UserError("no layers are requested; name at least one, or a pattern such as 'layer*'")
    chosen: set[str] = set()
    for pattern in layers:
        matches = _matching(pattern, known)
        calls = [name for name in known if name.startswith(pattern + CALL_SEPARATOR)]
        if not matches and calls:
            raise UserError(f"layer {pattern!r} is called {len(calls)} times; name one of {', '.join(calls)}")
        if not matches and (idle := _matching(pattern, uncalled)):
            raise UserError(
                f"layer {idle[0]!r} exists but is never called: the module around it does not use it;"
                f" {_called_near(idle[0], known)}"
            )
        if not matches:
            raise UserError(f"unknown layer {pattern!r}; {suggest(pattern, known)}")
        chosen.update(matches)
    return tuple(name for name in known if name in chosen)


def _called_near(layer: str, known: Sequence[str]) -> str:
    """Return which layers are called in the same part of the network, or that part itself."""
    parent = layer.rpartition(".")[0]
    near = [name for name in known if name.rpartition(".")[0] == parent]
    if near:
        return f"layers called in {parent or 'the network'}: {', '.join(near[:_SHOWN])}"
    return f"choose {parent!r}" if parent in known else f"unknown layer {layer!r}; {suggest(layer, known)}"


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    if not GLOB_CHARACTERS & set(pattern):
        return [name for name in names if name == pattern]
    expression = _compile_pattern(pattern)
    return [name for name in names if expression.fullmatch(name)]


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meanings = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.compile("".join(meanings.get(part) or re.escape(part) for part in parts))


def _call_of(name: str) -> str:
    return name if CALL_SEPARATOR in name else f"{name}{CALL_SEPARATOR}1"


def _grids_of(call: Call, survey: Survey) -> list[tuple[int, int]]:
    """Return the sides of the map that a call gives, wherever its channels are."""
    if call.shape is None or len(call.shape) != 4 or call.shape[0] != 1:
        return []
    return [sides for sides in (call.shape[2:], call.shape[1:3]) if is_grid(sides, survey.image_px)]


def _require_batch(name: str, part: nn.Module, output: object, n_stimuli: int, form: Form | None) -> Tensor:
    """Return the output, or the first of several as attention gives, if it has a row per stimulus."""
    tensor = sole_tensor(part, output)
    if tensor is None:
        raise UserError(
            f"layer {name!r} returns {type(output).__name__}, not a tensor; choose a layer inside or after it"
        )
    if tensor.is_complex():
        raise _complex_error(name)
    if tensor.ndim == 3 and tensor.shape[:2] == (1, n_stimuli):
        tensor = tensor.transpose(0, 1)  # one token, of which one stimulus does not show the axis
    stimulus_axis = 0 if form is None else form.stimulus_axis
    if tensor.ndim <= stimulus_axis or tensor.shape[stimulus_axis] != n_stimuli:
        raise UserError(
            f"layer {name!r} returned shape {tuple(tensor.shape)} for {n_stimuli} stimuli:"
            " it works on parts of them; choose a layer around it"
        )
    return tensor


def _complex_error(name: str) -> UserError:
    return UserError(
        f"layer {name!r} gives complex numbers, and features are real; choose a layer that returns real ones,"
        " such as their magnitude"
    )


def _pool(name: str, activation: Tensor, pooling: Pooling | None, form: Form | None) -> Tensor:
    if pooling is None or form is None:
        return activation
    try:
        return pool_activation(activation, pooling, form)
    except UserError as error:
        raise UserError(f"layer {name!r}: {error}") from error
