"""What follows from a network's form alone: widths, parameters, operations, memory; no weight is ever drawn.

Networks are built on torch's meta device, where only shapes exist. What is known of published networks is
stored beside this module, so that a plan for many of them takes no time; it counts only while the library
that builds them is of the version it was found with.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.sources.specs import CheckpointModel, WeightsFileModel, ZooEntry

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rep_kedro.datasets import TensorsHandle

KNOWN_FORMS = Path(__file__).with_name("network_forms.csv")
_SIZES = ("n_parameters", "n_flops", "activation_bytes", "traffic_bytes", "n_inputs")
COLUMNS = ("form", "library", *_SIZES, "widths")
_PACKAGES = {"timm": "timm", "torchvision": "torchvision", "open_clip": "open_clip_torch"}
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class NetworkForm:
    """Sizes of a network.

    Attributes:
        n_parameters: Trainable numbers; of the image side where there is also a text side.
        n_flops: Operations of one stimulus, two per multiply-accumulate, as in `rep_kedro.models.cost`.
        activation_bytes: Input and output of the largest single step, float32, for one stimulus.
        traffic_bytes: Input and output of all steps together, float32, for one stimulus.
        n_inputs: Numbers in the network's input: channels times height times width.
        widths: Number of features of each layer that is read, in depth order.
    """

    n_parameters: int
    n_flops: int
    activation_bytes: int
    traffic_bytes: int
    n_inputs: int
    widths: Mapping[str, int]


def describe_form(entry: ZooEntry, *, pooling: Pooling) -> NetworkForm:
    """Return the sizes of a network; published ones are looked up where they are known.

    Args:
        entry: The network.
        pooling: From activations to features.

    Raises:
        ValueError: If name or layers are unknown.
    """
    return _known_forms().get((name_form(entry, pooling), _library(entry))) or compute_form(
        entry, pooling=pooling
    )


def compute_form(entry: ZooEntry, *, pooling: Pooling) -> NetworkForm:
    """Return the sizes of a network from a pass without numbers."""
    import torch

    from rep_kedro.models.outline import build_on_meta
    from rep_kedro.models.sources.zoo import resolve_preprocessing, runner_of

    preprocessing = resolve_preprocessing(entry)
    module = build_on_meta(entry)
    image = torch.empty(
        1, len(preprocessing.mean), preprocessing.size_px, preprocessing.size_px, device="meta"
    )
    layers = entry.layers or getattr(module, "kept_layers", ())
    return _measure(
        module,
        image,
        layers,
        pooling,
        run=runner_of(module),
        layout=entry.layout,
        n_prefix_tokens=entry.n_prefix_tokens,
    )


def describe_trained_form(
    network: "TensorsHandle", layers: Sequence[str], *, pooling: Pooling
) -> NetworkForm:
    """Return the sizes of a network trained here.

    Args:
        network: Its handle; the weights are not read.
        layers: Layers that are read; all that it keeps if empty.
        pooling: From activations to features.
    """
    import torch

    from rep_kedro.models.sources.trained import rebuild_trained_network

    module = rebuild_trained_network(network).to("meta").eval()
    spec = module.architecture.input
    image = torch.empty(1, spec.channels, spec.size_px, spec.size_px, device="meta")
    return _measure(module, image, layers or module.kept_layers, pooling)


def _measure(
    module: "nn.Module", image: "torch.Tensor", layers: Sequence[str], pooling: Pooling, **access: Any
) -> NetworkForm:
    """Follow one image of no numbers through a network."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from rep_kedro.models.layers import LayerReader

    module.requires_grad_(False)  # the counter trips over parameters that are handed from part to part
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, _watched_steps(module) as steps:
        reader = LayerReader(module, layers, example=image, **access)
    counted = getattr(module, "visual", module)
    return NetworkForm(
        n_parameters=sum(parameter.numel() for parameter in counted.parameters()),
        n_flops=counter.get_total_flops(),
        activation_bytes=_FLOAT_BYTES * max(steps),
        traffic_bytes=_FLOAT_BYTES * sum(steps),
        n_inputs=image.numel(),
        widths=reader.widths(pooling),
    )


def name_form(entry: ZooEntry, pooling: Pooling) -> str:
    """Return a text that is the same for entries of the same form."""
    if isinstance(entry, CheckpointModel):
        return f"checkpoint/{entry.architecture}/{entry.n_classes}|{'+'.join(entry.layers)}|{pooling}"
    size_px = getattr(entry, "size_px", None) or "own"
    place = entry.architecture if isinstance(entry, WeightsFileModel) else f"{entry.source}/{entry.name}"
    n_classes = getattr(entry, "n_classes", None)
    head = f"#{n_classes}" if n_classes else ""
    return (
        f"{place}{head}@{size_px}|{'+'.join(entry.layers)}|{pooling}|{entry.layout}|{entry.n_prefix_tokens}"
    )


def store_known_forms(entries: Iterable[tuple[ZooEntry, Pooling]], path: Path = KNOWN_FORMS) -> int:
    """Compute the forms of these entries and write them where `describe_form` looks; return their number."""
    named = {name_form(entry, pooling): (entry, pooling) for entry, pooling in entries}
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(COLUMNS)
        for form, (entry, pooling) in sorted(named.items()):
            found = compute_form(entry, pooling=pooling)
            widths = " ".join(f"{layer}={width}" for layer, width in found.widths.items())
            sizes = (getattr(found, size) for size in _SIZES)
            rows.writerow([form, _library(entry), *sizes, widths])
    _known_forms.cache_clear()
    return len(named)


@cache
def _known_forms() -> dict[tuple[str, str], NetworkForm]:
    if not KNOWN_FORMS.exists():
        return {}
    with KNOWN_FORMS.open(newline="", encoding="utf-8") as stream:
        return {(row["form"], row["library"]): _form_of(row) for row in csv.DictReader(stream)}


def _form_of(row: Mapping[str, str]) -> NetworkForm:
    pairs = (part.rpartition("=") for part in row["widths"].split(" "))
    sizes = {size: int(row[size]) for size in _SIZES}
    return NetworkForm(**sizes, widths={layer: int(width) for layer, _, width in pairs})


def _library(entry: ZooEntry) -> str:
    name = entry.library if isinstance(entry, WeightsFileModel) else entry.source
    return f"{name} {version(_PACKAGES[name])}" if name in _PACKAGES else name


@contextmanager
def _watched_steps(module: "nn.Module") -> Iterator[list[int]]:
    """Collect, for each call of a module without parts, how many numbers go in and come out."""
    sizes = [0]

    def note(_: Any, inputs: tuple[Any, ...], output: Any) -> None:
        sizes.append(sum(map(_numel, inputs)) + _numel(output))

    handles = [
        part.register_forward_hook(note) for part in module.modules() if not next(part.children(), None)
    ]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()


def _numel(value: "torch.Tensor | Any") -> int:
    return int(value.numel()) if hasattr(value, "numel") else 0
