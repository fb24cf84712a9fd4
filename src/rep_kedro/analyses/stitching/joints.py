"""Which networks are joined: those of one recipe among themselves, and those that a joint names."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rep_kedro.analyses.stitching.donors import Donor
from rep_kedro.analyses.stitching.layers import LayerPair, require_maps_that_fit, resolve_layers
from rep_kedro.analyses.stitching.networks import (
    Study,
    find_donor,
    is_named,
    list_kinds,
    require_common_labels,
    require_known_names,
    require_wanted_set,
)
from rep_kedro.analyses.stitching.params import JointParams, StitchingParams
from rep_kedro.errors import UserError
from rep_kedro.models.sources.specs import TrainedModel
from rep_kedro.models.study import FeaturesParams

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle, TensorsHandle

_SHOWN = 3
_log = logging.getLogger(__name__)


class JoinedPair(NamedTuple):
    """Two networks that are joined at some layers.

    Attributes:
        front: The network that begins.
        end: The network that goes on, on the images that it was trained on.
        control: What replaces the front, see `JointParams`.
        places: Where they are joined by each map.
    """

    front: Donor
    end: Donor
    control: str
    places: Mapping[str, tuple[LayerPair, ...]]

    @property
    def name(self) -> str:
        """What files call the pair: a control is part of the front's name."""
        control = "" if self.control == "none" else f"@{self.control}"
        return f"{self.front.name}{control}-to-{self.end.name}"

    @property
    def layers(self) -> tuple[LayerPair, ...]:
        """Where they are joined by any map."""
        return tuple(dict.fromkeys(place for places in self.places.values() for place in places))


def find_joined_pairs(
    stimulus_sets: Mapping[str, "ArrowHandle"],
    networks: Mapping[str, "TensorsHandle"],
    features: FeaturesParams,
    params: StitchingParams,
    *,
    absent: Collection[str] = (),
) -> list[JoinedPair]:
    """Return the pairs of networks that the parameters join, with their layers.

    Args:
        stimulus_sets: Handles by name.
        networks: Handles of networks trained here.
        features: Names the networks from elsewhere.
        params: Which networks are joined, and where.
        absent: Networks that should be there and are missing.

    Raises:
        UserError: If a network, stimulus set or layer is unknown, or networks or layers cannot be joined.
    """
    entries = {n: e for n, e in features.entries().items() if not isinstance(e, TrainedModel)}
    study = Study(stimulus_sets, networks, entries, absent, params)
    require_known_names(study)
    kinds = list_kinds(study)
    found: dict[tuple[str, str, str], JoinedPair] = {}
    for number, joint in enumerate(params.joints):
        try:
            for front, end in _choose_networks(study, kinds, joint):
                layers = resolve_layers(front.outline, end.outline, joint, params.layers)
                maps, most = params.maps_of(joint), params.memory_bytes
                require_maps_that_fit(layers, front, end, maps, memory_bytes=most)
                key = (front.name, end.name, joint.control)
                before = found[key].places if key in found else {}
                if places := _with_places(before, layers, params.maps_of(joint)):
                    found[key] = JoinedPair(front, end, joint.control, places)
        except UserError as problem:
            where = f"stitching.joints[{number}]: " if len(params.joints) > 1 or is_named(joint) else ""
            raise UserError(f"{where}{problem}") from problem
    return list(found.values())


def group_connected(pairs: Sequence[JoinedPair]) -> list[list[JoinedPair]]:
    """Return pairs in groups that have no network in common: what each group needs is read together.

    Pairs that are tested on different images or labels are in different groups.
    """
    groups: list[tuple[set[tuple[str, str | None, str]], list[JoinedPair]]] = []
    for pair in pairs:
        names = {(pair.end.stimulus_set, pair.end.labels, donor.name) for donor in (pair.front, pair.end)}
        touched = [group for group in groups if group[0] & names]
        merged = [each for _, members in touched for each in members]
        groups = [group for group in groups if not group[0] & names]
        groups.append((names.union(*(group[0] for group in touched)), [*merged, pair]))
    return [members for _, members in groups]


