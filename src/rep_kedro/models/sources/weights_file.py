"""Files of weights that others published, for architectures of timm and torchvision."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources import timm, torchvision
from rep_kedro.models.sources.files import identify_file, read_tensors, require_file
from rep_kedro.models.sources.specs import TimmModel, TorchvisionModel, WeightsFileModel

_SHOWN = 3
_KIND = "file of weights"


def resolve_preprocessing(spec: WeightsFileModel) -> Preprocessing:
    """Return what the entry says."""
    fields = ("size_px", "resize_px", "interpolation", "mean", "std")
    return Preprocessing(**{field: getattr(spec, field) for field in fields})


def identify_weights(spec: WeightsFileModel) -> dict[str, Any]:
    """Return the digest of the file.

    Raises:
        ValueError: If the file is missing.
    """
    return identify_file(spec, _KIND)


def build(spec: WeightsFileModel, *, with_weights: bool) -> nn.Module:
    """Return the network.

    Raises:
        ValueError: If the architecture is unknown, or the file is missing, damaged or of another network.
    """
    module = _build_architecture(spec)
    if not with_weights:
        return module
    state = _adapt(_read_state(spec), module, spec)
    try:
        found = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(
            f"weights {spec.path or spec.url} do not fit: {' '.join(str(error).split())[:300]}"
        ) from error
    missing = _unexplained(found.missing_keys, [*spec.left_out, "*num_batches_tracked"])
    unexpected = _unexplained(found.unexpected_keys, spec.ignored)
    if missing or unexpected:
        raise UserError(
            f"weights {spec.path or spec.url} do not fit {spec.architecture}: {_listed('lacks', missing)}"
            f"{'; ' if missing and unexpected else ''}{_listed('has besides', unexpected)};"
            " see left_out, ignored, prefix, within and rename"
        )
    return module.eval()


def _build_architecture(spec: WeightsFileModel) -> nn.Module:
    if spec.library == "torchvision":
        plain = TorchvisionModel(source="torchvision", name=spec.name, weights=None, layers=spec.layers)
        return torchvision.build(plain, with_weights=False)
    size_px = None if spec.size_px == _own_size(spec) else spec.size_px
    drawn = TimmModel(source="timm", name=spec.name, pretrained=False, size_px=size_px, layers=spec.layers)
    return timm.build(drawn, with_weights=False)


def _own_size(spec: WeightsFileModel) -> int:
    plain = TimmModel(source="timm", name=spec.name, pretrained=False, layers=spec.layers)
    return timm.resolve_preprocessing(plain).size_px


def _read_state(spec: WeightsFileModel) -> dict[str, Tensor]:
    path = require_file(spec, _KIND)
    if path.suffix == ".safetensors":
        return read_tensors(spec, _KIND)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the file makes it raise
        cause = " ".join(str(error).split())[:200]
        raise UserError(
            f"weights {spec.path or spec.url} hold more than tensors, or are damaged: {cause}"
        ) from error
    for part in filter(None, spec.within.split(".")):
        if not isinstance(content, dict) or part not in content:
            known = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
            raise UserError(
                f"weights {spec.path or spec.url} have no part {part!r} of {spec.within!r}; there is {known}"
            )
        content = content[part]
    if not isinstance(content, dict) or not all(isinstance(x, Tensor) for x in content.values()):
        raise UserError(
            f"weights {spec.path or spec.url} are no state dict of tensors; within says where in the file"
            " it is"
        )
    return content


def _adapt(state: dict[str, Tensor], module: nn.Module, spec: WeightsFileModel) -> dict[str, Tensor]:
    """Return the state under the network's own names."""
    named = {}
    for name, tensor in state.items():
        own = name.removeprefix(spec.prefix)
        for pattern, replacement in spec.rename.items():
            own = re.sub(pattern, replacement, own, count=1)
        named[own] = tensor
    if spec.library == "timm":  # timm's own changes to the files of those who published the architecture
        change = getattr(import_module(type(module).__module__), "checkpoint_filter_fn", None)
        return dict(change(named, module)) if change else named
    return named


def _unexplained(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    known = tuple(patterns)
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in known)]


def _listed(verb: str, names: list[str]) -> str:
    if not names:
        return ""
    more = len(names) - _SHOWN
    return f"the file {verb} {', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
