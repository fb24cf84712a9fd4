"""Starts, masks and targets equal naive versions; recipes that cannot be trained are refused."""

from dataclasses import replace

import pytest
import torch
from tests.kernels.stitching.cases import Case, stream
from tests.reference import stitching_training as reference

from rep_kedro.kernels.stitching.masks import MASKS, MaskSource
from rep_kedro.kernels.stitching.moments import PairedMoments
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe, check_recipe
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer
from rep_kedro.kernels.stitching.starts import LOW_RANK_STARTS, STARTS
from rep_kedro.kernels.stitching.targets import TARGETS, make_target
from rep_kedro.kernels.stitching.training import Stitch, StitchTraining, train_stitches


def _draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _moments(front, end):
    return stream(front[:, None], end[:, None])


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _mask(name, moments, seed=0, **settings):
    return MASKS[name](MaskSource(moments, _generator(seed), **settings))


@pytest.mark.parametrize(
    ("weights", "message"),
    [(None, "needs the weights of an epoch, got none"), (torch.zeros(2, 1, 3), "at least 3 steps, got 2")],
)
def test_a_variance_mask_without_steps_to_compare_is_refused(weights, message):
    given = None if weights is None else lambda: weights
    with pytest.raises(ValueError, match=message):
        _mask("variance", _moments(_draw(9, 3), _draw(9, 1, seed=1)), weights_of_an_epoch=given)


def test_correlations_are_those_of_each_pair_of_channels():
    front, end = _draw(40, 5) + 3.0, _draw(40, 3, seed=1)
    found = _moments(front, end).correlations()
    torch.testing.assert_close(found, torch.tensor(reference.correlations(front, end)).double())
    assert _moments(front, front * -3.0).correlations().abs().max() <= 1.0


def test_matching_masks_are_those_of_exhaustive_search():
    front, end = _draw(40, 5), _draw(40, 4, seed=1)
    end[:, 0] = -2.0 * front[:, 3] + 0.1 * end[:, 0]  # the sign matters
    moments, table = _moments(front, end), reference.correlations(front, end)
    assert _mask("semi-match", moments).tolist() == reference.semi_match(table)
    absolute = _mask("abs-semi-match", moments)
    assert absolute.tolist() == reference.semi_match(table, absolute=True)
    assert absolute[0, 3]
    assert _mask("assignment", moments).tolist() == reference.best_assignment(table)
    assert _mask("identity", moments).all()


def test_semi_matching_may_use_a_channel_twice_and_assignment_may_not():
    front = _draw(40, 4)
    end = torch.stack([front[:, 1], front[:, 1] + 0.1 * front[:, 0], front[:, 1] + 0.5 * front[:, 2]], dim=1)
    moments = _moments(front, end)
    assert _mask("semi-match", moments)[:, 1].tolist() == [True] * 3
    assert _mask("assignment", moments).sum(dim=0).max() == 1


@pytest.mark.parametrize(("n_front", "n_end"), [(6, 6), (6, 4), (4, 6)])
def test_random_masks_pair_every_channel_as_often_as_any_other(n_front, n_end):
    moments = _moments(_draw(20, n_front), _draw(20, n_end, seed=1))
    pairs = torch.zeros(n_end, n_front)
    repeats = 0
    for seed in range(300):
        once = _mask("permutation", moments, seed)
        assert once.sum() == min(n_front, n_end)
        assert once.sum(dim=0).max() == once.sum(dim=1).max() == 1
        original = _mask("random-permutation", moments, seed)
        assert original.sum(dim=1).tolist() == [1] * n_end
        repeats += bool((original.sum(dim=0) > 1).any())
        pairs += original
    expected = 300 / n_front
    assert (pairs - expected).abs().max() < 5 * expected**0.5
    assert repeats > 100  # it is no permutation, as in the original


def test_the_variance_mask_keeps_the_entries_that_change_most_evenly():
    steps = torch.tensor([[5.0, 5.0, 5.0, 5.0], [0.0, 2.0, 0.0, 2.0], [1.0, 1.1, 1.0, 1.1]])
    weights = torch.cat([torch.zeros(3, 1), steps.cumsum(dim=1)], dim=1).T[:, None]  # (5, 1, 3)
    moments = _moments(_draw(9, 3), _draw(9, 1, seed=1))
    found = {
        percentile: _mask("variance", moments, percentile=percentile, weights_of_an_epoch=lambda: weights)
        for percentile in (1.0, 50.0, 100.0)
    }
    assert found[1.0].tolist() == [[True, False, False]]
    assert found[50.0].tolist() == [[True, False, True]]
    assert found[100.0].all()


