"""Vision models of Hugging Face's transformers, from a repository or a local folder in its layout.

The class is the library's own that `config.json` names; code of a repository is never run, and weights are
read from safetensors alone.
"""

import json
from math import isclose
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rep_kedro.errors import MissingFileError, UserError, shorten
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.hub import PREFIX, fetch_folder, identify_copy
from rep_kedro.models.sources.loaded import drawn_from
from rep_kedro.models.sources.published import digest_file
from rep_kedro.models.sources.transformers_config import require_bounded, require_buildable
from rep_kedro.models.sources.transformers_spec import TransformersModel
from rep_kedro.parameter_rules import expand_path

_CONFIG = "config.json"
_INPUT = "preprocessor_config.json"
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # numbers of Pillow
_SHOWN = 3
_SHOWN_CHARS = 200


def resolve_preprocessing(spec: TransformersModel) -> Preprocessing:
    """Return the preprocessing that the folder states, with what the entry says instead.

    Raises:
        UserError: If neither says all of it.
    """
    folder = _folder_of(spec, with_weights=False)
    stated = _stated_input(folder, spec)
    keys = ("size_px", "resize_px", "interpolation", "mean", "std")
    own = {key: getattr(spec, key) for key in keys if getattr(spec, key) is not None}
    if "size_px" in own and "resize_px" not in own:
        own["resize_px"] = own["size_px"]
    found = {**stated, **own}
    if missing := [key for key in keys if key not in found]:
        raise UserError(f"{spec.title} does not state how its input is made; set {', '.join(missing)}")
    return Preprocessing(**found)


