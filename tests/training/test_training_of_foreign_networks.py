"""A network of timm and one of own code, trained in a process of its own and read by other pipelines."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from tests.small_collections import ARROW, make_stimuli, make_subset, run_plan, store

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.diagnostics.receptive_fields import compute_receptive_fields
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.checks.architectures import find_unsound_architectures
from rep_kedro.errors import UserError
from rep_kedro.features.cards import compute_model_cards
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.architecture_files import load_definition, look_in
from rep_kedro.models.trained import definition_of, preprocessing_of, restore_trained_network
from rep_kedro.pipelines.diagnostics.nodes import plan_spectra
from rep_kedro.pipelines.features.nodes import plan_features
from rep_kedro.pipelines.stitching.nodes import plan_stitches, tabulate_stitches
from rep_kedro.pipelines.training.nodes import plan_networks
from rep_kedro.stimuli.decoding import decode_images
from rep_kedro.training.params import TrainingParams

CODE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, n, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, n)

    def forward(self, x):
        return self.head(self.body(x).mean((-2, -1)))
"""
SCHEDULE = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
N_STIMULI = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    place = folder / "local/architectures"
    place.mkdir(parents=True)
    (folder / "net.py").write_text(CODE)
    own = {"class": "Net", "file": str(folder / "net.py"), "allow_code": True, "layers": ["body.?"]}
    own |= {"size_px": 16, "arguments": {"width": 5}, "classes_argument": "n"}
    timm = {"name": "test_resnet", "layers": ["layer?"], "size_px": 16}
    for family, variants in (("python", {"own": own}), ("timm", {"tiny": timm})):
        (place / f"{family}.yml").write_text(yaml.safe_dump({"family": family, "variants": variants}))
    look_in(folder)
    yield folder
    look_in(Path("conf"))


