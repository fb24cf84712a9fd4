"""The stitching pipeline on small networks with drawn weights."""

import json
import logging

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import average_precision_score
from tests.reference import stitching as reference
from tests.small_collections import ARROW, make_network, make_stimuli, run_plan, store, store_networks

from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.analyses.stitching.splits import read_splits
from rep_kedro.datasets import Planned
from rep_kedro.datasets.partial import Handles
from rep_kedro.errors import UserError
from rep_kedro.models.study import FeaturesParams
from rep_kedro.models.trained import preprocessing_of, restore_trained_network
from rep_kedro.pipelines.stitching.nodes import plan_stitches, tabulate_stitches
from rep_kedro.schemas.stitching import STITCHING_RESULTS, TABLES

N_TRAIN, N_TEST, N_CLASSES = 24, 20, 3


@pytest.fixture(scope="module")
def stimuli():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(N_TRAIN + N_TEST, 16, 16, 3), dtype=np.uint8)
    labels = [i % N_CLASSES for i in range(len(pixels))]
    return pixels, labels, ["train"] * N_TRAIN + ["test"] * N_TEST


@pytest.fixture
def study(tmp_path, stimuli):
    def network(architecture, seed, n_classes=N_CLASSES, **given):
        return make_network(architecture, seed=seed, n_classes=n_classes, stimulus_set="noise", **given)

    networks = {
        "cnn_supervised_s0": network("cnn", 0),
        "cnn_supervised_s1": network("cnn", 1),
        "small_resnet_supervised_s0": network("small_resnet", 0),
        "small_resnet_supervised_s1": network("small_resnet", 1),
        "cnn_simclr_s0": network("cnn", 0, n_classes=None, objective="simclr"),
        "cnn_simclr_s1": network("cnn", 1, n_classes=None, objective="simclr"),
    }
    sets = {"noise": make_stimuli(*stimuli, class_names=["a", "b", "c"])}
    return store(tmp_path / "stimulus_sets", sets, ARROW), store_networks(tmp_path / "networks", networks)


def _stitch(tmp_path, study, **params):
    return run_plan(
        tmp_path / "stitches",
        plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams(batch_size=10, **params)),
    )


def test_networks_are_joined_with_those_that_differ_in_their_seed_alone(study):
    assert list(plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams())) == [
        "noise/cnn_supervised_s0-to-cnn_supervised_s1/ps_inv",
        "noise/cnn_supervised_s1-to-cnn_supervised_s0/ps_inv",
        "noise/small_resnet_supervised_s0-to-small_resnet_supervised_s1/ps_inv",
        "noise/small_resnet_supervised_s1-to-small_resnet_supervised_s0/ps_inv",
    ]


def test_what_networks_have_in_common_is_in_their_recipes_not_in_their_names(tmp_path, study, stimuli):
    def network(seed, **given):
        return make_network("cnn", seed=seed, n_classes=N_CLASSES, stimulus_set="noise", **given)

    named = {
        "elder": network(0),
        "younger": network(1),
        "cnn_s0": network(0, objective="a"),
        "cnn_s1": network(1, objective="b"),
    }
    networks = store_networks(tmp_path / "named", named)
    assert list(plan_stitches(study[0], {}, networks, FeaturesParams(), StitchingParams())) == [
        "noise/elder-to-younger/ps_inv",
        "noise/younger-to-elder/ps_inv",
    ]


def test_networks_of_different_objectives_are_joined_if_asked(tmp_path, study):
    named = {
        name: make_network(
            "cnn", seed=seed, n_classes=N_CLASSES, stimulus_set="noise", objective=name.split("_")[0]
        )
        for seed, name in enumerate(("a_s0", "b_s1"))
    }
    networks = store_networks(tmp_path / "named", named)
    assert not plan_stitches(study[0], {}, networks, FeaturesParams(), StitchingParams())
    plan = plan_stitches(study[0], {}, networks, FeaturesParams(), StitchingParams(across_objectives=True))
    assert list(plan) == ["noise/a_s0-to-b_s1/ps_inv", "noise/b_s1-to-a_s0/ps_inv"]


def _subset(tmp_path, study, rows):
    table = study[0]["noise"].table(["stimulus_id", "label", "split"]).take(rows)
    table = table.replace_schema_metadata({b"meta": json.dumps({"n_stimuli": len(rows)}).encode()})
    return store(tmp_path / "subsets", {"noise/few": table}, ARROW)


