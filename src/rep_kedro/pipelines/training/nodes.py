"""Nodes of the training pipeline: the networks to train, and the history of their training."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Batch, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import UserError, require_known
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.architecture_files import load_definition
from rep_kedro.models.foreign import ForeignDefinition
from rep_kedro.schemas.training import TRAINING_HISTORY
from rep_kedro.training.params import NetworkSpec, TrainingParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
    from rep_kedro.training.work import Networks
else:
    DataFrame = ArrowHandle = TensorsHandle = Networks = Any  # Kedro reads the hints

_log = logging.getLogger(__name__)


def plan_networks(stimulus_sets: Mapping[str, ArrowHandle], params: TrainingParams) -> Plan:
    """Plan one network per architecture, objective and seed.

    All networks share a batch: the images are decoded once for each input size.

    Args:
        stimulus_sets: Handles by name; only the metadata of the chosen one is read while planning.
        params: Which networks to train on what.

    Returns:
        Plan by `<architecture>_<objective>[_<label>]_s<seed>`; empty if there are no grids. All are left out
        if the stimulus set is missing.

    Raises:
        ValueError: If the stimulus set is unknown, has too few training images, or lacks labels that an
            objective needs.
    """
    from rep_kedro.training.objectives.registry import make_objective
    from rep_kedro.training.portable import ARITHMETIC

    plan, specs = Plan(), params.networks()
    if not specs:
        _log.info("training.grids is empty: no network is trained here")
        return plan
    if params.stimulus_set in missing_of(stimulus_sets):
        plan.left_out = dict.fromkeys(specs, f"stimulus_sets/{params.stimulus_set} is missing")
        return plan
    require_known("stimulus set", params.stimulus_set, stimulus_sets)
    handle = stimulus_sets[params.stimulus_set]
    _require_trainable(params.stimulus_set, handle.meta, specs)
    networks = {name: (spec, load_definition(spec.architecture)) for name, spec in specs.items()}
    batch = Batch(lambda names: _train_networks(names, networks, handle, params))
    for name, (spec, architecture) in networks.items():
        objective = make_objective(spec.objective, spec.options)
        recipe = {
            "architecture": architecture.as_json(),
            "objective": objective.as_json(),
            "seed": spec.seed,
            "schedule": spec.schedule and spec.schedule.model_dump(mode="json"),
            "stimulus_set": handle.reference,
            "code": code_revision(
                type(objective).__module__, "rep_kedro.training.loop", *_builders_of(architecture)
            ),
        }
        if params.portable:
            recipe["arithmetic"] = ARITHMETIC
        plan[name] = Planned(recipe, batch)
    return plan


def _builders_of(definition: DefinedNetwork) -> tuple[str, ...]:
    """Return the modules that build networks of others; those that build this project's the loop imports."""
    if not isinstance(definition, ForeignDefinition):
        return ()
    return "rep_kedro.models.foreign_network", definition.builder


def tabulate_training_history(networks: Mapping[str, TensorsHandle]) -> DataFrame:
    """List every metric of every epoch.

    Args:
        networks: Handles by name.

    Returns:
        Columns as in docs/tables.md.
    """
    rows = []
    for name in sorted(networks):
        meta = networks[name].meta
        about = {"model": name, **{key: meta[key] for key in ("architecture", "objective", "seed")}}
        for metrics in meta["history"]:
            about["epoch"] = metrics["epoch"]
            rows += [
                {**about, "metric": metric, "value": float(metrics[metric])}
                for metric in sorted(metrics)
                if metric != "epoch"
            ]
    return TRAINING_HISTORY.frame(rows)


def _train_networks(
    names: Sequence[str], networks: Networks, handle: ArrowHandle, params: TrainingParams
) -> Iterator[tuple[str, object]]:
    """Train the named networks: in a process of its own where every machine shall give the same bytes."""
    from rep_kedro.training import portable, work

    if params.portable:
        return portable.train_portably(names, networks, handle)
    return work.train_networks(names, networks, handle, device=params.device)


def _require_trainable(
    stimulus_set: str, meta: Mapping[str, Any], networks: Mapping[str, NetworkSpec]
) -> None:
    """Refuse a stimulus set that some network cannot learn from, before any image is decoded."""
    from rep_kedro.training.objectives.registry import make_objective

    about = f"training.stimulus_set {stimulus_set!r}"
    counts = meta["counts"]
    n_train = counts.get("train", 0)
    if n_train == 0:
        held = ", ".join(f"{split} {n}" for split, n in sorted(counts.items()))
        raise UserError(
            f"{about} has no split 'train' to train on ({held}); choose another set, or draw its splits"
            " (test_fraction)"
        )
    n_labelled = sum(meta["class_counts"].get("train", {}).values())
    for name, spec in networks.items():
        objective = make_objective(spec.objective, spec.options)
        if objective.has_head and n_labelled < n_train:
            raise UserError(
                f"network {name!r}: objective {spec.objective!r} needs labels, but {n_train - n_labelled} of"
                f" {n_train} training images of {about} have none; choose another set or objective"
            )
        if objective.trains and spec.schedule is not None and spec.schedule.batch_size > n_train:
            raise UserError(
                f"network {name!r}: batch_size {spec.schedule.batch_size} exceeds the {n_train} training"
                f" images of {about}"
            )
