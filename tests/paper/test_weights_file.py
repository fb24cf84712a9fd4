"""Files of weights as others publish them: nested, prefixed, renamed, without a head; and misfits."""

import shutil

import pytest
import torch
from pydantic import TypeAdapter

from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, describe_model, resolve_preprocessing


def _entry(path, **content):
    given = {"source": "weights_file", "layers": ["avgpool"], "path": str(path), **content}
    return TypeAdapter(ModelEntry).validate_python(given)


@pytest.fixture(scope="module")
def resnet18():
    plain = TypeAdapter(ModelEntry).validate_python(
        {"source": "torchvision", "name": "resnet18", "weights": None, "seed": 7, "layers": ["avgpool"]}
    )
    return build_model(plain).state_dict()


def _assert_same(module, state):
    own = module.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())


def test_a_nested_file_with_prefix_and_without_head_is_read(resnet18, tmp_path):
    body = {name: tensor for name, tensor in resnet18.items() if not name.startswith("fc.")}
    nested = {f"_feature_blocks.{name}": tensor for name, tensor in body.items()}
    torch.save(
        {"classy_state_dict": {"base_model": {"model": {"trunk": nested}}}, "epoch": 3}, tmp_path / "a.torch"
    )
    entry = _entry(
        tmp_path / "a.torch",
        architecture="torchvision/resnet18",
        within="classy_state_dict.base_model.model.trunk",
        prefix="_feature_blocks.",
        left_out=["fc.*"],
    )
    module = build_model(entry)
    assert not module.training
    _assert_same(module, body)


