"""Stitches trained together equal naive ones trained alone, and end alone where they fail."""

from dataclasses import replace

import pytest
import torch
from tests.kernels.stitching.cases import N_STIMULI, SHAPE, Case
from tests.reference import stitching_training as reference

from rep_kedro.kernels.stitching.forms import FORMS
from rep_kedro.kernels.stitching.losses import LOSSES
from rep_kedro.kernels.stitching.masks import MASKS, MaskSource
from rep_kedro.kernels.stitching.optimisers import OPTIMISERS
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe
from rep_kedro.kernels.stitching.running import FrontLayer
from rep_kedro.kernels.stitching.starts import LOW_RANK_STARTS, STARTS
from rep_kedro.kernels.stitching.targets import TARGETS
from rep_kedro.kernels.stitching.training import (
    Stitch,
    StitchTraining,
    share_out,
    start_stitch,
    train_stitches,
)

SCHEDULE = Schedule(n_epochs=3, batch_size=8)  # 9 steps; 6 of the 30 stimuli are left out of each epoch
FAST = StitchRecipe(learning_rate=0.05)
RECIPES = {
    **{f"start {name}": replace(FAST, start=name) for name in STARTS},
    **{f"mask {name}": replace(FAST, mask=name, mask_percentile=40.0) for name in MASKS},
    **{f"target {name}": replace(FAST, target=name) for name in TARGETS},
    **{f"loss {name}": replace(FAST, loss=name) for name in LOSSES},
    **{f"by {name}": replace(FAST, optimiser=name, weight_decay=0.1) for name in OPTIMISERS},
    **{f"rank 2 from {name}": replace(FAST, rank=2, start=name) for name in LOW_RANK_STARTS},
    "temperature": replace(FAST, temperature=2.5, target="soft_12"),
    "l1": replace(FAST, l1=3.0),
    "cka down": replace(FAST, cka_penalty=2.0, seed=3),
    "cka up": replace(FAST, cka_penalty=-2.0, start="random"),
    "later layers": replace(FAST, later_layers=0.7, start="random", seed=1),
    "mse with later layers": replace(FAST, loss="mse", later_layers=0.7, start="random"),
}


def test_every_option_is_tried():
    assert {recipe.form for recipe in RECIPES.values()} == set(FORMS)
    tried = {
        name: {getattr(r, name) for r in RECIPES.values()} for name in ("start", "mask", "loss", "target")
    }
    assert tried["start"] == {*STARTS, *LOW_RANK_STARTS}
    assert (tried["mask"], tried["loss"], tried["target"]) == (set(MASKS), set(LOSSES), set(TARGETS))


@pytest.fixture(scope="module")
def together():
    case = Case()
    stitches = [Stitch("ab"[n % 2], recipe) for n, recipe in enumerate(RECIPES.values())]
    stitches.append(Stitch("wide", FAST))
    return case, stitches, train_stitches(stitches, case.fronts, case.end, SCHEDULE)


@pytest.mark.parametrize("name", [*RECIPES, "wide front"])
def test_stitches_trained_together_are_those_of_the_reference(name, together):
    case, stitches, results = together
    place = [*RECIPES, "wide front"].index(name)
    stitch, found = stitches[place], results[place]
    front = case.fronts[stitch.front]
    start = start_stitch(stitch, case.fronts, case.end, SCHEDULE, "cpu")
    parameters = {key: x for key, x in start.parameters.items() if key != "mask"}
    mask = None if start.mask is None else start.mask.tolist()
    if stitch.recipe.mask in {"semi-match", "abs-semi-match", "assignment"}:
        table = reference.correlations(front.samples.flatten(0, 1), case.end_samples.flatten(0, 1))
        mask = {
            "semi-match": lambda: reference.semi_match(table),
            "abs-semi-match": lambda: reference.semi_match(table, absolute=True),
            "assignment": lambda: reference.best_assignment(table),
        }[stitch.recipe.mask]()
    weight, bias, losses = reference.train(
        case.for_reference(stitch.front), stitch.recipe, parameters, mask=mask, n_epochs=3, batch_size=8
    )
    torch.testing.assert_close(found.fitted.weight, weight, rtol=1e-6, atol=1e-7)  # Adam divides by |g|
    torch.testing.assert_close(found.fitted.bias, bias, rtol=1e-6, atol=1e-7)
    assert found.losses.tolist() == pytest.approx(losses, rel=1e-6)
    assert found.reason == ""


