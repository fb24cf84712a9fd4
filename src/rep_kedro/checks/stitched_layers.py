"""Check, before anything runs, that joints name layers that networks have and that maps can join."""

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from rep_kedro.analyses.stitching.donors import Donor
    from rep_kedro.analyses.stitching.params import JointParams, StitchingParams
    from rep_kedro.models.study import FeaturesParams
    from rep_kedro.stimuli.label_table_spec import TableLabelledSpec
    from rep_kedro.stimuli.params import IngestParams
    from rep_kedro.training.params import TrainingParams
    from rep_kedro.training.spec import NetworkSpec

_UNKNOWN_CLASSES = 2  # no layer before the head depends on their number


def find_unfit_joints(
    params: "StitchingParams",
    features: "FeaturesParams",
    training: "TrainingParams",
    ingest: "IngestParams | None" = None,
) -> Iterator[tuple[int, str]]:
    """Yield the number of each joint that names networks which cannot be joined so, with the reason.

    Networks whose architecture is not known yet are left to the planning of the stitches.
    """
    from rep_kedro.analyses.stitching.layers import require_maps_that_fit, resolve_layers

    known: dict[str, Donor] = {}
    classes: dict[str, dict[str, set[str]]] = {}
    for number, joint in enumerate(params.joints):
        pairs = list(_pairs_of(joint, params, training))
        if not pairs and isinstance(joint.fronts, list) and isinstance(joint.ends, list):
            yield number, "it joins no networks; name others, or set include_self: true"
        for names in pairs:
            try:
                for name in names:
                    _require_head(name, training)
                _require_wanted_set(names[1], params, training)
                _require_common_labels(names, classes, training, ingest)
                front, end = (_find(name, known, features, training) for name in names)
                if front is not None and end is not None:
                    layers = resolve_layers(front.outline, end.outline, joint, params.layers)
                    maps, most = params.maps_of(joint), params.memory_bytes
                    require_maps_that_fit(layers, front, end, maps, memory_bytes=most)
            except UserError as problem:
                yield number, str(problem)


def _pairs_of(
    joint: "JointParams", params: "StitchingParams", training: "TrainingParams"
) -> Iterator[tuple[str, str]]:
    """Yield the pairs that a joint names; of `all`, one pair of each recipe of networks trained here."""
    with_itself = joint.include_self or joint.control != "none"
    if isinstance(joint.fronts, list) and isinstance(joint.ends, list):
        yield from (pair for pair in product(joint.fronts, joint.ends) if with_itself or pair[0] != pair[1])
        return
    for kind in _kinds(params, training):
        fronts, ends = (
            [name for name in kind if isinstance(side, str) or name in side]
            for side in (joint.fronts, joint.ends)
        )
        pairs = (pair for pair in product(fronts, ends) if with_itself or pair[0] != pair[1])
        yield from islice(pairs, 1)


def _kinds(params: "StitchingParams", training: "TrainingParams") -> list[list[str]]:
    """Return the names of networks trained here that `all` joins among themselves."""
    own = {"seed", *(("objective", "schedule", "options") if params.across_objectives else ())}
    kinds: dict[str, list[str]] = {}
    for name, spec in training.networks().items():
        is_wanted = isinstance(params.models, str) or name in params.models
        is_there = isinstance(params.stimulus_sets, str) or spec.stimulus_set in params.stimulus_sets
        if is_wanted and is_there and _has_head(spec):
            kinds.setdefault(spec.model_dump_json(exclude=own), []).append(name)
    return list(kinds.values())


def _has_head(spec: "NetworkSpec") -> bool:
    from rep_kedro.training.objectives.registry import make_objective

    return make_objective(spec.objective, spec.options).has_head


def _require_head(name: str, training: "TrainingParams") -> None:
    spec = training.networks().get(name)
    if spec is not None and not _has_head(spec):
        raise UserError(f"network {name!r} has no head ({spec.objective}); stitching needs labels")


