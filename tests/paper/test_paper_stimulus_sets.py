"""The 23 stimulus sets of the study: named, placed, labelled and subsampled as published."""

from collections import Counter

import pytest

from rep_kedro.stimuli.subsets import Population

GROUPS = {"natural, many domains": 10, "natural, one domain": 6, "specialised": 4, "structured": 3}


def test_networks_are_shown_the_23_sets_and_no_other(networks, ingest):
    assert len(networks.stimulus_sets) == 23
    assert set(networks.stimulus_sets) == set(networks.stimulus_facts)
    assert set(networks.stimulus_sets) <= set(ingest.stimulus_sets)
    assert Counter(facts.group for facts in networks.stimulus_facts.values()) == GROUPS


def test_subsets_have_the_sizes_of_the_study(networks):
    facts = networks.stimulus_facts
    assert sum(each.n_analysis for each in facts.values()) == 179_147
    assert sum(each.n_train for each in facts.values()) == 2_219_161
    for name, each in facts.items():
        if each.n_train <= 10_000:
            assert each.n_analysis == each.n_train
        elif name not in {"gtsrb", "diabetic_retinopathy", "fer2013"}:  # with classes below the cap
            assert each.n_analysis == -(-10_000 // each.n_classes) * each.n_classes


def test_sets_are_expected_to_have_the_sizes_of_the_study(networks, ingest):
    for name, facts in networks.stimulus_facts.items():
        spec = ingest.stimulus_sets[name]
        assert (spec.title, spec.group) == (facts.title, facts.group)
        assert (spec.expected["train"], spec.expected["classes"]) == (facts.n_train, facts.n_classes)
        assert spec.expected["test"] >= facts.n_classes
    for name in ("entity30", "living17", "nonliving26"):  # ImageNet's test split has 50 images of each class
        spec = ingest.stimulus_sets[name]
        assert spec.expected["test"] == 50 * len(spec.label_map.new_labels("test"))
    n_imagenet = ingest.stimulus_sets["imagenet1k"].expected
    assert n_imagenet["test"] == 50 * n_imagenet["classes"]


def test_superclasses_are_read_from_the_images_of_imagenet(ingest):
    for name, n_classes in {"entity30": 30, "living17": 17, "nonliving26": 26}.items():
        spec = ingest.stimulus_sets[name]
        assert spec.path == ingest.stimulus_sets["imagenet1k"].path
        assert len(spec.label_map.classes) == n_classes
        by_split = [set(spec.label_map.new_labels(split)) for split in ("train", "test")]
        assert not by_split[0] & by_split[1]


def test_sets_are_drawn_from_one_generator_in_ascending_order_of_size(networks, ingest):
    rules = {name: ingest.rules()[name]["analysis"] for name in networks.stimulus_sets}
    assert rules["imagenet1k"].rule == "published_per_class"
    large = [n for n, f in networks.stimulus_facts.items() if f.n_train > 10_000 and n != "imagenet1k"]
    by_size = sorted(large, key=lambda name: networks.stimulus_facts[name].n_train)
    for position, name in enumerate(by_size):
        assert list(rules[name].after) == by_size[:position]


@pytest.mark.parametrize(("n_per_class", "expected"), [([30, 30], 20), ([3, 30], 13), ([5, 4], 9)])
def test_the_cap_is_the_limit_shared_by_the_classes(n_per_class, expected, ingest):
    rule = ingest.rules()["pcam"]["analysis"].model_copy(update={"limit": 20, "after": ()})
    labels = [label for label, n in enumerate(n_per_class) for _ in range(n)]
    population = Population([str(i) for i in range(len(labels))], labels, ["train"] * len(labels))
    assert len(rule.draw(population, set_name="x", subset_name="analysis")) == expected


def test_an_unset_place_is_named(parameters, monkeypatch):
    from rep_kedro.stimuli.params import IngestParams

    monkeypatch.delenv("REP_PAPER_DATA", raising=False)
    with pytest.raises(ValueError, match="environment variable REP_PAPER_DATA, which is not set"):
        IngestParams.model_validate(parameters["ingest"])
