"""Models of torchvision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from rep_kedro.errors import UserError, require_known
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.loaded import drawn_from, explained
from rep_kedro.models.sources.published import checkpoint_folder, digest_at_address
from rep_kedro.models.sources.specs import TorchvisionModel

_INCEPTIONS = frozenset({"googlenet", "inception_v3"})


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
    """Return the weights' own name, since `DEFAULT` changes between releases, and their digest."""
    if spec.weights is None:
        return {"weights": None}
    weights = _require_weights(spec, spec.weights)
    return {"weights": weights.name, "sha256": digest_at_address(weights.url, checkpoint_folder())}


def build(spec: TorchvisionModel, *, with_weights: bool) -> nn.Module:
    """Return the network.

    Raises:
        ValueError: If name or weights are unknown, or the weights are unavailable.
    """
    weights = _require_weights(spec, spec.weights) if spec.weights else None
    if weights is None:
        return draw(spec.name, seed=spec.seed, n_classes=spec.n_classes)
    if not with_weights:
        side = weights.meta["min_size"][0]
        return draw(spec.name, seed=spec.seed, size_px=side, transforms_input=True, has_side_heads=False)
    from torchvision.models import get_model

    with explained(f"torchvision model {spec.name!r}", weights.name):
        _require_local_if_offline(weights.url)
        module: nn.Module = get_model(spec.name, weights=weights)
        return module.eval()


def draw(
    name: str,
    *,
    seed: int = 0,
    n_classes: int | None = None,
    size_px: int | None = None,
    transforms_input: bool = False,
    has_side_heads: bool = True,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a network with drawn weights, built as torchvision builds it for published ones where asked.

    Args:
        name: Of the architecture.
        seed: Of the weights.
        n_classes: Width of the head, if it is not to be torchvision's own.
        size_px: Side of the input; matters to networks that are built for one.
        transforms_input: Whether GoogLeNet and Inception scale an input of ImageNet's mean and deviation to
            what they were trained with elsewhere, as torchvision has them do with its own weights.
        has_side_heads: Whether GoogLeNet keeps the heads that only training calls.
        arguments: Further ones of the constructor, which go before all others.

    Raises:
        ValueError: If the name is unknown.
    """
    _require_name(name)
    from torchvision.models import get_model

    own: dict[str, Any] = {} if n_classes is None else {"num_classes": n_classes}
    if name in _INCEPTIONS:
        own |= {"init_weights": True, "transform_input": transforms_input}
    if name == "googlenet" and not has_side_heads:
        own |= without_side_heads(name)
    if size_px is not None and name.startswith("vit_"):
        own["image_size"] = size_px
    if size_px is not None and name.startswith("maxvit_"):
        own["input_size"] = (size_px, size_px)
    with drawn_from(seed):
        module: nn.Module = get_model(name, weights=None, **{**own, **(arguments or {})})
        return module.eval()


def without_side_heads(name: str) -> dict[str, Any]:
    """Return the arguments by which a network has none of the heads that only training calls."""
    return {"aux_logits": False} if name in _INCEPTIONS else {}


def _require_local_if_offline(url: str) -> None:
    """Refuse to fetch where HF_HUB_OFFLINE forbids it; torchvision itself does not read the variable."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE and not (checkpoint_folder() / Path(url).name).is_file():
        raise FileNotFoundError(url)


def _require_name(name: str) -> None:
    from torchvision.models import list_models

    require_known("torchvision model", name, list_models())


def _require_weights(spec: TorchvisionModel, name: str) -> Any:
    _require_name(spec.name)
    from torchvision.models import get_model_weights

    known = get_model_weights(spec.name)
    if name not in known.__members__:
        raise UserError(
            f"torchvision has no weights {name!r} for {spec.name!r}; known: {', '.join(known.__members__)}"
        )
    return known[name]
