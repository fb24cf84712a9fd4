"""Image classification sets of torchvision, by class name, from files that are already there.

Nothing is downloaded. Where the class takes a ``loader``, images keep their encoded bytes; otherwise it hands
out pixels, which are stored without loss. One split is open at a time: some classes (CIFAR10, MNIST and the
like) hold all of a split in memory.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.stimuli.base import FileSourceSpec, require_path
from rep_kedro.stimuli.classes import require_one_list
from rep_kedro.stimuli.pixels import flatten_image
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream


class TorchvisionSpec(FileSourceSpec):
    """A data set class of torchvision.

    Attributes:
        name: Name of the class, such as ``CIFAR10``.
        path: The ``root`` that torchvision expects; give each set its own.
        options: Further arguments of the class.
        official_splits: Our name of a split: torchvision's; where not given, train and test as far as they
            exist.
    """

    source: Literal["torchvision"] = "torchvision"
    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    official_splits: dict[str, str] | None = None

    @model_validator(mode="after")
    def _require_path(self) -> "TorchvisionSpec":
        if self.path is None:
            raise UserError("source 'torchvision' needs path, the root folder that torchvision expects")
        if self.splits is not None:
            raise UserError("source 'torchvision' chooses its splits with official_splits, not with splits")
        return self


def read(spec: TorchvisionSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<split>/<position>``.

    Raises:
        FileNotFoundError: If the root is missing.
        DamagedSourceError: If torchvision does not know the set or does not find its files.
    """
    assert spec.path is not None  # noqa: S101  _require_path
    root = require_path(spec.path)
    parts = _parts(spec)
    class_names = spec.class_names or _names_of(_open_part(spec, root, parts[0][1]))
    return StimulusStream(class_names, _stimuli(spec, root, log))


def _stimuli(spec: TorchvisionSpec, root: Path, log: DamageLog) -> Iterator[Stimulus]:
    declared: list[tuple[str, list[str]]] = []
    for split, arguments in _parts(spec):
        part = _open_part(spec, root, arguments)
        if spec.class_names is None:
            declared += [(f"split {split}", names) for names in [_names_of(part)] if names]
            require_one_list(declared)
        yield from _stimuli_of_part(part, split, log)


def _stimuli_of_part(part: Any, split: str, log: DamageLog) -> Iterator[Stimulus]:
    for position in range(len(part)):
        stimulus_id = f"{split}/{position:06d}"
        try:
            image, label = part[position]
            encoded = image if isinstance(image, bytes) else _encode(image)
        except (OSError, SyntaxError, ValueError) as problem:
            log.add(stimulus_id, str(problem))
            continue
        try:
            yield Stimulus(stimulus_id, encoded, int(label), split)
        except (TypeError, ValueError):
            log.add(stimulus_id, f"label {label!r} is not a class")


def _class_of(name: str) -> Any:

    from torchvision import datasets

    if name not in datasets.__all__:
        raise DamagedSourceError(f"torchvision has no data set {name!r}; {suggest(name, datasets.__all__)}")
    return getattr(datasets, name)


def _parts(spec: TorchvisionSpec) -> list[tuple[str, dict[str, Any]]]:
    """Return our name of each split and the arguments that choose it."""
    parameters = inspect.signature(_class_of(spec.name)).parameters
    official = spec.official_splits or {"train": "train", "test": "test"}
    if "train" in parameters:
        return [(split, {"train": name == "train"}) for split, name in official.items()]
    if "split" in parameters and "split" not in spec.options:
        return [(split, {"split": name}) for split, name in official.items()]
    return [(spec.split, {})]


def _open_part(spec: TorchvisionSpec, root: Path, arguments: dict[str, Any]) -> Any:
    made_by = _class_of(spec.name)
    parameters = inspect.signature(made_by).parameters
    never_download = {"download": False} if "download" in parameters else {}
    keep_bytes = {"loader": _read_bytes} if "loader" in parameters else {}
    try:
        return made_by(root, **never_download, **keep_bytes, **spec.options, **arguments)
    except (RuntimeError, FileNotFoundError, ValueError, TypeError) as problem:
        given = ", ".join(f"{key}={value!r}" for key, value in {**spec.options, **arguments}.items())
        raise DamagedSourceError(
            f"torchvision cannot open {spec.name}({given}) in {root}: {problem}"
        ) from problem


def _read_bytes(file: str | Path) -> bytes:
    return Path(file).read_bytes()


def _names_of(part: Any) -> list[str] | None:
    classes = getattr(part, "classes", None)
    if not classes:
        return None
    return [", ".join(name) if isinstance(name, tuple) else str(name) for name in classes]


def _encode(image: Any) -> bytes:
    import numpy as np

    return encode_png(np.asarray(flatten_image(image)))
