"""How often the host asks a tensor for a number, for which it would have to wait on a GPU.

Counted on the CPU: what matters is that the count does not grow with the number of blocks, so that a GPU
never stands still between two of them.
"""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rep_kedro.kernels.similarity import centred, gram, packed_ranks, rank_rows, rdm_ranks, rsa
from rep_kedro.measures import compare_models

MEASURES = ["cka_linear_debiased", "cka_rbf_median_0.4_debiased", "rsa_correlation_spearman"]
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "unique_consecutive",
    "repeat_interleave",
    "equal",
}
READS = {"tolist", "cpu", "numpy"}


class CountOperations(TorchDispatchMode):
    """Counts operations whose result the host needs before it can go on."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in WAITS
        return func(*args, **(kwargs or {}))


class CountReads(TorchFunctionMode):
    """Counts calls that bring a tensor to the host whole."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += getattr(func, "__name__", "") in READS
        return func(*args, **(kwargs or {}))


def count_waits(measure, models, memory_bytes=2**30):
    with CountOperations() as operations, CountReads() as reads:
        dict(compare_models(models, [measure], memory_bytes=memory_bytes))
    return operations.count + reads.count


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Take the ways that are for other devices than CPUs, which do without numpy."""
    monkeypatch.setattr(rdm_ranks, "rank_packed", packed_ranks.rank_on_device)


def draw(n_models=3, n_stimuli=150, n_features=200):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n_stimuli, n_features, generator=generator) for _ in range(n_models)]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_host_waits_no_more_often_for_more_blocks(monkeypatch, measure):
    few = count_waits(measure, draw())
    monkeypatch.setattr(gram, "LARGEST_TILE", 20)
    monkeypatch.setattr(centred, "NUMBERS_PER_CENTRING", 2000)
    monkeypatch.setattr(rsa, "ROWS_PER_BLOCK", 10)
    monkeypatch.setattr(rdm_ranks, "ENTRIES_PER_BLOCK", 2000)
    monkeypatch.setattr(packed_ranks, "CHUNK_ELSEWHERE", 500)
    monkeypatch.setattr(rank_rows, "NUMBERS_PER_CHUNK", 500)
    assert 0 < count_waits(measure, draw()) == few


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_host_waits_a_few_times_for_each_model_and_never_for_a_pair(measure):
    counts = [count_waits(measure, draw(n_models)) for n_models in (2, 3, 4, 12)]
    more = counts[1] - counts[0]
    assert counts == [counts[0] + more * extra for extra in (0, 1, 2, 10)]
    assert more <= 8
