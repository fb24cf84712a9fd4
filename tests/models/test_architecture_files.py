"""Architectures of users: found by name, documented, refused in one line where unsound or too large."""

import json
import random
import re
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from tests.models.shipped import LAYERED, SHIPPED
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models import architecture_files, shapes
from rep_kedro.models.architecture import MOST_LAYERS, Layer
from rep_kedro.models.architecture_files import load_architecture, load_definition, look_in
from rep_kedro.models.building import build_network
from rep_kedro.models.families.registry import FAMILIES, find_family
from rep_kedro.models.families.variant import LayeredVariant
from rep_kedro.models.network import LayeredNetwork

DOCUMENT = Path(__file__).parents[2] / "docs/architectures.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
INPUT = {"channels": 1, "size_px": 8, "mean": [0.0], "std": [1.0]}
CONV = {"name": "a", "kind": "conv", "channels": 4, "kernel": 3}

FLATTEN = {"name": "a", "kind": "flatten"}
LAYER = TypeAdapter(Layer)


@pytest.fixture
def folder(tmp_path):
    """The folder of users' architectures of an environment."""
    folder = tmp_path / "local/architectures"
    folder.mkdir(parents=True)
    look_in(tmp_path)
    yield folder
    look_in(Path("conf"))


def write(folder, *layers, name="mine", **changes):
    content = {"description": "test", "input": INPUT, "layers": list(layers), "keep": [layers[-1]["name"]]}
    (folder / f"{name}.yml").write_text(yaml.safe_dump({**content, **changes}))


def refusal(name="mine", n_classes=10):
    """Return why a network cannot be built: one line."""
    with pytest.raises(UserError) as caught, torch.device("meta"):
        build_network(name, n_classes=n_classes, seed=0)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    assert "enforce" not in message
    return message


@pytest.mark.parametrize("suffix", ["yml", "yaml"])
def test_an_architecture_of_an_environment_is_used_by_name(folder, suffix):
    write(folder, CONV)
    (folder / "mine.yml").rename(folder / f"mine.{suffix}")
    assert build_network("mine", n_classes=None, seed=0).shapes == {"a": (4, 6, 6)}
    assert build_network("mine_w3", n_classes=None, seed=0).shapes == {"a": (12, 6, 6)}


def test_a_changed_file_is_read_again(folder):
    write(folder, CONV)
    assert load_architecture("mine").layers[0].channels == 4
    write(folder, {**CONV, "channels": 16})
    assert load_architecture("mine").layers[0].channels == 16


def test_a_name_belongs_to_one_file(folder, tmp_path):
    write(folder, CONV, name="cnn")
    assert "architecture 'cnn' is in architectures/cnn.yml and in " in refusal("cnn")
    (folder / "cnn.yml").unlink()
    (tmp_path / "base/architectures").mkdir(parents=True)
    for place in (folder, tmp_path / "base/architectures"):
        write(place, CONV)
    assert re.search(r"'mine' is in \S+base/architectures/mine.yml and in \S+local/architectures", refusal())


def test_a_path_in_place_of_a_name_is_answered_with_the_name(folder):
    write(folder, CONV)
    assert "did you mean 'mine'" in refusal("conf/local/architectures/mine.yml")


