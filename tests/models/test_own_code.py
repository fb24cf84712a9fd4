"""Networks that the user's own Python code makes: run only where allowed, known by their content."""

import sys

import pytest
import torch
from kedro.io import DataCatalog
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from rep_kedro.commands.layers import _find
from rep_kedro.errors import UserError
from rep_kedro.features.listing import list_entry_layers
from rep_kedro.models.cost import count_zoo_cost
from rep_kedro.models.outline import require_readable
from rep_kedro.models.sources.loaded import read_layers
from rep_kedro.models.sources.python import explained_forward
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, describe_model, load_model, read_recipe
from rep_kedro.models.study import FeaturesParams

INPUT = {"size_px": 12, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
NET = """
import torch
from torch import nn
from parts import Block

class Net(nn.Module):
    def __init__(self, width=4, gap=0):
        super().__init__()
        self.body = Block(3, width)
        self.head = nn.Linear(width + gap, 5)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))

class Counting(Net):
    def forward(self, x):
        assert x.isfinite().all().item()  # needs numbers
        return super().forward(x)

def fails():
    raise KeyError("no such thing")

def number():
    return 3

def leaves():
    raise SystemExit(0)

class End(BaseException):
    pass

class Leaving(Net):
    def __init__(self, kind="SystemExit", only_many=False):
        super().__init__()
        self.kind, self.only_many = kind, only_many

    def forward(self, x):
        if len(x) > 1 or not self.only_many:
            raise {"SystemExit": SystemExit, "End": End, "GeneratorExit": GeneratorExit}[self.kind](0)
        return super().forward(x)

def ends():
    raise End("all")

class EndsInEval(Net):
    def eval(self):
        raise End("all")

class Complex(Net):
    def __init__(self):
        super().__init__()
        self.wave = Wave()

    def forward(self, x):
        return self.wave(self.body(x)).real

class Wave(nn.Module):
    def forward(self, x):
        return torch.fft.fft2(x)
"""
PARTS = """
from torch import nn

class Block(nn.Sequential):
    def __init__(self, n_in, n_out):
        super().__init__(nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _content(**changes):
    plain = {"source": "python", "file": "net.py", "class": "Net", "preprocessing": INPUT, "layers": ["body"]}
    return {key: value for key, value in {**plain, **changes}.items() if value is not None}


def _entry(**changes):
    return TypeAdapter(ModelEntry).validate_python(_content(**changes))


def test_code_is_refused_unless_the_study_allows_it(folder):
    (folder / "net.py").write_text("raise SystemExit('was run')")
    study = {"models": {"mine": _content()}}
    with pytest.raises(ValidationError, match=r"mine \(net.py:Net\) would run Python code.*allow_code: true"):
        FeaturesParams.model_validate(study)
    assert FeaturesParams.model_validate({**study, "allow_code": True}).entries().keys() == {"mine"}
    unused = {"model_groups": {"own": {"mine": _content()}}}
    assert FeaturesParams.model_validate(unused).entries() == {}


@pytest.mark.parametrize("kind", ["SystemExit", "End", "GeneratorExit"])
def test_a_forward_that_would_end_the_program_fails_its_network_alone(folder, kind):
    entry = _entry(**{"class": "Leaving", "arguments": {"kind": kind}})
    with pytest.raises(UserError, match=rf"fails on one image .*its code ends the program with {kind}: 0"):
        require_readable(entry, "average")
    for act in (list_entry_layers, count_zoo_cost):
        with pytest.raises(RuntimeError, match="its code ends the program"):
            act(entry)
    later = load_model(_entry(**{"class": "Leaving", "arguments": {"kind": kind, "only_many": True}}))
    with pytest.raises(RuntimeError, match="its code ends the program"):
        read_layers(later, torch.zeros(1, 3, 12, 12)).read(torch.zeros(2, 3, 12, 12), "average")


@pytest.mark.parametrize("maker", ["ends", "EndsInEval"])
def test_a_maker_that_would_end_the_program_fails_its_network_alone(folder, maker):
    with pytest.raises(UserError, match=rf"net.py:{maker} fails in line \d+ of net.py: End: all"):
        build_model(_entry(**{"class": maker}))


def test_ctrl_c_is_no_failure_of_a_network(folder):
    (folder / "net.py").write_text("def stop():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        build_model(_entry(**{"class": "stop"}))


def test_complex_features_are_refused_by_the_name_of_their_layer(folder):
    entry = _entry(**{"class": "Complex", "layers": ["wave"]})
    with pytest.raises(UserError, match="layer 'wave' gives complex numbers"):
        require_readable(entry, "flatten")
    x = torch.zeros(1, 3, 12, 12)
    with pytest.raises(UserError, match="layer 'wave' gives complex numbers"):
        read_layers(load_model(entry), x).read(x, None)
    assert require_readable(_entry(**{"class": "Complex"}), "average") == {"body": 4}


def test_a_stored_recipe_never_runs_code(folder):
    with pytest.raises(UserError, match="is code, which is not run from a recipe"):
        read_recipe({**describe_model(_entry()), "layers": ["body"]})


def test_the_network_is_that_of_the_code_with_the_weights_of_the_file(folder):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    state = {f"module.{name}": value + 1 for name, value in build_model(_entry()).state_dict().items()}
    assert torch.equal(before, torch.get_rng_state())
    save_file(state, "weights.safetensors")
    model = load_model(_entry(weights="weights.safetensors", arguments={"width": 4}))
    assert not model.module.training
    assert torch.equal(model.module.head.weight, state["module.head.weight"])
    x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    conv = torch.nn.functional.conv2d(
        x, state["module.body.0.weight"], state["module.body.0.bias"], padding=1
    )
    expected = conv.relu().mean(dim=(2, 3))
    torch.testing.assert_close(read_layers(model, x[:1]).read(x, "average")["body"], expected)


def test_drawn_weights_repeat_with_their_seed(folder):
    first, again, other = (build_model(_entry(seed=seed)).head.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("changed", ["net.py", "parts.py", "weights.safetensors"])
def test_the_recipe_follows_the_content_of_code_and_weights_and_not_their_place(folder, changed, tmp_path):
    save_file(build_model(_entry()).state_dict(), "weights.safetensors")
    before = describe_model(_entry(weights="weights.safetensors"))
    assert set(before["weights"]["code"]) == {"net", "parts"}
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("net.py", "parts.py", "weights.safetensors"):
        (moved / name).write_bytes((folder / name).read_bytes())
    entry = _entry(file=str(moved / "net.py"), weights={"path": str(moved / "weights.safetensors")})
    assert describe_model(entry) == before
    (moved / changed).write_bytes((folder / changed).read_bytes() + b"\n# more\n")
    assert describe_model(entry) != before
    with pytest.raises(UserError, match=r"changed since planning|does not fit|damaged"):
        load_model(entry, weights=before["weights"])


def test_neighbours_of_one_name_do_not_meet_and_a_changed_file_is_run_again(folder):
    other = folder / "other"
    other.mkdir()
    (other / "net.py").write_text(NET)
    (other / "parts.py").write_text(PARTS.replace("nn.ReLU", "nn.Tanh"))
    assert isinstance(build_model(_entry()).body[1], torch.nn.ReLU)
    assert isinstance(build_model(_entry(file="other/net.py")).body[1], torch.nn.Tanh)
    (folder / "parts.py").write_text(PARTS.replace("nn.ReLU", "nn.GELU"))
    assert isinstance(build_model(_entry()).body[1], torch.nn.GELU)
    assert "parts" not in sys.modules
    assert not (folder / "__pycache__").exists()


def test_a_module_that_can_be_imported_is_named_with_its_function(folder, monkeypatch):
    package = folder / "own_nets_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(PARTS)
    (package / "nets.py").write_text(NET.replace("from parts", "from .parts"))
    monkeypatch.syspath_prepend(str(folder))
    entry = _entry(file=None, **{"class": None}, module="own_nets_of_a_test.nets:Net")
    assert set(describe_model(entry)["weights"]["code"]) == {
        "own_nets_of_a_test",
        "own_nets_of_a_test.nets",
        "own_nets_of_a_test.parts",
    }
    assert require_readable(entry, "average") == {"body": 4}


def test_code_that_needs_numbers_is_outlined_listed_and_counted_with_numbers(folder):
    plain, counting = _entry(), _entry(**{"class": "Counting"})
    assert require_readable(counting, "average") == {"body": 4}
    assert count_zoo_cost(counting) == count_zoo_cost(plain)
    assert count_zoo_cost(plain).n_flops == 2 * (144 * 27 * 4 + 4 * 5)
    rows = {entry.maker: [row[:3] for row in list_entry_layers(entry)] for entry in (plain, counting)}
    assert rows["Net"] == rows["Counting"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arguments": {"gap": 2}},
            r"fails on one image in layer 'head', which receives 1 x 4: RuntimeError",
        ),
        ({"layers": ["boddy"]}, "unknown layer 'boddy'; did you mean 'body'"),
        ({"file": "nte.py"}, "Python file nte.py does not exist"),
        ({"class": "Nett"}, "net.py:Nett: there is no 'Nett' in it; did you mean 'Net'"),
        ({"class": "fails"}, "net.py:fails fails in line 21 of net.py: KeyError: 'no such thing'"),
        ({"class": "leaves"}, "net.py:leaves fails in line 27 of net.py: SystemExit: 0"),
        ({"class": "number"}, r"net.py:number returns int, not a torch.nn.Module"),
        ({"arguments": {"depth": 1}}, "TypeError: .*unexpected keyword argument 'depth'"),
        ({"weights": "w.safetensors"}, "file of weights w.safetensors does not exist"),
        ({"file": None, "class": None, "module": "nowhere_at_all:net"}, "No module named 'nowhere_at_all'"),
    ],
)
def test_what_is_wrong_is_found_before_any_work_in_one_line(folder, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        require_readable(_entry(**changes), "average")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("class Net:\n  def (", "in line 2: invalid syntax"),
        ("a = 1\n\nb = '\0'", "in line 3: source code string cannot contain null bytes"),
    ],
)
def test_a_file_that_is_no_python_is_refused_before_it_is_run(folder, code, why):
    (folder / "net.py").write_text(code)
    with pytest.raises(UserError) as caught:
        describe_model(_entry())
    assert str(caught.value) == f"Python file {folder / 'net.py'} is no valid Python {why}"


def test_code_may_remove_its_folder_from_the_path(folder):
    entry = _entry()
    (folder / "net.py").write_text(NET + "\nimport sys\nsys.path.remove(sys.path[0])\n")
    before = list(sys.path)
    assert require_readable(entry, "average") == {"body": 4}
    assert sys.path == before


def test_what_code_raises_while_it_runs_is_one_line_with_its_place(folder):
    (folder / "net.py").write_text(
        NET.replace("        assert x", "        assert len(x) < 2\n        assert x")
    )
    entry = _entry(**{"class": "Counting"})
    network = load_model(entry).module
    line = 1 + NET[: NET.index("assert x")].count("\n")
    message = rf"net.py:Counting fails in line {line} of net.py: AssertionError: "
    with pytest.raises(UserError, match=message) as caught, explained_forward(entry):
        network(torch.zeros(2, 3, 8, 8))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, AssertionError)
    guard = explained_forward(entry)
    guard.__enter__()
    assert not guard.__exit__(ZeroDivisionError, ZeroDivisionError("raised by other code"), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class": None}, "file needs class"),
        ({"file": None}, "set either file or module"),
        ({"module": "a.b:c"}, "set either file or module"),
        ({"file": None, "module": "a.b:c"}, "leave out class"),
        ({"module": "a.b", "file": None, "class": None}, "string should match pattern"),
        ({"preprocessing": {"size_px": 8}}, "(?s)mean.*std"),
        ({"weights": {"url": "https://x.org/w.pt"}}, "needs sha256"),
    ],
)
def test_entries_say_where_the_code_is_once(changes, message):
    with pytest.raises(ValidationError, match=f"(?i){message}"):
        _entry(**changes)


@pytest.mark.parametrize("group_is_there", [True, False])
def test_only_true_allows_code(folder, group_is_there):
    study = {"model_groups": {"own": {"mine": _content()}}} if group_is_there else {}
    for value in ("yes", "true", "on", 1, 1.0, None):
        with pytest.raises(ValidationError, match="allow_code"):
            FeaturesParams.model_validate({**study, "allow_code": value})


def test_the_list_of_layers_runs_no_code_of_a_group_that_the_study_does_not_allow(folder):
    (folder / "net.py").write_text("from pathlib import Path\nPath('was_run').touch()\n" + NET)
    study = {"model_groups": {"own": {"mine": _content()}}}
    with pytest.raises(UserError, match=r"mine \(net.py:Net\) would run Python code.*allow_code: true"):
        _find("mine", FeaturesParams.model_validate(study), DataCatalog())
    assert not (folder / "was_run").exists()
    rows, read = _find("mine", FeaturesParams.model_validate({**study, "allow_code": True}), DataCatalog())
    assert read == ("body",)
    assert {row.layer for row in rows} >= {"body", "head"}


@pytest.mark.parametrize("side", ["size_px", "resize_px"])
def test_an_input_of_senseless_size_is_refused(folder, side):
    with pytest.raises(ValidationError, match=side):
        _entry(preprocessing={**INPUT, "resize_px": 12, side: 10_000_000})