def test_the_place_of_the_file_is_no_part_of_the_recipe_but_its_content_is(resnet18, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_WEIGHTS", str(tmp_path))
    torch.save(resnet18, tmp_path / "a.pth")
    shutil.copy(tmp_path / "a.pth", tmp_path / "b.pth")
    torch.save({**resnet18, "fc.bias": resnet18["fc.bias"] + 1}, tmp_path / "c.pth")
    a, b, c = (
        describe_model(_entry(f"$MY_WEIGHTS/{name}.pth", architecture="torchvision/resnet18"))
        for name in "abc"
    )
    assert a == b
    assert a["weights"] != c["weights"]
    assert "path" not in a
    assert a["preprocessing"]["resize_px"] == 256


def test_names_of_old_files_are_changed_by_expressions(tmp_path):
    plain = {
        "source": "timm",
        "name": "densenet121",
        "pretrained": False,
        "seed": 3,
        "layers": ["global_pool"],
    }
    state = build_model(TypeAdapter(ModelEntry).validate_python(plain)).state_dict()
    old = {
        "module." + name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor
        for name, tensor in state.items()
    }
    torch.save({"state_dict": old}, tmp_path / "old.pth.tar")
    entry = _entry(
        tmp_path / "old.pth.tar",
        architecture="timm/densenet121",
        within="state_dict",
        prefix="module.",
        rename={r"(denselayer\d+\.\w+)\.(\d+)": r"\1\2"},
    )
    _assert_same(build_model(entry), state)


def test_the_rename_of_the_study_makes_the_names_of_old_dense_networks_new(networks):
    import re

    ((pattern, replacement),) = networks.model_groups["places"]["densenet161_places365"].rename.items()
    for old, new in {
        "features.denseblock1.denselayer2.norm.1.weight": "features.denseblock1.denselayer2.norm1.weight",
        "features.denseblock4.denselayer16.conv.2.weight": "features.denseblock4.denselayer16.conv2.weight",
        "features.norm0.weight": "features.norm0.weight",
    }.items():
        assert re.sub(pattern, replacement, old, count=1) == new


def test_files_of_those_who_published_the_architecture_pass_through_timms_own_changes(tmp_path):
    plain = {"source": "timm", "name": "xcit_nano_12_p16_224", "pretrained": False, "layers": ["norm"]}
    state = build_model(TypeAdapter(ModelEntry).validate_python({**plain, "seed": 5})).state_dict()
    original = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    for i in range(2):  # one matrix for query, key and value, as in the original
        for part in ("weight", "bias"):
            stem = f"cls_attn_blocks.{i}.attn"
            parts = [original.pop(f"{stem}.{kind}.{part}") for kind in "qkv"]
            original[f"{stem}.qkv.{part}"] = torch.cat(parts)
    original = {name.replace("pos_embed.", "pos_embeder."): tensor for name, tensor in original.items()}
    torch.save(original, tmp_path / "xcit.pth")
    entry = _entry(
        tmp_path / "xcit.pth", architecture="timm/xcit_nano_12_p16_224", layers=["norm"], left_out=["head.*"]
    )
    _assert_same(build_model(entry), {n: t for n, t in state.items() if not n.startswith("head.")})


def test_a_dreamsim_file_is_read_under_its_own_names(networks, tmp_path):
    """Its image side is a plain transformer whose norm before the blocks is called otherwise."""
    plain = {"source": "timm", "name": "vit_base_patch32_clip_224", "pretrained": False, "layers": ["norm"]}
    state = build_model(TypeAdapter(ModelEntry).validate_python({**plain, "seed": 5})).state_dict()
    body = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    theirs = {name.replace("norm_pre.", "pos_drop."): tensor for name, tensor in body.items()}
    torch.save({**theirs, "patch_embed.proj.bias": torch.zeros(768)}, tmp_path / "dreamsim.pth")
    entry = networks.model_groups["aligned"]["DreamSim_open_clip_vitb32"]
    module = build_model(entry.model_copy(update={"path": str(tmp_path / "dreamsim.pth")}))
    _assert_same(module, body)


def test_preprocessing_is_what_the_entry_says():
    entry = _entry(
        "x.pth", architecture="timm/resnet18", size_px=288, resize_px=346, mean=[0.5] * 3, std=[0.5] * 3
    )
    found = resolve_preprocessing(entry)
    assert (found.size_px, found.resize_px, found.interpolation) == (288, 346, "bilinear")
    assert found.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        (
            {"a": torch.ones(1)},
            {},
            r"does not fit: it lacks conv1\.weight, bn1\.weight, bn1\.bias and \d+ more",
        ),
        ({"neck.weight": torch.zeros(2)}, {"left_out": ["*"]}, r"it also has neck\.weight; see left_out"),
        (
            {"conv1.weight": torch.zeros(2)},
            {"left_out": ["[!c]*"]},
            r"conv1\.weight is 2, not 64x3x7x7; set n_classes",
        ),
        ({"conv1.weight": torch.zeros(2)}, {"left_out": ["*"]}, "none of its tensors is used"),
        (
            {"model": {"a": torch.ones(1)}},
            {"within": "modle.trunk"},
            r"no part 'modle.trunk' .*; it contains model \(a\)",
        ),
        ({"epoch": 3}, {}, r"is not a state dict of tensors: it contains epoch \(int\)"),
        ({"fn": print}, {}, r"contains more than tensors \(print\)"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path, content, changes, message):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=message) as caught:
        build_model(_entry(tmp_path / "net.pth", architecture="torchvision/resnet18", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["torchvision/resnet18", "timm/test_resnet", "timm/densenet121"])
def test_a_head_of_another_size_is_asked_for_or_left_out(architecture, tmp_path):
    source, _, name = architecture.partition("/")
    drawn = {"source": source, "name": name, "n_classes": 10, "seed": 3, "layers": ["x"]}
    drawn |= {"weights": None} if source == "torchvision" else {"pretrained": False}
    state = build_model(TypeAdapter(ModelEntry).validate_python(drawn)).state_dict()
    torch.save(state, tmp_path / "net.pth")
    head = list(state)[-1].rpartition(".")[0]
    with pytest.raises(
        ValueError, match=rf"{head}\.bias is 10, not \d+; set n_classes: 10, or left_out: \[{head}\]"
    ):
        build_model(_entry(tmp_path / "net.pth", architecture=architecture))
    _assert_same(build_model(_entry(tmp_path / "net.pth", architecture=architecture, n_classes=10)), state)
    body = {key: value for key, value in state.items() if not key.startswith(head)}
    _assert_same(build_model(_entry(tmp_path / "net.pth", architecture=architecture, left_out=[head])), body)


@pytest.mark.parametrize(
    "source", [{"source": "timm", "name": "resnet18"}, {"source": "torchvision", "name": "vgg11"}]
)
def test_published_weights_keep_their_own_head(source):
    with pytest.raises(ValueError, match="n_classes: 10 applies to random weights"):
        TypeAdapter(ModelEntry).validate_python({**source, "layers": ["x"], "n_classes": 10})


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere/net.pth", "does not exist"), ("$UNSET_PLACE/net.pth", "UNSET_PLACE, which is not set")],
)
def test_missing_files_are_named_while_planning(path, message, monkeypatch):
    monkeypatch.delenv("UNSET_PLACE", raising=False)
    with pytest.raises(ValueError, match=message):
        describe_model(_entry(path, architecture="torchvision/resnet18"))
