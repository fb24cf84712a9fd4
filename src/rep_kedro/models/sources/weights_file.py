"""Files of weights that others published, for architectures of timm, torchvision and open_clip."""

from importlib import import_module
from typing import Any

from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.files import identify_file
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources import open_clip, timm, torchvision
from rep_kedro.models.sources.fitting import Change, load_file, require_fitting_file
from rep_kedro.models.sources.specs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    OpenClipModel,
    TimmModel,
    WeightsFileModel,
)

_KIND = "file of weights"


def resolve_preprocessing(spec: WeightsFileModel) -> Preprocessing:
    """Return the preprocessing of the entry."""
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
    if with_weights:
        load_file(_needed_of(spec, module), module, _KIND, _changes_of(spec, module))
    return module.eval()


def require_fitting_weights(spec: WeightsFileModel, module: nn.Module) -> None:
    """Refuse a file that does not fit the network, given on the meta device; no number is read."""
    require_fitting_file(_needed_of(spec, module), module, _KIND, _changes_of(spec, module))


def _needed_of(spec: WeightsFileModel, module: nn.Module) -> WeightsFileModel:
    """Return the entry, without need of what images do not go through, as the text side of CLIP."""
    if spec.library != "open_clip":
        return spec
    unneeded = sorted({name.partition(".")[0] for name in module.state_dict()} - {"visual"})
    return spec.model_copy(update={"left_out": (*spec.left_out, *unneeded)})


def _changes_of(spec: WeightsFileModel, module: nn.Module) -> Change | None:
    """Return timm's own changes to the files of those who published the architecture, if it has any."""
    if spec.library != "timm":
        return None
    return getattr(import_module(type(module).__module__), "checkpoint_filter_fn", None)


def _build_architecture(spec: WeightsFileModel) -> nn.Module:
    if spec.library == "torchvision":
        # torchvision's own weights of GoogLeNet and Inception are of networks that scale such an input.
        is_imagenet = (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD)
        return torchvision.draw(
            spec.name, n_classes=spec.n_classes, size_px=spec.size_px, transforms_input=is_imagenet
        )
    if spec.library == "open_clip":
        return _build_clip(spec)
    size_px = None if spec.size_px == _own_size(spec) else spec.size_px
    drawn = TimmModel(
        source="timm",
        name=spec.name,
        pretrained=False,
        size_px=size_px,
        layers=spec.layers,
        n_classes=spec.n_classes,
    )
    return timm.build(drawn, with_weights=False)


def _build_clip(spec: WeightsFileModel) -> nn.Module:
    if spec.n_classes is not None:
        raise UserError(f"{spec.architecture} has no head; leave out n_classes")
    drawn = OpenClipModel(source="open_clip", name=spec.name, pretrained=None, layers=spec.layers)
    own_px = open_clip.resolve_preprocessing(drawn).size_px
    if spec.size_px != own_px:
        raise UserError(f"{spec.architecture} takes images of {own_px} pixels; set size_px: {own_px}")
    return open_clip.build(drawn, with_weights=False)


def _own_size(spec: WeightsFileModel) -> int:
    plain = TimmModel(source="timm", name=spec.name, pretrained=False, layers=spec.layers)
    return timm.resolve_preprocessing(plain).size_px