def _stated_input(folder: Path, spec: TransformersModel) -> dict[str, Any]:
    """Return what `preprocessor_config.json` says, as far as it is said."""
    config = _read_json(folder / _CONFIG, spec)
    tower = config.get("vision_config") or config
    size = tower.get("image_size") if isinstance(tower, dict) else None
    found: dict[str, Any] = {"size_px": size, "resize_px": size} if isinstance(size, int) else {}
    if not (folder / _INPUT).is_file():
        return found
    content = _read_json(folder / _INPUT, spec)
    resized, cut = _side(content.get("size")), _side(content.get("crop_size"))
    if resized is not None:
        is_cut = content.get("do_center_crop", False) and cut is not None and cut <= resized
        found |= {"size_px": cut if is_cut else resized, "resize_px": resized}
    if content.get("resample") in _RESAMPLING:
        found["interpolation"] = _RESAMPLING[content["resample"]]
    # pixels times a factor, less a mean, divided by a deviation: the project's own factor is 1 / 255
    factor = 255.0 * (content.get("rescale_factor", 1 / 255) if content.get("do_rescale", True) else 1)
    factor = 1.0 if isclose(factor, 1) else factor
    if not content.get("do_normalize", True):
        content |= {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    for key, stated in (("mean", content.get("image_mean")), ("std", content.get("image_std"))):
        if stated is not None:
            found[key] = [value / factor for value in stated]
    return found


def _side(size: Any) -> int | None:
    """Return the side of a square, however it is written."""
    if isinstance(size, dict):
        sides = {size[key] for key in ("shortest_edge", "height", "width") if key in size}
        size = sides.pop() if len(sides) == 1 else None
    return size if isinstance(size, int) else None


def identify_weights(spec: TransformersModel) -> dict[str, Any]:
    """Return the commit of a repository, or the digests of the files of a folder.

    Raises:
        UserError: If there is no such repository or folder.
    """
    if spec.name is not None:
        found = fetch_folder(f"{PREFIX}{spec.name}", _CONFIG, with_weights=False)
        return identify_copy(found, with_weights=spec.pretrained)
    folder = _folder_of(spec, with_weights=spec.pretrained)
    files = [folder / _CONFIG, *(sorted(folder.glob("*.safetensors")) if spec.pretrained else ())]
    return {"files": {file.name: digest_file(file) for file in files}}


def build(spec: TransformersModel, *, with_weights: bool) -> nn.Module:
    """Return the network.

    Raises:
        UserError: If it is not a vision model of the library, or its weights are missing or do not fit.
    """
    reads = with_weights and spec.pretrained
    folder = _folder_of(spec, with_weights=reads)
    library = _library()
    content = _read_json(folder / _CONFIG, spec)
    kind = _class_of(spec, content, library)
    require_buildable(content, spec.title, library.activations.ACT2FN.keys())
    try:
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if getattr(config, "quantization_config", None) is not None:
            raise UserError(f"{spec.title} has quantised weights, which are not supported")
        _require_bounded(kind, config, spec)
        if not reads:
            with drawn_from(spec.seed):
                return _require_images(kind(config), spec).eval()
        network, facts = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (UserError, NotImplementedError):  # the latter is how the meta device refuses
        raise
    except Exception as problem:  # the library raises whatever a damaged file makes it raise
        cause = " ".join(str(problem).split())[:_SHOWN_CHARS]
        raise UserError(f"{spec.title} cannot be loaded: {type(problem).__name__}: {cause}") from problem
    _require_all_weights(facts, spec)
    return _require_images(network, spec).eval()


def _require_bounded(kind: Any, config: Any, spec: TransformersModel) -> None:
    """Refuse a network that is too large for memory, before one is built there."""
    try:
        with torch.device("meta"):
            outline = kind(config)
    except RuntimeError:  # it computes with numbers of its own; its sizes are bounded all the same
        return
    require_bounded(outline, spec.title)


def _class_of(spec: TransformersModel, content: dict[str, Any], library: Any) -> Any:
    """Return the library's class that the configuration names."""
    named = content.get("architectures")
    named = named if isinstance(named, list) and named else [None]
    kind = getattr(library, str(named[0]), None)
    if not (isinstance(kind, type) and issubclass(kind, library.PreTrainedModel)):
        raise UserError(
            f"{spec.title}: {_CONFIG} names the architecture {named[0]!r}, which this version of transformers"
            " does not have; code of a repository is not run"
        )
    return kind


def _require_images(network: nn.Module, spec: TransformersModel) -> nn.Module:
    takes = getattr(network, "main_input_name", "nothing known")
    if takes != "pixel_values" and not hasattr(network, "get_image_features"):
        raise UserError(f"{spec.title} is a {type(network).__name__}, which takes {takes}, not images")
    return network


def _require_all_weights(facts: Any, spec: TransformersModel) -> None:
    """Refuse weights that the library would have drawn in silence."""
    lacking = sorted(map(str, [*facts["missing_keys"], *facts["mismatched_keys"]]))
    if lacking:
        raise UserError(
            f"{spec.title}: its weights lack, or have in another shape, {shorten(lacking, _SHOWN)}"
        )


def _library() -> Any:
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as problem:
        raise UserError(
            "source transformers needs the extra transformers: pip install 'rep_kedro[transformers]'"
        ) from problem
    quiet: Any = logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return transformers


def _folder_of(spec: TransformersModel, *, with_weights: bool) -> Path:
    if spec.name is not None:
        return fetch_folder(f"{PREFIX}{spec.name}", _CONFIG, with_weights=with_weights).path
    folder = expand_path(str(spec.folder), f"folder {spec.folder}")
    if not (folder / _CONFIG).is_file():
        raise MissingFileError(f"folder {spec.folder} has no {_CONFIG} (looked from {Path.cwd()})")
    if with_weights and not any(folder.glob("*.safetensors")):
        raise MissingFileError(
            f"folder {spec.folder} has no *.safetensors; other formats are not read: save the model again, or"
            " set pretrained: false for random weights"
        )
    return folder


def _read_json(file: Path, spec: TransformersModel) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise UserError(f"{spec.title}: {file.name} is no JSON: {problem}") from problem
    if not isinstance(content, dict):
        raise UserError(f"{spec.title}: {file.name} holds {type(content).__name__}, not an object")
    return content
