"""At which layers two networks are joined: names, patterns and grids, resolved before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

from rep_kedro.analyses.stitching.donors import Donor
from rep_kedro.analyses.stitching.maps import ReducedRankMap, StitchMap, TaskMap
from rep_kedro.analyses.stitching.outlines import Outline, Shape
from rep_kedro.analyses.stitching.params import JointParams
from rep_kedro.datasets.work import format_bytes
from rep_kedro.errors import UserError, suggest

_SHOWN = 8
_MAP_AXES = 3
_MOMENT_BYTES = 8


class LayerPair(NamedTuple):
    """One place where a network goes over into another.

    Attributes:
        front: Layer of the network that begins.
        end: Layer of the network that goes on; what follows it runs.
        front_depth: How many of the layers of its network that are asked for come before it.
        depth: The same of the end's layer.
        flatten: Whether every value is a channel of one position.
    """

    front: str
    end: str
    front_depth: int
    depth: int
    flatten: bool = False

    @property
    def name(self) -> str:
        """What tensors and messages call it."""
        name = self.front if self.front == self.end else f"{self.front}-to-{self.end}"
        return f"{name}@flatten" if self.flatten else name


def resolve_layers(front: Outline, end: Outline, joint: JointParams, asked: str) -> list[LayerPair]:
    """Return the pairs of layers of a joint, in depth order.

    Args:
        front: Of the network that begins.
        end: Of the network that goes on.
        joint: Its layers, and whether they are flattened.
        asked: Which layers `same` and `grid` mean: `kept` or `cut_points`.

    Raises:
        UserError: If a layer is unknown, or a connection jumps over a layer of the end; has close matches and
            the cut points.
    """
    wanted = joint.layers
    if isinstance(wanted, str):
        points = [name for name in _asked(end, asked) if name in end.cut_points]
        named = [(name, name) for name in points if name in front.layers]
        if wanted == "grid":
            fronts = [name for name in _asked(front, asked) if name in front.cut_points]
            named = [(name, point) for name in fronts for point in points]
    else:
        pairs = {name: name for name in wanted} if isinstance(wanted, list) else wanted
        named = [pair for one, other in pairs.items() for pair in _fitting(one, other, front, end, wanted)]
    found = [
        LayerPair(one, other, _depth_of(one, front, asked), _depth_of(other, end, asked), joint.flatten)
        for one, other in dict.fromkeys(named)
    ]
    return sorted(found, key=lambda pair: (pair.depth, pair.front_depth))


def _asked(outline: Outline, asked: str) -> Sequence[str]:
    return outline.kept if asked == "kept" else outline.layers


def _depth_of(layer: str, outline: Outline, asked: str) -> int:
    """Return how many of the layers that are asked for come before a layer."""
    before = set(outline.layers[: outline.layers.index(layer)])
    return sum(name in before for name in _asked(outline, asked))


def _fitting(one: str, other: str, front: Outline, end: Outline, wanted: object) -> Iterator[tuple[str, str]]:
    """Yield the layers that fit a name or pattern of the front, with those that fit one of the end."""
    from rep_kedro.models.layers import GLOB_CHARACTERS, select_layers

    fronts = select_layers(front.layers, [one])
    is_pattern = bool(GLOB_CHARACTERS & set(other))
    try:
        ends = select_layers(end.layers, [other])
    except UserError as problem:
        raise UserError(f"{problem}; cut points: {_some(end.cut_points)}") from problem
    points = [name for name in ends if name in end.cut_points]
    if not points or (not is_pattern and len(points) < len(ends)):
        place = end.layers.index(ends[0])
        near = sorted(end.cut_points, key=lambda name: abs(end.layers.index(name) - place))
        is_last = ends[0] == end.layers[-1]
        why = (
            f"nothing follows layer {ends[0]!r}" if is_last else f"a connection jumps over layer {ends[0]!r}"
        )
        raise UserError(f"{why}, so nothing can continue from it; nearest cut points: {_some(near)}")
    if isinstance(wanted, list):
        yield from ((name, name) for name in fronts if name in points)
    else:
        yield from ((name, point) for name in fronts for point in points)


def require_maps_that_fit(
    pairs: Sequence[LayerPair], front: Donor, end: Donor, maps: Mapping[str, StitchMap], *, memory_bytes: int
) -> None:
    """Refuse pairs of layers that a map cannot join.

    Raises:
        UserError: If layers have no positions in common, a map needs equal widths, its rank is above both, or
            the layers are so wide that their moments do not fit into `memory_bytes`.
    """
    for pair in pairs:
        one, other = front.shape(pair.front), end.shape(pair.end)
        if not pair.flatten:
            _require_common_positions(pair, one, other)
        n_front, n_end = (prod(x) if pair.flatten else _n_channels(x) for x in (one, other))
        n_bytes = _MOMENT_BYTES * (n_front + n_end) ** 2
        if n_bytes > memory_bytes:
            raise UserError(
                f"a map from {n_front:,} channels ({pair.front!r} of {front.name}) to {n_end:,}"
                f" ({pair.end!r} of {end.name}) needs {format_bytes(n_bytes)} for its moments, more than"
                f" stitching.memory_bytes ({format_bytes(memory_bytes)}); join narrower layers or raise it"
            )
        for name, given in maps.items():
            if given.needs_equal_widths and n_front != n_end:
                how = getattr(given, "init", "") or given.fit
                raise UserError(
                    f"maps.{name} ({how}) needs layers of equal width, but {pair.front!r} of {front.name} has"
                    f" {n_front} channels and {pair.end!r} of {end.name} has {n_end}"
                )
            rank = given.rank if isinstance(given, ReducedRankMap | TaskMap) else None
            if rank is not None and isinstance(given, TaskMap) and rank > min(n_front, n_end):
                raise UserError(
                    f"maps.{name}.rank {rank} is above the largest between {pair.front!r} of {front.name}"
                    f" ({n_front} channels) and {pair.end!r} of {end.name} ({n_end})"
                )


def _require_common_positions(pair: LayerPair, one: Shape, other: Shape) -> None:
    is_of_one_kind = len(one) == len(other)
    if not is_of_one_kind or (len(one) == 2 and one[0] != other[0]):
        why = "have other numbers of tokens" if is_of_one_kind else "have no positions in common"
        raise UserError(
            f"layers {pair.front!r} of shape {one} and {pair.end!r} of shape {other} {why};"
            " flatten: true joins them"
        )


def _n_channels(shape: Shape) -> int:
    return shape[0] if len(shape) == _MAP_AXES else shape[-1]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN]) or suggest('', ())}{more}"
