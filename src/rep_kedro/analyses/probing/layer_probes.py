"""Probes of maps: features are made while images stream through the network, and fitted chunk by chunk."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rep_kedro.analyses.probing.labels import Targets
from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.analyses.probing.layer_tasks import POSITIONS, Task, pack
from rep_kedro.datasets import Tensors
from rep_kedro.errors import UserError
from rep_kedro.kernels.probes.logistic import fit_logistic
from rep_kedro.models.layers import LayerReader

if TYPE_CHECKING:
    Waiting = np.ndarray[Any, np.dtype[np.floating[Any]]]

FOUND = ("train_accuracy", "test_accuracy", "gradient_size", "n_iterations")


def probe_layers(
    module: nn.Module,
    stream: Callable[[], Iterable[Tensor]],
    targets: Targets,
    tasks: Sequence[Task],
    params: LayerProbesParams,
) -> Iterator[tuple[Task, Tensors]]:
    """Yield the probes of each task as soon as all its positions are fitted.

    Args:
        module: The network, in evaluation mode, on its device.
        stream: Gives the images of all stimuli as the network takes them, in batches; called once per chunk.
        targets: Labels, and who trains and tests.
        tasks: Layers, pooled or position by position.
        params: Objective, precision and limits.

    Yields:
        Task and member: maps (height, width) of what `FOUND` names, one entry for a pooled map; NaN nowhere.

    Raises:
        UserError: If an activation does not fit into the precision, or is not finite.
    """
    n_stimuli = len(targets.labels)
    depths = {name: place for place, (name, _) in enumerate(module.named_modules())}
    found: dict[str, list[Tensor]] = {}
    whole = {task.key: task for task in tasks}
    for chunk in pack(tasks, n_stimuli=n_stimuli, params=params):
        with _collect(module, stream(), chunk, n_stimuli, params) as waiting:
            for task in chunk:
                rows = found.setdefault(task.key, [])
                rows += [_fit(x, targets, params) for x in _features_of(waiting[task.key], task)]
                if len(rows) == (whole[task.key].n_positions if task.readout == POSITIONS else 1):
                    member = _to_member(whole[task.key], found.pop(task.key), targets, params)
                    member.meta["depth"] = depths[task.layer]
                    yield whole[task.key], member


@contextmanager
def _collect(
    module: nn.Module,
    batches: Iterable[Tensor],
    chunk: Sequence[Task],
    n_stimuli: int,
    params: LayerProbesParams,
) -> "Iterator[Mapping[str, Waiting]]":
    """Give the features of a chunk: (n_stimuli, numbers) of pooled maps, (positions, n_stimuli, channels)."""
    with tempfile.TemporaryDirectory(prefix="layer_probes_") as folder:
        waiting: dict[str, Waiting] = {}
        for place, task in enumerate(chunk):
            shape: tuple[int, ...] = (n_stimuli, task.n_numbers)
            if task.readout == POSITIONS:
                shape = (task.n_positions, n_stimuli, task.n_channels)
            if params.disk_bytes:
                path = Path(folder) / f"{place}.bin"
                waiting[task.key] = np.memmap(path, dtype=params.precision, mode="w+", shape=shape)
            else:
                waiting[task.key] = np.empty(shape, dtype=params.precision)
        start, reader = 0, None
        layers = list(dict.fromkeys(task.layer for task in chunk))
        for images in batches:
            reader = reader or LayerReader(module, layers, example=images[:1])
            activations = reader.read(images)
            rows = slice(start, start + len(images))
            for task in chunk:
                values = _numbers_of(activations[task.layer], task).cpu()
                _require_precision(values, task, params)
                if task.readout == POSITIONS:
                    waiting[task.key][:, rows] = values.permute(2, 0, 1).numpy()
                else:
                    waiting[task.key][rows] = values.flatten(1).numpy()
            start += len(images)
        yield waiting


def _numbers_of(activation: Tensor, task: Task) -> Tensor:
    """Return (n_stimuli, channels, positions of the task)."""
    maps = activation.float().reshape(len(activation), task.n_channels, *activation.shape[2:])
    if task.readout == POSITIONS:
        return maps.flatten(2)[:, :, task.first : task.first + task.n_positions]
    if maps.ndim > 2:
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
    meta = {
        "layer": task.layer,
        "readout": task.readout,
        "n_features": task.n_features,
        "height": task.height,
        "width": task.width,
        "tolerance": params.tolerance,
        "n_train": int(targets.is_train.sum()),
        "n_test": int(targets.is_test.sum()),
        "n_classes": len(targets.classes),
    }
    return Tensors({name: maps[i].contiguous() for i, name in enumerate(FOUND)}, meta)


def _require_precision(values: Tensor, task: Task, params: LayerProbesParams) -> None:
    largest = torch.finfo(getattr(torch, params.precision)).max
    n_beyond = int((~(values.abs() <= largest)).sum())
    if n_beyond:
        raise UserError(
            f"layer {task.layer!r}: {n_beyond} of {values.numel()} activations are NaN, infinite or beyond"
            f" {largest:g}, the most of {params.precision}; set probing.layer_probes.precision to float32"
        )
