"""Models of timm."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.hub import fetch_folder, identify_copy, is_on_hub, read_config
from rep_kedro.models.sources.loaded import drawn_from, explained
from rep_kedro.models.sources.published import (
    checkpoint_folder,
    digest_at_address,
    digest_on_hub,
    hub_or_cache,
)
from rep_kedro.models.sources.specs import TimmModel

_CONFIG = "config.json"
_WEIGHTS = "pytorch_model.bin"


def resolve_preprocessing(spec: TimmModel) -> Preprocessing:
    """Return the preprocessing that the weights were published with."""
    config = _require_config(spec)
    _, height, width = config["input_size"]
    if spec.size_px is None and height != width:
        raise UserError(
            f"timm model {spec.name!r} takes images of {width} x {height} pixels; set size_px for a square"
        )
    size = spec.size_px or width
    # As in timm: the shorter side is resized to size / crop_pct, rounded down.
    return Preprocessing(
        size_px=size,
        resize_px=spec.resize_px or math.floor(size / config["crop_pct"]),
        interpolation=spec.interpolation or config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )


def identify_weights(spec: TimmModel) -> dict[str, Any]:
    """Return architecture, tag and digest of the weights, so that a bare name stays what it was.

    Raises:
        ValueError: If name or tag are unknown, or nobody published weights of the network.
    """
    if is_on_hub(spec.name):
        folder = fetch_folder(spec.name, _CONFIG, with_weights=False)
        architecture = read_config(folder, _CONFIG, "architecture")["architecture"]
        return {"architecture": architecture, **identify_copy(folder, with_weights=spec.pretrained)}
    config = _require_config(spec)
    named = {
        "architecture": config.get("architecture"),
        "tag": config.get("tag") if spec.pretrained else None,
    }
    return {**named, "sha256": _digest_of(spec, config)} if spec.pretrained else named


def _digest_of(spec: TimmModel, config: dict[str, Any]) -> str | None:
    """Return the digest of the file that timm takes: from the hub, or else from an address."""
    if config.get("hf_hub_id"):
        return digest_on_hub(config["hf_hub_id"], config.get("hf_hub_filename") or _WEIGHTS)
    if config.get("url"):
        return digest_at_address(config["url"], checkpoint_folder())
    raise UserError(f"timm has no published weights for {spec.name!r}; set pretrained: false for random ones")


def build(spec: TimmModel, *, with_weights: bool) -> nn.Module:
    """Return the network.

    Raises:
        ValueError: If the name is unknown or the weights are unavailable.
    """
    _require_config(spec)
    import timm

    size = {} if spec.size_px is None else {"img_size": spec.size_px}
    if is_on_hub(spec.name):
        return _build_from_hub(spec, size, with_weights=spec.pretrained and with_weights)
    with drawn_from(spec.seed):
        if not (spec.pretrained and with_weights):
            return timm.create_model(spec.name, pretrained=False, **_accepted(spec, size)).eval()
        with explained(f"timm model {spec.name!r}", identify_weights(spec)["tag"]), hub_or_cache():
            return timm.create_model(spec.name, pretrained=True, **_accepted(spec, size)).eval()


def draw(
    name: str,
    *,
    seed: int,
    n_classes: int,
    n_channels: int,
    size_px: int,
    arguments: Mapping[str, Any],
) -> nn.Module:
    """Return a network with drawn weights.

    Args:
        name: Of the architecture.
        seed: Of the weights.
        n_classes: Width of the head.
        n_channels: Of the images.
        size_px: Side of the images; matters to networks that are built for one.
        arguments: Further ones of the constructor, which go before all others.

    Raises:
        ValueError: If the name is unknown.
    """
    spec = TimmModel(source="timm", name=name, pretrained=False, layers=("*",))
    size = {"img_size": size_px} if _require_config(spec)["fixed_input_size"] else {}
    own = {"num_classes": n_classes, "in_chans": n_channels, **size}
    import timm

    with drawn_from(seed):
        module: nn.Module = timm.create_model(name, pretrained=False, **{**own, **arguments})
        return module.eval()


def _build_from_hub(spec: TimmModel, size: dict[str, Any], *, with_weights: bool) -> nn.Module:
    import timm

    folder = fetch_folder(spec.name, _CONFIG, with_weights=with_weights)
    with drawn_from(spec.seed):
        module: nn.Module = timm.create_model(
            f"local-dir:{folder.path}", pretrained=with_weights, **_accepted(spec, size)
        )
        return module.eval()


def _accepted(spec: TimmModel, size: dict[str, Any]) -> dict[str, Any]:
    """Return the size only for models that are built for one; convolutions take any."""
    head = {} if spec.n_classes is None else {"num_classes": spec.n_classes}
    return {**head, **(size if _require_config(spec)["fixed_input_size"] else {})}


def _require_config(spec: TimmModel) -> dict[str, Any]:
    import timm
    from timm.models import get_pretrained_cfg

    if is_on_hub(spec.name):
        from timm.models import PretrainedCfg

        folder = fetch_folder(spec.name, _CONFIG, with_weights=False)
        content = read_config(folder, _CONFIG, "architecture")
        given = content.get("pretrained_cfg", content)
        known = {key: given[key] for key in PretrainedCfg.__dataclass_fields__ if key in given}
        resolved: Any = PretrainedCfg(**known)
        return dict(resolved.to_dict())
    base, _, tag = spec.name.partition(".")
    if not timm.is_model(base):
        raise UserError(f"unknown timm model {spec.name!r}; {suggest(base, timm.list_models())}")
    tags = timm.list_pretrained(f"{base}.*")
    if tag and spec.name not in tags:
        raise UserError(f"timm has no weights {spec.name!r}; known: {', '.join(tags) or 'none'}")
    config: Any = get_pretrained_cfg(spec.name)
    return dict(config.to_dict())