def test_a_subset_gives_what_a_set_of_these_images_alone_gives(tmp_path, study, stimuli):
    rows = [40, 3, 0, 7, 5, 30, 2, 25, 11, 28, 9, 4]
    params = StitchingParams(batch_size=10, subset="few", models=["cnn_supervised_s0", "cnn_supervised_s1"])
    subsets = _subset(tmp_path, study, rows)
    plan = plan_stitches(study[0], subsets, study[1], FeaturesParams(), params)
    key = "noise/cnn_supervised_s0-to-cnn_supervised_s1/ps_inv"
    assert plan[key].recipe["stimulus_subset"] == subsets["noise/few"].reference
    pixels, labels, splits = stimuli
    chosen = sorted(rows)
    only = make_stimuli(
        pixels[chosen], [labels[i] for i in chosen], [splits[i] for i in chosen], class_names=["a", "b", "c"]
    )
    alone = plan_stitches(
        store(tmp_path / "alone", {"noise": only}, ARROW),
        {},
        study[1],
        FeaturesParams(),
        params.model_copy(update={"subset": None}),
    )
    found, wanted = run_plan(tmp_path / "few", plan)[key], run_plan(tmp_path / "whole", alone)[key]
    assert found.meta == wanted.meta
    assert found.meta["stitches"][0]["n_fit"] == 8
    assert found.meta["stitches"][0]["n_test"] == 4
    assert all(np.array_equal(found.tensor(name), wanted.tensor(name)) for name in wanted.names)


