"""The image encoder of open_clip models."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.hub import fetch_folder, identify_copy, is_on_hub, read_config
from rep_kedro.models.sources.loaded import drawn_from, explained
from rep_kedro.models.sources.published import digest_at_address, digest_on_hub, hub_or_cache
from rep_kedro.models.sources.specs import OpenClipModel

_CONFIG = "open_clip_config.json"
_WEIGHTS = "open_clip_pytorch_model.bin"
_QUICK = "-quickgelu"


def resolve_preprocessing(spec: OpenClipModel) -> Preprocessing:
    """Return the preprocessing of the weights; random weights use the library's default."""
    config = _require_config(spec)
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, get_pretrained_cfg

    if is_on_hub(spec.name):
        weights = config.get("preprocess_cfg", {})
    else:
        weights = (get_pretrained_cfg(spec.name, spec.pretrained) if spec.pretrained else None) or {}
    size = config["vision_cfg"]["image_size"]
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        raise UserError(
            f"open_clip model {spec.name!r} takes images of {size} pixels; only square images are supported"
        )
    size = sides.pop()
    return Preprocessing(
        size_px=size,
        resize_px=size,
        interpolation=weights.get("interpolation", "bicubic"),
        mean=weights.get("mean", OPENAI_DATASET_MEAN),
        std=weights.get("std", OPENAI_DATASET_STD),
    )


def identify_weights(spec: OpenClipModel) -> dict[str, Any]:
    """Return the tag of the weights, or the commit of their repository, and their digest."""
    _require_config(spec)
    if is_on_hub(spec.name):
        folder = fetch_folder(spec.name, _CONFIG, with_weights=False)
        return identify_copy(folder, with_weights=spec.pretrained is not None)
    if spec.pretrained is None:
        return {"tag": None}
    return {"tag": spec.pretrained, "sha256": _digest_of(spec.name, spec.pretrained)}


def _digest_of(name: str, tag: str) -> str | None:
    """Return the digest of the file that open_clip takes: from the hub, or else from an address."""
    import open_clip

    published = open_clip.get_pretrained_cfg(name, tag)
    if published.get("hf_hub"):
        repository, _, file = published["hf_hub"].rpartition("/")
        return digest_on_hub(repository, file or _WEIGHTS)
    return digest_at_address(published["url"], Path.home() / ".cache" / "clip")


def build(spec: OpenClipModel, *, with_weights: bool) -> nn.Module:
    """Return the whole model; its images go through `encode_image`.

    Raises:
        ValueError: If the name or tag is unknown, or the weights are unavailable.
    """
    _require_config(spec)
    import open_clip

    name = spec.name
    if is_on_hub(name):
        wants_weights = with_weights and spec.pretrained is not None
        name = f"local-dir:{fetch_folder(name, _CONFIG, with_weights=wants_weights).path}"
    with drawn_from(spec.seed):
        if spec.pretrained is None or not with_weights:
            device = torch.get_default_device()  # `meta` where only shapes are wanted
            with _silence():  # the library warns that weights are drawn, as they are meant to be
                module: nn.Module = open_clip.create_model(
                    name, pretrained=None, load_weights=False, device=device
                )
            return module.eval()
        with explained(f"open_clip model {spec.name!r}", spec.pretrained), hub_or_cache():
            pretrained = None if is_on_hub(spec.name) else spec.pretrained
            module = open_clip.create_model(name, pretrained=pretrained, require_pretrained=True)
            return module.eval()


@contextmanager
def _silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _require_config(spec: OpenClipModel) -> dict[str, Any]:
    import open_clip

    if is_on_hub(spec.name):
        content = read_config(fetch_folder(spec.name, _CONFIG, with_weights=False), _CONFIG, "model_cfg")
        if spec.pretrained not in (None, "hub"):
            raise UserError(f"pretrained of {spec.name!r} must be hub or null, got {spec.pretrained!r}")
        return {**content["model_cfg"], "preprocess_cfg": content.get("preprocess_cfg", {})}
    config = open_clip.get_model_config(spec.name)
    if config is None:
        hint = suggest(spec.name, open_clip.list_models())
        raise UserError(f"unknown open_clip model {spec.name!r}; {hint}")
    tags = open_clip.list_pretrained_tags_by_model(spec.name)
    if spec.pretrained is not None and spec.pretrained not in tags:
        raise UserError(
            f"open_clip has no weights {spec.pretrained!r} for {spec.name!r};"
            f" known: {', '.join(tags) or 'none'}"
        )
    if spec.pretrained is not None:
        _require_activation(spec.name, spec.pretrained, config)
    return dict(config)


def _require_activation(name: str, tag: str, config: dict[str, Any]) -> None:
    """Refuse weights that were trained with another activation than the named model has.

    open_clip itself loads them and warns; every layer then gives other numbers than in training.
    """
    import open_clip

    own = bool(config.get("quick_gelu", False))
    if bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)) == own:
        return
    kinds = ("QuickGELU", "GELU") if own else ("GELU", "QuickGELU")
    other = name.removesuffix(_QUICK) if own else f"{name}{_QUICK}"
    fits = other != name and tag in open_clip.list_pretrained_tags_by_model(other)
    hint = f"name: {other}" if fits and other in open_clip.list_models() else "another model or tag"
    raise UserError(
        f"open_clip model {name!r} computes with {kinds[0]}, but its weights {tag!r} were trained with"
        f" {kinds[1]}: choose {hint}"
    )
