"""Nodes of the training pipeline: the networks to train, the history and the cost of their training."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Batch, Plan, Planned, code_revision, missing_of
from rep_kedro.datasets.plan import digest_of
from rep_kedro.errors import UserError, require_known
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.foreign import ForeignDefinition
from rep_kedro.schemas.training import NETWORK_SETTINGS, TRAINING_COSTS, TRAINING_HISTORY
from rep_kedro.training.params import TrainingParams
from rep_kedro.training.spec import NetworkSpec, PlannedNetwork, name_of_trained

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
    from rep_kedro.training.costs import TrainingCost
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_log = logging.getLogger(__name__)
_SETTINGS = ("seed", "order_seed", "n_test", "precision", "schedule")


def plan_networks(stimulus_sets: Mapping[str, ArrowHandle], params: TrainingParams) -> Plan:
    """Plan one network for each combination of a grid, and its snapshots.

    All networks share a batch: the images are decoded once for each stimulus set and input size.

    Args:
        stimulus_sets: Handles by name; only the metadata of the chosen ones is read while planning.
        params: Which networks to train on what.

    Returns:
        Plan by name (see `TrainingParams.networks`); empty if there are no grids. Networks whose stimulus set
        is missing are left out.

    Raises:
        ValueError: If a stimulus set is unknown, has too few training images, or lacks labels that an
            objective needs.
    """
    plan, specs = Plan(), params.networks()
    if not specs:
        _log.info("training.grids is empty: no network is trained here")
        return plan
    for name, first in params.repeats().items():
        _log.info("network %r is trained once, as %r: they differ in their names alone", name, first)
    missing = missing_of(stimulus_sets)
    networks: dict[str, PlannedNetwork] = {}
    batch = Batch(lambda names: _train_networks(names, networks, stimulus_sets, params))
    for name, spec in specs.items():
        if spec.stimulus_set in missing:
            plan.left_out[name] = f"stimulus_sets/{spec.stimulus_set} is missing"
            continue
        require_known("stimulus set", spec.stimulus_set, stimulus_sets)
        handle = stimulus_sets[spec.stimulus_set]
        _require_trainable(name, spec, handle.meta)
        architecture = spec.load_definition()
        recipe = _recipe_of(spec, architecture, handle, portable=params.portable)
        networks[name] = PlannedNetwork(spec, architecture, digest_of(recipe))
        if spec.moment:
            recipe = {**recipe, "moment": spec.moment}
        plan[name] = Planned(recipe, batch, unit=name_of_trained(name))  # one training for all its moments
    return plan


def _recipe_of(
    spec: NetworkSpec, architecture: DefinedNetwork, handle: ArrowHandle, *, portable: bool
) -> dict[str, Any]:
    """Return everything that the bytes of a trained network depend on."""
    from rep_kedro.training.monitors.registry import make_monitors
    from rep_kedro.training.objectives.registry import make_objective
    from rep_kedro.training.portable import ARITHMETIC

    objective = make_objective(spec.objective, spec.options)
    recipe: dict[str, Any] = {
        "architecture": architecture.as_json(),
        "objective": objective.as_json(),
        "seed": spec.seed,
        "schedule": spec.schedule and spec.schedule.as_json(),
        "stimulus_set": handle.reference,
        "code": code_revision(
            type(objective).__module__, "rep_kedro.training.loop", *_builders_of(architecture)
        ),
    }
    optional = {name: getattr(spec, name) for name in ("order_seed", "labels", "n_test")}
    recipe |= {name: value for name, value in optional.items() if value is not None}
    if spec.precision != "float32":
        recipe["precision"] = spec.precision
    if spec.metrics:
        recipe["metrics"] = [each if isinstance(each, str) else each.as_json() for each in spec.metrics]
    if watching := [each for each in make_monitors(spec.monitors) if each.is_part_of_recipe]:
        recipe["monitors"] = [
            {**each.as_json(), "code": code_revision(type(each).__module__)} for each in watching
        ]
    if portable:
        recipe["arithmetic"] = ARITHMETIC
    return recipe


def _builders_of(definition: DefinedNetwork) -> tuple[str, ...]:
    """Return the modules that build networks of others; those that build this project's the loop imports."""
    if not isinstance(definition, ForeignDefinition):
        return ()
    return "rep_kedro.models.foreign_network", definition.builder