def test_of_more_images_so_many_are_drawn(tmp_path, study):
    table = tabulate_stitches(_stitch(tmp_path, study, n_fit=9, n_test=7))[0]
    assert set(table["n_fit"]) == {9}
    assert set(table["n_test"]) == {7}
    first, again, other = (
        read_splits(study[0]["noise"], None, StitchingParams(n_fit=9, seed=seed))["train"].names
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_networks_of_a_further_label_are_compared_on_that_label(tmp_path, study, stimuli):
    pixels, labels, splits = stimuli
    breeds = [(label + 1) % N_CLASSES for label in labels]
    table = make_stimuli(pixels, labels, splits, ["a", "b", "c"])
    meta = json.loads(table.schema.metadata[b"meta"])
    meta["label_columns"] = {"animal": ["a", "b", "c"], "breed": ["x", "y", "z"]}
    meta["multi_label_columns"] = {"tags": ["x", "y", "z"]}
    table = table.append_column("label:breed", pa.array(breeds, pa.int32()))
    table = table.replace_schema_metadata({b"meta": json.dumps(meta)})
    sets = store(tmp_path / "labelled", {"noise": table}, ARROW)
    networks = {
        f"{column}_s{seed}": (column, make_network("cnn", seed=seed, n_classes=3, stimulus_set="noise"))
        for column in ("breed", "tags")
        for seed in (0, 1)
    }
    plan = {
        name: Planned({"labels": column}, lambda n=network: n) for name, (column, network) in networks.items()
    }
    handles = run_plan(tmp_path / "of_labels", plan)
    planned = plan_stitches(sets, {}, handles, FeaturesParams(), StitchingParams())
    pairs = [f"noise/{c}_s{n}-to-{c}_s{1 - n}/ps_inv" for c in ("breed", "tags") for n in (0, 1)]
    assert sorted(planned) == pairs
    planned = {key: planned[key] for key in pairs[:2]}
    found = tabulate_stitches(run_plan(tmp_path / "found", planned))[0].set_index("front_model")
    same = make_stimuli(pixels, breeds, splits, ["x", "y", "z"])
    own = {name: study[1][f"cnn_supervised_{name[-2:]}"] for name in ("breed_s0", "breed_s1")}
    wanted = plan_stitches(
        store(tmp_path / "same", {"noise": same}, ARROW), {}, own, FeaturesParams(), StitchingParams()
    )
    expected = tabulate_stitches(run_plan(tmp_path / "wanted", wanted))[0].set_index("front_model")
    for column in ("front_accuracy", "end_accuracy", "stitched_accuracy", "cross_entropy"):
        assert found[column].tolist() == expected[column].tolist()
    joint = {"fronts": ["tags_s0"], "ends": ["breed_s1"]}
    with pytest.raises(UserError, match=r"tags_s0 \(3 classes of noise, tags\) and breed_s1 .*label sets"):
        plan_stitches(sets, {}, handles, FeaturesParams(), StitchingParams(joints=[joint]))
    joint = {"fronts": ["breed_s0"], "ends": ["cnn_supervised_s1"]}
    with pytest.raises(
        UserError, match=r"breed_s0 \(3 classes of noise, breed\) and cnn_supervised_s1 .* other label sets"
    ):
        plan_stitches(sets, {}, {**handles, **study[1]}, FeaturesParams(), StitchingParams(joints=[joint]))


def test_networks_of_several_labels_are_compared_on_them(tmp_path, stimuli):
    pixels, labels, splits = stimuli
    tags = [[label, (label + 1) % 3][: n % 3] for n, label in enumerate(labels)]
    table = make_stimuli(pixels, labels, splits, ["a", "b", "c"])
    meta = json.loads(table.schema.metadata[b"meta"])
    meta |= {"label_columns": {"animal": ["a", "b", "c"]}, "multi_label_columns": {"tags": ["x", "y", "z"]}}
    table = table.append_column("label:tags", pa.array(tags, pa.list_(pa.int32())))
    sets = store(
        tmp_path / "sets", {"noise": table.replace_schema_metadata({b"meta": json.dumps(meta)})}, ARROW
    )
    networks = {f"tags_s{n}": make_network("cnn", seed=n, n_classes=3, stimulus_set="noise") for n in (0, 1)}
    plan = {name: Planned({"labels": "tags"}, lambda n=network: n) for name, network in networks.items()}
    handles = run_plan(tmp_path / "networks", plan)
    trained = {"epochs": 1, "batch_size": 8, "path_from": "ps_inv"}
    params = StitchingParams.model_validate(
        {
            "joints": [{"layers": ["relu3"], "include_self": True}],
            "maps": {
                "ps_inv": {"fit": "least_squares"},
                "soft": {**trained, "target": "soft_12", "temperature": 2},
                "hard": {**trained, "target": "hard"},
            },
        }
    )
    stitches = run_plan(tmp_path / "found", plan_stitches(sets, {}, handles, FeaturesParams(), params))
    results, summary, paths = tabulate_stitches(stitches)
    chosen = torch.tensor([[n in row for n in range(3)] for row in tags[N_TRAIN:]]).long()
    images = torch.from_numpy(pixels[N_TRAIN:]).permute(0, 3, 1, 2)
    for name in networks:
        network = restore_trained_network(handles[name])
        with torch.no_grad():
            logits = network(preprocessing_of(handles[name]).scale(images))
        rows = results[results["end_model"] == name]
        hits = chosen.gather(1, logits.argmax(dim=1)[:, None]).double().mean().item()
        assert set(rows["end_accuracy"]) == {hits}
        precision = average_precision_score(chosen, logits, average="macro")
        assert rows["end_mean_average_precision"].tolist() == pytest.approx([precision] * len(rows))
    itself = results[(results["control"] == "self") & (results["map"] == "ps_inv")]
    assert itself["relative_mean_average_precision"].tolist() == [pytest.approx(1.0)] * 2
    assert np.isfinite(results["mean_average_precision"]).all()
    assert "relative_mean_average_precision" in set(summary["measure"])
    assert len(paths) == 11 * 4 * 2


def test_a_subset_that_is_not_there_is_named(study):
    with pytest.raises(UserError, match="unknown stimulus subset 'noise/few'"):
        plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams(subset="few"))
    subsets = Handles({}, {"noise/few": "missing"}, {})
    plan = plan_stitches(study[0], subsets, study[1], FeaturesParams(), StitchingParams(subset="few"))
    assert not plan
    assert set(plan.left_out.values()) == {"stimulus_subsets/noise/few is missing"}


def test_a_network_joined_with_itself_is_the_network(tmp_path, study):
    handles = _stitch(tmp_path, study, joints=[{"include_self": True}], layers="cut_points")
    table = tabulate_stitches(handles)[0]
    itself = table[table["front_model"] == table["end_model"]]
    assert set(itself["front_model"]) == {name for name in study[1] if "supervised" in name}
    assert len(itself) > 4 * 10
    assert (itself["relative_accuracy"] == 1.0).all()
    assert (itself["agreement"] == 1.0).all()
    # Test images leave what the training images span in the deepest layers of a net with 24 of them.
    maps = [
        row["map_r2"]
        for row in handles["noise/cnn_supervised_s0-to-cnn_supervised_s0/ps_inv"].meta["stitches"]
    ]
    assert min(maps[:9]) == pytest.approx(1.0, abs=1e-9)


