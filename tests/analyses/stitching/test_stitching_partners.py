"""How many networks are joined: bounded for each, equally many for all, and nothing finished is lost."""

import logging
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from tests.small_collections import (
    ARROW,
    TENSORS,
    make_network,
    make_stimuli,
    run_plan,
    store,
    store_networks,
)

from rep_kedro.analyses.stitching import joining
from rep_kedro.analyses.stitching.joints import choose_pairs
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.datasets import CollectionDataset
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.study import FeaturesParams
from rep_kedro.pipelines.stitching.nodes import plan_stitches

N_SEEDS = 100


def _named(architecture, seed):
    """Return a handle of an untrained network whose weights nobody reads."""
    meta = {"seed": seed, "n_classes": 10, "stimulus_set": "noise", "architecture": architecture}
    meta["definition"] = load_architecture("cnn").as_json()
    reference = {"key": f"{architecture}_{seed}", "digest": str(seed)}
    return SimpleNamespace(meta=meta, recipe=meta, reference=reference)


@pytest.fixture
def many():
    sets = {"noise": SimpleNamespace(reference={"key": "noise", "digest": "0"}, key="noise")}
    names = [(architecture, seed) for architecture in ("one", "two") for seed in range(N_SEEDS)]
    return sets, {f"{a}_untrained_s{seed}": _named(a, seed) for a, seed in names}


def test_of_two_hundred_networks_each_is_joined_with_four(many, caplog):
    with caplog.at_level(logging.INFO):
        plan = plan_stitches(many[0], {}, many[1], FeaturesParams(), StitchingParams())
    assert len(plan) == 2 * N_SEEDS * 4
    fronts = Counter(key.partition("/")[2].partition("-to-")[0] for key in plan)
    ends = Counter(key.partition("-to-")[2] for key in plan)
    assert set(fronts.values()) == set(ends.values()) == {4}
    assert "stitching leaves out 19,000 of 19,800 pairs: each network is stitched to at most 4" in caplog.text


def test_null_joins_all(many, caplog):
    with caplog.at_level(logging.INFO):
        assert (
            len(
                plan_stitches(
                    many[0], {}, many[1], FeaturesParams(), StitchingParams(max_partners_per_network=None)
                )
            )
            == 19_800
        )
    assert "leaves out" not in caplog.text


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 20])
@pytest.mark.parametrize("most", [2, 3, 4, 5, None])
def test_partners_are_mutual_and_equally_many(n, most):
    names = [f"s{i}" for i in range(n)]
    pairs = choose_pairs(names, StitchingParams(max_partners_per_network=most))
    assert len(set(pairs)) == len(pairs)
    assert {(b, a) for a, b in pairs} == set(pairs)
    assert all(a != b for a, b in pairs)
    wanted = n - 1 if most is None or most >= n - 1 else most - (most % 2) * (n % 2)
    assert set(Counter(a for a, _ in pairs).values()) == {wanted}


def test_each_network_is_joined_with_itself_besides_where_that_is_asked_for():
    names = ["a", "b", "c", "d", "e", "f"]
    few = choose_pairs(names, StitchingParams(max_partners_per_network=2))
    more = choose_pairs(names, StitchingParams(max_partners_per_network=2), include_self=True)
    assert set(more) - set(few) == {(name, name) for name in names}


def test_one_more_network_changes_only_its_neighbours_partners():
    names = [f"s{i:02}" for i in range(0, 40, 2)]
    before = set(choose_pairs(names, StitchingParams()))
    after = set(choose_pairs([*names, "s11"], StitchingParams()))
    assert len(before - after) <= 6
    assert {name for pair in before ^ after for name in pair} <= {"s08", "s10", "s11", "s12", "s14"}


def test_a_bound_that_allows_no_pair_of_neighbours_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        StitchingParams(max_partners_per_network=1)


@pytest.fixture
def study(tmp_path):
    """Five networks of one kind on 40 images."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels, splits = [i % 3 for i in range(40)], ["train"] * 24 + ["test"] * 16
    networks = {
        f"cnn_untrained_s{seed}": make_network("cnn", seed=seed, n_classes=3, stimulus_set="noise")
        for seed in range(5)
    }
    sets = {"noise": make_stimuli(pixels, labels, splits, ["a", "b", "c"])}
    return store(tmp_path / "sets", sets, ARROW), store_networks(tmp_path / "networks", networks)


def test_some_pairs_at_a_time_give_what_all_at_once_give(study, tmp_path, monkeypatch):
    plan = plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams(batch_size=10))
    whole = run_plan(tmp_path / "whole", plan)
    monkeypatch.setattr(joining, "PAIRS_AT_A_TIME", 3)
    parts = run_plan(tmp_path / "parts", plan)
    assert len(whole) == 20
    for key in whole:
        assert parts[key].meta == whole[key].meta
        assert parts[key].path.read_bytes() == whole[key].path.read_bytes()


def test_what_is_finished_before_an_interrupt_is_kept(study, tmp_path, monkeypatch, caplog):
    plan = plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams(batch_size=10))
    monkeypatch.setattr(joining, "PAIRS_AT_A_TIME", 4)
    n_fitted, fit = Counter(), joining.fit_map

    def fit_until_stopped(*given):
        n_fitted.update(["maps"])
        if n_fitted["maps"] > 4 * 4 * 2:  # layers of the pairs of two rounds
            raise KeyboardInterrupt
        return fit(*given)

    monkeypatch.setattr(joining, "fit_map", fit_until_stopped)
    collection = CollectionDataset(filepath=str(tmp_path / "out"), member=TENSORS)
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        collection.save(plan)
    assert len(list((tmp_path / "out").rglob("*.safetensors"))) == 8
    assert "[8/20] noise/" in caplog.text
    monkeypatch.setattr(joining, "fit_map", fit)
    again = CollectionDataset(filepath=str(tmp_path / "out"), member=TENSORS)
    again.save(plan)
    assert again.counts == (12, 8)
