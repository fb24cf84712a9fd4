"""Files of weights for the image side of open_clip's models."""

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from rep_kedro.errors import UserError
from rep_kedro.models.outline import require_readable
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, resolve_preprocessing

LAYER = "visual.transformer.resblocks.0"
OF_IMAGES = {"source": "open_clip", "name": "ViT-S-32", "pretrained": None, "seed": 3, "layers": [LAYER]}


@pytest.fixture(scope="module")
def state():
    return build_model(TypeAdapter(ModelEntry).validate_python(OF_IMAGES)).state_dict()


def _entry(path, **changes):
    content = {"source": "weights_file", "architecture": "open_clip/ViT-S-32", "layers": [LAYER]}
    return TypeAdapter(ModelEntry).validate_python({**content, "path": str(path), **changes})


def test_a_file_of_the_image_side_alone_is_enough(state, tmp_path):
    kept = {name: x for name, x in state.items() if name.startswith("visual.")}
    torch.save({"state_dict": {f"module.{name}": x for name, x in kept.items()}}, tmp_path / "clip.pt")
    entry = _entry(tmp_path / "clip.pt")
    assert require_readable(entry, "cls") == {LAYER: 384}
    found = build_model(entry).state_dict()
    assert all(torch.equal(found[name], x) for name, x in kept.items())


def test_the_input_is_that_of_clip_unless_the_entry_says_otherwise(tmp_path):
    plain = TypeAdapter(ModelEntry).validate_python(OF_IMAGES)
    assert resolve_preprocessing(_entry(tmp_path)) == resolve_preprocessing(plain)
    changed = resolve_preprocessing(_entry(tmp_path, resize_px=256, mean=[0.5] * 3))
    assert (changed.size_px, changed.resize_px, changed.mean) == (224, 256, (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "open_clip/ViT-S-33"},
            "unknown open_clip model 'ViT-S-33'; did you mean 'ViT-S-32",
        ),
        ({"size_px": 256}, "open_clip/ViT-S-32 takes images of 224 pixels; set size_px: 224"),
        ({"n_classes": 10}, "open_clip/ViT-S-32 has no head; leave out n_classes"),
        ({"path": "no.pt"}, "file of weights no.pt does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused(changes, message, tmp_path):
    save_file({"visual.proj": torch.zeros(2)}, tmp_path / "clip.safetensors")
    entry = _entry(**{"path": tmp_path / "clip.safetensors", **changes})
    with pytest.raises(UserError, match=message):
        require_readable(entry, "cls")
