"""Which networks are joined: those of one recipe among themselves, and those that a joint names."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.analyses.stitching.donors import Donor, ForeignDonor, OwnDonor, file_donor
from rep_kedro.analyses.stitching.layers import LayerPair, require_maps_that_fit, resolve_layers
from rep_kedro.analyses.stitching.params import JointParams, StitchingParams
from rep_kedro.datasets import missing_of
from rep_kedro.datasets.plan import Json, canonical_json
from rep_kedro.errors import UserError, require_known, suggest
from rep_kedro.models.sources.array_specs import FileModel
from rep_kedro.models.sources.specs import CheckpointModel, ModelEntry, TrainedModel
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


class Study(NamedTuple):
    """What there is to choose from.

    Attributes:
        stimulus_sets: Handles by name.
        networks: Handles of networks trained here.
        entries: Networks from elsewhere, by name.
        absent: Networks that should be there and are missing; they are no mistake of the parameters.
        params: What is chosen.
    """

    stimulus_sets: Mapping[str, "ArrowHandle"]
    networks: Mapping[str, "TensorsHandle"]
    entries: Mapping[str, ModelEntry]
    absent: Collection[str]
    params: StitchingParams

    @property
    def all_sets(self) -> set[str]:
        """Names of stimulus sets, missing ones included."""
        return {*self.stimulus_sets, *missing_of(self.stimulus_sets)}


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
    _require_names(study)
    kinds = list_kinds(study)
    found: dict[tuple[str, str, str], JoinedPair] = {}
    for number, joint in enumerate(params.joints):
        try:
            for front, end in _choose_networks(study, kinds, joint):
                layers = resolve_layers(front.outline, end.outline, joint, params.layers)
                require_maps_that_fit(layers, front, end, params.maps_of(joint))
                key = (front.name, end.name, joint.control)
                before = found[key].places if key in found else {}
                if places := _with_places(before, layers, params.maps_of(joint)):
                    found[key] = JoinedPair(front, end, joint.control, places)
        except UserError as problem:
            where = f"stitching.joints[{number}]: " if len(params.joints) > 1 or _is_named(joint) else ""
            raise UserError(f"{where}{problem}") from problem
    return list(found.values())


def group_connected(pairs: Sequence[JoinedPair]) -> list[list[JoinedPair]]:
    """Return pairs in groups that have no network in common: what each group needs is read together.

    Pairs that are tested on different images are in different groups.
    """
    groups: list[tuple[set[tuple[str, str]], list[JoinedPair]]] = []
    for pair in pairs:
        names = {(pair.end.stimulus_set, donor.name) for donor in (pair.front, pair.end)}
        touched = [group for group in groups if group[0] & names]
        merged = [each for _, members in touched for each in members]
        groups = [group for group in groups if not group[0] & names]
        groups.append((names.union(*(group[0] for group in touched)), [*merged, pair]))
    return [members for _, members in groups]


def _is_named(joint: JointParams) -> bool:
    return not (isinstance(joint.fronts, str) and isinstance(joint.ends, str))


def _with_places(
    before: Mapping[str, tuple[LayerPair, ...]], layers: Sequence[LayerPair], maps: Collection[str]
) -> dict[str, tuple[LayerPair, ...]]:
    """Return where two networks are joined by each map, with the places of a further joint."""
    added = {name: tuple(dict.fromkeys((*before.get(name, ()), *layers))) for name in maps if layers}
    return {**before, **added}


def _choose_networks(
    study: Study, kinds: Sequence[Mapping[str, Donor]], joint: JointParams
) -> Iterator[tuple[Donor, Donor]]:
    if not _is_named(joint):
        yield from _choose_among_kinds(kinds, joint, study.params)
        return
    with_itself = joint.include_self or joint.control != "none"
    n_joined = 0
    for front in _named(study, kinds, joint.fronts, joint.ends):
        for end in _named(study, kinds, joint.ends, joint.fronts):
            is_wanted = with_itself or front.name != end.name
            if is_wanted and _may_be_joined(joint, front, end, kinds):
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


def require_common_labels(front: Donor, end: Donor, stimulus_sets: Mapping[str, "ArrowHandle"]) -> None:
    """Refuse networks that do not predict the same classes.

    Raises:
        UserError: Says which classes each predicts.
    """
    classes = [donor.outline.n_classes for donor in (front, end)]
    if classes[0] == classes[1] and front.stimulus_set == end.stimulus_set:
        return
    names = [
        stimulus_sets[donor.stimulus_set].meta.get("class_names")
        if donor.stimulus_set in stimulus_sets
        else None
        for donor in (front, end)
    ]
    if classes[0] != classes[1] or names[0] is None or names[0] != names[1]:
        raise UserError(
            f"{front.name} ({classes[0]} classes of {front.stimulus_set}) and {end.name} ({classes[1]}"
            f" classes of {end.stimulus_set}) have other label sets; join networks of the same classes"
        )


def find_donor(study: Study, name: str) -> Donor:
    """Return a network by its name.

    Raises:
        UserError: If there is none, or it cannot be joined.
    """
    require_known("network", name, {*study.networks, *study.entries})
    if name in study.networks:
        handle = study.networks[name]
        if handle.meta["n_classes"] is None:
            raise UserError(
                f"network {name!r} has no head ({handle.meta['objective']}); stitching needs labels"
            )
        return OwnDonor(name, handle, handle.meta["stimulus_set"])
    entry = study.entries[name]
    if why := _why_not(entry, study.all_sets):
        raise UserError(f"network {name!r} cannot be joined: {why}")
    return file_donor(name, entry) if isinstance(entry, CheckpointModel) else ForeignDonor(name, entry)  # type: ignore[arg-type]


def list_kinds(study: Study) -> list[dict[str, Donor]]:
    """Return the networks of each recipe, by name: trained here, or files of one description."""
    params = study.params
    found: dict[tuple[str, str, str], dict[str, Donor]] = {}
    for name, handle in _wanted(study.networks, params):
        meta = handle.meta
        if meta["n_classes"] is not None and _is_wanted_set(meta["stimulus_set"], params):
            require_known("stimulus set", meta["stimulus_set"], study.all_sets)
            kind = ("trained", meta["stimulus_set"], _shared_recipe(handle.recipe, params))
            found.setdefault(kind, {})[name] = OwnDonor(name, handle, meta["stimulus_set"])
    for name, entry in _open_files(study):
        donor = file_donor(name, entry)
        shared = donor.handle.meta | ({} if params.across_objectives else {"objective": entry.objective})
        found.setdefault(("file", donor.stimulus_set, canonical_json(shared)), {})[name] = donor
    _log_files_without_partner(found, params)
    return [kind for _, kind in sorted(found.items(), key=lambda item: (*item[0][:2], min(item[1])))]


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


def _shared_recipe(recipe: Mapping[str, Json], params: StitchingParams) -> str:
    """Return what networks of one recipe have in common: all but the seed, or all but the training."""
    own = {"seed", *(("objective", "schedule", "code") if params.across_objectives else ())}
    return canonical_json({name: value for name, value in recipe.items() if name not in own})


def _log_files_without_partner(
    found: Mapping[tuple[str, str, str], Mapping[str, object]], params: StitchingParams
) -> None:
    files = [list(donors) for (source, *_), donors in found.items() if source == "file"]
    alone = [names[0] for names in files if len(names) == 1]
    needs_partner = [joint for joint in params.joints if not _is_named(joint) and not joint.include_self]
    if alone and needs_partner:
        why = "no other file has its architecture, input, n_classes and trained_on"
        if not params.across_objectives:
            why += ", and its objective; see stitching.across_objectives"
        _log_left_out([f"{name} ({why})" for name in sorted(alone)])


def _log_left_out(left_out: Sequence[str]) -> None:
    if left_out:
        more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        _log.info("not stitched: %s%s", ", ".join(left_out[:_SHOWN]), more)


def _open_files(study: Study) -> Iterator[tuple[str, CheckpointModel]]:
    """Yield files of weights that `all` includes; networks that it leaves out are logged."""
    params, left_out = study.params, []
    if all(isinstance(x, list) for joint in params.joints for x in (joint.fronts, joint.ends)):
        return
    for name, entry in _wanted(study.entries, params):
        if name in study.networks:
            raise UserError(f"features.models.{name} has the name of a network trained here; choose another")
        is_file = isinstance(entry, CheckpointModel)
        why = _why_not(entry, study.all_sets) if is_file else _why_not_of_all(entry)
        if why and not isinstance(params.models, str):
            raise UserError(f"stitching.models: {name!r} cannot be joined: {why}")
        if why:
            left_out.append(f"{name} ({why})")
        elif isinstance(entry, CheckpointModel) and _is_wanted_set(str(entry.trained_on), params):
            yield name, entry
    _log_left_out(left_out)


def _why_not_of_all(entry: ModelEntry) -> str:
    return f"networks of source {entry.source} are joined where stitching.joints names them"


def _why_not(entry: ModelEntry, stimulus_sets: Collection[str]) -> str:
    """Return why a network from elsewhere cannot be joined, or nothing."""
    if isinstance(entry, FileModel):
        return "its features come from a file, without a network"
    if isinstance(entry, CheckpointModel) and entry.n_classes is None:
        return "it has no head; give n_classes"
    if entry.trained_on not in stimulus_sets:
        hint = suggest(entry.trained_on, stimulus_sets)
        return f"trained_on {entry.trained_on!r} is no stimulus set of this study; {hint}"
    return ""


def _wanted(found: Mapping[str, Any], params: StitchingParams) -> list[tuple[str, Any]]:
    wanted = sorted(found) if isinstance(params.models, str) else params.models
    return [(name, found[name]) for name in wanted if name in found]


def _is_wanted_set(name: str, params: StitchingParams) -> bool:
    return isinstance(params.stimulus_sets, str) or name in params.stimulus_sets


def _require_names(study: Study) -> None:
    params, models = study.params, {*study.networks, *study.entries, *study.absent}
    named = [names for joint in params.joints for names in (joint.fronts, joint.ends)]
    for name in (each for names in (params.models, *named) if isinstance(names, list) for each in names):
        require_known("network", name, models)
    for name in () if isinstance(params.stimulus_sets, str) else params.stimulus_sets:
        require_known("stimulus set", name, study.all_sets)