@pytest.fixture(scope="module")
def sets(folder):
    labels, splits = [i % 2 for i in range(N_STIMULI)], ["train"] * 16 + ["test"] * 8
    pixels = np.random.default_rng(0).integers(0, 100, (N_STIMULI, 16, 16, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[4 + 6 * label : 7 + 6 * label] = 230
    table = make_stimuli(pixels, labels, splits, ["high", "low"])
    subset = make_subset(labels, splits)
    return (
        store(folder / "sets", {"bars": table}, ARROW),
        store(folder / "subsets", {"bars/analysis": subset}, ARROW),
    )


def params():
    grids = [
        {"objective": "supervised", "architectures": ["own", "tiny"], "seeds": [0], "schedule": SCHEDULE},
        {"objective": "vicreg", "architectures": ["own"], "seeds": [0], "schedule": SCHEDULE},
    ]
    return TrainingParams.model_validate({"stimulus_set": "bars", "grids": grids})


@pytest.fixture(scope="module")
def networks(folder, sets):
    return run_plan(folder / "networks", plan_networks(sets[0], params()))


def test_they_learn_and_are_restored_as_they_were(networks, sets):
    assert sorted(networks) == ["own_supervised_s0", "own_vicreg_s0", "tiny_supervised_s0"]
    images = sets[0]["bars"].table(["image"])
    pixels = torch.from_numpy(decode_images(images["image"], size_px=16))
    labels = torch.arange(N_STIMULI) % 2
    for name in ("own_supervised_s0", "tiny_supervised_s0"):
        handle = networks[name]
        history = handle.meta["history"]
        assert history[-1]["loss"] < 1.5
        with torch.no_grad():
            logits = restore_trained_network(handle)(preprocessing_of(handle).scale(pixels))
        right = (logits.argmax(1) == labels)[16:].float().mean().item()
        assert right == pytest.approx(handle.meta["test_accuracy"])
    assert networks["own_vicreg_s0"].meta["n_classes"] is None
    assert "embedding_rankme" in networks["own_vicreg_s0"].meta["history"][-1]


def test_a_recipe_has_the_digest_of_the_code_and_no_place(networks, sets, folder):
    recipe = networks["own_supervised_s0"].recipe
    assert list(recipe["architecture"]["code"]) == ["net"]
    assert str(folder) not in json.dumps(recipe)
    code = folder / "net.py"
    try:
        code.write_text(CODE.replace("stride=2", "stride=1"))
        changed = plan_networks(sets[0], params())
    finally:
        code.write_text(CODE)
    assert changed["own_supervised_s0"].recipe != recipe
    assert changed["tiny_supervised_s0"].recipe == networks["tiny_supervised_s0"].recipe


def test_features_spectra_cards_and_fields_read_them(networks, sets, folder):
    features = FeaturesParams.model_validate({"batch_size": 7})
    stored = run_plan(folder / "features", plan_features(*sets, networks, features))
    assert stored["bars/own_supervised_s0"].meta["layers"] == ["body.0", "body.1", "body.2"]
    assert stored["bars/tiny_supervised_s0"].meta["final_layer"] == "layer4"
    cards = compute_model_cards(networks, stored, features).set_index("model")
    weights = 5 * 27 + 5 + 10 + 12
    assert cards.loc["own_supervised_s0", "n_parameters"] == weights
    diagnostics = DiagnosticsParams.model_validate({"subset": "analysis"})
    fields = compute_receptive_fields(networks, diagnostics, stored)
    own = fields[fields["model"] == "own_supervised_s0"]
    assert dict(zip(own["layer"], own["receptive_field_px"], strict=True))["body.2"] == 3
    spectra = run_plan(folder / "spectra", plan_spectra(*sets, stored, networks, diagnostics))
    assert sorted(spectra) == sorted(stored)


def _plan_stitches(sets, networks, **joint):
    maps = {"ps_inv": {"fit": "least_squares"}, "frank": {"epochs": 2, "batch_size": 8}}
    params = StitchingParams.model_validate({"joints": [joint], "maps": maps, "n_bootstrap": 0})
    return plan_stitches(*sets, networks, FeaturesParams(), params)


def test_they_are_stitched_as_networks_of_this_project_are(networks, sets, folder):
    everyone = {"fronts": "all", "ends": "all", "layers": "same", "include_self": True}
    assert sorted(_plan_stitches(sets, networks, **everyone)) == [
        f"bars/{name}-to-{name}/{fit}"
        for name in ("own_supervised_s0", "tiny_supervised_s0")
        for fit in ("frank", "ps_inv")
    ]
    ours, tiny = ["own_supervised_s0"], ["tiny_supervised_s0"]
    one_way = _plan_stitches(sets, networks, fronts=ours, ends=tiny, layers={"body.2": "layer2"})
    plan = one_way | _plan_stitches(sets, networks, fronts=tiny, ends=ours, layers={"layer1": "body.2"})
    plan |= _plan_stitches(sets, networks, fronts=tiny, ends=tiny, layers="same", include_self=True)
    plan |= _plan_stitches(sets, networks, fronts=ours, ends=ours, layers=["body.?"], control="untrained")
    table = tabulate_stitches(run_plan(folder / "stitches", plan))[0]
    itself = table[(table["control"] == "self") & (table["map"] == "ps_inv")]
    assert itself["end_layer"].tolist() == ["layer1", "layer2", "layer3", "layer4"]
    assert (itself["agreement"] == 1.0).all()
    assert len(table) == 2 * (1 + 1 + 4 + 3)
    for name, ends in table.groupby("end_model"):
        right = networks[name].meta["test_accuracy"]
        assert ends["end_accuracy"].tolist() == pytest.approx([right] * len(ends))
    recipe = plan["bars/own_supervised_s0-to-tiny_supervised_s0/frank"].recipe
    assert recipe["front"] == networks["own_supervised_s0"].reference
    assert recipe["end"] == networks["tiny_supervised_s0"].reference


def test_code_that_cannot_be_followed_is_left_out_or_refused(networks, sets, folder, caplog):
    code = folder / "net.py"
    forked = CODE.replace("return self.head(", "x = x if x.mean() > 0 else -x\n        return self.head(")
    definition = {**networks["own_supervised_s0"].meta["definition"], "code": {"net": _digest_of(forked)}}
    changed = dict(networks, own_supervised_s0=_Changed(networks["own_supervised_s0"], definition))
    named = {"fronts": ["own_supervised_s0"], "ends": ["tiny_supervised_s0"], "layers": {"body.2": "layer2"}}
    why = "torch.fx cannot trace Net: symbolically traced variables cannot be used as inputs to control flow"
    try:
        code.write_text(forked)
        with caplog.at_level("INFO"):
            everyone = _plan_stitches(sets, changed, fronts="all", ends="all", layers="same")
        with pytest.raises(UserError, match=f"'own_supervised_s0' cannot be joined: {why}"):
            _plan_stitches(sets, changed, **named)
    finally:
        code.write_text(CODE)
    assert not everyone
    assert f"not stitched: own_supervised_s0 ({why})" in caplog.text


class _Changed:
    """A network with another definition."""

    def __init__(self, handle, definition):
        self.meta, self.recipe, self.reference = {**handle.meta, "definition": definition}, handle.recipe, {}


def _digest_of(code):
    return hashlib.sha256(code.encode()).hexdigest()


def test_own_code_trained_at_another_size_is_read(folder):
    definition = load_definition("own").resized(12)
    stored = SimpleNamespace(meta={"architecture": "own", "definition": definition.as_json()})
    assert definition_of(stored) == definition


def test_what_cannot_be_built_is_found_before_the_run(folder):
    assert not list(find_unsound_architectures(params()))
    code = folder / "net.py"
    try:
        code.write_text(CODE.replace("self.body(x)", "self.bdy(x)"))
        found = dict(find_unsound_architectures(params()))
    finally:
        code.write_text(CODE)
    assert list(found) == ["own"]
    assert "'Net' object has no attribute 'bdy'" in found["own"]