def _require_wanted_set(end: str, params: "StitchingParams", training: "TrainingParams") -> None:
    from rep_kedro.analyses.stitching.networks import require_wanted_set

    spec = training.networks().get(end)
    if spec is not None:
        require_wanted_set(end, spec.stimulus_set, params)


def _require_common_labels(
    pair: tuple[str, str],
    classes: dict[str, dict[str, set[str]]],
    training: "TrainingParams",
    ingest: "IngestParams | None",
) -> None:
    """Refuse networks that are trained on label columns of other classes, as far as tables of labels show.

    Args:
        pair: Names of the networks.
        classes: Of each label column by stimulus set; tables that are read are added.
        training: Names the networks trained here.
        ingest: Names the stimulus sets.
    """
    from rep_kedro.stimuli.label_table_spec import TableLabelledSpec

    given = {} if ingest is None else ingest.stimulus_sets
    specs = [spec for name in pair if (spec := training.networks().get(name)) is not None]
    sets = [each for spec in specs if isinstance(each := given.get(spec.stimulus_set), TableLabelledSpec)]
    tables = [each.labels for each in sets if each.labels is not None]
    if len(tables) < len(pair):  # from elsewhere, or labels without a table of their own
        return
    several = [spec.labels in table.multi_label for spec, table in zip(specs, tables, strict=True)]
    if several[0] != several[1]:
        one, other = pair if several[0] else pair[::-1]
        raise UserError(
            f"{one} predicts several labels of an image and {other} predicts one; join networks of the same"
            " labels (training.grids: labels)"
        )
    own_set = specs[0].stimulus_set
    if own_set != specs[1].stimulus_set or specs[0].labels == specs[1].labels:
        return
    if own_set not in classes:
        classes[own_set] = _read_classes(sets[0])
    columns = [spec.labels or next(iter(classes[own_set]), "") for spec in specs]
    found = [classes[own_set].get(column, set()) for column in columns]
    if all(found) and found[0] != found[1]:
        one, other = (
            f"{name} ({len(names)} classes of {own_set}, {column})"
            for name, names, column in zip(pair, found, columns, strict=True)
        )
        raise UserError(f"{one} and {other} have other label sets; join networks of the same classes")


def _read_classes(spec: "TableLabelledSpec") -> dict[str, set[str]]:
    """Return the classes of each label column; nothing where the table alone does not say, or is not here."""
    from rep_kedro.stimuli.label_table import read_label_table

    if spec.labels is None or spec.class_names is not None or spec.label_map is not None:
        return {}
    try:
        table = read_label_table(spec.labels, spec.limits)
    except (UserError, OSError):  # the planning of the stimulus sets names what is wrong
        return {}
    single = {name: {label for label in labels if label is not None} for name, labels in table.labels.items()}
    parts = {
        name: {part for own in lists for part in own or ()} for name, lists in table.multi_labels.items()
    }
    return single | parts


def _find(
    name: str, known: "dict[str, Donor]", features: "FeaturesParams", training: "TrainingParams"
) -> "Donor | None":
    """Return a network in outline; None where that would need its file, or code of the user."""
    from rep_kedro.analyses.stitching.donors import ForeignDonor, trained_donor
    from rep_kedro.models.architecture_files import load_definition
    from rep_kedro.models.sources.specs import BuiltByName, CheckpointModel

    if name not in known:
        trained, entry = training.networks(), features.entries().get(name)
        if name in trained:
            architecture, definition = trained[name].architecture, trained[name].load_definition()
        elif isinstance(entry, CheckpointModel):
            architecture, definition = entry.architecture, load_definition(entry.architecture)
        elif isinstance(entry, BuiltByName):
            if ":" in entry.name:  # of a repository
                return None
            return known.setdefault(name, ForeignDonor(name, entry))
        else:
            return None
        meta: Mapping[str, object] = {
            "architecture": architecture,
            "definition": definition.as_json(),
            "n_classes": _UNKNOWN_CLASSES,
        }
        known[name] = trained_donor(name, _Described(meta), "")
    return known[name]


class _Described:
    """A network of which only the architecture is known."""

    def __init__(self, meta: Mapping[str, object]) -> None:
        self.meta = meta
