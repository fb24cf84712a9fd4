"""Seeded choices depend on what they should depend on, and on nothing else."""

from collections import Counter

from rep_kedro.stimuli.splits import draw_test_rows, hash_of, rank_by_seed

NAMES = [f"stimulus-{number}" for number in range(400)]


def test_ranks_are_a_permutation_that_follows_the_items_not_their_order():
    ranked = [NAMES[position] for position in rank_by_seed(NAMES, 3)]
    turned = NAMES[::-1]
    assert sorted(ranked) == sorted(NAMES)
    assert ranked == [turned[position] for position in rank_by_seed(turned, 3)]
    assert ranked != [NAMES[position] for position in rank_by_seed(NAMES, 4)]


def test_parts_of_a_hash_do_not_run_together():
    assert hash_of("a", "bc") != hash_of("ab", "c")
    assert hash_of(1, 23) != hash_of(12, 3)


def test_ranks_are_uniform():
    first = Counter(rank_by_seed(NAMES[:4], seed)[0] for seed in range(4000))
    # four cells of 1000 expected: chi-squared with 3 degrees of freedom stays below 16.3 in 99.9 % of draws
    assert sum((first[cell] - 1000) ** 2 / 1000 for cell in range(4)) < 16.3


def test_a_test_split_takes_the_share_of_each_class_and_stays_when_stimuli_are_added():
    labels = [number % 4 for number in range(400)]
    is_test = draw_test_rows(NAMES, labels, test_fraction=0.3, seed=0)
    assert Counter(label for label, test in zip(labels, is_test, strict=True) if test) == dict.fromkeys(
        range(4), 30
    )
    fewer = draw_test_rows(NAMES[:396], labels[:396], test_fraction=0.3, seed=0)
    moved = sum(a != b for a, b in zip(fewer, is_test[:396], strict=True))
    assert moved <= 4  # at most one in each class, which lost one stimulus


def test_unlabelled_stimuli_are_one_class():
    assert sum(draw_test_rows(NAMES, [None] * 400, test_fraction=0.25, seed=1)) == 100
