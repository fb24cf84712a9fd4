"""The registry of objectives: each is whole, configurable, and answers mistakes."""

import pytest
import torch
from pydantic import ValidationError

from rep_kedro.errors import UserError
from rep_kedro.models.building import build_network
from rep_kedro.models.projector import Projector
from rep_kedro.training.objectives.registry import OBJECTIVES, make_objective
from rep_kedro.training.objectives.views import Views


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_says_what_it_is_and_survives_json(name):
    objective = make_objective(name, {})
    assert objective.id == name
    assert objective.source
    content = objective.as_json()
    assert content.pop("id") == name
    assert make_objective(name, content) == objective


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if OBJECTIVES[name].trains])
def test_every_loss_reaches_every_parameter_and_repeats(name):
    def compute():
        network = build_network("cnn", n_classes=4 if objective.has_head else None, seed=0)
        projector = objective.build_projector(network, torch.Generator().manual_seed(0))
        images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        losses = objective.compute_losses(
            network, projector, images, torch.arange(8) % 4, torch.Generator().manual_seed(2)
        )
        losses["loss"].backward()
        trained = [p for p in [*network.parameters(), *projector.parameters()] if p.requires_grad]
        return losses, [p.grad for p in trained]

    objective = make_objective(name, {"frozen_fraction": 0} if name == "dino" else {})
    (losses, gradients), (again, _) = compute(), compute()
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert {k: v.item() for k, v in losses.items()} == {k: v.item() for k, v in again.items()}


def test_the_control_has_no_loss():
    with pytest.raises(TypeError, match="objective 'untrained' has no loss"):
        make_objective("untrained", {}).compute_losses(None, None, None, None, None)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ValueError, match="unknown objective 'simclear'; did you mean 'simclr'"):
        make_objective("simclear", {})
    with pytest.raises(ValidationError, match="temprature"):
        make_objective("simclr", {"temprature": 0.1})
    with pytest.raises(ValidationError, match="greater than 0"):
        make_objective("simclr", {"temperature": 0})


def test_an_empty_projector_is_refused():
    with pytest.raises(ValueError, match="projector_widths is empty; give the width of at least one layer"):
        make_objective("simclr", {"projector_widths": []})


@pytest.mark.parametrize(("batch_norm", "bias"), [(True, False), (False, True)])
def test_a_projector_has_batch_norm_and_biases_as_asked(batch_norm, bias):
    options = {"projector_widths": [5, 3], "projector_batch_norm": batch_norm, "projector_bias": bias}
    network = build_network("cnn", n_classes=None, seed=0)
    objective = make_objective("vicreg", options)
    projector = objective.stored_projector(objective.build_projector(network, torch.Generator()))
    kinds = [type(part).__name__ for part in projector]
    assert kinds == (
        ["Linear", "BatchNorm1d", "ReLU", "Linear"] if batch_norm else ["Linear", "ReLU", "Linear"]
    )
    assert [part.bias is not None for part in projector if kinds and hasattr(part, "in_features")] == [
        bias
    ] * 2


def test_the_second_view_has_settings_of_its_own():
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"views": {"flip_probability": 0.0}, "second_view": {"solarise_probability": 1.0}}
    views = make_objective("simclr", options).draw_views(images, torch.Generator().manual_seed(0))
    assert torch.equal(views[:6], images)
    assert not torch.equal(views[6:], images)
    with pytest.raises(ValidationError, match="solarize"):
        make_objective("simclr", {"second_view": {"solarize": 1.0}})


def test_views_that_change_nothing_return_the_images():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert Views().draw(images, torch.Generator().manual_seed(0)) is images


_NEEDS = {
    "jitter_probability": {"brightness": 0.9},
    "colour_order": {"brightness": 0.9, "contrast": 0.9},
    "blur_sigma_px": {"blur_probability": 1.0},
    "blur_window": {"blur_probability": 1.0},
}
_VALUES = {
    "crop_area": (0.3, 0.5),
    "zoom": (1.5, 2.0),
    "hue": 0.4,
    "jitter_probability": 0.1,
    "colour_order": "random",
    "blur_sigma_px": (1.0, 1.5),
    "blur_window": 0.9,
    "padding_px": 3,
}


@pytest.mark.parametrize("name", Views.model_fields)
def test_every_setting_of_the_views_does_something(name):
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    others = _NEEDS.get(name, {})
    without = Views(**others).draw(images, torch.Generator().manual_seed(0))
    changed = Views(**{**others, name: _VALUES.get(name, 0.9)}).draw(images, torch.Generator().manual_seed(0))
    assert not torch.equal(changed, without)


@pytest.mark.parametrize(
    ("name", "pair", "message"),
    [
        ("blur_sigma_px", (0.0, 1.0), r"must be a positive ascending pair, got \[0.0, 1.0\]"),
        ("zoom", (2.0, 1.0), r"must be a positive ascending pair, got \[2.0, 1.0\]"),
        (
            "crop_area",
            (0.5, 1.4),
            r"must be an ascending pair above 0 and up to 1, got \[0.5, 1.4\]",
        ),
    ],
)
def test_ranges_that_do_not_ascend_within_their_limits_are_refused(name, pair, message):
    with pytest.raises(ValueError, match=f"{name} {message}"):
        Views(**{name: pair})


def test_settings_that_change_nothing_are_no_part_of_a_recipe():
    assert not {"padding_px", "lighting_std"} & set(make_objective("supervised", {}).as_json()["views"])
    views = {"padding_px": 4, "lighting_std": 0.1}
    found = make_objective("supervised", {"views": views}).as_json()["views"]
    assert {name: found[name] for name in views} == views


def test_lighting_of_grey_images_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"views\.lighting_std is for colour images; these have 1 channels"):
        Views(lighting_std=0.1).draw(torch.zeros(2, 1, 8, 8), torch.Generator())


def test_a_decoder_or_projector_of_one_huge_layer_is_refused_before_it_is_made():
    with pytest.raises(UserError, match=r"widths 40000, 16384 has 655,360,000 weights in one layer, at most"):
        Projector(40_000, (16_384,), torch.Generator())


def test_a_wrong_setting_of_the_second_view_names_its_option():
    for changes, message in (
        ({"crop_area": [0.9, 0.1]}, r"second_view: crop_area must be an ascending pair above 0 and up to 1"),
        ({"crop_area": "big"}, r"second_view: crop_area should be a valid tuple, got 'big'"),
        ({"crop_area": [0.1, "x"]}, r"second_view: crop_area.1 should be a valid number"),
        ({"blur_probabilty": 1}, r"second_view: unknown setting 'blur_probabilty'; did you mean 'blur_prob"),
    ):
        with pytest.raises(ValidationError, match=message):
            make_objective("simclr", {"second_view": changes})
