"""Model sources: right preprocessing, drawn weights that repeat, and clear refusals."""

import pytest
import torch
from pydantic import TypeAdapter

from rep_kedro.features.listing import list_entry_layers
from rep_kedro.models.cost import count_cost
from rep_kedro.models.sources.checkpoint import CheckpointHandle
from rep_kedro.models.sources.loaded import read_layers
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, describe_model, load_model, resolve_preprocessing


def _entry(**content):
    return TypeAdapter(ModelEntry).validate_python({"layers": ["x"], **content})


TIMM = {"source": "timm", "name": "test_resnet", "pretrained": False}
TORCHVISION = {"source": "torchvision", "name": "resnet18", "weights": None}
OPEN_CLIP = {"source": "open_clip", "name": "ViT-S-32", "pretrained": None}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({**TIMM, "name": "resnet18"}, (224, 235, "bicubic", 0.485)),
        ({**TIMM, "name": "resnet18.tv_in1k"}, (224, 256, "bilinear", 0.485)),
        ({**TIMM, "name": "vit_tiny_patch16_224"}, (224, 248, "bicubic", 0.5)),
        (TORCHVISION, (224, 256, "bilinear", 0.485)),
        ({**TORCHVISION, "weights": "IMAGENET1K_V1"}, (224, 256, "bilinear", 0.485)),
        (
            {**OPEN_CLIP, "name": "ViT-B-32-quickgelu", "pretrained": "openai"},
            (224, 224, "bicubic", 0.48145466),
        ),
    ],
)
def test_preprocessing_is_what_the_weights_were_published_with(entry, expected):
    found = resolve_preprocessing(_entry(**entry))
    assert (found.size_px, found.resize_px, found.interpolation, found.mean[0]) == expected


