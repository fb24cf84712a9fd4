"""Check names of networks, images and measures in parameters before anything runs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rep_kedro.checks.configuration import Loader, find_origin
from rep_kedro.checks.parameters import is_given, read_parameters
from rep_kedro.checks.used_names import ANY_NETWORK, NETWORK, STIMULUS_SET, SUBSET, Keys, find_used_names
from rep_kedro.errors import UserError, suggest

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from pydantic import BaseModel

_Model = TypeVar("_Model", bound="BaseModel")


def require_known_names(
    parameters: Mapping[str, Any],
    given: Mapping[str, Any],
    pipeline: "Pipeline",
    loader: Loader,
    catalog: Any,
) -> None:
    """Refuse names of networks, stimulus sets, subsets and measures that a run would trip over.

    Known names are those that the parameters define, and stored ones that this run does not make itself.

    Args:
        parameters: Valid parameters, nested.
        given: Those of the command line.
        pipeline: The nodes that will run; only parameters that they read are checked.
        loader: The loader, which knows the file of each parameter.
        catalog: The catalog, which knows what exists.

    Raises:
        ValueError: If a name is unknown; a line for each, with its place and what is known.
    """
    read = read_parameters(pipeline)
    known = _known_names(parameters, pipeline, catalog)
    lines = []
    for keys, kind, name in find_used_names(parameters, read):
        if known.get(kind) and name not in known[kind]:
            lines.append(f"{_name_place(keys, given, loader)}: {_why_unknown(kind, name, known)}")
    unfit = [
        *_taken_names(parameters, read, known),
        *_unknown_labels(parameters, read),
        *_unfit_measures(parameters, read, pipeline, catalog),
        *_unsound_architectures(parameters, read, catalog),
        *_unfit_code(parameters, read),
        *_unknown_layers(parameters, read),
        *_refused_runs(parameters, read),
    ]
    for keys, why in unfit:
        lines.append(f"{_name_place(keys, given, loader)}: {why}")
    if lines:
        raise UserError("\n".join(dict.fromkeys(lines)))


def find_networks(parameters: Mapping[str, Any], *, with_unseen: bool = False) -> set[str]:
    """Return the networks whose features the parameters request; empty if the parameters are invalid.

    Args:
        parameters: Nested.
        with_unseen: Whether to include networks that are trained here but have no features.
    """
    from rep_kedro.features.params import FeaturesParams
    from rep_kedro.training.params import TrainingParams

    features = _read(FeaturesParams, parameters, "features")
    if features is None:
        return set()
    named = set() if isinstance(features.networks, str) else {*features.networks}
    if named and not with_unseen:
        return {*named, *features.entries()}
    training = _read(TrainingParams, parameters, "training")
    return set() if training is None else {*training.networks(), *named, *features.entries()}


def _why_unknown(kind: str, name: str, known: Mapping[str, frozenset[str]]) -> str:
    hint = suggest(name, known[kind])
    if kind == NETWORK and name in known[ANY_NETWORK]:
        return f"{name!r} is trained here, but features.networks leaves it out; {hint}"
    return f"{name!r} is not a {NETWORK if kind == ANY_NETWORK else kind} of this study; {hint}"


def _known_names(
    parameters: Mapping[str, Any], pipeline: "Pipeline", catalog: Any
) -> dict[str, frozenset[str]]:
    """Return the known names by kind; none where the parameters that define them are not valid."""
    from rep_kedro.stimuli.params import IngestParams

    known: dict[str, frozenset[str]] = {}
    if networks := find_networks(parameters):
        stored = _stored_names("features", pipeline, catalog, part=1)
        known[NETWORK] = frozenset(networks | stored)
        known[ANY_NETWORK] = known[NETWORK] | find_networks(parameters, with_unseen=True)
    ingest = _read(IngestParams, parameters, "ingest")
    if ingest is not None:
        sets, subsets = (
            _stored_names("stimulus_subsets", pipeline, catalog, part=0),
            _stored_names("stimulus_subsets", pipeline, catalog, part=1),
        )
        known[STIMULUS_SET] = frozenset({*ingest.stimulus_sets, *sets})
        known[SUBSET] = frozenset({*(name for rules in ingest.rules().values() for name in rules), *subsets})
    return known


def _stored_names(collection: str, pipeline: "Pipeline", catalog: Any, *, part: int) -> set[str]:
    """Return a part of the keys ``<a>/<b>`` of a collection, if it is there and this run does not make it."""
    from kedro.io import DatasetError

    from rep_kedro.datasets.keys import MemberKey
    from rep_kedro.datasets.plan_file import read_plan

    if collection in pipeline.all_outputs() or collection not in catalog:
        return set()
    folder = getattr(catalog.get(collection), "folder", None)
    if folder is None:
        return set()
    try:
        return {tuple(key)[part] for key in map(MemberKey.parse, read_plan(folder, collection).members)}
    except (DatasetError, UserError):
        return set()


def _unknown_labels(parameters: Mapping[str, Any], read: Iterable[str]) -> Iterator[tuple[Keys, str]]:
    """Yield where a label column is chosen that the configuration does not give its stimulus set."""
    from rep_kedro.stimuli.label_columns import OWN
    from rep_kedro.stimuli.params import IngestParams

    ingest = _read(IngestParams, parameters, "ingest")
    if "probing" not in read or ingest is None:
        return
    for stimulus_set, name in (parameters["probing"].get("labels") or {}).items():
        table = getattr(ingest.stimulus_sets.get(stimulus_set), "labels", None)
        known: list[str] | None = [OWN]
        if table is not None:
            known = None if table.label is None else [*table.label, *table.multi_label]
        if stimulus_set in ingest.stimulus_sets and known is not None and name not in known:
            why = f"{name!r} is not a label of {stimulus_set}; {suggest(name, known)}"
            yield ("probing", "labels", stimulus_set), why


def _taken_names(
    parameters: Mapping[str, Any], read: Iterable[str], known: Mapping[str, frozenset[str]]
) -> Iterator[tuple[Keys, str]]:
    """Yield where a name is given that something else has, and what has it."""
    from rep_kedro.features.params import FeaturesParams
    from rep_kedro.stimuli.params import IngestParams
    from rep_kedro.training.params import TrainingParams

    features = _read(FeaturesParams, parameters, "features")
    training = _read(TrainingParams, parameters, "training")
    if "features" in read and features is not None and training is not None:
        seen = training.networks() if isinstance(features.networks, str) else features.networks
        for name in sorted({*features.entries()} & {*seen}):
            yield ("features", "models", name), "has the name of a network trained here; choose another"
    if "probing" in read:
        for name in sorted({*(parameters["probing"].get("combinations") or {})} & known.get(NETWORK, set())):
            yield ("probing", "combinations", name), "has the name of a network; choose another"
    ingest = _read(IngestParams, parameters, "ingest")
    if {"ingest", "model_maps"} & {*read} and ingest is not None:
        from rep_kedro.analyses.model_maps.maps import MEAN

        if MEAN in ingest.stimulus_sets:
            yield (
                ("ingest", "stimulus_sets", MEAN),
                "has the name of the mean over stimulus sets; choose another",
            )


def _unfit_measures(
    parameters: Mapping[str, Any], read: Iterable[str], pipeline: "Pipeline", catalog: Any
) -> Iterator[tuple[Keys, str]]:
    """Yield the places of measures that cannot be used there, with reasons."""
    if "similarity_inference" in read:
        from rep_kedro.analyses.inference.inference import require_null
        from rep_kedro.analyses.similarity.params import InferenceParams

        inference = InferenceParams.model_validate(parameters["similarity_inference"])
        wanted = inference.measures if inference.n_permutations or inference.n_bootstrap else []
        yield from ((("similarity_inference", "measures"), why) for why in _refusals(require_null, wanted))
    if "sample_sizes" in read:
        from rep_kedro.analyses.inference.sample_sizes import require_curve
        from rep_kedro.analyses.similarity.params import SampleSizeParams

        sizes = SampleSizeParams.model_validate(parameters["sample_sizes"])
        wanted = sizes.measures if sizes.n_orders else []
        yield from ((("sample_sizes", "measures"), why) for why in _refusals(require_curve, wanted))
    if "model_maps" in read:
        compared = {
            *parameters["similarity"]["measures"],
            *_stored_names("similarity_matrices", pipeline, catalog, part=1),
        }
        for measure in parameters["model_maps"].get("measures") or ():
            if measure not in compared:
                choices = ", ".join(sorted(compared))
                yield (
                    ("model_maps", "measures"),
                    f"{measure!r} is not in similarity.measures; choose one of {choices}, or add it there",
                )


def _unsound_architectures(
    parameters: Mapping[str, Any], read: Iterable[str], catalog: Any
) -> Iterator[tuple[Keys, str]]:
    """Yield the places of architectures to train whose layers do not fit together, with reasons."""
    from rep_kedro.checks.architectures import find_unsound_architectures, stored_definitions
    from rep_kedro.training.params import TrainingParams

    training = _read(TrainingParams, parameters, "training") if "training" in read else None
    if training is not None:
        for name, why in find_unsound_architectures(training, stored_definitions(catalog)):
            yield ("training", "grids"), f"architecture {name!r}: {why}"


def _unfit_code(parameters: Mapping[str, Any], read: Iterable[str]) -> Iterator[tuple[Keys, str]]:
    """Yield the networks to train with code that the study does not allow, or that cannot be called."""
    from rep_kedro.checks.training_code import find_forbidden_code, find_unfit_code
    from rep_kedro.training.params import TrainingParams

    training = _read(TrainingParams, parameters, "training") if "training" in read else None
    if training is None:
        return
    is_allowed = parameters.get("features", {}).get("allow_code") is True
    for why in (find_unfit_code if is_allowed else find_forbidden_code)(training):
        yield ("training", "grids"), why


def _unknown_layers(parameters: Mapping[str, Any], read: Iterable[str]) -> Iterator[tuple[Keys, str]]:
    """Yield where layers are named that no network has, with reasons."""
    from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
    from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams
    from rep_kedro.analyses.probing.params import ProbingParams
    from rep_kedro.analyses.stitching.params import StitchingParams
    from rep_kedro.checks.layer_names import find_unknown_layers
    from rep_kedro.checks.probed_layers import find_layers_without_probe, find_layers_without_projection
    from rep_kedro.checks.stitched_layers import find_unfit_joints
    from rep_kedro.features.params import FeaturesParams
    from rep_kedro.stimuli.params import IngestParams
    from rep_kedro.training.params import TrainingParams

    groups = {"layer_similarity", "stitching", "probing", "diagnostics"} & {*read}
    features = _read(FeaturesParams, parameters, "features") if groups else None
    training = _read(TrainingParams, parameters, "training") if groups else None
    if features is None or training is None:
        return
    if "layer_similarity" in groups:
        params = _read(LayerSimilarityParams, parameters, "layer_similarity")
        for why in () if params is None else find_unknown_layers(params, features, training):
            yield ("layer_similarity", "layers"), why
    stitching = _read(StitchingParams, parameters, "stitching") if "stitching" in groups else None
    if stitching is not None:
        ingest = _read(IngestParams, parameters, "ingest")
        for number, why in find_unfit_joints(stitching, features, training, ingest):
            yield ("stitching", "joints", str(number)), why
    probing = _read(ProbingParams, parameters, "probing") if "probing" in groups else None
    if probing is not None:
        for why in find_layers_without_probe(probing.layer_probes, features, training):
            yield ("probing", "layer_probes", "layers"), why
    diagnostics = _read(DiagnosticsParams, parameters, "diagnostics") if "diagnostics" in groups else None
    if diagnostics is not None:
        for why in find_layers_without_projection(diagnostics.projections, features, training):
            yield ("diagnostics", "projections", "layers"), why


def _refused_runs(parameters: Mapping[str, Any], read: Iterable[str]) -> Iterator[tuple[Keys, str]]:
    """Yield tables of runs made elsewhere that cannot be read, with reasons."""
    from rep_kedro.analyses.selection.params import ModelSelectionParams
    from rep_kedro.analyses.selection.runs import find_refused_tables

    params = _read(ModelSelectionParams, parameters, "model_selection") if "model_selection" in read else None
    for name, why in () if params is None else find_refused_tables(params.criteria):
        yield ("model_selection", "criteria", "runs_tables", name), why


def _refusals(require: Any, measures: Iterable[str]) -> Iterator[str]:
    for measure in measures:
        try:
            require(measure)
        except UserError as problem:
            yield str(problem)


def _read(model: type[_Model], parameters: Mapping[str, Any], name: str) -> _Model | None:
    """Return a group of parameters, or None if it is invalid: another check reports that."""
    from pydantic import ValidationError

    try:
        return model.model_validate(parameters.get(name))
    except ValidationError:
        return None


def _name_place(keys: Keys, given: Mapping[str, Any], loader: Loader) -> str:
    """Return the beginning of a line: the parameter and the file or option that sets it."""
    origin = "--params" if is_given(keys, given) else find_origin(loader, keys)
    return f"parameter {'.'.join(keys)}{f' in {origin}' if origin else ''}"