def test_every_kept_cut_point_gets_a_row(tmp_path, study):
    table = tabulate_stitches(_stitch(tmp_path, study))[0]
    assert list(table.columns) == list(STITCHING_RESULTS.names)
    cnn = table[table["front_model"] == "cnn_supervised_s0"]
    assert cnn[["end_model", "end_layer", "depth"]].values.tolist() == [
        ["cnn_supervised_s1", layer, depth]
        for depth, layer in enumerate(("relu1", "relu2", "relu3", "relu5"))
    ]
    assert set(table["n_fit"]) == {N_TRAIN}
    assert set(table["n_test"]) == {N_TEST}


@pytest.mark.parametrize("layer", ["relu1", "relu3"])
def test_maps_and_accuracies_equal_those_of_whole_passes(tmp_path, study, stimuli, layer):
    handles = _stitch(tmp_path, study, models=["cnn_supervised_s0", "cnn_supervised_s1"])
    handle = handles["noise/cnn_supervised_s1-to-cnn_supervised_s0/ps_inv"]
    front, end = (restore_trained_network(study[1][f"cnn_supervised_s{seed}"]) for seed in (1, 0))
    pixels, labels, _ = stimuli
    scale = preprocessing_of(study[1]["cnn_supervised_s0"]).scale
    images = scale(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    with torch.no_grad():
        x, y = (network.run(images, stop_at=layer) for network in (front, end))

    def rows(maps):
        return maps.permute(0, 2, 3, 1).flatten(0, 2).double()

    weight, bias = reference.affine_map(rows(x[:N_TRAIN]), rows(y[:N_TRAIN]))
    np.testing.assert_allclose(handle.tensor(f"{layer}/s0/weight"), weight, rtol=0, atol=1e-6)
    np.testing.assert_allclose(handle.tensor(f"{layer}/s0/bias"), bias, rtol=0, atol=1e-6)
    with torch.no_grad():
        mapped = torch.einsum("ef,nfhw->nehw", weight.float(), x[N_TRAIN:]) + bias.float()[:, None, None]
        stitched = end.run(mapped, start_after=layer).argmax(1)
        alone, of_front = end(images[N_TRAIN:]).argmax(1), front(images[N_TRAIN:]).argmax(1)
    truth = torch.tensor(labels[N_TRAIN:])
    row = next(row for row in handle.meta["stitches"] if row["end_layer"] == layer)
    assert row["stitched_accuracy"] == (stitched == truth).double().mean().item()
    assert row["end_accuracy"] == (alone == truth).double().mean().item()
    assert row["front_accuracy"] == (of_front == truth).double().mean().item()
    assert row["agreement"] == (stitched == alone).double().mean().item()
    expected = reference.r2(weight, bias, rows(x[N_TRAIN:]), rows(y[N_TRAIN:]))
    assert row["map_r2"] == pytest.approx(expected, abs=1e-6)


MAPS = {
    "ps_inv": {"fit": "least_squares"},
    "ridge": {"fit": "least_squares", "ridge": [1e-4, 1e-2, 1.0]},
    "sparse": {"fit": "least_squares", "sparse": 0.1},
    "orthogonal": {"fit": "orthogonal"},
    "rank2": {"fit": "reduced_rank", "rank": 2},
    "semi": {"fit": "matching", "rule": "semi-match"},
    "assigned": {"fit": "matching", "rule": "assignment"},
    "eye": {"fit": "start", "init": "eye"},
    "drawn": {"fit": "start", "init": "random", "seeds": [0, 1]},
}


def test_every_map_without_training(tmp_path, study):
    chosen = {"models": ["cnn_supervised_s0", "cnn_supervised_s1"], "measures": ["cka", "procrustes"]}
    handles = _stitch(tmp_path, study, maps=MAPS, **chosen)
    assert sorted(handles) == sorted(
        f"noise/cnn_supervised_s{a}-to-cnn_supervised_s{1 - a}/{name}" for a in (0, 1) for name in MAPS
    )

    def weight(name, seed=0):
        key = f"noise/cnn_supervised_s0-to-cnn_supervised_s1/{name}"
        return handles[key].tensor(f"relu2/s{seed}/weight")

    np.testing.assert_allclose(weight("orthogonal") @ weight("orthogonal").T, np.eye(12), atol=1e-10)
    assert np.linalg.matrix_rank(weight("rank2")) == 2
    assert np.linalg.matrix_rank(weight("ps_inv")) > 2
    assert (np.count_nonzero(weight("semi"), axis=1) <= 1).all()
    assert (np.count_nonzero(weight("assigned"), axis=0) <= 1).all()
    np.testing.assert_array_equal(weight("eye"), np.eye(12))
    assert not np.array_equal(weight("drawn", 0), weight("drawn", 1))
    kept = np.abs(weight("ps_inv")) >= 0.1
    np.testing.assert_array_equal(weight("sparse"), np.where(kept, weight("ps_inv"), 0.0))
    results, summary, paths = tabulate_stitches(handles)
    assert not len(paths)
    eye = results[results["map"] == "eye"]
    np.testing.assert_allclose(eye["cka"], eye["cka_before"], rtol=1e-6)
    np.testing.assert_allclose(eye["joint_l2"], eye["joint_l2_before"], rtol=1e-9)
    assert set(results.loc[results["map"] == "ridge", "ridge"]) <= {1e-4, 1e-2, 1.0}
    counts = results[["n_both_right", "n_stitched_right", "n_end_right", "n_both_wrong"]].sum(axis=1)
    assert set(counts) == {N_TEST}
    assert (results["low"] <= results["high"]).all()
    drawn = summary.query("map == 'drawn' and measure == 'agreement' and end_layer == 'relu3'")
    assert drawn["n"].tolist() == [4]
    assert drawn["n_seeds"].tolist() == [2]
    of_place = results.query("end_layer == 'relu3'").set_index(["front_model", "map", "seed"])["agreement"]
    differences = [
        of_place[front, "drawn", seed] - of_place[front, "ps_inv", 0]
        for front in ("cnn_supervised_s0", "cnn_supervised_s1")
        for seed in (0, 1)
    ]
    assert drawn["difference"].tolist() == pytest.approx([np.mean(differences)])
    assert drawn["mean"].tolist() == pytest.approx([of_place.xs("drawn", level="map").mean()])


def test_one_map_more_or_another_option_computes_that_map_alone(study):
    def plan(**maps):
        params = StitchingParams(maps={"ps_inv": {"fit": "least_squares"}, **maps})
        found = plan_stitches(study[0], {}, study[1], FeaturesParams(), params)
        return {key: planned.recipe for key, planned in found.items()}

    before, after = plan(), plan(frank={"init": "ps_inv"})
    assert {key for key in after if key not in before} == {f"{key[:-7]}/frank" for key in before}
    assert {key: after[key] for key in before} == before
    changed = plan(frank={"init": "ps_inv", "target": "soft_12"})
    assert {key for key in after if after[key] != changed[key]} == {key for key in after if "frank" in key}


def test_one_missing_pair_is_made_without_the_others(tmp_path, study):
    plan = plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams())
    keys = [key for key in plan if "resnet" in key]
    whole = run_plan(tmp_path / "whole", plan)
    alone = run_plan(tmp_path / "alone", {keys[1]: plan[keys[1]]})
    assert alone[keys[1]].meta == whole[keys[1]].meta