def tabulate_trainings(
    networks: Mapping[str, TensorsHandle],
) -> tuple[DataFrame, DataFrame, DataFrame]:
    """List metrics of every epoch, costs and settings of each training; snapshots have no rows of their own.

    Returns:
        Tables of histories, costs and settings; columns as in docs/tables.md.
    """
    trained = {name: networks[name] for name in sorted(networks) if "moment" not in networks[name].meta}
    history = [row for name, handle in trained.items() for row in _history_of(name, handle)]
    predict = _make_predictor()
    costs = [
        {**_cost_of(name, handle, predict), **_measured(handle), "seconds": sum_seconds(name, networks)}
        for name, handle in trained.items()
    ]
    settings = [row for name, handle in trained.items() for row in _settings_of(name, handle)]
    return TRAINING_HISTORY.frame(history), TRAINING_COSTS.frame(costs), NETWORK_SETTINGS.frame(settings)


def _history_of(name: str, handle: TensorsHandle) -> list[dict[str, Any]]:
    about = {"model": name, **{key: handle.meta[key] for key in ("architecture", "objective", "seed")}}
    return [
        {**about, "epoch": metrics["epoch"], "metric": metric, "value": float(metrics[metric])}
        for metrics in handle.meta["history"]
        for metric in sorted(metrics)
        if metric != "epoch"
    ]


def _settings_of(name: str, handle: TensorsHandle) -> list[dict[str, Any]]:
    """Return each setting of the recipe in which trainings can differ, nested ones by dotted names."""
    recipe = handle.recipe
    settings = {
        "architecture": handle.meta["architecture"],
        "stimulus_set": recipe["stimulus_set"]["key"],
        "input_px": handle.meta["input_px"],
        **{key: recipe[key] for key in _SETTINGS if key in recipe},
        **recipe["objective"],
    }
    settings["objective"] = settings.pop("id")
    return [
        {"model": name, "setting": setting, "value": value} for setting, value in sorted(_flatten(settings))
    ]


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _make_predictor() -> "Callable[[TensorsHandle], TrainingCost]":
    """Return what predicts the cost of trainings; those that differ in seeds alone are followed once."""
    from rep_kedro.models.trained import definition_of
    from rep_kedro.training.costs import predict_cost

    known: dict[str, TrainingCost] = {}

    def predict(handle: TensorsHandle) -> "TrainingCost":
        meta, schedule = handle.meta, handle.recipe["schedule"]
        batch_size, optimizer = (schedule["batch_size"], schedule["optimizer"]) if schedule else (0, None)
        asked = meta["n_classes"], batch_size, optimizer
        about = json.dumps([meta["architecture"], meta["definition"], *asked], sort_keys=True)
        if about not in known:
            known[about] = predict_cost(definition_of(handle), *asked)
        return known[about]

    return predict


def _cost_of(
    name: str, handle: TensorsHandle, predict: "Callable[[TensorsHandle], TrainingCost]"
) -> dict[str, Any]:
    meta, cost = handle.meta, predict(handle)
    return {
        "model": name,
        "architecture": meta["architecture"],
        "n_parameters": cost.n_parameters,
        "macs_per_image": cost.macs_per_image,
        "n_updates": meta["n_updates"],
        "n_images_seen": meta["n_images_seen"],
        "training_flops": float(cost.flops_for(meta["n_images_seen"])),
        "memory_bytes": float(cost.memory_bytes),
    }


def _measured(handle: TensorsHandle) -> dict[str, Any]:
    """Return the peak memory of a training, or why it is not known."""
    from rep_kedro.training.memory import PEAK, REASON

    peak = handle.journal.get(PEAK)
    why = "" if peak is not None else handle.journal.get(REASON, "not computed on this machine")
    return {"measured_memory_bytes": None if peak is None else float(peak), "reason": why}