def test_channels_that_do_not_vary_take_part_in_no_match():
    front, end = _draw(40, 4), _draw(40, 4, seed=1)
    front[:, 2], end[:, 1] = 0.1, 7.3
    moments = _moments(front, end)
    for name in ("semi-match", "abs-semi-match", "assignment"):
        mask = _mask(name, moments)
        assert mask.sum(dim=1).tolist() == [1, 0, 1, 1]
        assert not mask[:, 2].any()
    flat = _moments(torch.full((9, 2), 0.1), torch.full((9, 2), 0.2))
    assert not _mask("semi-match", flat).any()
    assert not _mask("assignment", flat).any()


def test_starts_are_what_their_names_say():
    square, wide = (_moments(_draw(40, n), _draw(40, 4, seed=1)) for n in (4, 6))
    starts = {name: make(square, _generator()) for name, make in STARTS.items()}
    assert torch.equal(starts["eye"].weight, torch.eye(4).double())
    assert torch.equal(starts["ones-zeros"].weight, torch.ones(4, 4).double())
    assert not starts["zeros"].weight.any()
    for name in ("perm", "eye", "ones-zeros", "zeros"):
        assert not starts[name].bias.any()
    perm = starts["perm"].weight
    assert torch.equal(perm @ perm.T, torch.eye(4).double())
    orders = {tuple(STARTS["perm"](square, _generator(s)).weight.argmax(dim=1).tolist()) for s in range(200)}
    assert len(orders) == 24
    drawn = torch.stack([STARTS["random"](wide, _generator(seed)).weight for seed in range(200)])
    assert drawn.shape[1:] == (4, 6)
    assert 0.99 * 6**-0.5 < drawn.abs().max() <= 6**-0.5
    assert drawn.mean().abs() < 0.02
    assert drawn.var() == pytest.approx(1 / 18, rel=0.05)
    biases = torch.stack([STARTS["random"](wide, _generator(seed)).bias for seed in range(200)])
    assert 0.99 * 6**-0.5 < biases.abs().max() <= 6**-0.5


def test_low_rank_starts_are_orthonormal_or_the_truncated_least_squares():
    front, end = _draw(60, 6), _draw(60, 4, seed=1)
    moments = _moments(front, end)
    drawn = LOW_RANK_STARTS["orthogonal"](moments, 3, _generator())
    assert not drawn.bias.any()
    torch.testing.assert_close(drawn.left.T @ drawn.left, torch.eye(3).double())
    torch.testing.assert_close(drawn.right @ drawn.right.T, torch.eye(3).double())
    fitted = LOW_RANK_STARTS["ps_inv"](moments, 2, _generator())
    x, y = (v - v.mean(dim=0) for v in (front, end))
    solution = torch.linalg.lstsq(x, y).solution
    axes = torch.linalg.svd(x @ solution, full_matrices=False).Vh[:2]
    weight = (solution @ axes.T @ axes).T
    torch.testing.assert_close(fitted.left @ fitted.right, weight)
    torch.testing.assert_close(fitted.left.T @ fitted.left, fitted.right @ fitted.right.T)
    torch.testing.assert_close(fitted.bias, end.mean(dim=0) - weight @ front.mean(dim=0))
    signs = [LOW_RANK_STARTS["orthogonal"](moments, 1, _generator(s)).left[0, 0] > 0 for s in range(60)]
    assert 15 < sum(signs) < 45  # uniform over directions, not over those of one side


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_one_target_matrix_has_the_loss_of_all_its_losses(name, temperature):
    labels = torch.tensor([0, 2, 1, 1])
    front, end, logits = (3.0 * _draw(4, 3, seed=seed) for seed in (0, 1, 2))
    if name == "hard":
        temperature = 1.0
    target = make_target(name, labels=labels, front=front, end=end, temperature=temperature)
    assert (target.dtype, target.shape) == (torch.float32, (4, 3))
    found = -(target.double() * (logits / temperature).log_softmax(dim=1)).sum(dim=1)
    for n in range(4):
        rows = reference.target_row(name, labels[n].item(), front[n].tolist(), end[n].tolist(), temperature)
        expected = reference.cross_entropy(rows, logits[n], temperature)
        assert found[n].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": torch.tensor([0, 3])}, "labels must be in 0 to 2, got 0 to 3"),
        ({"labels": torch.tensor([-1, 0])}, "labels must be in 0 to 2, got -1 to 0"),
        ({"labels": torch.tensor([[0, 2, 1]] * 2)}, "labels must be in 0 to 1, got 0 to 2"),
        ({"labels": torch.tensor([0])}, r"got shapes \[\(1,\), \(2, 3\)\] and None"),
        ({"front": torch.zeros(2, 4)}, r"got shapes \[\(2,\), \(2, 3\)\] and \(2, 4\)"),
    ],
)
def test_targets_of_other_stimuli_or_classes_are_refused(given, message):
    whole = {"labels": torch.tensor([0, 1]), "front": None, "end": torch.zeros(2, 3)}
    with pytest.raises(ValueError, match=message):
        make_target("soft_2", **{**whole, **given})


