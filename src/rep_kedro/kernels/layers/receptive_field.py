"""Receptive fields of a graph of layers, exactly, along one axis.

Each layer's receptive field is followed as an interval of input pixels, from the first layer to the last.
Where several paths meet, the union of their intervals is the receptive field, and the smallest field over
all paths is kept as well: residual networks pass some signals on with a small field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
        sees_all: Whether every position reads the whole map, and positions stay as they are (attention).
        unknown: Why the geometry is not known; empty if it is.
    """

    name: str
    inputs: tuple[str, ...] = ()
    kernel: int | None = 1
    stride: int = 1
    padding: int = 0
    padding_after: int | None = None
    dilation: int = 1
    has_ceil_size: bool = False
    sees_all: bool = False
    unknown: str = ""


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
        sees_all: Whether all positions see the same, so that a window over several of them sees no more.
    """

    size_px: int
    smallest_path_px: int
    start_px: int
    jump_px: int
    map_size: int
    sees_all: bool = False


def compute_receptive_fields(layers: Sequence[LayerGeometry], input_px: int) -> dict[str, ReceptiveField]:
    """Return the receptive field of every layer.

    Args:
        layers: In an order in which inputs come before the layers that read them.
        input_px: Side of the image.

    Returns:
        By layer, in the order given. A layer that reads the whole map sees the union of what all its
        positions see; there its jump is that of the map.

    Raises:
        ValueError: If a layer's geometry is not known, a name occurs twice, an input is no earlier layer, the
            inputs of one layer disagree on jump or map size, or a kernel is larger than the padded map.

    Source:
        Interval arithmetic of Araujo et al. 2019, doi:10.23915/distill.00021, sections 2 and 3. Sizes agree
        with the recursion r' = r + (k - 1) d j, j' = j s.
    """
    fields, unknown = follow_receptive_fields(layers, input_px)
    if unknown:
        raise ValueError(next(iter(unknown.values())))
    return fields


def follow_receptive_fields(
    layers: Sequence[LayerGeometry], input_px: int
) -> tuple[dict[str, ReceptiveField], dict[str, str]]:
    """Return the receptive fields that are known, and why the others are not.

    Args:
        layers: As for `compute_receptive_fields`.
        input_px: Side of the image.

    Returns:
        Fields by layer; reasons by layer, for layers of unknown geometry and all that read from them.

    Raises:
        ValueError: If a name occurs twice, or an input is no earlier layer.
    """
    image = ReceptiveField(size_px=1, smallest_path_px=1, start_px=0, jump_px=1, map_size=input_px)
    fields: dict[str, ReceptiveField] = {}
    unknown: dict[str, str] = {}
    for layer in layers:
        if layer.name in fields or layer.name in unknown:
            raise ValueError(f"layer name {layer.name!r} occurs twice")
        for source in layer.inputs:
            if source not in fields and source not in unknown:
                raise ValueError(
                    f"layer {layer.name!r} takes its input from {source!r}, which is not an earlier layer"
                )
        reasons = [*(unknown.get(source, "") for source in layer.inputs), layer.unknown]
        if any(reasons):
            unknown[layer.name] = next(filter(None, reasons))
            continue
        sources = {source: fields[source] for source in layer.inputs} or {"the image": image}
        try:
            fields[layer.name] = _pass_through(layer, _unite(layer.name, sources))
        except ValueError as problem:
            unknown[layer.name] = str(problem)
    return fields, unknown


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
        raise ValueError(f"no receptive field for layer {unknown[0]!r}; known: {', '.join(fields)}")
    if rule == "input":
        seeing_all = [i for i, layer in enumerate(layers) if fields[layer].size_px > input_px]
        index = seeing_all[0] + 1 if seeing_all else len(layers)
    else:
        seeing_part = [i for i, layer in enumerate(layers) if fields[layer].smallest_path_px <= input_px]
        index = seeing_part[-1] + 1 if seeing_part else 0
    return layers[index] if index < len(layers) else None


def _unite(name: str, sources: Mapping[str, ReceptiveField]) -> ReceptiveField:
    """Return what a position sees that reads the same position of several maps.

    A single number per channel, as in squeeze and excitation, is read by every position of the map.
    """
    fields = list(sources.values())
    maps = {source: field for source, field in sources.items() if field.map_size > 1} or dict(sources)
    for attribute in ("jump_px", "map_size"):
        values = {source: getattr(field, attribute) for source, field in maps.items()}
        if len(set(values.values())) > 1:
            raise ValueError(f"inputs of layer {name!r} disagree on {attribute}: {values}")
    position = next(iter(maps.values()))
    sees_all = any(field.sees_all or (field.map_size == 1 < position.map_size) for field in fields)
    if sees_all:
        fields = [_spread(field) for field in fields]
    start = min(field.start_px for field in fields)
    end = max(field.start_px + field.size_px for field in fields)
    return ReceptiveField(
        size_px=end - start,
        smallest_path_px=min(field.smallest_path_px for field in sources.values()),
        start_px=start,
        jump_px=position.jump_px,
        map_size=position.map_size,
        sees_all=sees_all,
    )


def _spread(field: ReceptiveField) -> ReceptiveField:
    """Return what all positions of a map see together, as what each of them sees."""
    if field.sees_all:
        return field
    reach = (field.map_size - 1) * field.jump_px
    return replace(field, size_px=field.size_px + reach, sees_all=True)


def _pass_through(layer: LayerGeometry, field: ReceptiveField) -> ReceptiveField:
    """Return what an output position of a layer sees, given what an input position sees."""
    if layer.sees_all:
        field = _spread(field)
        return replace(field, smallest_path_px=field.size_px)
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
        size_px=field.size_px + (0 if field.sees_all else reach * jump),
        smallest_path_px=field.smallest_path_px + reach * jump,
        start_px=field.start_px - (0 if field.sees_all else layer.padding * jump),
        jump_px=jump * layer.stride,
        map_size=steps + 1,
        sees_all=field.sees_all,
    )