def sum_seconds(name: str, networks: Mapping[str, TensorsHandle]) -> float | None:
    """Return the time of a training: from its start to its first snapshot, and so on to its end.

    Args:
        name: Of the trained network.
        networks: Handles by name; the times are in the journal.

    Returns:
        Seconds; None where that of the network is not known. What a killed run took is not counted.
    """
    if networks[name].journal.get("seconds") is None:
        return None
    parts = [handle.journal for each, handle in networks.items() if name_of_trained(each) == name]
    return float(sum(part.get("seconds", 0.0) for part in parts))


def _train_networks(
    names: Sequence[str],
    networks: Mapping[str, PlannedNetwork],
    stimulus_sets: Mapping[str, ArrowHandle],
    params: TrainingParams,
) -> Iterator[tuple[str, object]]:
    """Train the named networks.

    In processes of their own where every machine shall give the same bytes, or several are trained at once;
    in one for each device of several.
    """
    from rep_kedro.training import portable, processes, work
    from rep_kedro.training.state import state_path

    place = work.Place(
        params.device,
        params.devices,
        params.n_at_once,
        memory_bytes=params.memory_bytes,
        checkpoints=params.checkpoints,
    )
    used = {name: stimulus_sets[name] for name in {networks[each].spec.stimulus_set for each in names}}
    waiting = set(names)
    train = work.train_networks if place.n_at_once == 1 else processes.train_in_processes
    train = processes.train_on_devices if params.devices > 1 else train
    train = portable.train_portably if params.portable else train
    for name, trained in train(names, networks, used, place):
        yield name, trained  # the collection stores it before it asks for the next
        waiting.discard(name)
        base = name_of_trained(name)
        if base not in map(name_of_trained, waiting) and not isinstance(trained, Exception):
            state_path(Path(params.checkpoints.folder), base).unlink(missing_ok=True)


def _require_trainable(name: str, spec: NetworkSpec, meta: Mapping[str, Any]) -> None:
    """Refuse a stimulus set that a network cannot learn from, before any image is decoded."""
    from rep_kedro.stimuli.label_columns import find_labels
    from rep_kedro.training.metrics import require_metrics
    from rep_kedro.training.objectives.registry import make_objective

    about = f"training.stimulus_set {spec.stimulus_set!r}"
    counts = meta["counts"]
    n_train = counts.get("train", 0)
    if n_train == 0:
        held = ", ".join(f"{split} {n}" for split, n in sorted(counts.items()))
        raise UserError(
            f"{about} has no split 'train' to train on ({held}); choose another set, or draw its splits"
            " (test_fraction)"
        )
    _, class_names = find_labels(meta, spec.labels, about)
    n_labelled = sum(meta["class_counts"].get("train", {}).values())
    objective = make_objective(spec.objective, spec.options)
    if objective.has_head and spec.labels is None and n_labelled < n_train:
        raise UserError(
            f"network {name!r}: objective {spec.objective!r} needs labels, but {n_train - n_labelled} of"
            f" {n_train} training images of {about} have none; choose another set or objective"
        )
    if objective.trains and spec.schedule is not None and spec.schedule.images_per_update > n_train:
        accumulated = f" x accumulate {spec.schedule.accumulate}" if spec.schedule.accumulate > 1 else ""
        raise UserError(
            f"network {name!r}: batch_size {spec.schedule.batch_size}{accumulated} exceeds the {n_train}"
            f" training images of {about}"
        )
    if spec.metrics and spec.labels in meta.get("multi_label_columns", {}):
        raise UserError(f"network {name!r}: metrics need one label of an image, {spec.labels!r} has several")
    if objective.has_head:
        require_metrics(spec.metrics, len(class_names or ()))
    elif spec.metrics:
        raise UserError(
            f"network {name!r}: objective {spec.objective!r} has no class logits to measure metrics of"
        )
