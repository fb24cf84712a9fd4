"""Every layer of a network: output shape, parameters, receptive field."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.errors import UserError, contained
from rep_kedro.models.sources.specs import ZooEntry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from rep_kedro.datasets import TensorsHandle
    from rep_kedro.models.architecture import DefinedNetwork


_SOME_CLASSES = 10


class LayerRow(NamedTuple):
    """One call of one layer.

    Attributes:
        layer: Name as an entry's `layers` takes it.
        kind: Class of the module.
        shape: Of the output for one image, without the batch axis; None if it is not a tensor.
        n_parameters: Of the layer with all its parts.
        receptive_field_px: Side of what one position sees, padding included; None where it is not known.
    """

    layer: str
    kind: str
    shape: tuple[int, ...] | None
    n_parameters: int
    receptive_field_px: int | None


def list_entry_layers(entry: ZooEntry) -> list[LayerRow]:
    """Return the layers of a network from elsewhere, in order of execution; no weight is loaded."""
    import torch

    from rep_kedro.models.outline import build_on_meta
    from rep_kedro.models.sources.specs import MAY_NEED_NUMBERS
    from rep_kedro.models.sources.zoo import build_model, resolve_preprocessing, runner_of

    preprocessing = resolve_preprocessing(entry)
    module, side = build_on_meta(entry), preprocessing.size_px
    image = torch.empty(1, len(preprocessing.mean), side, side, device="meta")
    try:
        return _list_layers(module, image, runner_of(module))
    except Exception:  # code that computes with numbers of its own needs real ones
        if entry.source not in MAY_NEED_NUMBERS:
            raise
        module = build_model(entry, with_weights=False)
        return _list_layers(module, torch.zeros(image.shape), runner_of(module))


def list_trained_layers(network: "TensorsHandle") -> list[LayerRow]:
    """Return the layers of a network trained here, in order of execution."""
    import torch

    from rep_kedro.models.trained import (
        EMBEDDING,
        definition_of,
        rebuild_trained_network,
        run_to_embedding,
    )

    module = rebuild_trained_network(network)
    run = run_to_embedding(module, network, (EMBEDDING,)) if "projector" in network.meta else None
    spec = definition_of(network).input
    image = torch.empty(1, spec.channels, spec.size_px, spec.size_px, device="meta")
    return _list_layers(module.to("meta").eval(), image, run)


def list_architecture_layers(definition: "DefinedNetwork") -> list[LayerRow]:
    """Return the layers of a network to train, in order of execution; of this project's without a head."""
    import torch

    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.building import build_network, plain_module

    is_own, spec = isinstance(definition, Architecture), definition.input
    module = plain_module(build_network(definition, n_classes=None if is_own else _SOME_CLASSES, seed=0))
    device = "meta" if is_own else "cpu"  # code of others may compute with numbers
    image = torch.zeros(1, spec.channels, spec.size_px, spec.size_px, device=device)
    return _list_layers(module.to(device).eval(), image)


def _list_layers(
    module: "nn.Module", image: "torch.Tensor", run: "Callable[[torch.Tensor], object] | None" = None
) -> list[LayerRow]:
    import torch

    calls: list[tuple[str, tuple[int, ...] | None]] = []
    handles = []
    for name, part in module.named_modules():
        if name:
            handles.append(
                part.register_forward_hook(lambda _, __, out, name=name: calls.append((name, _shape_of(out))))
            )
    try:
        with torch.no_grad(), contained():
            (run or module)(image)
    finally:
        for handle in handles:
            handle.remove()
    fields = _fields_of(module, image)
    totals, seen = Counter(name for name, _ in calls), Counter[str]()
    rows: list[LayerRow] = []
    for name, shape in calls:
        seen[name] += 1
        part = module.get_submodule(name)
        traced = name if seen[name] == 1 else f"{name}@{seen[name]}"
        rows.append(
            LayerRow(
                layer=name if totals[name] == 1 else f"{name}@{seen[name]}",
                kind=type(part).__name__,
                shape=shape,
                n_parameters=sum(parameter.numel() for parameter in part.parameters()),
                receptive_field_px=fields.get(traced),
            )
        )
    return rows


def _shape_of(output: Any) -> tuple[int, ...] | None:
    first = output[0] if isinstance(output, tuple | list) and output else output
    return tuple(first.shape[1:]) if hasattr(first, "shape") else None


def _fields_of(module: "nn.Module", image: "Tensor") -> Mapping[str, int]:
    """Return the widths of the receptive fields that are known, none where the network cannot be followed."""
    from rep_kedro.models.fields import find_layer_fields
    from rep_kedro.models.sources.zoo import run_network

    try:
        found = find_layer_fields(module, None, image.shape[-1], run=run_network, channels=image.shape[1])
    except UserError:
        return {}
    return {name: field.columns.size_px for name, field in found.known.items()}
