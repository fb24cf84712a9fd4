"""Vision models of transformers from folders that the tests write: layers, input, weights, refusals."""

import json

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from rep_kedro.errors import UserError
from rep_kedro.features.listing import list_entry_layers
from rep_kedro.models.cost import count_zoo_cost
from rep_kedro.models.outline import require_readable
from rep_kedro.models.sources.loaded import read_layers
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import (
    build_model,
    describe_model,
    load_model,
    read_recipe,
    resolve_preprocessing,
)

TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
IMAGES = {**TOWER, "image_size": 32, "patch_size": 8}
INPUT = {
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "rescale_factor": 0.00392156862745098,
}


@pytest.fixture(scope="module")
def library():
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return transformers


@pytest.fixture
def vit(library, tmp_path):
    torch.manual_seed(0)
    network = library.ViTModel(library.ViTConfig(**IMAGES))
    network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(INPUT))
    return network.eval()


def _entry(place, **changes):
    content = {"source": "transformers", "folder": str(place), "layers": ["layers.1"], **changes}
    return TypeAdapter(ModelEntry).validate_python(content)


def test_a_folder_gives_the_layers_of_its_network(vit, tmp_path):
    entry = _entry(tmp_path, layers=["layers.?", "layernorm"])
    assert require_readable(entry, "cls") == {"layers.0": 16, "layers.1": 16, "layernorm": 16}
    model = load_model(entry, weights=describe_model(entry)["weights"])
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = vit(x).last_hidden_state
    read = read_layers(model, x[:1])
    torch.testing.assert_close(read.read(x, "cls")["layernorm"], expected[:, 0])
    torch.testing.assert_close(read.read(x, "patch_average")["layernorm"], expected[:, 1:].mean(dim=1))
    assert {"layers.0", "layers.1"} <= {row.layer for row in list_entry_layers(entry)}
    assert count_zoo_cost(entry).n_parameters == sum(p.numel() for p in vit.parameters())


def test_of_a_two_sided_model_the_image_side_is_read(library, tmp_path):
    text = {**TOWER, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2}
    config = library.CLIPConfig(text_config=text, vision_config=IMAGES, projection_dim=8)
    library.CLIPModel(config).save_pretrained(tmp_path)
    layer = "vision_model.encoder.layers.1"
    entry = _entry(tmp_path, layers=[layer], mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic")
    assert require_readable(entry, "cls") == {layer: 16}
    network = build_model(entry)
    assert count_zoo_cost(entry).n_parameters == sum(p.numel() for p in network.vision_model.parameters())


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (INPUT, (32, 32, "bilinear", 0.5, 0.25)),
        ({**INPUT, "size": 36, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}, (32, 36)),
        ({**INPUT, "size": {"shortest_edge": 40}, "crop_size": 32, "resample": 3}, (40, 40, "bicubic")),
        ({**INPUT, "do_normalize": False}, (32, 32, "bilinear", 0.0, 1.0)),
        ({**INPUT, "rescale_factor": 1 / 127.5}, (32, 32, "bilinear", 0.25, 0.125)),
        ({**INPUT, "do_rescale": False}, (32, 32, "bilinear", 0.5 / 255, 0.25 / 255)),
    ],
)
def test_the_input_is_what_the_folder_states(vit, tmp_path, stated, expected):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    found = resolve_preprocessing(_entry(tmp_path))
    facts = (found.size_px, found.resize_px, found.interpolation, found.mean[0], found.std[0])
    assert (
        facts[: len(expected)] == pytest.approx(expected)
        if len(expected) > 3
        else facts[: len(expected)] == expected
    )


def test_the_recipe_follows_the_content_and_not_the_place(vit, tmp_path):
    before = describe_model(_entry(tmp_path))
    assert set(before["weights"]["files"]) == {"config.json", "model.safetensors"}
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (moved / name).write_bytes((tmp_path / name).read_bytes())
    assert describe_model(_entry(moved)) == before
    with torch.no_grad():
        vit.layernorm.bias.add_(1)
    vit.save_pretrained(moved)
    assert describe_model(_entry(moved))["weights"] != before["weights"]
    drawn = describe_model(_entry(moved, pretrained=False))["weights"]["files"]
    assert set(drawn) == {"config.json"}
    with pytest.raises(UserError, match="not found by its recipe"):
        read_recipe({**before, "layers": ["layers.1"]})


