"""Published weights: which bytes they are is part of the recipe, and networks are built as they need."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from rep_kedro.errors import UserError
from rep_kedro.models.outline import require_readable
from rep_kedro.models.sources import published
from rep_kedro.models.sources.published import digest_at_address, digest_file
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, describe_model, load_model

SQUEEZENET = {"source": "torchvision", "name": "squeezenet1_1", "weights": "IMAGENET1K_V1"}
STATED = "b8a52dc0"  # squeezenet1_1-b8a52dc0.pth


def _entry(**content):
    return TypeAdapter(ModelEntry).validate_python({"layers": ["features"], **content})


def _weights(**content):
    return describe_model(_entry(**content))["weights"]


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    """Empty caches of torch, Hugging Face and this project."""
    from huggingface_hub import constants

    monkeypatch.setenv("REP_KEDRO_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "torch/checkpoints").mkdir(parents=True)
    return tmp_path


def test_a_replaced_file_of_torch_changes_the_recipe(folders):
    file = folders / "torch/checkpoints/squeezenet1_1-b8a52dc0.pth"
    assert _weights(**SQUEEZENET) == {"weights": "IMAGENET1K_V1", "sha256": STATED}
    found = []
    for content in (b"one", b"two"):
        file.write_bytes(content)
        found.append(_weights(**SQUEEZENET))
        assert found[-1]["sha256"] == sha256(content).hexdigest()
    assert _weights(**SQUEEZENET | {"weights": None}) == {"weights": None}


def test_a_fetched_file_that_is_what_its_address_states_leaves_the_recipe_as_it_was(tmp_path):
    digest = sha256(b"right").hexdigest()
    for url in (f"https://x/net-{digest[:8]}.pth", f"https://x/{digest}/net.pt"):
        before = digest_at_address(url, tmp_path)
        file = tmp_path / url.rpartition("/")[2]
        file.write_bytes(b"right")
        assert digest_at_address(url, tmp_path) == before == (digest[:8] if "net-" in url else digest)
        file.write_bytes(b"wrong")
        assert digest_at_address(url, tmp_path) == sha256(b"wrong").hexdigest()
    assert digest_at_address("https://x/plain.pth", tmp_path) is None


def _put_on_hub(folders, repository, name, content):
    root = folders / "hub" / f"models--{repository.replace('/', '--')}"
    digest, commit = sha256(content).hexdigest(), sha256(content).hexdigest()[:40]
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "blobs" / digest).write_bytes(content)
    (root / "refs/main").write_text(commit)
    link = root / "snapshots" / commit / name
    link.unlink(missing_ok=True)
    link.symlink_to(f"../../blobs/{digest}")
    return link


@pytest.mark.parametrize(
    ("content", "repository", "name"),
    [
        ({"source": "timm", "name": "resnet18.a1_in1k"}, "timm/resnet18.a1_in1k", "model.safetensors"),
        ({"source": "timm", "name": "resnet18.a1_in1k"}, "timm/resnet18.a1_in1k", "pytorch_model.bin"),
        (
            {"source": "open_clip", "name": "ViT-B-32-quickgelu", "pretrained": "openai"},
            "timm/vit_base_patch32_clip_224.openai",
            "open_clip_model.safetensors",
        ),
    ],
)
def test_a_replaced_file_of_the_hub_changes_the_recipe(content, repository, name, folders):
    assert _weights(**content)["sha256"] is None  # not here, and the hub cannot be asked
    link = _put_on_hub(folders, repository, name, b"one")
    assert _weights(**content)["sha256"] == sha256(b"one").hexdigest()
    _put_on_hub(folders, repository, name, b"two")  # a newer commit
    assert _weights(**content)["sha256"] == sha256(b"two").hexdigest()
    _put_on_hub(folders, repository, name, b"one")
    link.resolve().write_bytes(b"changed in place")
    assert _weights(**content)["sha256"] == sha256(b"changed in place").hexdigest()


def test_the_hub_is_asked_for_the_digest_of_what_is_not_here(monkeypatch):
    digest = sha256(b"far away").hexdigest()
    monkeypatch.setattr(published, "_digest_stated_by_hub", lambda repository, name, revision: digest)
    assert _weights(source="timm", name="resnet18.a1_in1k")["sha256"] == digest


def test_weights_that_nobody_published_are_refused_while_planning():
    with pytest.raises(UserError, match="timm has no published weights for 'samvit_base_patch16_224'; set"):
        _weights(source="timm", name="samvit_base_patch16_224")


def test_a_file_is_read_again_only_if_it_changed(tmp_path, monkeypatch):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"one")
    read = []
    digest = published.file_digest
    monkeypatch.setattr(published, "file_digest", lambda *parts: read.append(1) or digest(*parts))
    monkeypatch.setattr(published, "_SETTLED_NS", -1)
    assert [digest_file(file) for _ in range(3)] == 3 * [sha256(b"one").hexdigest()]
    assert len(read) == 1
    status = file.stat()
    file.write_bytes(b"two")  # of the same size, and of the same time
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_file(file) == sha256(b"two").hexdigest()
    assert len(read) == 2


def test_weights_that_change_between_plan_and_use_are_refused(folders):
    file = folders / "torch/checkpoints/squeezenet1_1-b8a52dc0.pth"
    entry = _entry(**SQUEEZENET)
    plain = build_model(_entry(**SQUEEZENET | {"weights": None}))
    torch.save(plain.state_dict(), file)
    planned = describe_model(entry)["weights"]
    load_model(entry, weights=planned)
    torch.save({name: value + 1 for name, value in plain.state_dict().items()}, file)
    with pytest.raises(UserError, match=r"changed since planning, from .* to .*; run again"):
        load_model(entry, weights=planned)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_file_of_weights_is_read_as_torchvision_reads_its_own(name, folders):
    from torchvision.models import get_model, get_model_weights

    drawn = {"source": "torchvision", "name": name, "layers": ["avgpool"]}
    weights = get_model_weights(name).IMAGENET1K_V1
    file = folders / "torch/checkpoints" / Path(weights.url).name
    state = build_model(_entry(**drawn, weights=None, seed=3)).state_dict()
    torch.save(state, file)
    save_file(state, folders / "file.safetensors")
    x = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = get_model(name, weights=weights).eval()(x)
        own = build_model(_entry(**drawn, weights="IMAGENET1K_V1"))
        given = {"source": "weights_file", "architecture": f"torchvision/{name}", "layers": ["avgpool"]}
        from_file = _entry(**given, path=str(folders / "file.safetensors"))
        other_input = from_file.model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
        assert torch.equal(own(x), right)
        assert torch.equal(build_model(from_file)(x), right)
        scaled = x * torch.tensor([0.229, 0.224, 0.225]).view(-1, 1, 1) * 2 + (
            torch.tensor([0.485, 0.456, 0.406]).view(-1, 1, 1) * 2 - 1
        )  # the same picture at mean and std 0.5, which the network then takes as it is
        torch.testing.assert_close(build_model(other_input)._transform_input(scaled), own._transform_input(x))


def test_networks_are_outlined_at_the_size_of_their_weights():
    entry = _entry(
        source="torchvision",
        name="vit_b_16",
        weights="IMAGENET1K_SWAG_E2E_V1",
        layers=["encoder.ln"],
        pooling="cls",
    )
    assert require_readable(entry, "cls") == {"encoder.ln": 768}  # 384 pixels, not 224
    regnet = _entry(
        source="torchvision", name="regnet_y_400mf", weights=None, layers=["trunk_output", "avgpool"]
    )
    assert require_readable(regnet, "average") == {"trunk_output": 440, "avgpool": 440}


def test_every_pair_of_open_clip_is_used_with_the_activation_of_its_training():
    import open_clip

    pairs = open_clip.list_pretrained()
    refused = []
    for name, tag in pairs:
        entry = _entry(source="open_clip", name=name, pretrained=tag, layers=["visual"])
        wanted = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
        has = open_clip.get_model_config(name).get("quick_gelu", False)
        try:
            describe_model(entry)
        except UserError as error:
            refused.append((name, tag, str(error)))
            assert wanted != has
        else:
            assert wanted == has
    by_pair = {(name, tag): message for name, tag, message in refused}
    assert by_pair["ViT-B-32", "openai"] == (
        "open_clip model 'ViT-B-32' computes with GELU, but its weights 'openai' were trained with QuickGELU:"
        " choose name: ViT-B-32-quickgelu"
    )
    assert {("RN50", "openai"), ("ViT-B-16", "dfn2b"), ("ViT-H-14", "metaclip_fullcc")} <= set(by_pair)
    assert by_pair["roberta-ViT-B-32", "laion2b_s12b_b32k"].endswith("choose another model or tag")
    assert len(refused) < len(pairs) / 2


def test_the_activation_is_that_of_the_weights():
    entry = _entry(source="open_clip", name="ViT-B-32-quickgelu", pretrained=None, layers=["visual"])
    module = build_model(entry)
    assert type(module.visual.transformer.resblocks[0].mlp[1]).__name__ == "QuickGELU"