def _with_places(
    before: Mapping[str, tuple[LayerPair, ...]], layers: Sequence[LayerPair], maps: Collection[str]
) -> dict[str, tuple[LayerPair, ...]]:
    """Return where two networks are joined by each map, with the places of a further joint."""
    added = {name: tuple(dict.fromkeys((*before.get(name, ()), *layers))) for name in maps if layers}
    return {**before, **added}


def _choose_networks(
    study: Study, kinds: Sequence[Mapping[str, Donor]], joint: JointParams
) -> Iterator[tuple[Donor, Donor]]:
    if not is_named(joint):
        yield from _choose_among_kinds(kinds, joint, study.params)
        return
    with_itself = joint.include_self or joint.control != "none"
    n_joined = 0
    for front in _named(study, kinds, joint.fronts, joint.ends):
        for end in _named(study, kinds, joint.ends, joint.fronts):
            is_wanted = with_itself or front.name != end.name
            if is_wanted and _may_be_joined(joint, front, end, kinds):
                require_wanted_set(end.name, end.stimulus_set, study.params)
                require_common_labels(front, end, study.stimulus_sets)
                n_joined += 1
                yield front, end
    if not n_joined and not study.absent:
        raise UserError("it joins no networks; name others, or set include_self: true")


def _choose_among_kinds(
    kinds: Sequence[Mapping[str, Donor]], joint: JointParams, params: StitchingParams
) -> Iterator[tuple[Donor, Donor]]:
    n_all = n_chosen = 0
    for kind in kinds:
        pairs = choose_pairs(sorted(kind), params, include_self=joint.include_self)
        n_all += len(kind) * (len(kind) - 1)
        n_chosen += sum(front != end for front, end in pairs)
        yield from ((kind[front], kind[end]) for front, end in pairs)
    if n_chosen < n_all:
        _log.info(
            "stitching leaves out %s of %s pairs: each network is stitched to at most %d of its kind"
            " (stitching.max_partners_per_network; null for all)",
            f"{n_all - n_chosen:,}",
            f"{n_all:,}",
            params.max_partners_per_network,
        )


def _may_be_joined(
    joint: JointParams, front: Donor, end: Donor, kinds: Sequence[Mapping[str, Donor]]
) -> bool:
    """Return whether two networks are of one recipe, where one of them comes from `all`."""
    if isinstance(joint.fronts, list) and isinstance(joint.ends, list):
        return True
    return any(front.name in kind and end.name in kind for kind in kinds)


def _named(study: Study, kinds: Sequence[Mapping[str, Donor]], wanted: object, others: object) -> list[Donor]:
    """Return the networks that a joint names, or of `all` those of the recipe of the others."""
    known = {name: donor for kind in kinds for name, donor in kind.items()}
    if isinstance(wanted, list):
        names = [name for name in wanted if name not in study.absent]
        return [known[name] if name in known else find_donor(study, name) for name in names]
    named = set(others) if isinstance(others, list) else set()
    return [kind[name] for kind in kinds if named & set(kind) for name in sorted(kind)]


def choose_pairs(
    names: Sequence[str], params: StitchingParams, *, include_self: bool = False
) -> list[tuple[str, str]]:
    """Return the ordered pairs of networks of one recipe that are joined, each pair in both directions.

    Networks are joined with those next to them in the ring of their sorted names, so that all have equally
    many partners, and a further network changes the partners of its neighbours alone.

    Args:
        names: Of the networks.
        params: Number of partners.
        include_self: Whether each is joined with itself too.

    Example:
        >>> few = StitchingParams(max_partners_per_network=2)
        >>> choose_pairs(["a", "b", "c", "d", "e"], few)[:3]
        [('a', 'b'), ('a', 'e'), ('b', 'a')]
    """
    ring, most = sorted(names), params.max_partners_per_network
    n = len(ring)
    if most is None or most >= n - 1:
        steps = set(range(1, n))
    else:
        steps = {step % n for reach in range(1, most // 2 + 1) for step in (reach, -reach)}
        steps |= {n // 2} if most % 2 and n % 2 == 0 else set()
    steps |= {0} if include_self else set()
    return [(ring[i], ring[j]) for i in range(n) for j in sorted((i + step) % n for step in steps)]
