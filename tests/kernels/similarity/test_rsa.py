"""RSA: every RDM under every comparison against definitions, ties, limits of memory, degenerate input."""

import errno
import os

import numpy as np
import pytest
import scipy.stats
import torch
from tests.kernels.in_words import in_words
from tests.reference import rsa as reference

from rep_kedro.kernels.scratch import scratch_file
from rep_kedro.kernels.similarity import packed_ranks, rank_rows, rdm_ranks
from rep_kedro.kernels.similarity.rsa import RDM_KINDS, RdmSource, compare_rsa

COMPARISONS = ("pearson", "spearman", "rho_a", "tau_a", "cosine", "whitened_cosine")


def draw(n=9, widths=(5, 7, 12), seed=0):
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((n, 4))
    return [
        shared @ generator.standard_normal((4, d)) + generator.standard_normal((n, d)) + 0.4 for d in widths
    ]


def draw_few_values(n=9, seed=0):
    """Features with many equal distances."""
    generator = np.random.default_rng(seed)
    return [np.eye(3)[generator.integers(0, 3, n)], generator.integers(0, 2, (n, 3)) + 0.0]


def compare(representations, rdm, how, memory_bytes=10**7, dtype=torch.float64):
    tensors = [torch.as_tensor(x).to(dtype) for x in representations]
    request = {"asked": {"rdm": rdm, "compare": how}}
    [(_, values, reasons)] = compare_rsa(tensors, request, memory_bytes=memory_bytes)
    return values, in_words(reasons)


def expected(representations, rdm, how):
    vectors = [reference.rdm_vector(rdm, x) for x in representations]
    return np.array([[reference.COMPARE[how](v, w) for w in vectors] for v in vectors])


@pytest.mark.parametrize("how", COMPARISONS)
@pytest.mark.parametrize("rdm", RDM_KINDS)
def test_similarity_equals_its_definition(rdm, how):
    values, reasons = compare(draw(), rdm, how)
    np.testing.assert_allclose(values, expected(draw(), rdm, how), atol=1e-11)
    assert reasons == {}


@pytest.mark.parametrize("how", ["spearman", "rho_a", "tau_a"])
@pytest.mark.parametrize("rdm", ["euclidean", "squared_euclidean"])
def test_equal_dissimilarities_share_their_average_rank(rdm, how):
    representations = draw_few_values(8)
    rounded = [np.round(reference.rdm_vector("squared_euclidean", x), 9) for x in representations]
    want = [[reference.COMPARE[how](v, w) for w in rounded] for v in rounded]
    for dtype in (torch.float32, torch.float64):
        values, _ = compare(representations, rdm, how, dtype=dtype)
        np.testing.assert_allclose(values, want, atol=1e-12)


