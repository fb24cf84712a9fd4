"""Probes of the layer before the head of published networks read as well as the networks' own heads."""

import pytest
import torch
from tests.real.published import (
    load_published,
    needs_published,
    read_cifar10,
    read_pooled,
    takes_minutes,
)

from rep_kedro.kernels.probes.choice import fit_layers
from rep_kedro.kernels.probes.settings import LbfgsFit

TRAINING = ("core/cifar10/train_00000-01999.parquet", "extra/cifar10/train_02000-03999.parquet")
MOST = 0.005  # half a point


@needs_published
@takes_minutes
@pytest.mark.parametrize("name", ["akamaster_resnet20", "tiny10_in0_gn0"])
def test_a_probe_of_the_penultimate_layer_is_within_half_a_point_of_the_network(name):
    model = load_published(name)
    (shown, labels), (test, test_labels) = read_cifar10(*TRAINING), read_cifar10()
    [x], [test_x] = (read_pooled(model, ["mean"], pixels) for pixels in (shown, test))
    fit = {"n_classes": 10, "fit": LbfgsFit(), "held_out_fraction": 0.2, "seed": 0}
    probe = fit_layers({"mean": x}, labels, **fit)["mean"]
    head = [part for part in model.module.modules() if isinstance(part, torch.nn.Linear)][-1]
    reached, own = (
        (predicted == test_labels).double().mean().item()
        for predicted in (probe.predict(test_x), head(test_x).argmax(dim=1))
    )
    assert own == pytest.approx({"akamaster_resnet20": 0.9173, "tiny10_in0_gn0": 0.8650}[name], abs=1e-4)
    assert abs(reached - own) < MOST
