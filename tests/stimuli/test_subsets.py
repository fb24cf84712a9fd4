"""Subsets are stratified, seeded, and draw what the published rules drew."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from rep_kedro.errors import UserError
from rep_kedro.stimuli import select_stimuli
from rep_kedro.stimuli.subsets import AnyRule, Population, share_in_proportion

parse_rule = TypeAdapter(AnyRule).validate_python


def population(train_counts, test_counts=(), seed=0):
    """Return classes of the given sizes, in a shuffled order."""
    rows = [(label, "train") for label, count in enumerate(train_counts) for _ in range(count)]
    rows += [(label, "test") for label, count in enumerate(test_counts) for _ in range(count)]
    random.Random(seed).shuffle(rows)  # noqa: S311
    labels, splits = zip(*rows, strict=True)
    return Population([f"s{row:05d}" for row in range(len(rows))], labels, splits)


def draw(people, set_name="birds", subset_name="analysis", **rule):
    return parse_rule(rule).draw(people, set_name=set_name, subset_name=subset_name)


def counts(people, rows):
    return Counter((people.splits[row], people.labels[row]) for row in rows)


def test_each_class_of_each_split_gives_what_was_asked_for():
    people = population([40, 50, 60], [20, 20, 20])
    rows = draw(people, per_class={"train": 30, "test": 15})
    assert counts(people, rows) == {("train", label): 30 for label in range(3)} | {
        ("test", label): 15 for label in range(3)
    }
    assert rows == sorted(set(rows))


def test_a_total_is_shared_equally_or_in_proportion():
    people = population([10, 30, 60])
    assert counts(people, draw(people, total={"train": 20})) == {
        ("train", 0): 7,
        ("train", 1): 7,
        ("train", 2): 6,
    }
    rows = draw(people, total={"train": 20}, allocation="proportional")
    assert counts(people, rows) == {("train", 0): 2, ("train", 1): 6, ("train", 2): 12}
    assert sum(share_in_proportion(7, [1, 1, 1, 1])) == 7


def test_a_class_that_is_too_small_is_an_error_or_taken_whole():
    people = population([5, 50])
    with pytest.raises(
        ValueError, match=r"class 0 of split train has 5 stimuli, 10 were asked for; .*take_all"
    ):
        draw(people, per_class={"train": 10})
    rows = draw(people, per_class={"train": 10}, when_short="take_all")
    assert counts(people, rows) == {("train", 0): 5, ("train", 1): 10}


def test_a_draw_follows_names_and_seed_not_the_order_of_the_set():
    people = population([50, 50])
    turned = Population(people.ids[::-1], people.labels[::-1], people.splits[::-1])
    rule = {"per_class": {"train": 10}}
    drawn = {people.ids[row] for row in draw(people, **rule)}
    assert drawn == {turned.ids[row] for row in draw(turned, **rule)}
    for change in ({"set_name": "fish"}, {"subset_name": "other"}, {"seed": 1}):
        assert drawn != {people.ids[row] for row in draw(people, **rule, **change)}


def test_nested_draws_lie_within_each_other_and_others_do_not():
    people = population([80, 80])

    def drawn(size, **options):
        return set(draw(people, subset_name=f"of_{size}", per_class={"train": size}, **options))

    assert drawn(5, nested=True) < drawn(20, nested=True) < drawn(60, nested=True)
    assert not drawn(5) < drawn(20)


def test_draws_with_replacement_repeat_and_are_uniform():
    people = population([10, 10])
    rows = draw(people, per_class={"train": 5000}, replace=True)
    assert counts(people, rows) == {("train", 0): 5000, ("train", 1): 5000}
    assert all(people.labels[row] == 0 for row in rows[:5000])
    each = Counter(rows)
    # 20 cells of 500 expected: chi-squared with 18 degrees of freedom stays below 42.3 in 99.9 % of draws
    assert sum((count - 500) ** 2 / 500 for count in each.values()) < 42.3


def test_unlabelled_stimuli_are_drawn_as_one_class():
    people = Population([str(row) for row in range(9)], [None] * 9, ["train"] * 9)
    assert len(draw(people, total={"train": 4})) == 4


def test_the_rule_all_takes_every_stimulus_or_some_splits():
    people = population([3, 2], [1, 1])
    assert draw(people, rule="all") == list(range(7))
    assert counts(people, draw(people, rule="all", splits=["test"])) == {("test", 0): 1, ("test", 1): 1}
    with pytest.raises(ValueError, match="the set has no split 'tset'; did you mean 'test'"):
        draw(people, rule="all", splits=["tset"])


def test_the_published_imagenet_rule_is_drawn_as_the_study_did():
    people = population([40, 30, 50], [20, 20, 20], seed=3)
    expected = []
    for split in ("train", "test"):
        random.seed(42)
        for label in range(3):
            rows = [
                r for r in range(len(people.ids)) if (people.splits[r], people.labels[r]) == (split, label)
            ]
            expected += random.sample(rows, 10)
    drawn = draw(people, rule="published_per_class", per_class=10, splits=["train", "test"])
    assert drawn == expected
    with pytest.raises(ValueError, match="class 1 of split train has 30 stimuli, need 31"):
        draw(people, rule="published_per_class", per_class=31)


def test_the_published_cap_is_drawn_as_the_study_did_after_earlier_sets():
    first, second = population([70, 60], seed=1), population([90, 10, 80], seed=2)
    np.random.seed(42)
    expected = []
    for people, cap in ((first, 60), (second, 40)):
        expected = []
        for label in sorted(set(people.labels)):
            rows = np.flatnonzero(np.array(people.labels) == label)
            expected += np.random.choice(rows, min(len(rows), cap), replace=False).tolist()
    rule = parse_rule({"rule": "published_class_cap", "limit": 120})
    names = {"set_name": "birds", "subset_name": "analysis"}
    assert rule.draw(second, earlier=[first], **names) == sorted(expected)
    assert rule.draw(second, **names) != sorted(expected)


def test_the_published_cap_gives_the_sizes_that_the_study_reports():
    """Sizes of table 3 of the study: balanced and unbalanced sets with more than 10,000 training images."""
    sizes = {
        "CIFAR-100": ([450] * 100, 10_000),
        "PCAM": ([131_072] * 2, 10_000),
        "Diabetic Retinopathy": ([25_810, 2_443, 5_292, 873, 708], 7_581),
        "FER2013": ([3995, 436, 4097, 7215, 4830, 3171, 4965], 9_010),
        "Country-211": ([150] * 211, 10_128),
        "Flowers": ([10] * 102, 1_020),
    }
    for name, (train_counts, expected) in sizes.items():
        labels = np.repeat(np.arange(len(train_counts)), train_counts).tolist()
        people = Population(range(len(labels)), labels, ["train"] * len(labels))
        rows = draw(people, rule="published_class_cap")
        assert len(rows) == expected, name


def test_the_published_cap_at_thirty_thousand_gives_the_sizes_that_the_study_reports():
    """At most so many of each class at 30,000: the last column of the study's table of data sets."""
    per_class = {"Country-211": (211, 150, 143), "CIFAR-100": (100, 450, 300), "Dmlab": (6, 10_925, 5000)}
    per_class |= {
        "Living-17": (17, 2600, 1765),
        "Nonliving-26": (26, 2530, 1154),
        "PCAM": (2, 131_072, 15_000),
    }
    for name, (n_classes, n_each, cap) in per_class.items():
        labels = np.repeat(np.arange(n_classes), n_each).tolist()
        people = Population(range(len(labels)), labels, ["train"] * len(labels))
        drawn = draw(people, rule="published_class_cap", limit=30_000)
        assert set(counts(people, drawn).values()) == {cap}, name


