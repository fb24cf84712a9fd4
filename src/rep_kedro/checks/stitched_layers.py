"""Check, before anything runs, that joints name layers that networks have and that maps can join."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from rep_kedro.analyses.stitching.donors import Donor
    from rep_kedro.analyses.stitching.params import StitchingParams
    from rep_kedro.models.study import FeaturesParams
    from rep_kedro.training.params import TrainingParams

_UNKNOWN_CLASSES = 2  # no layer before the head depends on their number


def find_unfit_joints(
    params: "StitchingParams", features: "FeaturesParams", training: "TrainingParams"
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
                pair = [_find(name, known, features, training) for name in (front, end)]
                if pair[0] is None or pair[1] is None:
                    continue
                try:
                    layers = resolve_layers(pair[0].outline, pair[1].outline, joint, params.layers)
                    require_maps_that_fit(layers, pair[0], pair[1], params.maps_of(joint))
                except UserError as problem:
                    yield number, str(problem)


def _find(
    name: str, known: "dict[str, Donor]", features: "FeaturesParams", training: "TrainingParams"
) -> "Donor | None":
    """Return a network in outline; None where its architecture is not known, or it comes from elsewhere."""
    from rep_kedro.analyses.stitching.donors import OwnDonor
    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.architecture_files import load_definition
    from rep_kedro.models.sources.specs import CheckpointModel

    if name not in known:
        trained, entry = training.networks(), features.entries().get(name)
        if name in trained:
            architecture = trained[name].architecture
        elif isinstance(entry, CheckpointModel):
            architecture = entry.architecture
        else:
            return None
        definition = load_definition(architecture)
        if not isinstance(definition, Architecture):
            return None
        meta: Mapping[str, object] = {
            "definition": definition.as_json(),
            "n_classes": _UNKNOWN_CLASSES,
        }
        known[name] = OwnDonor(name, _Described(meta), "")
    return known[name]


class _Described:
    """A network of which only the architecture is known."""

    def __init__(self, meta: Mapping[str, object]) -> None:
        self.meta = meta