def test_targets_survive_huge_logits():
    end = torch.tensor([[1e30, -1e30, 0.0]])
    target = make_target("soft_2", labels=torch.tensor([0]), front=None, end=end)
    assert target.tolist() == [[1.0, 0.0, 0.0]]


FULL = StitchRecipe()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (replace(FULL, start="psinv"), r"unknown start 'psinv'; did you mean 'ps_inv'\?"),
        (replace(FULL, start="x"), "unknown start 'x'; known: random, perm, eye"),
        (replace(FULL, mask="semimatch"), r"unknown mask 'semimatch'; did you mean 'semi-match'"),
        (replace(FULL, target="soft2"), r"unknown target 'soft2'; did you mean 'soft_2'"),
        (replace(FULL, loss="crossentropy"), "unknown loss 'crossentropy'; known: task, mse, cka"),
        (replace(FULL, optimiser="adamw"), r"unknown optimiser 'adamw'; did you mean 'adam'\?"),
        (replace(FULL, rank=2, start="eye"), "start 'eye' does not fit the rank; leave out the rank"),
        (replace(FULL, start="orthogonal"), "start 'orthogonal' does not fit the rank; give a rank"),
        (replace(FULL, rank=2, mask="semi-match"), "a rank or a mask, got rank 2 with mask 'semi-match'"),
        (replace(FULL, rank=0), "at least 1, got 0"),
        (replace(FULL, rank=5), "rank 5 is above the largest between widths 6 and 4, which is 4"),
        (replace(FULL, start="eye"), "start 'eye' needs layers of equal width, got 6 and 4"),
        (replace(FULL, start="perm"), "start 'perm' needs layers of equal width"),
        (replace(FULL, start="ones-zeros"), "start 'ones-zeros' needs layers of equal width"),
        (replace(FULL, target="hard", temperature=2.0), "temperature 2.0 belongs to soft targets"),
        (replace(FULL, temperature=0.0), "temperature must be above 0 and finite, got 0.0"),
        (replace(FULL, learning_rate=float("nan")), "learning_rate must be above 0 and finite, got nan"),
        (replace(FULL, l1=-1.0), "l1 must be at least 0 and finite, got -1.0"),
        (replace(FULL, temperature=float("inf")), "temperature must be above 0 and finite, got inf"),
        (replace(FULL, later_layers=-1.0), "later_layers must be at least 0 and finite, got -1.0"),
        (replace(FULL, weight_decay=-1.0), "weight_decay must be at least 0 and finite, got -1.0"),
        (replace(FULL, cka_penalty=float("inf")), "cka_penalty must be finite, got inf"),
        (replace(FULL, mask_percentile=101.0), r"mask_percentile must be in \(0, 100\], got 101.0"),
        (replace(FULL, mask_percentile=0.0), r"mask_percentile must be in \(0, 100\], got 0.0"),
    ],
)
def test_recipes_that_cannot_be_trained_are_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        check_recipe(recipe, n_front=6, n_end=4)


def test_what_depends_on_widths_is_not_checked_without_them():
    check_recipe(replace(FULL, start="eye"))
    check_recipe(replace(FULL, start="eye"), n_front=4, n_end=4)
    check_recipe(replace(FULL, loss="mse", target="hard", temperature=2.0))  # neither is used


