"""Features of one model with mean zero and mean squared norm one, made in float64 and rounded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import frexp
from typing import TypeAlias

import torch
from torch import Tensor

SAME_BELOW_EPS = 0.5  # a spread below this many roundings of the input, relative to its size, is none
SAME_BELOW_EPS_OF_SUMS = 4  # and below so many roundings of float64, in which means are taken
SAME = "all stimuli have the same features up to rounding"
SMALLEST_ENERGY, LARGEST_ENERGY = 1e-200, 1e200  # of features whose squares need no scaling
CLOSE = 0.05  # squared distance relative to squared norms; larger ones keep fourteen digits of float64
N_SAMPLED = 256  # stimuli among which close ones are looked for
NUMBERS_PER_CENTRING = 2**17  # in float64 they stay in the cache; more on other devices, where calls cost

Form: TypeAlias = Callable[[Tensor, slice], Tensor]


@dataclass(frozen=True)
class CentredFeatures:
    """Features of one model with mean zero and mean squared norm one.

    Attributes:
        features: Shape (n_stimuli, n_features); zeros where the model is degenerate.
        squared_norms: Shape (n_stimuli,), float64, mean one.
        unit: Root mean squared norm before scaling: multiply by it to get back.
        flaw: Why the model cannot be compared, or None.
        is_crowded: Whether stimuli are so close that products of float64 features lose their distances.
    """

    features: Tensor
    squared_norms: Tensor
    unit: float
    flaw: str | None = None
    is_crowded: bool = False


def centre(
    x: Tensor,
    *,
    flaw: str | None = None,
    form: Form | None = None,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> CentredFeatures:
    """Subtract the mean stimulus and scale to mean squared norm one, in float64 and rounded once.

    Args:
        x: Features, shape (n_stimuli, n_features), any scale and shift.
        flaw: A reason known beforehand why the model cannot be compared.
        form: Turns some rows of ``x``, in float64, into what is centred, in place; the rows themselves by
            default.
        dtype: Type of the centred features, that of ``x`` by default.
        out: Where to write the features, contiguous, of the shape of ``x``; new by default.
    """
    n, (blocks, scratch) = len(x), _blocks_of(x)
    features = torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device) if out is None else out
    scale = 1.0

    def load(rows: slice) -> Tensor:
        block = scratch[: len(x[rows])].copy_(x[rows])
        if scale != 1:
            block.mul_(scale)
        return block if form is None else form(block, rows)

    mean, energy, raw_energy = _energies(blocks, load, n, scratch)
    if not SMALLEST_ENERGY < raw_energy < LARGEST_ENERGY:  # else squares leave the range of float64
        scale = _power_of_two_near(x)
        mean, energy, raw_energy = _energies(blocks, load, n, scratch)
    same = energy <= smallest_spread(x.dtype) ** 2 * raw_energy
    squared_norms = torch.zeros(n, dtype=torch.float64, device=x.device)
    if same or flaw is not None:
        return CentredFeatures(features.zero_(), squared_norms, 0.0, flaw or SAME)
    unit = (energy / n) ** 0.5
    for rows in blocks:
        centred = load(rows).sub_(mean)
        features[rows] = centred.div_(unit)
        squared_norms[rows] = centred.copy_(features[rows]).square_().sum(dim=1)
    is_crowded = features.dtype == torch.float64 and _has_close(features)
    return CentredFeatures(features, squared_norms, unit / scale, is_crowded=is_crowded)


def choose_evenly(n_stimuli: int, n_chosen: int) -> Tensor:
    """Return which stimuli to take as a sample, evenly spaced in their order; all where there are no more."""
    if n_stimuli <= n_chosen:
        return torch.arange(n_stimuli)
    return torch.linspace(0, n_stimuli - 1, n_chosen).long()


def _has_close(features: Tensor) -> bool:
    x = features[choose_evenly(len(features), N_SAMPLED).to(features.device)]
    products = x @ x.T
    size = products.diagonal()[:, None] + products.diagonal()
    close = size - 2 * products < CLOSE * size
    return bool(close.fill_diagonal_(False).any())


def smallest_spread(dtype: torch.dtype) -> float:
    """Return the largest spread, relative to the size of the numbers, that is only rounding of their type."""
    of_sums = SAME_BELOW_EPS_OF_SUMS * torch.finfo(torch.float64).eps
    return max(SAME_BELOW_EPS * torch.finfo(dtype).eps, of_sums)


def _energies(
    blocks: Sequence[slice], load: Callable[[slice], Tensor], n: int, scratch: Tensor
) -> tuple[Tensor, float, float]:
    """Return the mean row, and the sums of squares around it and around zero."""
    mean = scratch.new_zeros(scratch.shape[1])
    for rows in blocks:
        mean += load(rows).sum(dim=0)
    mean /= n
    energies = mean.new_zeros(2)  # sums, and not yet on the host, so that no block waits for another
    for rows in blocks:
        centred = load(rows).sub_(mean).flatten()
        energies[0] += torch.dot(centred, centred)
    energies[1] = energies[0] + n * torch.dot(mean, mean)
    energy, raw_energy = energies.tolist()
    return mean, energy, raw_energy


def _power_of_two_near(x: Tensor) -> float:
    """Return a power of two that brings the largest number near one; a product with it rounds nothing."""
    largest = float(torch.stack(x.aminmax()).abs().max())
    return float(2.0 ** -frexp(largest)[1]) if largest else 1.0


def _blocks_of(x: Tensor) -> tuple[list[slice], Tensor]:
    """Return ranges of rows to centre at once, and room for one of them in float64."""
    numbers = NUMBERS_PER_CENTRING if x.device.type == "cpu" else 64 * NUMBERS_PER_CENTRING
    step = max(1, min(len(x), numbers // x.shape[1]))
    scratch = torch.empty(step, x.shape[1], dtype=torch.float64, device=x.device)
    return [slice(start, start + step) for start in range(0, len(x), step)], scratch


def centre_all(
    representations: Sequence[Tensor], *, dtype: torch.dtype | None = None
) -> list[CentredFeatures]:
    """Centre each model, see ``centre``, into memory where models of one width can be multiplied at once."""
    rooms = room_for(representations, dtype=dtype)
    return [centre(x, dtype=dtype, out=out) for x, out in zip(representations, rooms, strict=True)]


def room_for(representations: Sequence[Tensor], *, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Return empty tensors like the representations, one after the other in one piece of memory."""
    first, sizes = representations[0], [x.numel() for x in representations]
    memory = torch.empty(sum(sizes), dtype=dtype or first.dtype, device=first.device)
    parts = torch.split(memory, sizes)
    return [part.view(x.shape) for part, x in zip(parts, representations, strict=True)]