SEVERAL = {
    **{name: replace(FAST, target=name, start="random") for name in TARGETS},
    "another loss": replace(FAST, loss="mse", later_layers=0.3),
    "temperature": replace(FAST, temperature=2.5, target="soft_12"),
    "with a penalty": replace(FAST, target="hard", cka_penalty=2.0, later_layers=0.3),
}


def test_stitches_of_several_labels_are_those_of_the_reference():
    case = Case(has_several=True)
    stitches = [Stitch("a", recipe) for recipe in SEVERAL.values()]
    results = train_stitches(stitches, case.fronts, case.end, SCHEDULE)
    for stitch, found in zip(stitches, results, strict=True):
        parameters = start_stitch(stitch, case.fronts, case.end, SCHEDULE, "cpu").parameters
        weight, bias, losses = reference.train(
            case.for_reference("a"), stitch.recipe, parameters, n_epochs=3, batch_size=8
        )
        torch.testing.assert_close(found.fitted.weight, weight, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(found.fitted.bias, bias, rtol=1e-6, atol=1e-7)
        assert found.losses.tolist() == pytest.approx(losses, rel=1e-6)


def test_losses_of_several_labels_are_finite_at_large_logits():
    case = Case(has_several=True, dtype=torch.float32)
    case.head.mul_(1e6)
    stitches = [Stitch("a", replace(FAST, target=name)) for name in ("hard", "soft_2")]
    for found in train_stitches(stitches, case.fronts, case.end, SCHEDULE):
        assert found.reason == ""
        assert torch.isfinite(found.losses).all()


def test_a_stitch_does_not_depend_on_its_neighbours_in_single_precision():
    case = Case(dtype=torch.float32)
    stitches = [Stitch("ab"[n % 2], recipe) for n, recipe in enumerate(RECIPES.values())]
    schedule = replace(SCHEDULE, n_epochs=1)
    results = train_stitches(stitches, case.fronts, case.end, schedule)
    for stitch, found in zip(stitches, results, strict=True):
        [alone] = train_stitches([stitch], case.fronts, case.end, schedule)
        torch.testing.assert_close(found.fitted.weight, alone.fitted.weight, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.fitted.bias, alone.fitted.bias, rtol=1e-5, atol=1e-5)


def test_the_tail_is_called_once_a_step_for_all_stitches():
    case = Case()
    case.calls = 0
    stitches = [Stitch(front, replace(FAST, seed=seed)) for front in case.fronts for seed in (0, 1)]
    train_stitches(stitches, case.fronts, case.end, SCHEDULE)
    assert case.calls == SCHEDULE.n_steps(N_STIMULI) == 9


def test_stitches_beyond_the_bytes_take_their_steps_one_after_another():
    case = Case()
    stitches = [Stitch("a", replace(FAST, seed=seed)) for seed in range(5)]
    each = 8 * SHAPE[0] * SHAPE[1] * SHAPE[2] * 8  # stimuli, values and bytes of a batch
    for bytes_together, n_parts in ((each * 5, 1), (each * 2, 3), (1, 5)):
        case.calls = 0
        found = train_stitches(stitches, case.fronts, case.end, SCHEDULE, bytes_together=bytes_together)
        assert case.calls == 9 * n_parts
        parts = share_out(stitches, case.fronts, case.end, SCHEDULE, bytes_together=bytes_together)
        assert sorted(place for part in parts for place in part) == [0, 1, 2, 3, 4]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        of_all = Schedule(batch_size=1000)
        parts = share_out(stitches, case.fronts, case.end, of_all, bytes_together=each * N_STIMULI)
        assert len(parts) == 1  # a batch has no more stimuli than there are
        weights = [one.fitted.weight for one in found]
        if n_parts == 1:
            expected = weights
        for weight, other in zip(weights, expected, strict=True):
            torch.testing.assert_close(weight, other)


def test_fronts_that_no_stitch_uses_do_not_matter():
    case = Case()
    unused = FrontLayer(torch.zeros(7, 1, 2), case.fronts["a"].moments)
    [found] = train_stitches([Stitch("a", FAST)], {"unused": unused, **case.fronts}, case.end, SCHEDULE)
    [expected] = train_stitches([Stitch("a", FAST)], case.fronts, case.end, SCHEDULE)
    assert torch.equal(found.fitted.weight, expected.fitted.weight)


def test_direct_losses_run_no_tail():
    case = Case()
    case.calls = 0
    found = train_stitches([Stitch("a", replace(FAST, loss="mse"))], case.fronts, case.end, SCHEDULE)
    assert (case.calls, len(found[0].losses)) == (0, 9)


def test_a_stitch_that_is_not_finite_ends_alone_and_says_at_which_step():
    case = Case(dtype=torch.float32)
    good = Stitch("a", replace(FAST, start="random"))
    wild = Stitch("b", replace(FAST, learning_rate=3e38, loss="task"))
    flat = Stitch("b", replace(FAST, start="zeros", cka_penalty=1.0))
    results = train_stitches(
        [wild, good, flat], case.fronts, case.end, replace(SCHEDULE, history_steps=(0, 1, 9))
    )
    [alone] = train_stitches([good], case.fronts, case.end, SCHEDULE)
    assert results[0].reason == "the loss is not finite at step 2"
    assert results[2].reason == "the loss is not finite at step 1"
    assert (results[0].fitted, results[2].fitted) == (None, None)
    assert [len(found.losses) for found in results] == [1, 9, 0]
    assert [set(found.history) for found in results] == [{0}, {0, 1, 9}, {0}]
    torch.testing.assert_close(results[1].fitted.weight, alone.fitted.weight, rtol=1e-5, atol=1e-5)


def test_training_ends_where_no_stitch_goes_on():
    case = Case()
    flat = Stitch("a", replace(FAST, start="zeros", cka_penalty=1.0))
    training = StitchTraining([flat], case.fronts, case.end, SCHEDULE)
    assert training.take_step()
    assert not training.take_step()
    assert training.n_taken == 1


def test_weights_that_are_not_finite_after_the_last_step_have_a_reason():
    case = Case(dtype=torch.float32)
    wild = Stitch("a", replace(FAST, learning_rate=3e38))
    [found] = train_stitches([wild], case.fronts, case.end, Schedule(n_epochs=1, batch_size=30))
    assert (found.reason, found.fitted) == ("the weights are not finite after step 1", None)


def test_the_epoch_of_a_variance_mask_that_is_not_finite_is_the_reason():
    case = Case(dtype=torch.float32)
    flat = Stitch("a", replace(FAST, mask="variance", start="zeros", cka_penalty=1.0))
    found = train_stitches([flat, Stitch("a", FAST)], case.fronts, case.end, SCHEDULE)
    assert found[0].reason == "the epoch for its mask: the loss is not finite at step 1"
    assert (found[0].fitted, found[0].start, found[1].reason) == (None, None, "")


def test_a_start_is_drawn_from_the_seed_of_its_stitch():
    case = Case()
    for name in ("random", "perm"):
        for seed in (0, 7):
            stitch = Stitch("a", replace(FAST, start=name, seed=seed))
            found = start_stitch(stitch, case.fronts, case.end, SCHEDULE, "cpu").parameters["weight"]
            generator = torch.Generator().manual_seed(seed)
            assert torch.equal(found, STARTS[name](case.fronts["a"].moments, generator).weight)


def test_a_variance_mask_is_of_one_epoch_of_plain_gradient_descent():
    case, schedule = Case(), replace(SCHEDULE, history_steps=(0, 1, 2, 3), n_epochs=1)
    stitch = Stitch("a", replace(FAST, mask="variance", mask_percentile=40.0))
    found = start_stitch(stitch, case.fronts, case.end, SCHEDULE, "cpu").mask
    plain = Stitch("a", replace(FAST, optimiser="sgd"))
    [epoch] = train_stitches([plain], case.fronts, case.end, schedule)
    weights = torch.stack([fitted.weight for fitted in epoch.history.values()])
    source = MaskSource(case.fronts["a"].moments, torch.Generator(), 40.0, lambda: weights)
    assert torch.equal(found, MASKS["variance"](source))


def test_training_continues_from_its_state_as_if_it_had_not_stopped():
    case = Case()
    stitches = [
        *(Stitch("a", replace(FAST, optimiser=name)) for name in OPTIMISERS),
        Stitch("wide", replace(FAST, rank=2, seed=4)),
        Stitch("b", replace(FAST, mask="random-permutation")),
        Stitch("b", replace(FAST, start="zeros", cka_penalty=1.0)),
    ]
    schedule = replace(SCHEDULE, history_steps=(0, 2, 7))
    whole = train_stitches(stitches, case.fronts, case.end, schedule)
    first = StitchTraining(stitches, case.fronts, case.end, schedule)
    for _ in range(4):
        first.take_step()
    second = StitchTraining(stitches, case.fronts, case.end, schedule)
    given = first.state()
    before = {name: x.clone() for name, x in given.items()}
    second.load_state(given)
    while second.take_step():
        first.take_step()
    for name, x in given.items():
        torch.testing.assert_close(x, before[name], rtol=0, atol=0, equal_nan=True)
    assert [bool(found.reason) for found in whole] == [False, False, False, False, True]
    for expected, found in zip(whole, second.results(), strict=True):
        assert (found.reason, set(found.history)) == (expected.reason, set(expected.history))
        assert torch.equal(found.losses, expected.losses)
        if expected.fitted is not None:
            assert torch.equal(found.fitted.weight, expected.fitted.weight)
            assert torch.equal(found.history[7].bias, expected.history[7].bias)


def test_history_begins_with_the_start_and_ends_with_the_result():
    case = Case()
    [found] = train_stitches(
        [Stitch("a", FAST)], case.fronts, case.end, replace(SCHEDULE, history_steps=(0, 5, 9, 99))
    )
    assert set(found.history) == {0, 5, 9}
    assert torch.equal(found.history[0].weight, found.start.weight)
    assert torch.equal(found.history[9].weight, found.fitted.weight)
    assert not torch.equal(found.history[0].weight, found.history[5].weight)
    assert not torch.equal(found.history[5].weight, found.history[9].weight)


def test_masked_maps_keep_their_zeros_and_low_rank_maps_their_rank(together):
    _, stitches, results = together
    for stitch, found in zip(stitches, results, strict=True):
        if stitch.recipe.form == "masked":
            assert (found.fitted.weight[~found.mask] == 0.0).all()
        if stitch.recipe.mask in {"semi-match", "abs-semi-match", "random-permutation", "assignment"}:
            assert (found.fitted.weight != 0.0).sum(dim=1).tolist() == [1] * SHAPE[0]
        if stitch.recipe.rank:
            assert found.fitted.rank == stitch.recipe.rank


def test_low_rank_maps_keep_their_rank_in_single_precision():
    case = Case(dtype=torch.float32)
    stitches = [Stitch("wide", replace(FAST, rank=2, start=name)) for name in LOW_RANK_STARTS]
    for found in train_stitches(stitches, case.fronts, case.end, SCHEDULE):
        assert (found.fitted.rank, torch.linalg.matrix_rank(found.fitted.weight)) == (2, 2)


def test_more_distance_is_less_cka_and_less_weight():
    case = Case()
    recipes = [FAST, replace(FAST, cka_penalty=5.0), replace(FAST, l1=20.0)]
    plain, pushed, small = train_stitches(
        [Stitch("a", recipe) for recipe in recipes], case.fronts, case.end, replace(SCHEDULE, n_epochs=20)
    )

    def alignment(found):
        stitched = case.fronts["a"].samples @ found.fitted.weight.T + found.fitted.bias
        return reference.cka(stitched.flatten(1), case.end_samples.flatten(1))

    assert alignment(pushed) < alignment(plain) - 0.1
    assert small.fitted.weight.abs().mean() < plain.fitted.weight.abs().mean() / 2


def test_a_batch_is_all_stimuli_where_there_are_fewer():
    case = Case()
    [found] = train_stitches(
        [Stitch("a", FAST)], case.fronts, case.end, Schedule(n_epochs=2, batch_size=1000)
    )
    assert len(found.losses) == 2
    weight, _, _ = reference.train(
        *(case.for_reference("a"), FAST, {"weight": found.start.weight, "bias": found.start.bias}),
        n_epochs=2,
        batch_size=1000,
    )
    torch.testing.assert_close(found.fitted.weight, weight, rtol=1e-6, atol=1e-7)
