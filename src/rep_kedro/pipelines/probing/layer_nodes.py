"""Nodes of the probes of maps: they plan one member for each layer and read-out."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.fitting import require_room
from rep_kedro.analyses.probing.labels import choose_label, count_training, is_several
from rep_kedro.analyses.probing.layer_shapes import follow_layers, input_px_of
from rep_kedro.analyses.probing.layer_tasks import ATTENTIVE, POSITIONS, Task, list_tasks, predict
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import UserError, contained, require_known, suggest
from rep_kedro.models.sources.array_specs import FileModel
from rep_kedro.models.sources.chosen import ChosenNetwork, choose_network
from rep_kedro.models.study import FeaturesParams
from rep_kedro.pipelines.probing.nodes import require_labels_for, tabulate_probe_results
from rep_kedro.schemas.probing import LAYER_PROBE_RESULTS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_log = logging.getLogger(__name__)
_RECIPE_PARAMS = ("c", "tolerance", "max_iterations", "precision")


def plan_layer_probes(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    features: FeaturesParams,
    params: ProbingParams,
) -> Plan:
    """Plan one member for each stimulus set, network, layer and read-out; those of a network share a batch.

    Args:
        stimulus_sets: Handles by name; no image is read while planning.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; labels and splits are read while planning.
        networks: Handles of the networks trained here, by name; only their form is read while planning.
        features: Names the networks from elsewhere.
        params: `layer_probes` says what; subset, labels and fewest classes are those of the other probes.

    Returns:
        Plan by ``<stimulus set>/<network>+<layer>+<read-out>``, with what it takes in its notes; empty unless
        `layer_probes.models` names networks.

    Raises:
        UserError: If a network, stimulus set, subset or layer is not there, a set has too few classes, a
            layer cannot be probed so, or a probe does not fit into the memory.
    """
    plan, entries = Plan(), features.entries()
    models = _choose_models(networks, features, params)
    chosen = {
        model: choose_network(model, networks, entries, place="probing.layer_probes.models")
        for model in models
        if model not in missing_of(networks)
    }
    outputs = {
        model: follow_layers(network, model, params.layer_probes.of(model))
        for model, network in chosen.items()
    }
    for stimulus_set in _choose_sets(plan, models, stimulus_sets, stimulus_subsets, params) if models else ():
        subset = stimulus_subsets[str(MemberKey(stimulus_set, params.subset))]
        images = (stimulus_sets[stimulus_set], subset)
        for model in models:
            if model not in chosen:
                plan.left_out[str(MemberKey(stimulus_set, model))] = f"networks/{model} is missing"
                continue
            network, own = (
                chosen[model],
                params.model_copy(update={"layer_probes": params.layer_probes.of(model)}),
            )
            said = predict(
                outputs[model],
                n_stimuli=subset.n_rows(),
                input_px=input_px_of(network),
                params=own.layer_probes,
            )
            plan.notes.append(f"{MemberKey(stimulus_set, model)}: {said}")
            tasks = {
                _key(stimulus_set, model, task): task for task in list_tasks(outputs[model], own.layer_probes)
            }
            _require_room(str(MemberKey(stimulus_set, model)), subset, tasks.values(), own)
            batch = Batch(partial(_probe, network, images, tasks, own))
            for key, task in tasks.items():
                plan[key] = Planned(_recipe(model, network, images, task, own), batch)
    return plan


def _require_room(key: str, subset: ArrowHandle, tasks: Iterable[Task], params: ProbingParams) -> None:
    """Refuse attentive probes that do not fit into their memory."""
    fit = params.layer_probes.attentive
    if fit is not None:
        shapes = {t.layer: (t.n_positions, t.n_channels) for t in tasks if t.readout == ATTENTIVE}
        n_of_class = count_training(subset, choose_label(subset, params.labels))
        require_room(("probing.layer_probes.attentive", fit), shapes, n_of_class, params.few_shot, key)


def _choose_models(
    networks: Mapping[str, TensorsHandle], features: FeaturesParams, params: ProbingParams
) -> list[str]:
    wanted, entries = params.layer_probes, features.entries()
    models = wanted.models
    if isinstance(models, str):
        elsewhere = [name for name, entry in entries.items() if not isinstance(entry, FileModel)]
        models = sorted({*networks, *missing_of(networks), *elsewhere})
    for unused in wanted.unused(models):
        raise UserError(
            f"probing.layer_probes.by_network: {unused!r} fits no network of probing.layer_probes.models;"
            f" {suggest(unused, models)}"
        )
    return models


def tabulate_all_probes(
    probes: Mapping[str, TensorsHandle], layer_probes: Mapping[str, TensorsHandle]
) -> tuple[DataFrame, DataFrame]:
    """Return tables `probe_results` and `layer_probe_results`."""
    return tabulate_probe_results(probes), tabulate_layer_probe_results(layer_probes)


def tabulate_layer_probe_results(layer_probes: Mapping[str, TensorsHandle]) -> DataFrame:
    """List the accuracy of each probe of a map.

    Args:
        layer_probes: Handles by ``<stimulus set>/<network>+<layer>+<read-out>``.

    Returns:
        Columns as in docs/tables.md.
    """
    from rep_kedro.kernels.probes.probe import bound_share

    rows = []
    for key in sorted(layer_probes):
        handle = layer_probes[key]
        about = {
            **handle.meta,
            "stimulus_set": handle.recipe["stimulus_set"]["key"],
            "model": handle.recipe.get("model") or handle.recipe["network"]["key"],
            "label": handle.recipe["label"],
        }
        train, test = handle.tensor("train_accuracy"), handle.tensor("test_accuracy")
        steps = handle.meta.get("n_iterations")  # of attentive probes, which have no optimum
        size = handle.tensor("gradient_size") if steps is None else None
        is_position = about["readout"] == POSITIONS
        for row, column in ((i, j) for i in range(train.shape[0]) for j in range(train.shape[1])):
            low, high = bound_share(float(test[row, column]), about["n_test"])
            place = {
                "row": row if is_position else None,
                "column": column if is_position else None,
                "readout": f"{row},{column}" if is_position else about["readout"],
                "train_accuracy": float(train[row, column]),
                "test_accuracy": float(test[row, column]),
                "test_low": low,
                "test_high": high,
                "converged": size is not None and bool(size[row, column] <= about["tolerance"]),
                "n_iterations": int(handle.tensor("n_iterations")[row, column]) if steps is None else steps,
            }
            rows.append(LAYER_PROBE_RESULTS.pick({**about, **place}))
    return LAYER_PROBE_RESULTS.frame(rows)


def _choose_sets(
    plan: Plan,
    models: Sequence[str],
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    params: ProbingParams,
) -> Iterator[str]:
    """Yield the sets to probe; note in the plan which are missing."""
    wanted, missing = params.layer_probes.stimulus_sets, missing_of(stimulus_sets)
    for name in sorted({*stimulus_sets, *missing}) if isinstance(wanted, str) else wanted:
        key = str(MemberKey(name, params.subset))
        lost = f"stimulus_sets/{name}" if name in missing else ""
        if key in missing_of(stimulus_subsets):
            lost = lost or f"stimulus_subsets/{key}"
        if lost:
            plan.left_out |= {str(MemberKey(name, model)): f"{lost} is missing" for model in models}
            continue
        require_known("stimulus set", name, stimulus_sets)
        require_known("stimulus subset", key, stimulus_subsets)
        if _has_classes(name, stimulus_subsets[key], params):
            yield name


def _has_classes(stimulus_set: str, subset: ArrowHandle, params: ProbingParams) -> bool:
    label = choose_label(subset, params.labels)
    n_of_class = count_training(subset, label)
    if is_several(subset, label):
        why = f"label {label!r} has several classes of a stimulus, and probes of maps take one"
    elif len(n_of_class) < params.min_classes:
        why = f"{len(n_of_class)} classes in its training split, need {params.min_classes}"
    else:
        require_labels_for(params, subset, n_of_class, several=False)
        return True
    if not isinstance(params.layer_probes.stimulus_sets, str):
        raise UserError(f"probing.layer_probes: stimulus set {stimulus_set!r} cannot be probed: {why}")
    _log.warning("no probes of maps on stimulus set %s: %s", stimulus_set, why)
    return False


def _key(stimulus_set: str, model: str, task: Task) -> str:
    return str(MemberKey(stimulus_set, f"{model}+{task.key}"))


def _recipe(
    model: str,
    network: ChosenNetwork,
    images: tuple[ArrowHandle, ArrowHandle],
    task: Task,
    params: ProbingParams,
) -> dict[str, Any]:
    is_own_name = network.handle is not None and network.handle.key == model
    return {
        **({} if is_own_name else {"model": model}),
        "network": network.recipe if network.handle is None else network.handle.reference,
        "stimulus_set": images[0].reference,
        "stimulus_subset": images[1].reference,
        "label": choose_label(images[1], params.labels),
        "layer": task.layer,
        "readout": task.readout,
        **_how(task, params),
        "code": code_revision(
            "rep_kedro.analyses.probing.layer_probes",
            "rep_kedro.features.images",
            "rep_kedro.models.trained",
            "rep_kedro.stimuli.decoding",
        ),
    }


def _how(task: Task, params: ProbingParams) -> dict[str, Any]:
    """Return the parameters that count for a read-out."""
    wanted = params.layer_probes.model_dump(mode="json")
    few = {} if params.few_shot is None else {"few_shot": params.few_shot, "seed": params.all_seeds[0]}
    if task.readout != ATTENTIVE:
        return {name: wanted[name] for name in _RECIPE_PARAMS} | few
    weights = {} if params.class_weights == "none" else {"class_weights": params.class_weights}
    return {
        "fit": wanted["attentive"],
        "precision": wanted["precision"],
        "held_out_fraction": params.held_out_fraction,
        "keep_logits": params.keep_logits,
        "seed": params.all_seeds[0],
        **few,
        **weights,
    }


def _probe(
    network: ChosenNetwork,
    images: tuple[ArrowHandle, ArrowHandle],
    tasks: Mapping[str, Task],
    params: ProbingParams,
    keys: Sequence[str],
) -> Iterator[tuple[str, object]]:
    from rep_kedro.analyses.probing.labels import read_targets
    from rep_kedro.analyses.probing.layer_probes import probe_layers
    from rep_kedro.features.images import stream_inputs

    wanted = params.layer_probes
    with contained():
        model = network.load()
    model.module.to(wanted.device)
    targets = read_targets(images[1], choose_label(images[1], params.labels))
    stream = partial(
        stream_inputs, *images, model.preprocessing, batch_size=wanted.batch_size, device=wanted.device
    )
    by_task = {tasks[key]: key for key in keys}
    stimulus_set = MemberKey.parse(images[1].key).stimulus_set
    for task, member in probe_layers(model, stream, targets, list(by_task), params, stimulus_set):
        yield by_task[task], member
