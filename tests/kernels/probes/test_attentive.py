"""Attentive probes against a naive loop: logits, gradients, training, and what must not change them."""

from dataclasses import replace
from statistics import fmean, pstdev

import pytest
import torch
from tests.reference import probes as reference

from rep_kedro.kernels.probes import attentive
from rep_kedro.kernels.probes.adamw import AdamWSettings
from rep_kedro.kernels.probes.attentive import (
    AttentiveWeights,
    compute_logits,
    fit_probes_attentive,
    fit_token_standardisation,
    standardise,
)
from rep_kedro.kernels.probes.choice import fit_layers
from rep_kedro.kernels.probes.descent import sum_losses
from rep_kedro.kernels.probes.settings import AttentiveFit, RidgeFit
from rep_kedro.kernels.probes.solvers import Problem, solve

N_CLASSES, N_HEADS, D = 3, 2, 4


def _draw(n=12, n_tokens=5, d=D, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_tokens, d, generator=generator).double(), torch.arange(n) % N_CLASSES


def _draw_weights(n_settings=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return AttentiveWeights(
        torch.randn(n_settings, N_HEADS, D, generator=generator).double(),
        torch.randn(n_settings, N_HEADS * D + 1, N_CLASSES, generator=generator).double(),
    )


def _draw_bags(n=120, n_tokens=9, seed=0):
    """Draw tokens of which one, at a random place, has the class; the others have a class of their own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    patterns = torch.eye(8)[:N_CLASSES]
    shown = torch.randint(N_CLASSES, (n, n_tokens), generator=generator)
    x = 2.0 * patterns[shown] + 0.3 * torch.randn(n, n_tokens, 8, generator=generator)
    places = torch.randint(n_tokens, (n,), generator=generator)
    x[torch.arange(n), places] = 2.0 * patterns[labels] + 0.3 * torch.randn(n, 8, generator=generator)
    x[torch.arange(n), places, 7] += 4.0  # marks the token that counts
    return x, labels


def test_logits_are_those_of_the_loop_for_each_setting():
    x, _ = _draw(n=4)
    weights = _draw_weights()
    for k, logits in enumerate(compute_logits(weights, x)):
        expected = reference.attentive_logits(weights.queries[k], weights.output[k], x)
        torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)


def test_a_hand_made_case():
    x = torch.tensor([[[0.0], [1.0]]], dtype=torch.float64)
    weights = AttentiveWeights(
        torch.tensor([[[3.0]]]).double().log(), torch.tensor([[[4.0, 0.0], [0.5, 1.0]]]).double()
    )
    assert compute_logits(weights, x)[0].tolist() == [[pytest.approx(3.5), 1.0]]  # attention 1/4 and 3/4


def test_losses_of_weighted_classes_are_torchs_means():
    logits = torch.randn(2, 7, N_CLASSES, generator=torch.Generator().manual_seed(5)).double()
    labels, weights = torch.arange(7) % N_CLASSES, torch.tensor([0.5, 1.0, 4.0]).double()
    expected = sum(torch.nn.functional.cross_entropy(each, labels, weight=weights) for each in logits)
    torch.testing.assert_close(sum_losses(logits, labels, weights), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("several", [False, True])
def test_gradients_are_differences_of_the_loops_loss(several):
    x, labels = _draw(n=6)
    targets = torch.nn.functional.one_hot(labels, N_CLASSES).roll(1, 0) if several else labels
    weights = _draw_weights(n_settings=1)
    for part in weights:
        part.requires_grad_()
    gradients = torch.autograd.grad(sum_losses(compute_logits(weights, x), targets, None), weights)

    def loss(*parts):
        logits = reference.attentive_logits(parts[0][0], parts[1][0], x)
        if several:
            terms = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, targets.double(), reduction="none"
            )
            return terms.sum(dim=1).mean().item()
        return torch.nn.functional.cross_entropy(logits, targets).item()

    step = 1e-5
    for i, place in ((0, (0, 0, 1)), (0, (0, 1, 3)), (1, (0, 2, 1)), (1, (0, 8, 2))):
        ends = []
        for sign in (1.0, -1.0):
            moved = [part.detach().clone() for part in weights]
            moved[i][place] += sign * step
            ends.append(loss(*moved))
        assert gradients[i][place].item() == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-9
        )


def test_probes_trained_together_equal_torchs_one_by_one():
    x, labels = _draw(n=6, n_tokens=3)
    rates, decays = (0.01, 0.1), (0.5, 0.0)
    standard = fit_token_standardisation(x)
    settings = AdamWSettings(rates, decays, seeds=(3,), n_epochs=2, batch_size=4)
    found = fit_probes_attentive(
        x, labels, n_classes=N_CLASSES, n_heads=N_HEADS, standard=standard, settings=settings
    )
    for k in range(2):
        queries, output = reference.train_attentive(
            standardise(x, standard), labels, n_classes=N_CLASSES, n_heads=N_HEADS, learning_rate=rates[k],
            weight_decay=decays[k], seed=3, n_epochs=2, batch_size=4,
        )  # fmt: skip
        torch.testing.assert_close(found.queries[k], queries, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(found.output[k], output, rtol=1e-8, atol=1e-9)


def test_tokens_of_all_samples_standardise_together_block_by_block(monkeypatch):
    x, _ = _draw(n=7)
    x = (3.0 * x + 5.0).half()
    monkeypatch.setattr(attentive, "BLOCK_BYTES", 8 * 5 * D * 2)
    found = fit_token_standardisation(x)
    tokens = [token.tolist() for sample in x for token in sample]
    for j in range(D):
        values = [token[j] for token in tokens]
        assert found.mean[j].item() == pytest.approx(fmean(values), rel=1e-12)
        assert found.scale[j].item() == pytest.approx(pstdev(values), rel=1e-12)
    shown = standardise(x, found)
    assert shown.dtype == torch.float32
    torch.testing.assert_close(shown.mean(dim=(0, 1)), torch.zeros(D), rtol=0, atol=1e-6)


def test_the_order_of_tokens_changes_nothing():
    x, labels = _draw(n=30)
    generator = torch.Generator().manual_seed(2)
    places = torch.stack([torch.randperm(5, generator=generator) for _ in x])
    shuffled = x.gather(1, places[..., None].expand_as(x))
    fit = AttentiveFit(2, n_epochs=3, batch_size=8)
    one, other = (
        fit_layers({"x": each}, labels, n_classes=N_CLASSES, fit=fit, held_out_fraction=0.2, seed=0)["x"]
        for each in (x, shuffled)
    )
    torch.testing.assert_close(one.compute_logits(x), other.compute_logits(shuffled), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(one.compute_logits(x), one.compute_logits(shuffled), rtol=1e-12, atol=1e-12)


def test_a_query_of_zero_is_a_linear_probe_of_the_average():
    x, _ = _draw()
    weights = _draw_weights(n_settings=1)
    weights.queries.zero_()
    by_head = weights.output[0, :-1].view(N_HEADS, D, N_CLASSES).sum(dim=0)
    expected = x.mean(dim=1) @ by_head + weights.output[0, -1]
    torch.testing.assert_close(compute_logits(weights, x)[0], expected)


def test_attention_reads_what_an_average_hides():
    (x, labels), (test_x, test_labels) = _draw_bags(), _draw_bags(seed=1)
    given = {"n_classes": N_CLASSES, "held_out_fraction": 0.2, "seed": 0}
    fit = AttentiveFit(2, learning_rates=(0.03,), n_epochs=40, batch_size=32)
    found = fit_layers({"x": x.half()}, labels, fit=fit, **given)["x"]
    plain = fit_layers({"x": x.mean(dim=1)}, labels, fit=RidgeFit(), **given)["x"]
    accuracy, of_average = (
        (one.predict(each) == test_labels).double().mean().item()
        for one, each in ((found, test_x), (plain, test_x.mean(dim=1)))
    )
    assert accuracy > 0.95
    assert of_average < 0.8
    assert found.validation_accuracy > 0.9


@pytest.mark.parametrize("memory_mib", [0, 64])
def test_blocks_of_settings_and_samples_change_nothing(memory_mib, monkeypatch):
    x, labels = _draw(n=20)
    x[..., 1] = 7.0  # a constant feature is left out
    fit = AttentiveFit(2, (0.01, 0.1), (0.0, 0.5), n_epochs=2, batch_size=8, memory_mib=memory_mib)
    whole = solve(Problem({"x": x}, labels, N_CLASSES), fit.list_settings(), replace(fit, memory_mib=512))
    logits = [one.readout.compute_logits(x) for one in whole]
    monkeypatch.setattr(attentive, "BLOCK_BYTES", 8 * 5 * D * 3)
    blocks = list(solve(Problem({"x": x}, labels, N_CLASSES), fit.list_settings(), fit))
    assert [one.place for one in blocks] == [0, 1, 2, 3]
    for one, expected in zip(blocks, logits, strict=True):
        torch.testing.assert_close(one.readout.compute_logits(x), expected, rtol=1e-9, atol=1e-10)
        assert one.readout.tensors["scale"][1] == 0.0


def test_rare_classes_count_more_with_weights():
    x, labels = _draw_bags(n=90)
    labels = (labels == 0).long() * (torch.arange(90) % 2)
    fit = AttentiveFit(1, (0.01,), (0.0,), n_epochs=5, batch_size=30)
    given = {"n_classes": 2, "fit": fit, "held_out_fraction": 0.2, "seed": 0}
    plain, fair = (
        fit_layers({"x": x}, labels, class_weights=each, **given)["x"].predict(x).sum()
        for each in (None, torch.tensor([0.6, 3.0]))
    )
    assert fair > plain


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 3), r"tokens or positions, of shape .*; got \(4, 3\)"),
        (torch.zeros(4, 0, 3), r"got \(4, 0, 3\)"),
        (torch.full((4, 2, 3), torch.inf), "must be finite"),
    ],
)
def test_what_has_no_tokens_or_is_not_finite_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        list(solve(Problem({"x": x}, torch.arange(4) % 2, 2), AttentiveFit().list_settings(), AttentiveFit()))