@pytest.mark.parametrize("per_class", [1, 5, 10, 20, 30, 40])
def test_every_size_of_the_study_can_be_drawn_by_either_rule(per_class):
    people = population([50] * 6, [45] * 6)
    ours = draw(people, per_class={"train": per_class, "test": per_class})
    theirs = draw(people, rule="published_per_class", per_class=per_class, splits=["train", "test"])
    for rows in (ours, theirs):
        assert set(counts(people, rows).values()) == {per_class}
        assert len(set(rows)) == len(rows) == 12 * per_class
    nested = [
        set(draw(people, subset_name=f"n{size}", per_class={"train": size}, nested=True))
        for size in (per_class, 40)
    ]
    assert nested[0] <= nested[1]


def test_the_published_bootstrap_is_drawn_as_the_study_did():
    people = population([9, 8])
    random.seed(7)
    expected = []
    for label in range(2):
        rows = [row for row in range(len(people.ids)) if people.labels[row] == label]
        expected += random.choices(rows, k=30)  # noqa: S311
    assert draw(people, rule="published_bootstrap", seed=7) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"rule": "stratifed"}, "Input tag 'stratifed' found using 'rule' does not match"),
        ({"per_clas": {"train": 3}}, "per_clas\n  Extra inputs are not permitted"),
        ({}, "needs either per_class or total"),
        ({"per_class": {"train": 3}, "total": {"train": 3}}, "needs either per_class or total, not both"),
        ({"per_class": {"train": -3}}, "greater than or equal to 0"),
    ],
)
def test_wrong_rules_are_refused(entry, message):
    with pytest.raises(ValidationError, match=message):
        parse_rule(entry)


def test_stimuli_are_selected_in_the_order_of_the_ids():
    table = pa.table({"stimulus_id": pa.chunked_array([["a", "b"], ["c"]]), "label": [0, 1, 2]})
    for ids in (["c", "a", "c"], pa.array(["c", "a", "c"]), pa.chunked_array([["c"], ["a", "c"]])):
        assert select_stimuli(table, ids)["label"].to_pylist() == [2, 0, 2]
    with pytest.raises(UserError, match=r"2 stimuli are not in the set, such as \['x', 'y'\]"):
        select_stimuli(table, ["x", "a", "y"])