@pytest.mark.parametrize("entry", [TIMM, TORCHVISION])
def test_drawn_weights_repeat_with_their_seed_and_leave_the_global_state_alone(entry):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_model(_entry(**entry, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    weights = [next(iter(module.parameters())) for module in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not first.training


def test_the_image_side_of_a_two_sided_model_is_read_by_tokens():
    model = load_model(_entry(**{**OPEN_CLIP, "layers": ["visual.transformer.resblocks.1", "visual"]}))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    read = read_layers(model, x[:1]).read(x, "cls_and_patch_average")
    assert {name: tuple(features.shape) for name, features in read.items()} == {
        "visual.transformer.resblocks.1": (2, 768),
        "visual": (2, 384),
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**TIMM, "name": "resnet81"}, "unknown timm model 'resnet81'; did you mean 'resnet18'"),
        (
            {**TIMM, "name": "resnet18.best"},
            r"timm has no weights 'resnet18\.best'; known: resnet18\.a1_in1k",
        ),
        (
            {**TORCHVISION, "name": "resnet81"},
            "unknown torchvision model 'resnet81'; did you mean 'resnet18'",
        ),
        (
            {**TORCHVISION, "weights": "BEST"},
            "torchvision has no weights 'BEST' for 'resnet18'; known: IMAGENET1K_V1",
        ),
        ({**OPEN_CLIP, "name": "ViT-B-33"}, "unknown open_clip model 'ViT-B-33'; did you mean 'ViT-B-32'"),
        (
            {**OPEN_CLIP, "name": "ViT-B-32", "pretrained": "opnai"},
            "open_clip has no weights 'opnai' for 'ViT-B-32'",
        ),
    ],
)
def test_unknown_names_and_weights_are_refused_without_loading(entry, message):
    with pytest.raises(ValueError, match=message):
        describe_model(_entry(**entry))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**TIMM, "name": "resnet18", "pretrained": True}, "no weights 'a1_in1k' for timm model 'resnet18'"),
        (
            {**TORCHVISION, "weights": "DEFAULT"},
            "no weights 'IMAGENET1K_V1' for torchvision model 'resnet18'",
        ),
    ],
)
def test_weights_that_cannot_be_had_offline_are_refused_in_one_line(entry, message, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        ValueError, match=f"{message}: HF_HUB_OFFLINE is set .* set pretrained: false"
    ) as caught:
        build_model(_entry(**entry))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.pt", {"fn": print}, "contains more than tensors"),
        ("net.pt", [torch.zeros(1)], "is not a state dict of tensors: it contains a list"),
        ("net.pt", {"conv1.weight": torch.zeros(1)}, "does not fit: it lacks"),
        ("net.bin", {}, "is not a state dict of tensors: it contains nothing"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_without_running_it(name, content, message, tmp_path):
    torch.save(content, tmp_path / name)
    entry = _entry(source="checkpoint", architecture="cnn", path=str(tmp_path / name), n_classes=2)
    with pytest.raises(ValueError, match=message):
        build_model(entry)


def test_a_truncated_checkpoint_is_named_with_what_to_do(tmp_path):
    from safetensors.torch import save

    whole = save({"a": torch.zeros(100)})
    path = tmp_path / "torn.safetensors"
    path.write_bytes(whole[:-9])
    checkpoint = _entry(source="checkpoint", architecture="cnn", path=str(path), n_classes=2)
    shown = (
        rf"{path} is damaged or not a safetensors file \({len(whole) - 9} bytes: .*\); copy or fetch it again"
    )
    with pytest.raises(ValueError, match=f"checkpoint {shown}"):
        build_model(checkpoint)
    with pytest.raises(ValueError, match=f"network 'mine': checkpoint {shown}"):
        CheckpointHandle("mine", checkpoint).tensor("a")
    fed = {"size_px": 32, "resize_px": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}
    with pytest.raises(ValueError, match=f"file of weights {shown}"):
        build_model(_entry(source="weights_file", architecture="timm/test_resnet", path=str(path), **fed))


@pytest.mark.parametrize("source", ["checkpoint", "weights_file"])
@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"std": [float("nan")] * 3}, "finite number"),
        ({"mean": [float("inf")] * 3}, "finite number"),
        ({"std": [0.0] * 3}, "std of the entry must be positive"),
        ({"std": [1.0, 1.0, -1.0]}, "std of the entry must be positive"),
        ({"std": [1.0] * 2}, "needs one value per channel of 'cnn'|Field required"),
    ],
)
def test_a_scaling_that_gives_no_numbers_is_refused(source, scaling, message):
    architecture = "cnn" if source == "checkpoint" else "timm/resnet18"
    with pytest.raises(ValueError, match=message):
        _entry(source=source, architecture=architecture, path="net.pth", **scaling)


@pytest.mark.parametrize("name", ["ViT-S-32", "RN50"])
def test_the_layers_of_a_two_sided_model_are_those_of_its_image_side(name):
    rows = list_entry_layers(_entry(**{**OPEN_CLIP, "name": name, "layers": ["visual"]}))
    assert rows[0].layer == "visual.conv1"
    assert rows[-1].layer == "visual"
    assert {row.layer.partition(".")[0] for row in rows} == {"visual"}
    assert all(row.shape is not None for row in rows[:1] + rows[-1:])


def test_a_missing_checkpoint_is_refused_while_planning():
    with pytest.raises(ValueError, match=r"checkpoint nowhere\.pt does not exist"):
        describe_model(_entry(source="checkpoint", architecture="cnn", path="nowhere.pt"))


def test_moving_a_checkpoint_changes_nothing_and_changing_it_does(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    torch.save({"a": torch.ones(1)}, tmp_path / "c.pt")
    content = {"source": "checkpoint", "architecture": "cnn"}
    a, b, c = (describe_model(_entry(**content, path=str(tmp_path / f"{name}.pt"))) for name in "abc")
    assert a == b != c


def test_operations_are_two_per_multiply_accumulate():
    network = build_model(_entry(**TORCHVISION), with_weights=False)
    cost = count_cost(network, (3, 224, 224))
    assert cost.n_parameters == 11_689_512
    assert cost.n_flops == 2 * 1_814_073_344
