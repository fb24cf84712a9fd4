"""Networks of repositories of Hugging Face, from a local cache laid out as the library lays it out."""

import json
import socket
import time
from hashlib import sha256

import pytest
import torch
from pydantic import TypeAdapter

from rep_kedro.errors import UserError
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.sources import published
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, describe_model, load_model, resolve_preprocessing

COMMITS = {"main": "a" * 40, "older": "b" * 40}
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 4, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1},
}


def _entry(**content):
    return TypeAdapter(ModelEntry).validate_python({"layers": ["x"], **content})


def _timm(**content):
    return _entry(source="timm", name="hf-hub:me/tiny", **content)


def _clip(**content):
    return _entry(**{"source": "open_clip", "name": "hf-hub:me/clip", "pretrained": "hub", **content})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with two repositories; the first has two commits, the second of which is called older."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def _snapshot(cache, repository, revision="main"):
    root = cache / f"models--{repository.replace('/', '--')}"
    folder = root / "snapshots" / COMMITS[revision]
    folder.mkdir(parents=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / revision).write_text(COMMITS[revision])
    return folder


@pytest.fixture
def tiny(cache):
    """A small network of timm in two commits; returns the weights of each."""
    import timm
    from timm.models._hub import save_for_hf

    states = {}
    for seed, revision in enumerate(COMMITS):
        torch.manual_seed(seed)
        model = timm.create_model("test_resnet", pretrained=False, num_classes=7)
        model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.25, 0.5, 0.75), "input_size": (3, 96, 96)}
        save_for_hf(model, _snapshot(cache, "me/tiny", revision), safe_serialization=True)
        states[revision] = model.state_dict()
    return states


@pytest.fixture
def clip(cache):

    import open_clip
    from safetensors.torch import save_file

    folder = _snapshot(cache, "me/clip")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"}
    content = {"model_cfg": OPEN_CLIP, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(3)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model.state_dict()


def test_a_repository_of_timm_is_read_with_its_weights_and_preprocessing(tiny):
    module = build_model(_timm())
    assert all(torch.equal(module.state_dict()[name], value) for name, value in tiny["main"].items())
    assert not module.training
    found = resolve_preprocessing(_timm())
    assert (found.size_px, found.mean) == (96, (0.25, 0.5, 0.75))


def test_another_revision_has_other_weights_and_another_recipe(tiny):
    older = _entry(source="timm", name="hf-hub:me/tiny@older")
    assert torch.equal(build_model(older).conv1[0].weight, tiny["older"]["conv1.0.weight"])
    weights = describe_model(_timm())["weights"]
    assert weights.pop("sha256").keys() == {"model.safetensors"}  # a file that does not bear its digest
    assert weights == {"architecture": "test_resnet", "repository": "me/tiny", "commit": COMMITS["main"]}
    assert describe_model(older)["weights"]["commit"] == COMMITS["older"]


def test_drawn_weights_need_the_configuration_alone(tiny, cache):
    for path in cache.rglob("*.safetensors"):
        path.unlink()
    first, again = (build_model(_timm(pretrained=False, seed=4)) for _ in range(2))
    assert torch.equal(first.conv1[0].weight, again.conv1[0].weight)
    with pytest.raises(
        ValueError, match=r"no weights '\*\.safetensors' for repository 'me/tiny': .*; fetch them once"
    ):
        build_model(_timm())


def test_a_repository_of_open_clip_is_read_with_its_weights_and_preprocessing(clip):
    model = load_model(_clip(layers=["visual"]))
    own = model.module.state_dict()
    assert all(torch.equal(own[name], value) for name, value in clip.items())
    assert (model.preprocessing.size_px, model.preprocessing.std[0]) == (32, 0.25)
    reader = LayerReader(model.module, model.layers, example=torch.zeros(1, 3, 32, 32), run=model.run)
    assert reader.read(torch.zeros(2, 3, 32, 32), "average")["visual"].shape == (2, 16)
    weights = describe_model(_clip())["weights"]
    assert (weights["repository"], weights["commit"]) == ("me/clip", COMMITS["main"])


def test_a_file_in_a_copy_of_a_commit_that_is_not_the_commits_changes_the_recipe(tiny, cache):
    (file,) = cache.glob(f"models--me--tiny/snapshots/{COMMITS['main']}/model.safetensors")
    blob = cache / "models--me--tiny/blobs" / sha256(file.read_bytes()).hexdigest()
    blob.parent.mkdir()
    file.rename(blob)
    assert describe_model(_timm())["weights"].keys() == {"architecture", "repository", "commit"}
    file.symlink_to(blob)  # as Hugging Face keeps it
    assert describe_model(_timm())["weights"].keys() == {"architecture", "repository", "commit"}
    blob.write_bytes(blob.read_bytes()[:-4] + b"\0\0\0\0")
    replaced = describe_model(_timm())["weights"]["sha256"]
    assert replaced == {"model.safetensors": sha256(blob.read_bytes()).hexdigest()}
    assert "sha256" not in describe_model(_timm(pretrained=False))["weights"]


def test_drawn_weights_of_an_open_clip_repository_differ_from_its_own(clip):
    drawn = build_model(_clip(pretrained=None)).state_dict()
    assert not torch.equal(drawn["visual.conv1.weight"], clip["visual.conv1.weight"])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (_entry(source="timm", name="hf-hub:nobody"), r"is not of the form hf-hub:<owner>/<name>"),
        (_entry(source="timm", name="hf-hub:me/gone"), r"no weights 'config\.json' for repository 'me/gone'"),
        (_entry(source="timm", name="hf-hub:me/clip"), r"for repository 'me/clip'"),
        (_clip(pretrained="openai"), r"pretrained of 'hf-hub:me/clip' must be hub or null, got 'openai'"),
        (_clip(name="hf-hub:me/gone"), r"for repository 'me/gone'"),
    ],
)
def test_repositories_that_cannot_be_read_are_refused_in_one_line(clip, entry, message):
    with pytest.raises(ValueError, match=message) as caught:
        describe_model(entry)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (
            {"source": "timm", "name": "resnet18.a1_in1k", "pretrained": True},
            "ConnectionError: http://.* does not",
        ),
        ({"source": "timm", "name": "hf-hub:me/tiny"}, "ConnectionError: http://.* does not answer"),
        (
            {"source": "open_clip", "name": "ViT-B-32-quickgelu", "pretrained": "openai"},
            "Failed to download file",
        ),
    ],
)
def test_a_hub_that_does_not_answer_is_asked_once(entry, why, cache, monkeypatch):
    from huggingface_hub import constants

    waits, closed = [], socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    closed.close()  # refuses connections
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", waits.append)  # what a library waits before it tries again
    published._hub_answers.cache_clear()
    with pytest.raises(UserError, match=f"not in the local cache .*{why}") as shown:
        build_model(_entry(**entry))
    assert "\n" not in str(shown.value)
    assert waits == []
    assert constants.HF_HUB_OFFLINE is False
    published._hub_answers.cache_clear()
