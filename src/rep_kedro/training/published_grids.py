"""Grids in the JSON of phd-lab (Richter et al. 2021, arXiv:2106.12307), as grids of this project.

There every list is an axis and all axes are combined; metrics are not. Keys that say where files go, or where
to compute, have other places here; keys and values without a counterpart are named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.architecture_files import load_definition
from rep_kedro.training.schedule import PRESETS

DEFAULTS: dict[str, Any] = {
    "model": ["resnet18"],
    "epoch": [30],
    "batch_size": [128],
    "dataset": ["Cifar10"],
    "resolution": [32],
    "optimizer": ["adam"],
    "metrics": ["Accuracy", "Top5Accuracy"],
}
_ELSEWHERE = {
    "device": "training.device says where to compute",
    "data_parallel": "training.devices says on how many devices a network is trained",
    "logs_dir": "results are members of collections",
    "cache_dir": "ingest.stimulus_sets says where images are",
    "delta": "saturation for any delta follows from the stored spectra",
    "conv_method": "it belongs to the monitor of saturation",
    "downsampling": "it belongs to the monitor of saturation",
}
_METRICS = {
    "Accuracy": None,  # always measured
    "Top5Accuracy": "top5_accuracy",
    "BalancedAccuracy": "balanced_accuracy",
    "ConfusionMatrix": "confusion",
    "MCC": "mcc",
    "Recall": "recall_per_class",
}


_COUNTS = ("epoch", "batch_size", "resolution")
_ALWAYS_SHOWN = ("stimulus_set", "input_px")


@dataclass(frozen=True)
class ReadGrid:
    """A grid, and what of its file has no place in it.

    Attributes:
        grid: An entry of `training.grids`.
        left_out: One line for each key or value that is not honoured.
    """

    grid: dict[str, Any]
    left_out: tuple[str, ...]


def read_published_grid(content: Any) -> ReadGrid:
    """Return the grid of a configuration.

    Raises:
        UserError: If it is not a mapping, a list is empty or has a value twice, a value is not a name or
            count, or nothing of it can be trained here.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"a grid is a JSON object of lists by key, got {type(content).__name__}")
    given = {key: value if isinstance(value, list) else [value] for key, value in content.items()}
    for key, values in given.items():
        if not values:
            raise UserError(f"key {key!r} has no value")
        if key in DEFAULTS:
            _require_values(key, values)
    left_out = [_why_left_out(key) for key in given if key not in DEFAULTS]
    found = {**DEFAULTS, **given}
    models = _known(found["model"], "model", _name_of_model, left_out)
    presets = _known(found["optimizer"], "optimizer", _preset_of, left_out)
    named = _known(found["metrics"], "metrics", _metric_of, left_out)
    axes = {
        "stimulus_set": [name.lower() for name in found["dataset"]],
        "input_px": found["resolution"],
        "schedule.preset": presets,
        "schedule.epochs": found["epoch"],
        "schedule.batch_size": found["batch_size"],
    }
    shown = {axis: values for axis, values in axes.items() if axis in _ALWAYS_SHOWN or len(values) > 1}
    grid = {
        "objective": "supervised",
        "architectures": models,
        "seeds": [0],
        "schedule": {"preset": presets[0], "epochs": found["epoch"][0], "batch_size": found["batch_size"][0]},
        "metrics": [name for name in named if name],
        "product": shown,
    }
    return ReadGrid(grid, tuple(left_out))


def _require_values(key: str, values: list[Any]) -> None:
    """Refuse values of a key that are no names or counts, or that mean the same."""
    seen: dict[Any, Any] = {}
    for value in values:
        if key in _COUNTS:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"key {key!r} has {value!r}; give whole numbers of at least 1")
        elif not isinstance(value, str) or not value.strip():
            raise UserError(f"key {key!r} has {value!r}, which should be text")
        same = _comparable(key, value)
        if same in seen:
            raise UserError(f"key {key!r} has {value!r} and {seen[same]!r}, which are the same; give one")
        seen[same] = value


def _comparable(key: str, value: Any) -> Any:
    """Return what is equal for values that mean the same."""
    if key == "model":
        return _own_name(value)
    return value.lower() if key == "dataset" else value


def _own_name(model: str) -> str:
    return model.lower().replace("-", "_")


def _why_left_out(key: str) -> str:
    if key in _ELSEWHERE:
        return f"{key}: {_ELSEWHERE[key]}"
    return f"{key}: unknown; {suggest(key, [*DEFAULTS, *_ELSEWHERE])}"


def _known(values: list[str], key: str, find: Any, left_out: list[str]) -> list[Any]:
    """Return what `find` makes of each value; note those that it refuses."""
    found = []
    for value in values:
        try:
            found.append(find(value))
        except UserError as problem:
            left_out.append(f"{key} {value!r}: {problem}")
    if not found:
        raise UserError(f"nothing of the grid can be trained: {left_out[-1]}")
    return found


def _name_of_model(name: str) -> str:
    """Return the architecture of a factory's name; case does not matter, nor do dashes."""
    own = _own_name(name)
    load_definition(own)
    return own


def _preset_of(name: str) -> str:
    if name not in PRESETS:
        raise UserError(f"no such preset of a schedule; {suggest(name, PRESETS)}")
    return name


def _metric_of(name: str) -> str | None:
    if name not in _METRICS:
        raise UserError(f"no such metric; {suggest(name, _METRICS)}")
    return _METRICS[name]
