"""Nodes of the features pipeline: the stimuli for each network, and the model cards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import UserError, contained, require_known
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.places import Alignment
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.sources.array_specs import DissimilaritiesModel, FeaturesModel, FileModel
from rep_kedro.models.sources.code_specs import PythonModel
from rep_kedro.models.sources.specs import TrainedModel, ZooEntry

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
    from rep_kedro.models.sources.loaded import LoadedModel
else:
    DataFrame = ArrowHandle = TensorsHandle = LoadedModel = Any  # so that Kedro can read the hints

EXTRACTION = ("rep_kedro.features.extraction", "rep_kedro.stimuli.decoding")


class _Candidate(NamedTuple):
    """One network: what its features depend on, and how to load it."""

    recipe: dict[str, Any]
    load: Callable[[], LoadedModel]
    pooling: Pooling
    modules: tuple[str, ...]
    alignment: Alignment | None = None
    explained: Callable[[], AbstractContextManager[None]] = nullcontext


def plan_features(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    params: FeaturesParams,
) -> Plan:
    """Plan the features of every network for every stimulus set.

    The sets of one network share a batch: it is loaded once.

    Args:
        stimulus_sets: Handles by name; no image is read while planning.
        stimulus_subsets: Handles by `<stimulus set>/<subset>`.
        networks: Handles of the networks trained here, by name.
        params: Which networks see which stimuli, and what is kept.

    Returns:
        Plan by `<stimulus set>/<model>`. What needs a network or a stimulus set that is missing, or weights
        that cannot be found, is left out.

    Raises:
        UserError: If a stimulus set, subset or network is unknown, or a model has the name of a network.
    """
    plan = Plan()
    absent_sets = _find_absent(stimulus_sets, stimulus_subsets, params)
    chosen, shown = _choose_shown(stimulus_sets, stimulus_subsets, absent_sets, params)
    candidates, absent_models = _list_candidates(networks, params)
    for name in chosen:
        for model in (*candidates, *absent_models):
            if why := absent_sets.get(name) or absent_models.get(model):
                plan.left_out[str(MemberKey(name, model))] = why
    for model, candidate in candidates.items():
        batch = Batch(partial(_extract_all, candidate, stimulus_sets, shown, params))
        for name in shown:
            recipe = {
                "model": candidate.recipe,
                "pooling": candidate.pooling,
                "stimulus_set": stimulus_sets[name].reference,
                "stimulus_subset": shown[name].reference,
                "code": code_revision(*EXTRACTION, *candidate.modules),
                **params.precision(),
            }
            plan[str(MemberKey(name, model))] = Planned(recipe, batch)
    _enter_files(plan, FeaturesModel, stimulus_sets, shown, absent_sets, params)
    return plan


def plan_dissimilarities(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    params: FeaturesParams,
) -> Plan:
    """Plan the matrices of dissimilarities that were made elsewhere.

    Args:
        stimulus_sets: Handles by name; no image is read.
        stimulus_subsets: Handles by `<stimulus set>/<subset>`.
        params: Names the files.

    Returns:
        Plan by `<stimulus set>/<entry>`.
    """
    plan = Plan()
    absent_sets = _find_absent(stimulus_sets, stimulus_subsets, params)
    _, shown = _choose_shown(stimulus_sets, stimulus_subsets, absent_sets, params)
    _enter_files(plan, DissimilaritiesModel, stimulus_sets, shown, absent_sets, params)
    return plan


def _choose_shown(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    absent_sets: Mapping[str, str],
    params: FeaturesParams,
) -> tuple[list[str], dict[str, ArrowHandle]]:
    """Return the wanted stimulus sets, and by set the subset that is shown of those that are there."""
    chosen = _choose("stimulus set", params.stimulus_sets, {**stimulus_sets, **missing_of(stimulus_sets)})
    sets = [name for name in chosen if name not in absent_sets]
    return chosen, {name: _require_subset(stimulus_subsets, name, params.subset) for name in sets}


def _enter_files(
    plan: Plan,
    kind: type[FileModel],
    stimulus_sets: Mapping[str, ArrowHandle],
    shown: Mapping[str, ArrowHandle],
    absent_sets: Mapping[str, str],
    params: FeaturesParams,
) -> None:
    """Add what was made elsewhere, on the stimulus sets for which there are files."""
    from rep_kedro.features.from_files.members import plan_member

    entries = {name: each for name, each in params.entries().items() if isinstance(each, kind)}
    for model, entry in entries.items():
        for name in sorted(entry.files):
            key = str(MemberKey(name, model))
            if name in absent_sets:
                plan.left_out[key] = absent_sets[name]
            elif name in shown:
                try:
                    plan[key] = plan_member(entry, stimulus_sets[name], shown[name])
                except UserError as error:
                    plan.left_out[key] = f"features.models.{model}: {error}"


def _find_absent(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    params: FeaturesParams,
) -> dict[str, str]:
    """Return why a stimulus set cannot be shown, by its name."""
    absent = {name: f"stimulus_sets/{name} is missing" for name in missing_of(stimulus_sets)}
    for key in map(MemberKey.parse, missing_of(stimulus_subsets)):
        if key.name == params.subset:
            absent.setdefault(key.stimulus_set, f"stimulus_subsets/{key} is missing")
    return absent


def _list_candidates(
    networks: Mapping[str, TensorsHandle], params: FeaturesParams
) -> tuple[dict[str, _Candidate], dict[str, str]]:
    """Return the networks to show stimuli to, and why others cannot be."""
    missing = missing_of(networks)
    trained = _choose("network", params.networks, {**networks, **missing})
    entries: dict[str, TrainedModel | ZooEntry] = {
        name: TrainedModel(source="trained", network=name) for name in trained
    }
    for name, entry in params.entries().items():
        if name in entries:
            raise UserError(
                f"features.models.{name} has the name of a network trained here; choose another name"
            )
        if not isinstance(entry, FileModel):
            entries[name] = entry
    found, absent = dict[str, _Candidate](), dict[str, str]()
    for name, entry in entries.items():
        if isinstance(entry, TrainedModel) and entry.network in missing:
            absent[name] = f"networks/{entry.network} is missing"
            continue
        try:
            found[name] = _with_alignment(_describe(entry, networks, params), entry.alignment)
        except UserError as error:
            absent[name] = f"features.models.{name}: {error}"
    return found, absent


def _describe(
    entry: TrainedModel | ZooEntry, networks: Mapping[str, TensorsHandle], params: FeaturesParams
) -> _Candidate:
    pooling = entry.pooling or params.pooling
    if isinstance(entry, TrainedModel):
        from rep_kedro.models.trained import layers_to_read

        handle = networks[_choose("network", [entry.network], networks)[0]]
        layers = layers_to_read(handle, entry.layers, with_embedding=params.embeddings)
        recipe = {"source": "trained", "network": handle.reference, "layers": list(layers)}
        module = "rep_kedro.models.trained"
        return _Candidate(recipe, partial(_load_trained, handle, layers), pooling, (module,))
    from rep_kedro.models.sources.zoo import describe_model, load_model, source_module_name

    described = describe_model(entry)
    recipe = {**described, "layers": list(entry.layers)}
    load = partial(load_model, entry, weights=described["weights"])
    candidate = _Candidate(recipe, load, pooling, (source_module_name(entry),))
    if isinstance(entry, PythonModel):
        from rep_kedro.models.sources.python import explained_forward

        return candidate._replace(explained=partial(explained_forward, entry))
    return candidate


def _with_alignment(candidate: _Candidate, alignment: Alignment | None) -> _Candidate:
    if alignment is None:
        return candidate
    from rep_kedro.models.alignment import identify_alignment

    return candidate._replace(
        recipe={**candidate.recipe, "alignment": identify_alignment(alignment)},
        modules=(*candidate.modules, "rep_kedro.models.alignment"),
        alignment=alignment,
    )


def _load_trained(handle: TensorsHandle, layers: tuple[str, ...]) -> LoadedModel:
    from rep_kedro.models.sources.loaded import LoadedModel
    from rep_kedro.models.trained import (
        preprocessing_of,
        restore_trained_network,
        run_to_embedding,
    )

    network = restore_trained_network(handle)
    run = run_to_embedding(network, handle, layers)
    return LoadedModel(network, preprocessing_of(handle), layers, run=run)


def _extract_all(
    candidate: _Candidate,
    stimulus_sets: Mapping[str, ArrowHandle],
    subsets: Mapping[str, ArrowHandle],
    params: FeaturesParams,
    keys: Sequence[str],
) -> Iterator[tuple[str, object]]:
    """Show several stimulus sets to one network; a set that fails does not stop the others."""
    from rep_kedro.datasets.platform import PLATFORM, describe_platform
    from rep_kedro.features.extraction import extract_features
    from rep_kedro.models.reading import Reading, steady

    align = _alignment_of(candidate)
    shared = {"batch_size", "device", "decode_threads", "autocast", "channels_last"}
    reading = Reading(**params.model_dump(include=shared))
    with contained():
        model = candidate.load()
        reading.place(model.module)
    for key in keys:
        name = MemberKey.parse(key).stimulus_set
        try:
            with contained(), candidate.explained(), steady(params.threads):
                features = align(
                    extract_features(
                        model,
                        stimulus_sets[name],
                        subsets[name],
                        pooling=candidate.pooling,
                        reading=reading,
                    )
                )
        except Exception as error:
            yield key, error
        else:
            features.meta[PLATFORM] = describe_platform(params.device)
            yield key, features


def _alignment_of(candidate: _Candidate) -> Callable[[Any], Any]:
    """Return what is done to the features of a network: nothing, unless its entry names an alignment."""
    if candidate.alignment is None:
        return lambda features: features
    from rep_kedro.models.alignment import align_features, load_alignment

    return partial(align_features, mapping=load_alignment(candidate.alignment))


def _choose(kind: str, wanted: str | Sequence[str], known: Mapping[str, object]) -> list[str]:
    """Return the wanted names, or all that are known, sorted."""
    if isinstance(wanted, str):
        return sorted(known)
    for name in wanted:
        require_known(kind, name, known)
    return list(wanted)


def _require_subset(subsets: Mapping[str, ArrowHandle], stimulus_set: str, subset: str) -> ArrowHandle:
    key = str(MemberKey(stimulus_set, subset))
    if key not in subsets:
        there = sorted(k.name for k in map(MemberKey.parse, subsets) if k.stimulus_set == stimulus_set)
        raise UserError(
            f"stimulus set {stimulus_set!r} has no subset {subset!r}; known: {', '.join(there) or 'none'}"
        )
    return subsets[key]