def _train(case, stitch, **changes):
    fronts = {name: replace(front, **changes.get("front", {})) for name, front in case.fronts.items()}
    end = replace(case.end, **changes.get("end", {}))
    return train_stitches([stitch], fronts, end, Schedule(n_epochs=1))


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        (FULL, {"front": {"moments": None}}, "front 'a' has no moments"),
        (
            replace(FULL, target="soft_1"),
            {"front": {"logits": None}},
            "needs the logits of the front network",
        ),
        (FULL, {"end": {"labels": None}}, "needs labels of the end, got none"),
        (FULL, {"end": {"logits": torch.zeros(7, 3)}}, "the same stimuli, got 30 samples and 7 logits"),
        (FULL, {"end": {"samples": torch.zeros(30, 9, 4)}}, "the same positions, got 4 and 9"),
        (replace(FULL, loss="mse"), {"end": {"samples": None}}, "needs samples of the end"),
        (replace(FULL, later_layers=1.0), {"end": {"tail_with_later": None}}, "needs tail_with_later"),
    ],
)
def test_what_a_stitch_needs_is_asked_for_before_the_first_step(recipe, changes, message):
    case = Case()
    case.calls = 0
    with pytest.raises(ValueError, match=message):
        _train(case, Stitch("a", recipe), **changes)
    assert case.calls == 0


def test_unknown_fronts_and_other_stimuli_are_refused():
    case = Case()
    with pytest.raises(ValueError, match="unknown front 'wid'; known: wide"):
        _train(case, Stitch("wid", FULL))
    with pytest.raises(ValueError, match="all need the tail, or none of them"):
        StitchTraining(
            [Stitch("a", FULL), Stitch("a", replace(FULL, loss="mse"))], case.fronts, case.end, Schedule()
        )
    assert train_stitches([], case.fronts, case.end, Schedule()) == []
    short = {"a": case.fronts["a"], "b": FrontLayer(torch.zeros(9, 4, 4), PairedMoments(4, 4))}
    direct = replace(FULL, loss="mse")
    with pytest.raises(ValueError, match="same stimuli"):
        train_stitches([Stitch("a", direct), Stitch("b", direct)], short, case.end, Schedule())
    bare = replace(case.end, samples=None)
    other = {"a": case.fronts["a"], "b": replace(case.fronts["b"], samples=torch.zeros(30, 9, 4).double())}
    with pytest.raises(ValueError, match=r"same stimuli and positions, got \{'a': \(30, 4\), 'b': \(30, 9\)"):
        train_stitches([Stitch("a", FULL), Stitch("b", FULL)], other, bare, Schedule())
    none = {"a": replace(case.fronts["a"], samples=torch.zeros(0, 4, 4).double())}
    empty = replace(bare, logits=torch.zeros(0, 3), labels=torch.zeros(0).long())
    with pytest.raises(ValueError, match=r"same stimuli and positions, got \{'a': \(0, 4\)"):
        train_stitches([Stitch("a", FULL)], none, empty, Schedule())


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_hard_numbers_leave_finite_maps(scale):
    front, end = _draw(30, 1, 4).float() * scale, _draw(30, 1, 4, seed=1).float()
    front[:, :, 1], front[:, :, 2] = 0.1 * scale, front[:, :, 3]  # constant, and twice the same
    layer = EndLayer((4,), lambda x: x[:, :3], logits=end[:, 0, :3], labels=torch.zeros(30).long())
    fronts = {"a": FrontLayer(front, stream(front, end))}
    stitches = [Stitch("a", replace(FULL, **x)) for x in ({}, {"mask": "semi-match"}, {"rank": 1})]
    for found in train_stitches(stitches, fronts, layer, Schedule(n_epochs=2, batch_size=10)):
        assert found.reason == ""
        assert torch.isfinite(found.fitted.weight).all()


def test_a_front_that_does_not_vary_gives_the_mean():
    front, end = torch.full((12, 2, 3), 0.1), _draw(12, 2, 4).float()
    labels = torch.zeros(12, dtype=torch.int64)
    layer = EndLayer((2, 4), lambda x: x.mean(dim=1)[:, :3], logits=end[:, 0, :3], labels=labels)
    fronts = {"a": FrontLayer(front, stream(front, end))}
    [found] = train_stitches([Stitch("a", FULL)], fronts, layer, Schedule(n_epochs=1, batch_size=1))
    assert found.start.rank == 0
    torch.testing.assert_close(found.start.bias.float(), end.mean(dim=(0, 1)))
    assert len(found.losses) == 12
