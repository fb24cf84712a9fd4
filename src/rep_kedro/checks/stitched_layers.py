"""Check, before anything runs, that joints name layers that networks have and that maps can join."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from rep_kedro.analyses.stitching.donors import Donor
    from rep_kedro.analyses.stitching.params import StitchingParams
    from rep_kedro.models.study import FeaturesParams
    from rep_kedro.stimuli.params import IngestParams
    from rep_kedro.training.params import TrainingParams

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
    for number, joint in enumerate(params.joints):
        if isinstance(joint.fronts, str) or isinstance(joint.ends, str):
            continue
        for front in joint.fronts:
            for end in joint.ends:
                try:
                    for name in (front, end):
                        _require_one_label(name, training, ingest)
                    pair = [_find(name, known, features, training) for name in (front, end)]
                    if pair[0] is None or pair[1] is None:
                        continue
                    layers = resolve_layers(pair[0].outline, pair[1].outline, joint, params.layers)
                    maps, most = params.maps_of(joint), params.memory_bytes
                    require_maps_that_fit(layers, pair[0], pair[1], maps, memory_bytes=most)
                except UserError as problem:
                    yield number, str(problem)


def _require_one_label(name: str, training: "TrainingParams", ingest: "IngestParams | None") -> None:
    from rep_kedro.analyses.stitching.networks import require_one_label
    from rep_kedro.stimuli.label_table_spec import LabelTableSpec

    spec = training.networks().get(name)
    given = ingest.stimulus_sets.get(spec.stimulus_set) if spec and ingest else None
    table = getattr(given, "labels", None)
    if spec is not None and isinstance(table, LabelTableSpec):  # NumPy files name a file of labels instead
        try:
            require_one_label(spec.labels, table.multi_label)
        except UserError as problem:
            raise UserError(f"network {name!r} cannot be joined: {problem}") from problem


def _find(
    name: str, known: "dict[str, Donor]", features: "FeaturesParams", training: "TrainingParams"
) -> "Donor | None":
    """Return a network in outline; None where its architecture is not known, or it comes from elsewhere."""
    from rep_kedro.analyses.stitching.donors import trained_donor
    from rep_kedro.models.architecture_files import load_definition
    from rep_kedro.models.sources.specs import CheckpointModel

    if name not in known:
        trained, entry = training.networks(), features.entries().get(name)
        if name in trained:
            architecture, definition = trained[name].architecture, trained[name].load_definition()
        elif isinstance(entry, CheckpointModel):
            architecture, definition = entry.architecture, load_definition(entry.architecture)
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
