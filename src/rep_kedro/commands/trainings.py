"""What a run would train: a line for each network, with parameters, operations, time and disk."""

from collections.abc import Iterable, Mapping
from typing import Any

from rep_kedro.commands.plan import NO_ESTIMATE, align_columns

_FLOAT32_BYTES = 4


def describe_trainings(context: Any, catalog: Any) -> Iterable[str]:
    """Yield a table of the networks that a run would train.

    Times are those of earlier trainings, in proportion to the operations; without any there is no estimate.
    """
    from rep_kedro.datasets.work import format_bytes, format_seconds
    from rep_kedro.pipelines.training.nodes import plan_networks
    from rep_kedro.training.params import TrainingParams

    params = TrainingParams.model_validate(context.config_loader["parameters"]["training"])
    sets = catalog.load("stimulus_sets")
    dataset = catalog.get("networks")
    specs = params.networks()
    pending = [name for name in dataset.pending(plan_networks(sets, params)) if specs[name].moment is None]
    if not pending:
        return
    speed = _measure_speed(dataset.load_files())
    rows = [("training", "parameters", "MACs per image", "images", "memory", "disk", "time")]
    for name in pending:
        spec, meta = specs[name], sets[specs[name].stimulus_set].meta
        cost = _predict(spec, meta)
        n_images = _count_images(spec, meta)
        seconds = None if speed is None else speed * cost.macs_per_image * n_images
        rows.append(
            (
                name,
                f"{cost.n_parameters:,}",
                f"{cost.macs_per_image:,}",
                f"{n_images:,}",
                format_bytes(cost.memory_bytes),
                format_bytes(cost.n_parameters * _FLOAT32_BYTES),
                NO_ESTIMATE if seconds is None else format_seconds(seconds),
            )
        )
    yield ""
    yield from align_columns(rows)


def _predict(spec: Any, meta: Mapping[str, Any]) -> Any:
    from rep_kedro.stimuli.label_columns import find_labels
    from rep_kedro.training.costs import predict_cost
    from rep_kedro.training.objectives.registry import make_objective

    has_head = make_objective(spec.objective, spec.options).has_head
    n_classes = len(find_labels(meta, spec.labels, spec.stimulus_set)[1] or ()) if has_head else None
    schedule = spec.schedule
    how = (schedule.batch_size, schedule.optimizer) if schedule else (0, None)
    return predict_cost(spec.load_definition(), n_classes, *how)


def _count_images(spec: Any, meta: Mapping[str, Any]) -> int:
    """Return how many images the forward passes of a training see."""
    if spec.schedule is None:
        return 0
    per_update = spec.schedule.images_per_update
    return int(spec.schedule.epochs * (meta["counts"]["train"] // per_update) * per_update)


def _measure_speed(handles: Mapping[str, Any]) -> float | None:
    """Return seconds per multiply-accumulate of the networks trained so far; None if there are none."""
    from rep_kedro.models.cost import count_trained_cost
    from rep_kedro.pipelines.training.nodes import sum_seconds

    seconds = work = 0.0
    for name, handle in handles.items():
        n_images, took = handle.meta.get("n_images_seen"), sum_seconds(name, handles)
        if n_images and took is not None and "moment" not in handle.meta:
            seconds += took
            work += count_trained_cost(handle).n_flops / 2 * n_images
    return seconds / work if work else None