def test_a_batch_size_changes_no_recipe_but_a_map_does(study):
    def recipe(**params):
        return plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams(**params))[
            "noise/cnn_supervised_s0-to-cnn_supervised_s1/ps_inv"
        ].recipe

    assert recipe() == recipe(batch_size=7)
    assert recipe() != recipe(maps={"ps_inv": {"fit": "orthogonal"}})
    assert recipe() != recipe(layers="cut_points")


def test_networks_without_a_partner_are_reported_and_nothing_is_planned(study, caplog):
    with caplog.at_level(logging.INFO):
        assert (
            plan_stitches(
                study[0],
                {},
                study[1],
                FeaturesParams(),
                StitchingParams(models=["cnn_supervised_s0", "cnn_simclr_s0"]),
            )
            == {}
        )
    assert "nothing to stitch" in caplog.text
    assert [list(table.columns) for table in tabulate_stitches({})] == [list(table.names) for table in TABLES]


def test_stimuli_without_labels_fail_with_a_reason(tmp_path, study, stimuli):
    pixels, labels, splits = stimuli
    bare = store(tmp_path / "bare", {"noise": make_stimuli(pixels, [None, *labels[1:]], splits)}, ARROW)
    plan = plan_stitches(bare, {}, study[1], FeaturesParams(), StitchingParams())
    with pytest.raises(Exception, match="1 of them without a label; stitching needs labels"):
        run_plan(tmp_path / "failed", plan)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"models": ["cnn_supervized_s0"]},
            "unknown network 'cnn_supervized_s0'; did you mean 'cnn_supervised_s",
        ),
        ({"stimulus_sets": ["noises"]}, "unknown stimulus set 'noises'; did you mean 'noise'"),
    ],
)
def test_unknown_names_are_refused_with_close_matches(study, params, message):
    with pytest.raises(ValueError, match=message):
        plan_stitches(study[0], {}, study[1], FeaturesParams(), StitchingParams(**params))
