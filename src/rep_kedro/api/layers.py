"""How similar are the layers of two networks? Every layer of one against every layer of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rep_kedro.api.arrays import Array
from rep_kedro.api.extracting import (
    iterate_batches,
    make_reader,
    placed,
    require_network,
    taking,
    to_patterns,
)
from rep_kedro.api.layer_matrix import LayerSimilarity
from rep_kedro.errors import UserError, require_known
from rep_kedro.kernels.similarity.streamed import MIN_BATCH, StreamedCka
from rep_kedro.kernels.undefined import explain
from rep_kedro.measures import get_measure
from rep_kedro.measures.measure import Measure
from rep_kedro.measures.named import compare_named
from rep_kedro.models.layers import LayerReader, select_layers
from rep_kedro.models.pooling import POOLINGS
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.reading import evaluating, require_same_width, steady
from rep_kedro.models.streaming import stream_layers
from rep_kedro.parameter_rules import require_whole

STREAMED = "cka_linear_debiased"
_MEMORY_BYTES = 1_000_000_000
Layers = str | Sequence[str] | None


def layer_similarity(  # noqa: PLR0913 - what a notebook may choose, by name
    model_a: nn.Module,
    model_b: nn.Module | None,
    images: Array | Iterable[Any],
    layers: Layers = None,
    layers_b: Layers = None,
    *,
    measure: str = STREAMED,
    stream: bool = False,
    pool: Pooling = "average",
    batch_size: int = 64,
    device: torch.device | str | None = None,
) -> LayerSimilarity:
    """Compare every layer of one network with every layer of another, or of the same one.

    Both networks see the same batches, which are read once. With ``stream`` the activations are used as soon
    as a layer has computed them, and nothing is kept: the result is debiased linear CKA from the mean over
    the batches of the unbiased HSIC, so that flattened maps of many layers fit into memory.

    Args:
        model_a: A network; it is in evaluation mode meanwhile.
        model_b: Another one; None compares the layers of ``model_a`` with each other.
        images: As the networks take them, one array or an iterable of batches, as for ``extract``.
        layers: Layers of ``model_a``, and of ``model_b`` unless ``layers_b`` is given: names or glob
            patterns, as for ``extract``. None: the top-level modules.
        layers_b: Layers of ``model_b``.
        measure: Id; ``rep_kedro.measures()`` lists them. With ``stream`` only ``cka_linear_debiased``.
        stream: Whether to average over batches rather than to keep all features.
        pool: From activations to features, as for ``extract``.
        batch_size: Most images at a time where ``images`` is an array, which is cut into equal batches; other
            batches stay as they are.
        device: Where the networks run; None leaves them where they are.

    Returns:
        A matrix that prints and plots; rows are the layers of ``model_a``, columns those of ``model_b``.

    Raises:
        UserError: If a measure, layer or pooling is unknown, a layer gives NaN or infinity, a batch to stream
            has fewer than four images, or the measure compares outputs.

    Source: Nguyen, Raghu & Kornblith 2021, arXiv:2010.15327 (``stream``); else that of the measure.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> a, b = (nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)) for _ in range(2))
        >>> layer_similarity(a, b, torch.randn(40, 6), ["1", "2"])
        CKA (linear, debiased); 40 images
               1      2
        1 0.6255 0.3645
        2 0.6551 0.4022
    """
    chosen = _require_choices(measure, pool, batch_size, stream=stream)
    patterns = [to_patterns(layers), to_patterns(layers if layers_b is None else layers_b)]
    networks = [model_a] if model_b is None or model_b is model_a else [model_a, model_b]
    of_network = patterns if len(networks) == 2 else [(*patterns[0], *patterns[1])]
    with ExitStack() as stack:
        for network in networks:
            require_network(network, "each model")
            stack.enter_context(evaluating(network))
        where = [stack.enter_context(placed(network, device)) for network in networks]
        stack.enter_context(steady(None))
        shown = _show(
            networks,
            of_network,
            _cut(model_a, images, batch_size),
            where,
            pool,
            StreamedCka if stream else _Kept,
        )
    side_b = len(networks) - 1
    rows, columns = (
        select_layers(shown.layers[side], chosen_layers)
        for side, chosen_layers in ((0, patterns[0]), (side_b, patterns[1]))
    )
    labels = [(side, layer) for side, own in enumerate(shown.layers) for layer in own]
    values, reasons = _compare(shown.collector, labels, chosen)
    places = [[labels.index((side, layer)) for layer in own] for side, own in ((0, rows), (side_b, columns))]
    return LayerSimilarity(
        values[places[0]][:, places[1]],
        rows,
        columns,
        measure,
        {
            (labels[i][1], labels[j][1]): reasons[i, j]
            for i in places[0]
            for j in places[1]
            if (i, j) in reasons
        },
        shown.n_images,
        shown.n_batches if stream else None,
    )


class _Collector(Protocol):
    """What takes the features of all layers, batch by batch."""

    def put(self, index: int, features: Tensor, /) -> None: ...

    def end_batch(self) -> None: ...


@dataclass
class _Kept:
    """Keeps the features of all layers.

    Attributes:
        n_layers: How many.
        parts: Features of each layer, batch by batch.
    """

    n_layers: int
    parts: list[list[Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = [[] for _ in range(self.n_layers)]

    def put(self, index: int, features: Tensor, /) -> None:
        """Copy the features of a layer: its network may overwrite them."""
        self.parts[index].append(features.clone())

    def end_batch(self) -> None:
        """Do nothing: batches are joined at the end."""


@dataclass(frozen=True)
class _Shown:
    """What networks gave for all images.

    Attributes:
        collector: Has taken the features.
        layers: Names of the layers of each network, from input to output.
        n_images: How many images were shown.
        n_batches: In how many batches.
    """

    collector: _Collector
    layers: list[tuple[str, ...]]
    n_images: int
    n_batches: int


def _show(
    networks: Sequence[nn.Module],
    patterns: Sequence[Sequence[str]],
    batches: Iterable[Tensor],
    where: Sequence[torch.device],
    pool: Pooling,
    make_collector: Callable[[int], _Collector],
) -> _Shown:
    """Show every batch to all networks, and hand over what their layers give."""
    collector: _Collector | None = None
    readers: list[LayerReader] = []
    starts: list[dict[str, int]] = []
    n_images = n_batches = 0
    for batch in batches:
        if make_collector is StreamedCka and len(batch) < MIN_BATCH:
            raise UserError(
                f"a batch of {len(batch)} images cannot be streamed; give batches of at least {MIN_BATCH}"
            )
        inputs = [batch.to(device) for device in where]
        if collector is None:
            for network, own, x in zip(networks, patterns, inputs, strict=True):
                reader = make_reader(network, own, x[:1])
                first = sum(len(other.layers) for other in readers)
                starts.append({layer: first + place for place, layer in enumerate(reader.layers)})
                readers.append(reader)
            collector = make_collector(sum(map(len, starts)))
        for network, reader, places, x in zip(networks, readers, starts, inputs, strict=True):
            with taking(x):
                stream_layers(network, reader, x, partial(_put, collector, places), pool)
        collector.end_batch()
        n_images, n_batches = n_images + len(batch), n_batches + 1
    if collector is None:
        raise UserError("there are no images to show")
    return _Shown(collector, [reader.layers for reader in readers], n_images, n_batches)


def _put(collector: _Collector, places: Mapping[str, int], layer: str, features: Tensor) -> None:
    try:
        collector.put(places[layer], features)
    except ValueError as error:
        is_finite = bool(torch.isfinite(features).all())
        why = "numbers too large to be squared" if is_finite else "NaN or infinity"
        raise UserError(f"layer {layer!r} gives {why}") from error


def _compare(
    collector: _Collector, labels: Sequence[tuple[int, str]], measure: Measure
) -> tuple[Any, dict[tuple[int, int], str]]:
    """Return values of all pairs of layers, and a reason for each NaN by its place."""
    names = [f"{'ab'[side]}/{layer}" for side, layer in labels]
    if isinstance(collector, StreamedCka):
        found, undefined = collector.finish()
        return found.cpu().numpy(), {pair: explain(why, names) for pair, why in undefined.items()}
    assert isinstance(collector, _Kept)  # noqa: S101 - there are two kinds
    for (_, layer), parts in zip(labels, collector.parts, strict=True):
        for part in parts:
            require_same_width(layer, part, parts[0])
    features = {name: torch.cat(parts) for name, parts in zip(names, collector.parts, strict=True)}
    [(_, values, reasons)] = compare_named(features, [measure], memory_bytes=_MEMORY_BYTES)
    return values, {(names.index(a), names.index(b)): why for (a, b), why in reasons.items()}


def _require_choices(measure: str, pool: str, batch_size: int, *, stream: bool) -> Measure:
    chosen = get_measure(measure)
    if chosen.compares != "features":
        raise UserError(f"{measure} compares outputs (logits), not layers; choose another measure")
    if stream and measure != STREAMED:
        raise UserError(
            f"stream is for {STREAMED}, got {measure!r}; leave stream out, or choose that measure"
        )
    require_whole(batch_size, "batch_size", least=MIN_BATCH if stream else 1)
    require_known("pooling", pool, POOLINGS)
    return chosen


def _cut(model: nn.Module, images: Array | Iterable[Any], batch_size: int) -> Iterator[Tensor]:
    """Yield batches: those that were given, or an array in parts as equal as can be."""
    is_array = isinstance(images, Tensor) or hasattr(images, "__array__")
    for batch in iterate_batches(model, images):
        if is_array and len(batch):
            yield from batch.tensor_split(-(-len(batch) // batch_size))
        elif len(batch):
            yield batch
