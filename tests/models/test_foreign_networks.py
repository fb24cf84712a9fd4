"""Networks of libraries and of own code as training needs them: drawn from a seed, named, restored."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from rep_kedro.errors import UserError
from rep_kedro.models.architecture_files import load_architecture, load_definition, look_in
from rep_kedro.models.building import build_network
from rep_kedro.models.foreign import read_definition
from rep_kedro.models.foreign_network import list_reached_layers
from rep_kedro.models.trained import (
    definition_of,
    preprocessing_of,
    restore_trained_network,
)

CODE = """
from torch import nn
from neighbour import WIDTH

class Net(nn.Module):
    def __init__(self, num_classes, depth=1):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, x):
        return self.head(self.body(x).mean((-2, -1)))

class Two(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.other = nn.Linear(2, num_classes)

    def forward(self, x):
        return super().forward(x), None

class Map(Net):
    def forward(self, x):
        return self.body(x).mean()
"""
VARIANTS = {
    "timm": {"r": {"name": "test_resnet", "layers": ["layer?"], "size_px": 32}},
    "torchvision": {"t": {"name": "shufflenet_v2_x0_5", "layers": ["stage?"], "size_px": 32}},
}


@pytest.fixture
def folder(tmp_path):
    """A study whose architectures are of a library each, and of own code."""
    place = tmp_path / "local/architectures"
    place.mkdir(parents=True)
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "neighbour.py").write_text("WIDTH = 6\n")
    for family, variants in VARIANTS.items():
        write(place, family, variants)
    own = {"size_px": 16, "layers": ["body"], "file": str(tmp_path / "net.py"), "allow_code": True}
    own_variants = {name.lower(): {"class": name} for name in ("Net", "Two", "Map")}
    write(place, "python", own_variants, own)
    look_in(tmp_path)
    yield tmp_path
    look_in(Path("conf"))


def write(place, family, variants, shared=None):
    content = {"family": family, "shared": shared or {}, "variants": variants}
    (place / f"{family}.yml").write_text(yaml.safe_dump(content))


def stored(network, name):
    """Return a network as a collection gives it."""
    state = {k: v.numpy() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    definition = network.architecture.as_json()
    meta = {"definition": definition, "n_classes": network.n_classes, "architecture": name}
    return SimpleNamespace(meta=meta, names=list(state), tensor=state.__getitem__)


@pytest.mark.parametrize("name", ["r", "t", "net"])
@pytest.mark.usefixtures("folder")
def test_weights_follow_from_the_seed_and_leave_the_global_random_state_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, again, other = (build_network(name, n_classes=5, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["r", "t", "net"])
@pytest.mark.usefixtures("folder")
def test_names_and_modes_are_those_of_the_module(name):
    network = build_network(name, n_classes=5, seed=0)
    plain = network.plain
    assert list(dict(network.named_modules()))[1:] == list(dict(plain.named_modules()))[1:]
    assert list(network.state_dict()) == list(plain.state_dict())
    assert network.training
    assert plain.training
    network.eval()
    assert not any(part.training for part in plain.modules())
    assert network.output_width == 5
    twin = copy.deepcopy(network)
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert next(plain.parameters()).any()
    assert not next(twin.plain.parameters()).any()


@pytest.mark.parametrize(("name", "width"), [("r", None), ("t", 1024), ("net", 6)])
@pytest.mark.usefixtures("folder")
def test_without_classes_a_network_gives_what_its_head_would_read(name, width):
    network = build_network(name, n_classes=None, seed=0).eval()
    side = network.architecture.input.size_px
    output = network(torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
    assert output.shape == (2, network.output_width)
    assert network.output_width == width or width is None


@pytest.mark.parametrize("name", ["r", "t", "net"])
@pytest.mark.usefixtures("folder")
def test_a_step_changes_the_module_and_a_stored_network_is_restored_exactly(name):
    network = build_network(name, n_classes=3, seed=0)
    side = network.architecture.input.size_px
    x = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)
    network(x).square().sum().backward()
    optimiser.step()
    network.eval()
    handle = stored(network, name)
    restored = restore_trained_network(handle)
    assert type(restored).__qualname__ == type(network.plain).__qualname__
    assert restored(x).isfinite().all()
    assert torch.equal(restored(x), network.plain(x))
    assert preprocessing_of(handle).size_px == side


@pytest.mark.usefixtures("folder")
def test_a_definition_survives_json_and_says_nothing_of_places():
    for name in ("r", "t", "net"):
        definition = load_definition(name)
        assert read_definition(definition.model_dump(mode="json", by_alias=True)) == definition
        assert "file" not in definition.as_json()
    assert set(load_definition("net").as_json()["code"]) == {"net", "neighbour"}


@pytest.mark.parametrize("changed", ["net.py", "neighbour.py"])
def test_a_network_of_code_that_changed_is_not_restored(folder, changed):
    handle = stored(build_network("net", n_classes=2, seed=0), "net")
    assert definition_of(handle) == load_definition("net")
    (folder / changed).write_text((folder / changed).read_text() + "\nx = 1\n")
    with pytest.raises(UserError, match="architecture 'net' or its code changed since"):
        restore_trained_network(handle)


def test_code_that_is_not_allowed_is_not_run(folder):
    (folder / "net.py").write_text("raise SystemExit\n")
    place = folder / "local/architectures"
    entry = {"net": {"class": "Net", "file": str(folder / "net.py"), "layers": ["body"]}}
    write(place, "python", entry)
    with pytest.raises(UserError, match=r"variant 'net': training .*:Net runs its Python code"):
        load_definition("net")
    write(place, "python", entry, {"allow_code": True})
    with pytest.raises(UserError, match=r"fails in line 1 of net\.py"):
        build_network("net", n_classes=2, seed=0)


def test_arguments_reach_the_constructor(folder):
    place = folder / "local/architectures"
    entry = {
        "name": "test_resnet",
        "layers": ["layer?"],
        "size_px": 32,
        "channels": 1,
        "mean": [0.5],
        "std": [0.5],
    }
    write(place, "timm", {"deep": {**entry, "arguments": {"stem_type": "deep", "stem_width": 4}}})
    network = build_network("deep", n_classes=2, seed=0)
    assert network.state_dict()["conv1.0.weight"].shape == (4, 1, 3, 3)
    assert "layer1" in list_reached_layers(network.architecture)


@pytest.mark.parametrize(
    ("family", "entry", "shown"),
    [
        ("timm", {"name": "resnet1", "layers": ["a"]}, "unknown timm model 'resnet1'; did you mean"),
        ("torchvision", {"name": "densnet121", "layers": ["a"]}, "did you mean 'densenet121'"),
        ("torchvision", {"name": "mnasnet0_5", "layers": ["stage*"], "size_px": 32}, "stage*"),
        ("torchvision", {"name": "mnasnet0_5", "layers": ["a"], "arguments": {"wide": 2}}, "unexpected"),
        ("torchvision", {"name": "alexnet", "layers": ["features.*"], "size_px": 32}, "in layer 'features."),
        ("torchvision", {"name": "alexnet", "layers": ["a"], "channels": 1}, "take images of 3 channels"),
        ("timm", {"name": "test_resnet"}, "layers: Field required"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_one_line(folder, family, entry, shown):
    write(folder / "local/architectures", family, {"x": entry})
    with pytest.raises(UserError) as caught:
        list_reached_layers(load_definition("x"))
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.usefixtures("folder")
def test_outputs_and_heads_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="Two of python gives tuple, not one row of numbers per image"):
        build_network("two", n_classes=2, seed=0)
    with pytest.raises(UserError, match="Two of python has 2 layers as wide as there are classes"):
        build_network("two", n_classes=None, seed=0)
    with pytest.raises(UserError, match="Map of python gives a tensor of 0 axes"):
        build_network("map", n_classes=2, seed=0)
    with pytest.raises(UserError, match="architecture 'net' is not made of layers as data"):
        load_architecture("net_w2")