def test_drawn_weights_repeat_with_their_seed(vit, tmp_path):
    (tmp_path / "model.safetensors").unlink()
    first, again, other = (
        next(build_model(_entry(tmp_path, pretrained=False, seed=seed)).parameters()) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def _name(name):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "architectures": [name]}))

    return change


def _pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lacking(folder):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if "layer.1.intermediate" not in k}, folder / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is no JSON"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "set interpolation, mean, std"),
        (
            _name("MyOwnModel"),
            "names the architecture 'MyOwnModel', which .* code of a repository is not run",
        ),
        (_name("Trainer"), "names the architecture 'Trainer'"),
        (_pickle, "has no \\*.safetensors; other formats are not read"),
        (_lacking, r"its weights lack, or have in another shape, layers\.1\."),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"1234"), "cannot be loaded"),
    ],
)
def test_folders_that_cannot_be_read_are_refused_in_one_line(vit, tmp_path, change, message):
    change(tmp_path)
    with pytest.raises(UserError, match=message) as refused:
        load_model(_entry(tmp_path))
    assert "\n" not in str(refused.value)


def _say(folder, **said):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **said}))


@pytest.mark.parametrize(
    "said",
    [
        {"_attn_implementation": "evil/kernels"},
        {"attn_implementation": "evil/kernels:run"},
        {"_attn_implementation_internal": "evil/kernels"},
        {"attn_implementation": {"": "sdpa", "vision_config": "evil/kernels"}},
        {"vision_config": {"_attn_implementation": "evil/kernels"}},
        {"per_layer_config": [{"attn_implementation": "kernels-community/flash-attn2"}]},
        {"experts_implementation": "evil/kernels"},
        {"use_kernels": True},
        {"kernel_config": {"Linear": "evil/kernels"}},
    ],
)
def test_code_of_kernels_from_elsewhere_is_refused_before_the_library_reads_its_name(
    vit, library, tmp_path, monkeypatch, said
):
    monkeypatch.setattr(library.AutoConfig, "from_pretrained", lambda *_, **__: pytest.fail("was read"))
    _say(tmp_path, **said)
    for with_weights in (True, False):
        with pytest.raises(UserError, match=r"only eager and sdpa are used; code of a repository is not run"):
            build_model(_entry(tmp_path), with_weights=with_weights)


@pytest.mark.parametrize("kernel", ["eager", "sdpa", None])
def test_kernels_of_torch_are_allowed(vit, tmp_path, kernel):
    _say(tmp_path, attn_implementation=kernel, torch_dtype="float16", eos_token_id=2**40)
    assert require_readable(_entry(tmp_path), "cls") == {"layers.1": 16}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"hidden_size": 10**9}, "hidden_size: 1000000000; at most 2,097,152 is built"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers: 1000000; at most 2,000 layers"),
        ({"depths": [1500, 1500]}, "depths: 1500; at most 2,000 layers"),
        ({"num_channels": -(10**9)}, "num_channels: -1000000000; at most"),
        ({"hidden_size": 2**21, "intermediate_size": 2**21}, "parameters; at most 10,000,000,000 are built"),
        (
            {"hidden_act": "gelo"},
            "hidden_act: gelo; transformers has no such activation; did you mean 'gelu'",
        ),
        ({"dtype": "nope"}, "dtype: nope; it is no type of weights; known: bfloat16"),
    ],
)
def test_what_the_library_cannot_build_is_refused_before_it_tries(vit, tmp_path, said, message):
    _say(tmp_path, **said)
    for act in (load_model, lambda entry: require_readable(entry, "cls")):
        with pytest.raises(UserError, match=message) as refused:
            act(_entry(tmp_path))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("said", [{"architectures": 5}, {"vision_config": 3}])
def test_a_configuration_of_another_form_is_refused_in_one_line(vit, tmp_path, said):
    _say(tmp_path, **said)
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(UserError, match=r"names the architecture None|holds list, not an object"):
        load_model(_entry(tmp_path))


def test_models_of_text_are_refused(library, tmp_path):
    library.BertModel(library.BertConfig(**TOWER)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a BertModel, which takes input_ids, not images"):
        build_model(_entry(tmp_path))


@pytest.mark.parametrize("place", [{"folder": None}, {"name": "a/b"}, {"folder": None, "name": "vit"}])
def test_the_place_is_named_once(place):
    with pytest.raises(ValidationError, match=r"set either name|should match pattern"):
        _entry("somewhere", **place)
