"""Each solver equals a naive version from its formula; all go through one door."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from tests.reference import probes as reference

from rep_kedro.kernels.probes import adamw, mlp, readouts
from rep_kedro.kernels.probes.adamw import AdamWSettings, fit_probes_adamw, group_equal_runs
from rep_kedro.kernels.probes.choice import fit_layers
from rep_kedro.kernels.probes.knn import TooFewNeighboursError, count_votes, find_neighbours
from rep_kedro.kernels.probes.lbfgs import fit_probes_lbfgs
from rep_kedro.kernels.probes.probe import balance_classes, fit_standardisation
from rep_kedro.kernels.probes.prototype import fit_prototypes
from rep_kedro.kernels.probes.ridge import fit_probes_ridge
from rep_kedro.kernels.probes.search import search_coarse_to_fine, select_setting
from rep_kedro.kernels.probes.settings import (
    FITS,
    AdamWFit,
    AttentiveFit,
    KnnFit,
    LbfgsFit,
    MemoryLimitError,
    MlpFit,
    PrototypeFit,
    RidgeFit,
    Setting,
    require_memory,
)
from rep_kedro.kernels.probes.solvers import SOLVERS, Problem, solve

N_CLASSES = 3


def _draw_problem(n=60, d=6, seed=0, overlap=1.5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    centres = torch.randn(N_CLASSES, d, generator=generator)
    return centres[labels] + overlap * torch.randn(n, d, generator=generator), labels


def _one_hot(labels):
    return torch.nn.functional.one_hot(labels, N_CLASSES)


# --- ridge -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(60, 6), (12, 40)])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_solves_the_normal_equations_for_every_decay(n, d, weighted):
    x, labels = _draw_problem(n, d)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(1)) + 0.1 if weighted else None
    decays = [1e-4, 1e-2, 10.0]
    found = fit_probes_ridge(x + 3.0, _one_hot(labels), weight_decays=decays, sample_weights=weights)
    for decay, one in zip(decays, found, strict=True):
        expected = reference.ridge(x + 3.0, _one_hot(labels), weight_decay=decay, weights=weights)
        torch.testing.assert_close(one, expected, rtol=1e-8, atol=1e-8)


def test_ridge_is_scikit_learns():
    x, labels = _draw_problem()
    theirs = Ridge(alpha=60 * 0.1).fit(x.double().numpy(), _one_hot(labels).numpy())
    [ours] = fit_probes_ridge(x, _one_hot(labels), weight_decays=[0.1])
    np.testing.assert_allclose(ours[:-1].T, theirs.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours[-1], theirs.intercept_, rtol=1e-9)


# --- neighbours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("weighting", ["uniform", "distance", 0.1])
@pytest.mark.parametrize("memory_mib", [0, 64])
def test_votes_are_those_of_the_nearest_one_by_one(metric, weighting, memory_mib):
    bank, labels = _draw_problem(30, 4)
    x = torch.cat([_draw_problem(7, 4, seed=3)[0], torch.zeros(1, 4)])
    if weighting == "distance":
        x[0] = bank[3]  # an exact match votes alone
    found = find_neighbours(x, bank, n_neighbours=9, metric=metric, memory_mib=memory_mib)
    for k in (1, 4, 9):
        if metric == "cosine" and k < 9:
            x, found = x[:-1], type(found)(*(part[: len(x) - 1] for part in found))  # a zero is at 1 from all
        setting = Setting(n_neighbours=k, metric=metric, weighting=weighting)
        votes = count_votes(found, labels, n_classes=N_CLASSES, setting=setting)
        expected = reference.neighbour_votes(
            x.double(), bank.double(), labels.tolist(), n_classes=N_CLASSES, n_neighbours=k,
            metric=metric, weighting=weighting,
        )  # fmt: skip
        torch.testing.assert_close(votes, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-7)
        several = count_votes(found, _one_hot(labels), n_classes=N_CLASSES, setting=setting)
        torch.testing.assert_close(several, votes)


def test_a_sample_is_at_zero_from_its_copy_far_from_the_origin():
    bank = 1000.0 + _draw_problem(40, 5)[0].double()
    found = find_neighbours(bank, bank, n_neighbours=2, metric="euclidean", memory_mib=1)
    assert found.places[:, 0].tolist() == list(range(40))
    assert (found.distance[:, 0] == 0.0).all()
    assert (found.distance[:, 1] > 0.1).all()


def test_low_temperatures_leave_the_nearest_one_its_vote():
    bank, labels = _draw_problem(30, 4)
    found = find_neighbours(-bank, bank, n_neighbours=2, metric="cosine", memory_mib=1)
    setting = Setting(n_neighbours=2, metric="cosine", weighting=1e-6)
    votes = count_votes(found, labels, n_classes=N_CLASSES, setting=setting)
    assert votes.argmax(dim=1).tolist() == labels[found.places[:, 0]].tolist()
    torch.testing.assert_close(votes.sum(dim=1), torch.ones(30).double())


def test_neighbours_are_scikit_learns():
    (bank, labels), (x, _) = _draw_problem(50), _draw_problem(20, seed=4)
    theirs = KNeighborsClassifier(5, weights="distance").fit(bank.double().numpy(), labels.numpy())
    found = find_neighbours(x, bank, n_neighbours=5, metric="euclidean", memory_mib=1)
    votes = count_votes(found, labels, n_classes=3, setting=Setting(n_neighbours=5, weighting="distance"))
    np.testing.assert_allclose(votes, theirs.predict_proba(x.double().numpy()), atol=1e-9)


def test_one_search_serves_all_settings(monkeypatch):
    x, labels = _draw_problem()
    searches = []
    search = readouts.find_neighbours
    monkeypatch.setattr(
        readouts, "find_neighbours", lambda *a, **k: searches.append(k["metric"]) or search(*a, **k)
    )
    fit = KnnFit((1, 3, 5), ("cosine", "euclidean"), ("uniform", "distance", 0.1))
    assert len(fit.list_settings()) == 15  # temperatures are of the cosine alone
    fit_layers({"x": x}, labels, n_classes=3, fit=fit, held_out_fraction=0.2, seed=0)["x"].predict(x)
    assert sorted(searches[:2]) == ["cosine", "euclidean"]
    assert len(searches) == 3  # and one with the chosen setting


def test_more_neighbours_than_samples_are_refused():
    x, _ = _draw_problem(5)
    with pytest.raises(TooFewNeighboursError, match="must be 1 to 5, the training samples, got 6"):
        find_neighbours(x, x, n_neighbours=6, metric="cosine", memory_mib=1)


# --- prototypes and networks -------------------------------------------------------------------------------


def test_prototypes_pick_the_nearest_mean():
    x, labels = _draw_problem()
    weights = fit_prototypes(x, torch.nn.functional.one_hot(labels, 4))  # the fourth class has no sample
    means = torch.stack([x[labels == c].double().mean(dim=0) for c in range(3)])
    distances = (x[:, None].double() - means).square().sum(dim=2)
    logits = reference.predict_logits(weights, x)
    assert logits.argmax(dim=1).tolist() == distances.argmin(dim=1).tolist()
    torch.testing.assert_close(
        logits[:, :3].softmax(dim=1), (-0.5 * distances).softmax(dim=1), rtol=1e-9, atol=0
    )


def test_networks_trained_together_equal_torchs_one_by_one():
    x, labels = _draw_problem()
    rates, decays = (0.01, 0.1), (0.0, 0.5)
    settings = AdamWSettings(rates, decays, seeds=(3,), n_epochs=4, batch_size=25)
    found = mlp.fit_probes_mlp(x.double(), labels, n_classes=3, n_hidden=8, settings=settings)
    logits = mlp.compute_logits(found, x.double())
    for k in range(2):
        net = reference.train_mlp(
            x.double(), labels, n_classes=3, n_hidden=8, learning_rate=rates[k],
            weight_decay=decays[k], seed=3, n_epochs=4, batch_size=25,
        )  # fmt: skip
        torch.testing.assert_close(logits[k], net(x.double()).detach(), rtol=1e-8, atol=1e-9)


# --- descent -----------------------------------------------------------------------------------------------


def test_a_float32_descent_ends_at_the_same_optimum():
    x, labels = _draw_problem(90)
    decays = [1e-5, 1e-3, 1e-1, 10.0]
    given = {"n_classes": 3, "weight_decays": decays, "tolerance": 1e-7, "max_iterations": 2000}
    slow = fit_probes_lbfgs([x], labels, **given)
    fast = fit_probes_lbfgs([x], labels, descent="float32", **given)
    assert bool(fast.converged.all())
    torch.testing.assert_close(fast.weights[0], slow.weights[0], rtol=0, atol=2e-2)
    torch.testing.assert_close(fast.loss, slow.loss, rtol=1e-9, atol=1e-12)


def test_sample_weights_count_like_copies():
    x, labels = _draw_problem(30)
    times = torch.arange(30) % 3 + 1
    given = {"n_classes": 3, "weight_decays": [0.01], "tolerance": 1e-9}
    weighted = fit_probes_lbfgs([x], labels, sample_weights=times, **given)
    copies = fit_probes_lbfgs([x.repeat_interleave(times, dim=0)], labels.repeat_interleave(times), **given)
    torch.testing.assert_close(weighted.weights[0], copies.weights[0], rtol=0, atol=1e-6)
    assert weighted.loss.item() == pytest.approx(copies.loss.item(), rel=1e-10)


def test_several_classes_of_a_sample_are_one_logistic_regression_each():
    x, labels = _draw_problem(60)
    several = torch.stack([labels == 0, labels != 1], dim=1).long()
    decay = 0.05
    found = fit_probes_lbfgs([x], several, n_classes=2, weight_decays=[decay], tolerance=1e-8)
    for c in range(2):
        theirs = LogisticRegression(C=1 / (60 * decay), tol=1e-10, max_iter=2000)
        theirs.fit(x.double().numpy(), several[:, c].numpy())
        np.testing.assert_allclose(found.weights[0][0][:-1, c], theirs.coef_[0], atol=1e-5)
        assert found.weights[0][0][-1, c].item() == pytest.approx(theirs.intercept_[0], abs=1e-5)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("kind", ["plain", "weighted", "several"])
def test_penalties_weights_and_several_classes_have_torchs_gradients(penalty, kind):
    x, labels = (part.double() if part.is_floating_point() else part for part in _draw_problem(40))
    several = torch.stack([labels == 0, labels != 1, labels == 2], dim=1).long()
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64) if kind == "weighted" else None
    targets = several if kind == "several" else labels
    settings = AdamWSettings((0.05,), (0.1,), n_epochs=3, batch_size=16, penalty=penalty)
    ours = fit_probes_adamw(x[None], targets, n_classes=3, settings=settings, class_weights=weights)[0, 0, 0]

    def loss(weight, bias, chosen):
        logits, target = x[chosen] @ weight + bias, targets[chosen]
        size = weight.abs().sum() if penalty == "l1" else weight.square().sum()
        if kind == "several":
            terms = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, target.double(), reduction="none"
            )
            return terms.sum(dim=1).mean() + 0.1 * size
        return torch.nn.functional.cross_entropy(logits, target, weight=weights) + 0.1 * size

    alone = reference.train_adamw_on(loss, 40, 6, n_classes=3, learning_rate=0.05, n_epochs=3, batch_size=16)
    torch.testing.assert_close(ours, alone, rtol=1e-9, atol=1e-10)


def test_runs_are_shared_where_decays_do_nothing():
    rates, decays = (0.1, 0.1, 0.1, 1e-4, 1e-4), (1e-6, 1.0, 2e-6, 1.0, 1e-6)
    settings = AdamWSettings(rates, decays, n_epochs=2, batch_size=10)  # 10 steps on 50 samples
    assert group_equal_runs(settings, n_samples=50) == [[0, 2], [4, 3], [1]]
    # 1e-4 * 1 * 11 / 2 = 5.5e-4 is below a thousandth, 1e-4 * 1 * 21 / 2 is not
    assert group_equal_runs(settings, n_samples=100) == [[0, 2], [4], [1], [3]]
    at_the_limit = AdamWSettings((1e-4, 1e-4), (1.9, 1e-6), n_epochs=2, batch_size=10)
    assert group_equal_runs(at_the_limit, n_samples=50) == [[1], [0]]  # 1.9 * 1e-4 * 11 / 2 is above 1e-3
    l2 = AdamWSettings(rates, decays, penalty="l2")
    assert len(group_equal_runs(l2, n_samples=50)) == 5


@pytest.mark.parametrize("memory_mib", [0, 1, 512])
def test_blocks_of_settings_and_layers_change_nothing(memory_mib):
    x, labels = _draw_problem()
    layers = {"a": x, "b": 2.0 * x + 1.0, "narrow": x[:, :3]}
    fit = AdamWFit((0.01, 0.1), (0.0, 1e-7, 0.5), n_epochs=3, batch_size=16, memory_mib=memory_mib)
    solved = list(solve(Problem(layers, labels, 3), fit.list_settings(), fit))
    assert sorted((s.layer, s.place) for s in solved) == [(n, i) for n in sorted(layers) for i in range(6)]
    for one in solved:
        setting = fit.list_settings()[one.place]
        shown = fit_standardisation(layers[one.layer]).apply(layers[one.layer]).float()
        alone = reference.train_adamw(
            shown, labels, n_classes=3, learning_rate=setting.learning_rate,
            weight_decay=0.0 if setting.weight_decay == 1e-7 else setting.weight_decay,
            seed=0, n_epochs=3, batch_size=16,
        )  # fmt: skip
        expected = reference.predict_logits(alone, shown)
        found = one.readout.compute_logits(layers[one.layer]).float()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("fit", "n_bytes", "lower"),
    [
        (AdamWFit(batch_size=2**18, memory_mib=6), 4 * (5 * 3 * 7 + 3 * 3 * 2**18), "batch_size"),
        (
            MlpFit(2**15, batch_size=1, memory_mib=6),
            4 * 2**15 * (5 * 7 + 5 * 3 + 3),
            "batch_size or n_hidden",
        ),
    ],
    ids=["adamw", "mlp"],
)
def test_a_single_setting_beyond_the_memory_is_refused(fit, n_bytes, lower):
    x = torch.zeros(2**18 if isinstance(fit, AdamWFit) else 60, 6)
    labels = torch.arange(len(x)) % N_CLASSES
    needed = -(-n_bytes // 2**20)
    said = rf"'x' \(6 features, 3 classes\) takes {needed} MiB, more than memory_mib 6; .*, or lower {lower}$"
    with pytest.raises(MemoryLimitError, match=said):
        fit_layers({"x": x}, labels, n_classes=3, fit=fit, held_out_fraction=0.2, seed=0)


def test_the_memory_of_a_single_attentive_probe_is_bounded_too():
    fit = AttentiveFit(n_heads=8, batch_size=64, memory_mib=2)
    n_bytes = 4 * (5 * (8 * 100 + 801 * 3) + 3 * 64 * (8 * (400 + 100) + 3))
    assert fit.count_bytes((400, 100), 3, 1000) == n_bytes
    with pytest.raises(
        MemoryLimitError, match=r"400 x 100 features, 3 classes\) takes 3 MiB, .* or n_heads$"
    ):
        require_memory(fit, "x", (400, 100), n_classes=3, n_samples=1000)
    require_memory(fit, "x", (400, 100), n_classes=3, n_samples=32)
    require_memory(RidgeFit(), "x", (10**9,), n_classes=3, n_samples=10)


@pytest.mark.parametrize("fit", [AdamWFit, MlpFit], ids=lambda fit: fit.__name__)
def test_blocks_of_weights_that_are_updated_change_nothing(fit, monkeypatch):
    x, labels = _draw_problem()
    given = fit(learning_rates=(0.01, 0.1), weight_decays=(0.0, 0.5), n_epochs=2, batch_size=16)
    logits = []
    for size in (1 << 17, 40):
        monkeypatch.setattr(adamw, "BLOCK_NUMBERS", size)
        solved = solve(Problem({"x": x}, labels, 3), given.list_settings(), given)
        logits.append([one.readout.compute_logits(x) for one in solved])
    for whole, blocks in zip(*logits, strict=True):
        torch.testing.assert_close(blocks, whole, rtol=1e-5, atol=1e-6)


def test_products_in_bfloat16_come_near_those_in_float32():
    x, labels = _draw_problem()
    given = {"learning_rates": (0.01,), "weight_decays": (0.1,), "n_epochs": 10, "batch_size": 20}
    full, short = (
        fit_probes_adamw(x[None], labels, n_classes=3, settings=AdamWSettings(**given, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert not torch.equal(full, short)
    torch.testing.assert_close(full, short, rtol=0, atol=0.02)


# --- choice ------------------------------------------------------------------------------------------------


def test_a_search_from_coarse_to_fine_finds_a_peak_in_fourteen_trials():
    settings = [Setting(10.0 ** (-6 + 7 * i / 63), rate) for rate in (0.1, 0.01) for i in range(64)]
    tried = []

    def measure(some):
        tried.append(len(some))
        places = [settings.index(setting) % 64 for setting in some]
        return {setting: 1.0 - abs(place - 39) / 64 for setting, place in zip(some, places, strict=True)}

    found = search_coarse_to_fine(settings, measure)
    assert tried[0] == 16
    assert sum(tried) <= 28
    best = select_setting(list(found), list(found.values()), ties="first_rate")
    assert (settings.index(best), best.learning_rate) == (39, 0.1)


def test_a_search_from_coarse_to_fine_moves_only_to_a_better_decay():
    settings = [Setting(10.0 ** (-6 + 7 * i / 63), 0.1) for i in range(64)]
    found = search_coarse_to_fine(settings, lambda some: dict.fromkeys(some, 0.5))
    assert {settings.index(each) for each in found} == {*range(0, 64, 9), 59, 61, 62}


def test_ties_are_the_larger_decay_or_those_of_the_original():
    settings = [Setting(decay, rate) for rate in (0.1, 0.01) for decay in (0.1, 1.0, 10.0)]
    accuracies = [0.9, 0.9, 0.8, 0.9, 0.9, 0.9]
    assert select_setting(settings, accuracies, ties="larger_decay") == Setting(10.0, 0.01)
    assert select_setting(settings, accuracies, ties="first_rate") == Setting(1.0, 0.1)


SMALL = [
    LbfgsFit(),
    AdamWFit((0.01, 0.1), (0.0, 0.1), n_epochs=5, batch_size=16),
    RidgeFit(),
    KnnFit((1, 5)),
    PrototypeFit(),
    MlpFit(32, n_epochs=10, batch_size=16),
]


@pytest.mark.parametrize("fit", SMALL, ids=[type(fit).__name__ for fit in SMALL])
@pytest.mark.parametrize("labels_are", ["one", "several"])
def test_every_solver_reads_the_classes_and_sees_no_scale(fit, labels_are):
    x, labels = _draw_problem(90, overlap=0.5)
    test_x, test_labels = _draw_problem(60, overlap=0.5)
    if labels_are == "several":
        labels = torch.stack([labels == 0, labels != 1, labels == 2], dim=1).long()
    layers = {"x": x, "scaled": 1000.0 * x - 3.0}
    found = fit_layers(layers, labels, n_classes=3, fit=fit, held_out_fraction=0.2, seed=0)
    logits = found["x"].compute_logits(test_x)
    hits = logits.argmax(dim=1) == test_labels if labels_are == "one" else (
        (logits[:, 0] > logits[:, 2]) == (test_labels == 0))[test_labels != 1]  # fmt: skip
    assert hits.double().mean() > 0.9
    assert found["x"].validation_accuracy > 0.8
    assert found["x"].setting == found["scaled"].setting
    theirs = found["scaled"].compute_logits(1000.0 * test_x - 3.0)
    shown = torch.isfinite(logits)
    torch.testing.assert_close(theirs[shown], logits[shown], rtol=1e-2, atol=1e-2)
    assert (found["x"].converged is None) == (not isinstance(fit, LbfgsFit))


def test_balanced_classes_help_the_rare_one():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 180 + [1] * 20)
    x = labels[:, None] * 1.0 + torch.randn(200, 3, generator=generator)
    weights = balance_classes(labels, 2)
    assert weights.tolist() == [200 / 360, 200 / 40]
    assert balance_classes(labels, 3).tolist() == [200 / 360, 200 / 40, 1.0]
    for fit in [fit for fit in SMALL if not isinstance(fit, PrototypeFit)]:
        given = {"n_classes": 2, "fit": fit, "held_out_fraction": 0.2, "seed": 0}
        plain, fair = (
            fit_layers({"x": x}, labels, class_weights=each, **given)["x"] for each in (None, weights)
        )
        assert (fair.predict(x) == 1).sum() > (plain.predict(x) == 1).sum(), fit


def test_each_solver_has_a_name_and_a_function():
    assert set(FITS.values()) == set(SOLVERS)