def test_rounding_does_not_tear_ties_apart():
    labels = np.random.default_rng(2).integers(0, 5, 60)
    codes = np.random.default_rng(3).standard_normal((5, 40))[labels]  # sixty stimuli at five places
    same = np.equal.outer(labels, labels)[np.triu_indices(60, 1)]
    for dtype in (torch.float32, torch.float64):
        for rdm in RDM_KINDS:
            source = RdmSource(torch.as_tensor(codes).to(dtype), rdm)
            ranks = torch.empty(60 * 59 // 2, dtype=torch.int32)
            rdm_ranks._rank_into(ranks, source, {}, 0)
            assert len(ranks.unique()) == 11
            assert (ranks[torch.from_numpy(same)] == ranks.min()).all()


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_ties_that_cross_chunks_still_share_one_rank(monkeypatch, chunk):
    representations = [*draw_few_values(12), *draw(12)]
    whole = compare(representations, "euclidean", "spearman")[0]
    monkeypatch.setattr(packed_ranks, "SORT_CHUNK", chunk)
    monkeypatch.setattr(rank_rows, "NUMBERS_PER_CHUNK", chunk + 3)
    monkeypatch.setattr(rdm_ranks, "ENTRIES_PER_BLOCK", 12 * chunk)
    assert torch.equal(compare(representations, "euclidean", "spearman")[0], whole)


@pytest.mark.parametrize("tolerance", [0, 1, 3])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(("n_values", "chunk"), [(1, 7), (3, 7), (40, 1), (40, 33), (10**6, 7), (10**6, 500)])
def test_both_ways_to_rank_packed_numbers_give_runs_of_close_ones_their_average(
    monkeypatch, n_values, chunk, n_threads, tolerance
):
    values = np.random.default_rng(0).integers(0, n_values, 101) * 2
    order = np.argsort(values, kind="stable")
    runs = np.cumsum(np.diff(values[order], prepend=-1) > tolerance)  # numbers of a run are ties
    want = np.empty(101, dtype=int)
    want[order] = 2 * scipy.stats.rankdata(runs) - 102
    monkeypatch.setattr(packed_ranks, "SORT_CHUNK", chunk)
    monkeypatch.setattr(packed_ranks, "CHUNK_ELSEWHERE", chunk)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    for rank in (packed_ranks.rank_by_threads, packed_ranks.rank_on_device):
        keys = (torch.from_numpy(values) << 7) + torch.arange(101)
        got = torch.empty(101, dtype=torch.int32)
        rank(keys, 7, tolerance=tolerance, out=got)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("held", [2, 3, 4])
@pytest.mark.parametrize("how", ["spearman", "tau_a"])
def test_ranks_beyond_the_memory_are_in_a_file_and_give_the_same(held, how, monkeypatch):
    representations = draw(20, (3, 4, 5, 6, 7))
    n_entries = 20 * 19 // 2
    whole = compare(representations, "correlation", how)[0]
    made = []
    monkeypatch.setattr(
        rank_rows, "scratch_file", lambda n_bytes: made.append(n_bytes) or scratch_file(n_bytes)
    )
    monkeypatch.setattr(rank_rows, "NUMBERS_PER_CHUNK", 5 * 7)
    values, _ = compare(representations, "correlation", how, memory_bytes=(8 + 4 * held) * n_entries)
    assert made == [(5 - (held - 1)) * 4 * n_entries]
    torch.testing.assert_close(values, whole, rtol=0, atol=0)


def test_a_disk_without_room_for_the_ranks_is_refused_with_what_to_do(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"no room for a scratch file of 288 bytes in .* set TMPDIR"):
        compare(draw(9, (3, 4, 5)), "correlation", "spearman", memory_bytes=16 * 36)


def test_memory_for_less_than_two_models_is_refused_with_what_is_needed():
    with pytest.raises(ValueError, match="ranks of the RDMs of two models for 9 stimuli take 576 bytes"):
        compare(draw(), "correlation", "spearman", memory_bytes=575)
    compare(draw(), "correlation", "spearman", memory_bytes=576)
    compare(draw()[:1], "correlation", "spearman", memory_bytes=432)


def test_more_stimuli_than_ranks_can_count_are_refused():
    source = RdmSource(torch.zeros(65_537, 1), "euclidean")
    with pytest.raises(ValueError, match="takes at most 65536 stimuli, got 65537"):
        next(rdm_ranks.compare_ranks([source], {"asked": "spearman"}, memory_bytes=2**60))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rdm", RDM_KINDS)
def test_the_features_stay_as_they_are(rdm, dtype):
    tensors = [torch.as_tensor(x).to(dtype) for x in draw()]
    copies = [x.clone() for x in tensors]
    requests = {how: {"rdm": rdm, "compare": how} for how in COMPARISONS}
    assert len(list(compare_rsa(tensors, requests, memory_bytes=10**7))) == len(COMPARISONS)
    assert all(torch.equal(x, copy) for x, copy in zip(tensors, copies, strict=True))


def test_tiles_do_not_change_values_from_sums():
    for rdm in RDM_KINDS:
        for how in ("pearson", "cosine", "whitened_cosine"):
            whole, tiled = (compare(draw(40), rdm, how, memory_bytes=m)[0] for m in (10**8, 3_000))
            torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("how", ["pearson", "spearman", "cosine", "whitened_cosine"])
@pytest.mark.parametrize(
    ("rdm", "row", "fault"), [("correlation", 3.0, "the same value in all features"), ("cosine", 0.0, "zero")]
)
def test_a_stimulus_without_direction_makes_its_model_undefined(rdm, row, fault, how):
    representations = draw()
    representations[1][4] = row
    values, reasons = compare(representations, rdm, how)
    assert values.isnan().sum() == 5
    assert set(reasons) == {(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)}
    assert reasons[0, 1].startswith("model 1: 1 of 9 stimuli have")
    assert fault in reasons[0, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("how", ["pearson", "spearman", "rho_a", "tau_a"])
def test_a_model_with_equal_dissimilarities_is_undefined(how, dtype):
    values, reasons = compare([draw()[0], np.eye(9)], "euclidean", how, dtype=dtype)
    assert values.isnan().tolist() == [[False, True], [True, True]]
    assert reasons[1, 0] == "model 1: all its dissimilarities are equal"


def test_a_model_that_sees_no_difference_is_undefined_under_every_comparison():
    for how in COMPARISONS:
        for rdm in ("euclidean", "correlation"):
            values, reasons = compare([draw()[0], np.ones((9, 1)) * [[1.0, 2.0, 4.0]]], rdm, how)
            assert values.isnan().tolist() == [[False, True], [True, True]]
            assert reasons[1, 0] == "model 1: all stimuli have the same features up to rounding"


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_large_means_and_scales_cost_no_digits(shift, scale):
    representations = draw(30)
    for how in ("pearson", "spearman", "cosine"):
        plain, _ = compare(representations, "euclidean", how)
        changed = [(torch.as_tensor(x).float() + shift) * scale for x in representations]
        values, _ = compare(changed, "euclidean", how, dtype=torch.float32)
        torch.testing.assert_close(values, plain, rtol=0, atol=1e-6 if shift == 0 else 1e-3)
