"""Probes of maps: features are made while images stream through the network, and fitted chunk by chunk."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rep_kedro.analyses.probing.fitting import LOGITS, fit_or_explain
from rep_kedro.analyses.probing.labels import Targets, draw_few
from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.analyses.probing.layer_tasks import ATTENTIVE, POSITIONS, Task, pack
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.datasets import Tensors
from rep_kedro.errors import UserError
from rep_kedro.kernels.probes.logistic import fit_logistic
from rep_kedro.models.sources.loaded import LoadedModel, read_layers

if TYPE_CHECKING:
    Waiting = np.ndarray[Any, np.dtype[np.floating[Any]]]

FOUND = ("train_accuracy", "test_accuracy", "gradient_size", "n_iterations")


def probe_layers(
    model: LoadedModel,
    stream: Callable[[], Iterable[Tensor]],
    targets: Targets,
    tasks: Sequence[Task],
    probing: ProbingParams,
    stimulus_set: str,
) -> Iterator[tuple[Task, Tensors]]:
    """Yield the probes of each task as soon as all its positions are fitted.

    Args:
        model: The network, in evaluation mode, on its device.
        stream: Gives the images of all stimuli as the network takes them, in batches; called once per chunk.
        targets: Labels, and who trains and tests.
        tasks: Layers, pooled or position by position.
        probing: `layer_probes` has objective, precision and limits; few stimuli of each class are drawn with
            the first seed. Attentive probes also take that seed, the held-out fraction, class weights, and
            whether logits are kept.
        stimulus_set: For messages.

    Yields:
        Task and member: maps (height, width) of what `FOUND` names, one entry for a pooled map; NaN nowhere.
        Of attentive probes the accuracies, what the read-out consists of, and maybe test logits.

    Raises:
        UserError: If an activation does not fit into the precision, or is not finite.
    """
    n_stimuli, params = len(targets.labels), probing.layer_probes
    targets = replace(targets, is_train=draw_few(targets, probing.few_shot, probing.all_seeds[0]))
    depths = {name: place for place, (name, _) in enumerate(model.module.named_modules())}
    found: dict[str, list[Tensor]] = {}
    whole = {task.key: task for task in tasks}
    for chunk in pack(tasks, n_stimuli=n_stimuli, params=params):
        with _collect(model, stream(), chunk, n_stimuli, params) as waiting:
            for task in chunk:
                depth = {"depth": depths[task.layer.partition("@")[0]]}
                if task.readout == ATTENTIVE:
                    member = _attend(waiting[task.key], task, targets, probing, stimulus_set)
                    yield task, replace(member, meta=member.meta | depth)
                    continue
                rows = found.setdefault(task.key, [])
                rows += [_fit(x, targets, params) for x in _features_of(waiting[task.key], task)]
                if len(rows) == (whole[task.key].n_positions if task.readout == POSITIONS else 1):
                    member = _to_member(whole[task.key], found.pop(task.key), targets, params)
                    yield whole[task.key], replace(member, meta=member.meta | depth)


@contextmanager
def _collect(
    model: LoadedModel,
    batches: Iterable[Tensor],
    chunk: Sequence[Task],
    n_stimuli: int,
    params: LayerProbesParams,
) -> "Iterator[Mapping[str, Waiting]]":
    """Give the features of a chunk."""
    with tempfile.TemporaryDirectory(prefix="layer_probes_") as folder:
        waiting: dict[str, Waiting] = {}
        for place, task in enumerate(chunk):
            shape = _shape_of(task, n_stimuli)
            if params.disk_bytes:
                path = Path(folder) / f"{place}.bin"
                waiting[task.key] = np.memmap(path, dtype=params.precision, mode="w+", shape=shape)
            else:
                waiting[task.key] = np.empty(shape, dtype=params.precision)
        start, reader = 0, None
        layers = tuple(dict.fromkeys(task.layer for task in chunk))
        for images in batches:
            reader = reader or read_layers(replace(model, layers=layers), images[:1])
            activations = reader.read(images)
            rows = slice(start, start + len(images))
            for task in chunk:
                axis = reader.find_forms("average")[task.layer].channel_axis
                values = _numbers_of(activations[task.layer].movedim(axis, 1), task).cpu()
                _require_precision(values, task, params)
                if task.readout == POSITIONS:
                    waiting[task.key][:, rows] = values.permute(2, 0, 1).numpy()
                elif task.readout == ATTENTIVE:
                    waiting[task.key][rows] = values.mT.numpy()
                else:
                    waiting[task.key][rows] = values.flatten(1).numpy()
            start += len(images)
        yield waiting


def _shape_of(task: Task, n_stimuli: int) -> tuple[int, ...]:
    """Return the shape in which the features of a task wait."""
    if task.readout == POSITIONS:
        return task.n_positions, n_stimuli, task.n_channels
    if task.readout == ATTENTIVE:
        return n_stimuli, task.n_positions, task.n_channels
    return n_stimuli, task.n_numbers


def _numbers_of(activation: Tensor, task: Task) -> Tensor:
    """Return (n_stimuli, channels, positions of the task)."""
    maps = activation.float()
    if task.grid:
        maps = maps[:, :, task.n_prefix :].reshape(*maps.shape[:2], *task.grid)
    if task.readout in {POSITIONS, ATTENTIVE}:
        return maps.flatten(2)[:, :, task.first : task.first + task.n_positions]
    if maps.ndim == 4:
        maps = torch.nn.functional.adaptive_avg_pool2d(maps, (task.height, task.width))
    return maps.reshape(len(maps), task.n_channels, -1)


def _features_of(waiting: "Waiting", task: Task) -> Iterator[Tensor]:
    """Yield the features of each probe, (n_stimuli, n_features), float32."""
    for x in waiting if task.readout == POSITIONS else [waiting]:
        yield torch.from_numpy(np.asarray(x, dtype=np.float32))


def _fit(x: Tensor, targets: Targets, params: LayerProbesParams) -> Tensor:
    """Return what `FOUND` names for one probe, float64."""
    labels = targets.labels
    fitted = fit_logistic(
        x[targets.is_train].to(params.device),
        labels[targets.is_train],
        n_classes=len(targets.classes),
        c=params.c,
        tolerance=params.tolerance,
        max_iterations=params.max_iterations,
    )
    weights = fitted.weights.to(x.dtype)
    hit = (torch.addmm(weights[-1], x, weights[:-1]).argmax(dim=1) == labels).double()
    train, test = (hit[chosen].mean().item() for chosen in (targets.is_train, targets.is_test))
    return torch.tensor([train, test, fitted.gradient_size, fitted.n_iterations], dtype=torch.float64)


def _to_member(task: Task, rows: Sequence[Tensor], targets: Targets, params: LayerProbesParams) -> Tensors:
    shape = (task.height, task.width) if task.readout == POSITIONS else (1, 1)
    maps = torch.stack(list(rows)).T.reshape(len(FOUND), *shape)
    meta = _describe(task, targets) | {"tolerance": params.tolerance}
    return Tensors({name: maps[i].contiguous() for i, name in enumerate(FOUND)}, meta)


def _attend(
    waiting: "Waiting", task: Task, targets: Targets, probing: ProbingParams, stimulus_set: str
) -> Tensors:
    """Return the member of an attentive probe; settings are chosen on held-out training stimuli."""
    params = probing.layer_probes.attentive
    assert params is not None  # noqa: S101 - tasks exist only with it
    x = torch.from_numpy(waiting)
    train, labels = x[targets.is_train], targets.labels[targets.is_train]
    probe = fit_or_explain(
        {task.layer: train},
        labels,
        n_classes=len(targets.classes),
        params=probing,
        fit=("probing.layer_probes.attentive", params),
        stimulus_set=stimulus_set,
        seed=probing.all_seeds[0],
    )[task.layer]
    logits = probe.compute_logits(x[targets.is_test])
    hits = {
        "train_accuracy": probe.predict(train) == labels,
        "test_accuracy": logits.argmax(dim=1) == targets.labels[targets.is_test],
    }
    tensors = {name: hit.double().mean().reshape(1, 1) for name, hit in hits.items()}
    tensors |= {part: value.float() for part, value in probe.readout.tensors.items()}
    if probing.keep_logits:
        tensors[LOGITS] = logits.float()
    meta = _describe(task, targets) | {
        "n_iterations": params.n_epochs * -(-len(train) // params.batch_size),
        "validation_accuracy": probe.validation_accuracy,
        "weight_decay": probe.setting.weight_decay,
        "learning_rate": probe.setting.learning_rate,
        "classes": targets.classes,
    }
    return Tensors(tensors, meta)


def _describe(task: Task, targets: Targets) -> dict[str, Any]:
    return {
        "layer": task.layer,
        "readout": task.readout,
        "n_features": task.n_features,
        "height": task.height,
        "width": task.width,
        "n_train": int(targets.is_train.sum()),
        "n_test": int(targets.is_test.sum()),
        "n_classes": len(targets.classes),
    }


def _require_precision(values: Tensor, task: Task, params: LayerProbesParams) -> None:
    largest = torch.finfo(getattr(torch, params.precision)).max
    n_beyond = int((~(values.abs() <= largest)).sum())
    if n_beyond:
        raise UserError(
            f"layer {task.layer!r}: {n_beyond} of {values.numel()} activations are NaN, infinite or beyond"
            f" {largest:g}, the most of {params.precision}; set probing.layer_probes.precision to float32"
        )