@pytest.mark.parametrize(
    ("layers", "shown"),
    [
        ([{**CONV, "channels": 10**9}], "channels.number: Input should be less than or equal to 1000000"),
        ([{**CONV, "channels": int("9" * 4000)}], "layers.0.conv.channels.number: "),
        ([{**CONV, "channels": 10**6, "padding": 99}], "layer 'a' is too large"),
        ([{**CONV, "channels": 10**6, "kernel": 1, "padding": 10**6}], "layer 'a'"),
        ([CONV, {**CONV, "name": "b", "channels": 10**6, "kernel": 6}, {**CONV, "name": "c"}], "layer 'c'"),
        ([{"name": "a", "kind": "pad", "after": 20_000}], "layer 'a' is too large: output 1x20008x20008"),
        ([FLATTEN, {"name": "b", "kind": "linear", "features": 10**7}], "features"),
        ([{**CONV, "name": "forward"}], "layer name 'forward': 'forward' is reserved in networks"),
        ([{**CONV, "name": "block.train"}], "layer name 'block.train': 'train' is reserved"),
        ([{**CONV, "name": "shapes.a"}], "layer name 'shapes.a': 'shapes' is reserved"),
        ([{**CONV, "name": "_modules"}], "layers.0.conv.name: String should match pattern"),
        ([{**CONV, "name": "input"}], "layer name 'input' occurs twice"),
        ([CONV, {"name": "a.b", "kind": "relu"}], "layer name 'a.b' is nested in the name of layer 'a'"),
        ([{"name": "a.b", "kind": "relu"}, CONV], "layer name 'a.b' is nested in the name of layer 'a'"),
        ([{**CONV, "from": "a"}], "layer 'a' takes its input from 'a', which is not an earlier layer"),
        ([{**CONV, "from": "b"}, {"name": "b", "kind": "relu"}], "'b', which is not an earlier layer"),
        ([{"name": "a", "kind": "bn", "eps": float("nan")}], "eps: Input should be a finite number"),
        ([{"name": "a", "kind": "bn", "eps": float("inf")}], "eps: Input should be a finite number"),
        ([{**CONV, "groups": 3}], "layer 'a' of kind conv cannot take 1x8x8: "),
        ([{"name": "a", "kind": "linear", "features": 8}], "of kind linear cannot take 1x8x8: flatten"),
        ([{"name": "a", "kind": "mean"}, {"name": "b", "kind": "mean"}], "its input must be a map"),
        ([FLATTEN, {**CONV, "name": "b"}], "'b' of kind conv cannot take 64: "),
        ([CONV, {"name": "b", "kind": "subsample", "channels": 2}], "cannot reduce the channels to 2"),
        ([CONV, {"name": "b", "kind": "add", "from": ["a", "input"]}], "4x6x6, 1x8x8: they must be equal"),
        ([CONV, {"name": "b", "kind": "concat", "from": ["a", "input"]}], "concat cannot take 4x6x6, 1x8x8"),
    ],
)  # fmt: skip
def test_unsound_layers_are_refused_in_one_line(folder, layers, shown):
    write(folder, *layers)
    assert shown in refusal()


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"std": [float("nan")]}, "input.std.0: Input should be a finite number"),
        ({"mean": [float("inf")]}, "input.mean.0: Input should be a finite number"),
        ({"std": [0.0]}, "std of the input must be positive"),
        ({"std": [-1.0]}, "std of the input must be positive"),
        ({"std": [1e-300]}, "std of the input must be positive"),
        ({"mean": [1e30]}, "mean of the input must be within 1e+06"),
        ({"size_px": 10**6}, "layer 'a' is too large"),
        ({"size_px": 10**12}, "input.size_px: "),
        ({"channels": 0}, "input.channels: "),
    ],
)
def test_unsound_inputs_are_refused_in_one_line(folder, change, shown):
    write(folder, {**CONV, "padding": 1}, input={**INPUT, **change})
    assert shown in refusal()


def test_a_head_for_too_many_classes_is_refused(folder):
    write(folder, FLATTEN, {"name": "fc", "kind": "linear", "features": "classes"})
    assert "layer 'fc' is too large: output " in refusal(n_classes=10**9)


@pytest.mark.parametrize("factor", ["_w999", "_w1000", "_w" + "9" * 5000])
def test_a_factor_that_widens_too_much_is_refused(folder, factor):
    write(folder, {**CONV, "channels": 1000}, {**CONV, "name": "b", "channels": 1000})
    assert any(shown in refusal(f"mine{factor}") for shown in ("is too large", "unknown architecture"))


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a: [", "is not valid YAML: "),
        ("", "Input should be a valid dictionary or instance of Architecture"),
        ("- 1", "Input should be a valid dictionary"),
        ("layers: 3", "description: Field required; "),
        (BOMB, "its YAML aliases expand to too many values"),
        ("layers: &a [*a]", "its YAML aliases expand to too many values"),
        ("a: " + "[" * 3000 + "]" * 3000, "is not valid YAML: maximum recursion depth"),
        ("channels: " + "9" * 5001, "Exceeds the limit"),
        ("x: " + "y" * 1_000_001, "at most 1000000 are allowed"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML: could not determine a constructor"),
        ("\x00", "is not valid YAML"),
    ],
)
def test_files_that_are_no_architecture_are_refused_in_one_line(folder, text, shown):
    (folder / "mine.yml").write_text(text)
    message = refusal()
    assert message.startswith("architecture ")
    assert shown in message


def test_too_many_layers_are_refused(folder):
    layers = [{"name": f"r{i}", "kind": "relu"} for i in range(MOST_LAYERS + 1)]
    write(folder, *layers)
    assert "at most 5000 items" in refusal()


def test_no_name_that_a_network_uses_itself_can_be_that_of_a_layer(folder):
    taken = {name for name in {*dir(nn.Module()), *dir(LayeredNetwork)} if not name.startswith("_")}
    assert {"forward", "train", "run", "layer"} <= taken
    for name in sorted(taken):
        write(folder, {**CONV, "name": name})
        assert f"{name!r} is reserved in networks" in refusal()


@pytest.mark.parametrize("name", SHIPPED)
def test_shapes_found_without_numbers_are_those_of_the_network(name):
    network = build_network(name, n_classes=7, seed=0).eval()
    side, channels = network.architecture.input.size_px, network.architecture.input.channels
    x = torch.zeros(2, channels, side, side)
    for layer in network.layer_names:
        assert tuple(network.run(x, stop_at=layer).shape) == (2, *network.shapes[layer])


