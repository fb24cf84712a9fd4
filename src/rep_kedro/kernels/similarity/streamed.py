"""Debiased linear CKA between many representations in one pass over batches of stimuli.

The unbiased HSIC of each batch is summed for all pairs, and the sums are normalised at the end (Nguyen et al.
2021). In memory are one Gram matrix of each representation, (batch, batch), and the features of one
representation at a time.
"""

from math import isfinite

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import SAME, smallest_spread
from rep_kedro.kernels.similarity.cka import ZERO_DEBIASED
from rep_kedro.kernels.similarity.cosines import cosines
from rep_kedro.kernels.similarity.gram import PairSums, add_products, rounding_of
from rep_kedro.kernels.undefined import Reasons

MIN_BATCH = 4  # stimuli; fewer have no unbiased HSIC
LEAST_SPREAD = (
    0.02  # of the energy of features; with less, products of features that are not centred lose digits
)


class StreamedCka:
    """Sums the unbiased HSIC of all pairs of representations over batches of stimuli.

    For each batch call ``put`` once for every representation, in any order, then ``end_batch``.

    Args:
        n_models: How many representations.

    Cost:
        For each batch of b stimuli b^2 (sum of widths + n_models^2) multiply-adds; 4 b^2 n_models bytes.

    Source:
        Nguyen, Raghu & Kornblith 2021, arXiv:2010.15327, equation 3; Song et al. 2012, JMLR 13:1393,
        equation 5.

    Example:
        >>> generator, streamed = torch.Generator().manual_seed(0), StreamedCka(2)
        >>> for _ in range(3):
        ...     x = torch.randn(8, 5, generator=generator)
        ...     streamed.put(0, x)
        ...     streamed.put(1, 2 * x + 1)
        ...     streamed.end_batch()
        >>> values, reasons = streamed.finish()
        >>> values.round(decimals=5).tolist(), reasons
        ([[1.0, 1.0], [1.0, 1.0]], {})
    """

    def __init__(self, n_models: int) -> None:
        self._n_models = n_models
        self._inner = torch.zeros(n_models, n_models, dtype=torch.float64)
        self._rounding = torch.zeros(n_models, dtype=torch.float64)
        self._units: list[float | None] = [None] * n_models
        self._varies = [False] * n_models
        self._grams: Tensor | None = None
        self._squared_norms = torch.empty(0)
        self._seen: set[int] = set()

    def put(self, index: int, features: Tensor) -> None:
        """Take the features of one representation for the batch; they are not kept.

        Args:
            index: Which representation.
            features: Shape (n_stimuli, ...), float32 or float64; further axes are flattened. Row s is of the
                same stimulus in all.

        Raises:
            ValueError: If the batch has fewer than four stimuli or another number than before, the
                representation was given already, or holds NaN or infinity.
        """
        x = features.detach().flatten(1)
        n = len(x)
        if n < MIN_BATCH:
            raise ValueError(f"a batch of {n} stimuli has no unbiased HSIC; give at least {MIN_BATCH}")
        if index in self._seen or (self._seen and n != self._squared_norms.shape[1]):
            raise ValueError(
                f"representation {index}: give the {n} stimuli of a batch once for each representation"
            )
        if not self._seen:
            self._start(n, x)
        self._seen.add(index)
        assert self._grams is not None  # noqa: S101 - _start has made them
        gram = torch.mm(x, x.T, out=self._grams[index])
        centred, energy = _centre_gram(gram)
        if not isfinite(energy):
            raise ValueError(f"representation {index} holds NaN or infinity, or squares beyond its type")
        spread = float(centred.diagonal().sum())
        if spread < LEAST_SPREAD * energy:  # rounding of products would show: take the mean off the features
            x = x - x.mean(dim=0)
            centred, _ = _centre_gram(torch.mm(x, x.T, out=gram))
            spread = float(centred.diagonal().sum())
        if spread <= smallest_spread(x.dtype) ** 2 * energy:
            gram.zero_()  # what is left of features that do not differ is their rounding
            self._squared_norms[index].zero_()
            return
        self._varies[index] = True
        unit = self._units[index] or spread / n  # one for all batches, so that they have equal weights
        self._units[index] = unit
        gram.copy_(centred.div_(unit))
        self._squared_norms[index] = gram.diagonal()

    def end_batch(self) -> None:
        """Add the batch to the sums.

        Raises:
            ValueError: If a representation was not given.
        """
        if len(self._seen) != self._n_models or self._grams is None:
            missing = sorted(set(range(self._n_models)) - self._seen)
            raise ValueError(f"representations {missing} were not given for the batch")
        n = self._grams.shape[1]
        self._inner, self._rounding = (x.to(self._grams.device) for x in (self._inner, self._rounding))
        products = torch.zeros_like(self._inner)
        add_products(products, self._grams, slice(0, n), slice(0, n))
        whole = products + self._squared_norms @ self._squared_norms.T
        rounding = rounding_of(whole, 1.0, n, self._grams.dtype)
        sums = PairSums(products, -self._squared_norms, rounding)
        weight = n * (n - 3)
        self._inner += sums.u_centred() / weight
        self._rounding += rounding / weight
        self._seen = set()

    def finish(self) -> tuple[Tensor, Reasons]:
        """Return CKA of all pairs, float64, (n_models, n_models), symmetric, and a reason for each NaN."""
        flaws = {index: SAME for index, varies in enumerate(self._varies) if not varies}
        return cosines(self._inner, self._rounding, flaws, if_zero=ZERO_DEBIASED)

    def _start(self, n: int, like: Tensor) -> None:
        """Make room for a batch of another size than the last."""
        if self._grams is None or self._grams.shape[1] != n:
            self._grams = torch.empty(self._n_models, n, n, dtype=like.dtype, device=like.device)
            self._squared_norms = torch.empty(self._n_models, n, dtype=torch.float64, device=like.device)


def _centre_gram(gram: Tensor) -> tuple[Tensor, float]:
    """Return a Gram matrix as of centred features, in float64, and its trace before."""
    exact = gram.double()
    means = exact.mean(dim=1)
    energy = float(exact.diagonal().sum())
    return exact.sub_(means).sub_(means[:, None]).add_(means.mean()), energy
