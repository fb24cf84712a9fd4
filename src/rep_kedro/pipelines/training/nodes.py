"""Nodes of the training pipeline: which networks there shall be, and how their training went."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Batch, Plan, Planned, Tensors, code_revision, missing_of
from rep_kedro.errors import UserError
from rep_kedro.models.architecture import load_architecture
from rep_kedro.pipelines.training.params import NetworkSpec, TrainingParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
    from rep_kedro.objectives.training import TrainedNetwork, TrainingStimuli
else:
    DataFrame = ArrowHandle = TensorsHandle = TrainedNetwork = TrainingStimuli = Any  # Kedro reads the hints

HISTORY_COLUMNS = ("model", "architecture", "objective", "seed", "epoch", "metric", "value")


def plan_networks(stimulus_sets: Mapping[str, ArrowHandle], params: TrainingParams) -> Plan:
    """Plan one network per architecture, objective and seed.

    All networks share a batch: the images are decoded once for each input size.

    Args:
        stimulus_sets: Handles by name; only the metadata of the chosen one is read while planning.
        params: Which networks to train on what.

    Returns:
        Plan by `<architecture>_<objective>[_<label>]_s<seed>`; all are left out if the stimulus set is
        missing.

    Raises:
        ValueError: If the stimulus set is unknown.
    """
    from rep_kedro.objectives.registry import make_objective

    plan, networks = Plan(), params.networks()
    if params.stimulus_set in missing_of(stimulus_sets):
        plan.left_out = dict.fromkeys(networks, f"stimulus_sets/{params.stimulus_set} is missing")
        return plan
    handle = _require_stimulus_set(stimulus_sets, params.stimulus_set)
    batch = Batch(lambda names: _train_networks(names, networks, handle, params))
    for name, spec in networks.items():
        objective = make_objective(spec.objective, spec.options)
        recipe = {
            "architecture": load_architecture(spec.architecture).as_json(),
            "objective": objective.as_json(),
            "seed": spec.seed,
            "schedule": spec.schedule and spec.schedule.model_dump(mode="json"),
            "stimulus_set": handle.reference,
            "code": code_revision(type(objective).__module__, "rep_kedro.objectives.training"),
        }
        plan[name] = Planned(recipe, batch)
    return plan


def tabulate_training_history(networks: Mapping[str, TensorsHandle]) -> DataFrame:
    """List every metric of every epoch.

    Args:
        networks: Handles by name.

    Returns:
        Columns `model`, `architecture`, `objective`, `seed`, `epoch` (0 is before training), `metric`,
        `value`.
    """
    import pandas as pd

    rows = []
    for name in sorted(networks):
        meta = networks[name].meta
        about = (name, meta["architecture"], meta["objective"], meta["seed"])
        for metrics in meta["history"]:
            epoch = metrics["epoch"]
            rows += [
                (*about, epoch, metric, float(metrics[metric]))
                for metric in sorted(metrics)
                if metric != "epoch"
            ]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))


def _train_networks(
    names: Sequence[str], networks: Mapping[str, NetworkSpec], handle: ArrowHandle, params: TrainingParams
) -> Iterator[tuple[str, object]]:
    """Train the named networks one after the other; one that fails does not stop the others."""
    from rep_kedro.objectives.registry import make_objective
    from rep_kedro.objectives.training import train_network

    stimuli: dict[tuple[int, int], TrainingStimuli] = {}
    for name in names:
        spec = networks[name]
        architecture = load_architecture(spec.architecture)
        try:
            form = (architecture.input.size_px, architecture.input.channels)
            if form not in stimuli:
                stimuli[form] = _decode_splits(handle, *form)
            trained = train_network(
                name,
                architecture,
                make_objective(spec.objective, spec.options),
                seed=spec.seed,
                schedule=spec.schedule,
                stimuli=stimuli[form],
                device=params.device,
            )
        except Exception as error:
            yield name, error
        else:
            yield name, _to_member(trained, spec, params.stimulus_set)


def _to_member(trained: TrainedNetwork, spec: NetworkSpec, stimulus_set: str) -> Tensors:
    network = trained.network
    history = [{**metrics, "epoch": int(metrics["epoch"])} for metrics in trained.history]
    # Batch counters are left out: nothing reads them, and a scalar is no array to every reader of the format.
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    return Tensors(
        state,
        {
            "architecture": spec.architecture,
            "definition": network.architecture.as_json(),
            "objective": spec.objective,
            "seed": spec.seed,
            "stimulus_set": stimulus_set,
            "n_classes": network.n_classes,
            "input_px": network.architecture.input.size_px,
            "history": history,
            "test_accuracy": history[-1].get("test_accuracy"),
        },
    )


def _decode_splits(handle: ArrowHandle, size_px: int, channels: int) -> TrainingStimuli:
    """Return the training and the test images of a stimulus set."""
    import pyarrow.compute as pc
    import torch

    from rep_kedro.objectives.training import LabelledImages, TrainingStimuli
    from rep_kedro.stimuli.decoding import decode_images

    table = handle.table(["image", "label", "split"])
    found = {}
    for split in ("train", "test"):
        rows = table.filter(pc.equal(table["split"], split))
        if split == "train" and len(rows) == 0:
            raise UserError(f"stimulus set {handle.key!r} has no split 'train' to learn from")
        labels = rows["label"]
        found[split] = LabelledImages(
            torch.from_numpy(decode_images(rows["image"], size_px=size_px, channels=channels)),
            None if labels.null_count else torch.tensor(labels.to_pylist(), dtype=torch.int64),
        )
    n_classes = len(handle.meta["class_names"]) if handle.meta.get("class_names") else None
    return TrainingStimuli(found["train"], found["test"], n_classes)


def _require_stimulus_set(stimulus_sets: Mapping[str, ArrowHandle], name: str) -> ArrowHandle:
    if name not in stimulus_sets:
        close = get_close_matches(name, stimulus_sets)
        hint = f", did you mean {close[0]!r}" if close else ""
        raise UserError(f"unknown stimulus set {name!r}{hint}; known: {', '.join(sorted(stimulus_sets))}")
    return stimulus_sets[name]
