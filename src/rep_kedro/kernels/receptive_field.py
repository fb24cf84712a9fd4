"""Receptive fields of a graph of layers, exactly, along one axis.

Each layer's receptive field is followed as an interval of input pixels, from the first layer to the last.
Where several paths meet, the union of their intervals is the receptive field, and the smallest field over
all paths is kept beside it: residual networks pass some signals on with a small field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

BorderRule = Literal["input", "smallest_path"]
BORDER_RULES: tuple[BorderRule, ...] = ("input", "smallest_path")


@dataclass(frozen=True)
class LayerGeometry:
    """What one layer does to positions along one axis.

    Attributes:
        name: Unique within the graph.
        inputs: Names of earlier layers; none for a layer that reads the image.
        kernel: Positions that one output position reads; None for the whole map (global pooling, flattening).
        stride: Input positions between neighbouring outputs.
        padding: Positions added before the first.
        padding_after: Positions added behind the last; as many as before if None.
        dilation: Input positions between neighbouring kernel taps.
        has_ceil_size: Whether a window that is only partly filled counts as a position (ceil mode of
            pooling).
    """

    name: str
    inputs: tuple[str, ...] = ()
    kernel: int | None = 1
    stride: int = 1
    padding: int = 0
    padding_after: int | None = None
    dilation: int = 1
    has_ceil_size: bool = False


@dataclass(frozen=True)
class ReceptiveField:
    """What one output position of a layer sees.

    Attributes:
        size_px: Pixels from the first to the last that it depends on, over all paths; counts pixels beyond
            the image, and so may exceed it.
        smallest_path_px: The same along the path on which it is smallest.
        start_px: First pixel that position 0 sees; negative in the padding.
        jump_px: Pixels between the first pixels of neighbouring positions.
        map_size: Number of positions.
    """

    size_px: int
    smallest_path_px: int
    start_px: int
    jump_px: int
    map_size: int


def compute_receptive_fields(layers: Sequence[LayerGeometry], input_px: int) -> dict[str, ReceptiveField]:
    """Return the receptive field of every layer.

    Args:
        layers: In an order in which inputs come before the layers that read them.
        input_px: Side of the image.

    Returns:
        By layer, in the order given. A layer that reads the whole map sees the union of what all its
        positions see; there its jump is that of the map.

    Raises:
        ValueError: If a name occurs twice, an input is no earlier layer, the inputs of one layer disagree
            on jump or map size, or a kernel is larger than the padded map.

    Source:
        Interval arithmetic of Araujo et al. 2019, doi:10.23915/distill.00021, sections 2 and 3. Sizes agree
        with the recursion r' = r + (k - 1) d j, j' = j s.
    """
    image = ReceptiveField(size_px=1, smallest_path_px=1, start_px=0, jump_px=1, map_size=input_px)
    fields: dict[str, ReceptiveField] = {}
    for layer in layers:
        if layer.name in fields:
            raise ValueError(f"layer name {layer.name!r} occurs twice")
        for source in layer.inputs:
            if source not in fields:
                raise ValueError(
                    f"layer {layer.name!r} takes from {source!r}, which no earlier layer is called"
                )
        sources = {source: fields[source] for source in layer.inputs} or {"the image": image}
        fields[layer.name] = _pass_through(layer, _unite(layer.name, sources))
    return fields


def find_border_layer(
    fields: Mapping[str, ReceptiveField], layers: Sequence[str], input_px: int, *, rule: BorderRule = "input"
) -> str | None:
    """Return the first layer that cannot add anything local, or None if there is none.

    Args:
        fields: As given by `compute_receptive_fields`.
        layers: The layers that count, in depth order: usually the convolutions.
        input_px: Side of the image.
        rule: `input`: the first layer behind the first one whose own receptive field exceeds the image,
            that is, the first that is fed by positions that see all. `smallest_path`: the first layer from
            which on the smallest receptive field exceeds the image, for networks with skip connections.

    Raises:
        ValueError: If the rule or a layer is unknown.

    Source:
        Richter et al. 2021, arXiv:2106.12307, section 3.
    """
    if rule not in BORDER_RULES:
        raise ValueError(f"unknown border rule {rule!r}; known: {', '.join(BORDER_RULES)}")
    unknown = [layer for layer in layers if layer not in fields]
    if unknown:
        raise ValueError(f"no receptive field of layer {unknown[0]!r}; known: {', '.join(fields)}")
    if rule == "input":
        seeing_all = [i for i, layer in enumerate(layers) if fields[layer].size_px > input_px]
        index = seeing_all[0] + 1 if seeing_all else len(layers)
    else:
        seeing_part = [i for i, layer in enumerate(layers) if fields[layer].smallest_path_px <= input_px]
        index = seeing_part[-1] + 1 if seeing_part else 0
    return layers[index] if index < len(layers) else None


def _unite(name: str, sources: Mapping[str, ReceptiveField]) -> ReceptiveField:
    """Return what a position sees that reads the same position of several maps."""
    fields = list(sources.values())
    for attribute in ("jump_px", "map_size"):
        values = {source: getattr(field, attribute) for source, field in sources.items()}
        if len(set(values.values())) > 1:
            raise ValueError(f"inputs of layer {name!r} disagree on {attribute}: {values}")
    start = min(field.start_px for field in fields)
    end = max(field.start_px + field.size_px for field in fields)
    return ReceptiveField(
        size_px=end - start,
        smallest_path_px=min(field.smallest_path_px for field in fields),
        start_px=start,
        jump_px=fields[0].jump_px,
        map_size=fields[0].map_size,
    )


def _pass_through(layer: LayerGeometry, field: ReceptiveField) -> ReceptiveField:
    """Return what an output position of a layer sees, given what an input position sees."""
    jump, after = field.jump_px, layer.padding if layer.padding_after is None else layer.padding_after
    kernel = field.map_size if layer.kernel is None else layer.kernel
    reach = (kernel - 1) * layer.dilation
    room = field.map_size + layer.padding + after - reach - 1
    if room < 0:
        raise ValueError(
            f"layer {layer.name!r} has a window of {reach + 1}, larger than its map of {field.map_size}"
            f" with padding {layer.padding} and {after}"
        )
    steps = -(-room // layer.stride) if layer.has_ceil_size else room // layer.stride
    if layer.has_ceil_size and steps * layer.stride >= field.map_size + layer.padding:
        steps -= 1  # a window must start inside the map or the padding before it
    return ReceptiveField(
        size_px=field.size_px + reach * jump,
        smallest_path_px=field.smallest_path_px + reach * jump,
        start_px=field.start_px - layer.padding * jump,
        jump_px=jump * layer.stride,
        map_size=steps + 1,
    )
