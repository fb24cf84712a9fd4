"""Models of torchvision."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from rep_kedro._torchvision import mend_torchvision
from rep_kedro.errors import UserError
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.loaded import drawn_from, explained
from rep_kedro.models.sources.specs import TorchvisionModel


def resolve_preprocessing(spec: TorchvisionModel) -> Preprocessing:
    """Return the preprocessing of the weights; drawn weights are fed as the default ones would be."""
    transforms = _require_weights(spec, spec.weights or "DEFAULT").transforms()
    return Preprocessing(
        size_px=transforms.crop_size[0],
        resize_px=transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
        mean=transforms.mean,
        std=transforms.std,
    )


def identify_weights(spec: TorchvisionModel) -> dict[str, Any]:
    """Return the weights' own name, since `DEFAULT` changes between releases."""
    return {"weights": spec.weights and _require_weights(spec, spec.weights).name}


def build(spec: TorchvisionModel, *, with_weights: bool) -> nn.Module:
    """Return the network.

    Raises:
        ValueError: If name or weights are unknown, or the weights cannot be had.
    """
    mend_torchvision()
    weights = _require_weights(spec, spec.weights) if spec.weights and with_weights else None
    from torchvision.models import get_model

    extra: dict[str, Any] = (
        {"init_weights": True} if spec.name in {"googlenet", "inception_v3"} and weights is None else {}
    )
    if spec.n_classes is not None:
        extra["num_classes"] = spec.n_classes
    with drawn_from(spec.seed):
        if weights is None:
            module: nn.Module = get_model(spec.name, weights=None, **extra)
            return module.eval()
        with explained(f"torchvision model {spec.name!r}", weights.name):
            _require_local_if_offline(weights.url)
            module = get_model(spec.name, weights=weights)
            return module.eval()


def _require_local_if_offline(url: str) -> None:
    """Refuse to fetch where HF_HUB_OFFLINE forbids it; torchvision itself does not read the variable."""
    import torch
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE and not (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file():
        raise FileNotFoundError(url)


def _require_weights(spec: TorchvisionModel, name: str) -> Any:
    mend_torchvision()
    from torchvision.models import get_model_weights, list_models

    if spec.name not in list_models():
        close = get_close_matches(spec.name, list_models())
        hint = f", did you mean {' or '.join(map(repr, close))}" if close else ""
        raise UserError(f"unknown torchvision model {spec.name!r}{hint}")
    known = get_model_weights(spec.name)
    if name not in known.__members__:
        raise UserError(
            f"torchvision has no weights {name!r} for {spec.name!r}; known: {', '.join(known.__members__)}"
        )
    return known[name]