def draw_layers(draws, n):
    """Yield layers of random settings, most of which fit a map of random size, and their inputs."""
    for _ in range(n):
        kind = draws.choice(
            ["conv", "deconv", "pad", "bn", "maxpool", "avgpool", "subsample", "relu", "concat"]
        )
        size = {"kernel": draws.randint(1, 5), "stride": draws.randint(1, 3), "padding": draws.randint(0, 2)}
        settings = {
            "conv": {**size, "dilation": draws.randint(1, 2), "groups": draws.randint(1, 2), "channels": 4},
            "deconv": {**size, "channels": 3, "bias": draws.random() < 0.5},
            "pad": {"before": draws.randint(0, 3), "after": draws.randint(0, 3)},
            "maxpool": {**size, "ceil": draws.random() < 0.5},
            "avgpool": {**size, "ceil": draws.random() < 0.5},
            "subsample": {"channels": 6, "stride": draws.randint(1, 3)},
        }.get(kind, {})
        side = draws.randint(1, 9)
        shape = (draws.randint(1, 4), side, side)
        n_inputs = 2 if kind == "concat" else 1
        yield LAYER.validate_python({"name": "a", "kind": kind, **settings}), (shape,) * n_inputs
    for n_channels in (1, 5):
        for features in ({"kind": "linear", "features": 3}, {"kind": "bn"}, {"kind": "flatten"}):
            yield LAYER.validate_python({"name": "a", **features}), ((n_channels,),)


def test_formulas_of_shapes_and_parameters_agree_with_torch():
    n_fitting = 0
    for layer, inputs in draw_layers(random.Random(0), 300):  # noqa: S311
        found = shapes._shape_by_formula(layer, inputs, None)
        try:
            expected, n_parameters = shapes._run_without_numbers(layer, inputs, None)
        except UserError:
            assert found is None, layer
            continue
        assert found == expected, layer
        assert shapes._count_parameters(layer, inputs[0], found) == n_parameters, layer
        n_fitting += 1
    assert n_fitting > 150


def test_shipped_architectures_need_no_meta_device(monkeypatch):
    monkeypatch.setattr(shapes, "_run_without_numbers", lambda *_: pytest.fail("the meta device was used"))
    for name in LAYERED:
        assert list(shapes.follow_shapes(load_architecture(name), 7))


def test_a_network_on_the_meta_device_holds_no_numbers():
    with torch.device("meta"):
        network = build_network("resnet20_w5", n_classes=10, seed=0)
    assert all(parameter.is_meta for parameter in network.parameters())


def _documented():
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|", DOCUMENT.read_text().partition("## Kinds")[2], re.MULTILINE)
    return {kind: re.findall(r"`(\w+)`(?: ([^,]+?))?(?=,|\s*$)", keys) for kind, keys in rows}


def _defined():
    found = {}
    for model in get_args(get_args(Layer)[0]):
        fields = {k: f for k, f in model.model_fields.items() if k not in {"name", "inputs", "kind"}}
        keys = [(k, "" if f.is_required() else json.dumps(f.default)) for k, f in fields.items()]
        found |= dict.fromkeys(get_args(model.model_fields["kind"].annotation), keys)
    return found


def test_the_documented_kinds_keys_and_defaults_are_those_of_the_code():
    documented = {kind: [(key, value.strip()) for key, value in keys] for kind, keys in _documented().items()}
    assert documented == _defined()


def test_the_documented_limits_are_those_of_the_code():
    text = DOCUMENT.read_text()
    limits = (shapes.LARGEST_OUTPUT, shapes.MOST_PARAMETERS, MOST_LAYERS, architecture_files._LARGEST_FILE)
    assert all(f"{limit:,}" in " ".join(text.split()) for limit in limits)


def test_the_documented_example_is_an_architecture(folder):
    (folder / "mine.yml").write_text(EXAMPLES[-1])
    assert build_network("mine", n_classes=10, seed=0).kept_layers == ("relu1", "relu2")


def test_the_documented_variants_are_architectures(folder):
    (folder / "many.yml").write_text(EXAMPLES[0])
    assert load_architecture("vgg16_d2_64px").input.size_px == 64
    assert load_architecture("vgg16_d2_64px").layers[0].dilation == 2


def test_the_documented_networks_of_libraries_are_defined(folder):
    for number, example in enumerate(EXAMPLES[1:3]):
        (folder / f"{number}.yml").write_text(example.replace("~/networks", str(folder)))
    (folder / "nets.py").write_text("class MyNet: ...\n")
    assert load_definition("vit_tiny_64px").input.size_px == 64
    assert load_definition("my_net").arguments == {"width": 32}


def test_the_documented_families_and_keys_are_those_of_the_code():
    text = DOCUMENT.read_text().partition("## Families")[2].partition("## Networks")[0]
    documented = {
        family: re.findall(r"`(\w+)`", keys)
        for family, keys in re.findall(r"^\| `(\w+)` \| (.*?) \|", text, re.MULTILINE)
    }
    common = set(LayeredVariant.model_fields)
    defined = {
        name: [key for key in kind.model_fields if key not in common]
        for name, kind in ((name, find_family(name)) for name in FAMILIES)
        if issubclass(kind, LayeredVariant)
    }
    assert documented == defined
