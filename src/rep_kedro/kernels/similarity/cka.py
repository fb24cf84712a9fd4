"""Centred kernel alignment (CKA) and distance correlation between all models at once.

CKA is the cosine of the angle between two centred Gram matrices. When features outnumber stimuli the
biased estimator tends to one for any two models; the debiased one tends to zero for unrelated models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre_all
from rep_kedro.kernels.similarity.cosines import cosines, flaws_of
from rep_kedro.kernels.similarity.distance_sums import (
    Distance,
    SquaredDistance,
    distance_pair_sums,
    median_distance,
)
from rep_kedro.kernels.similarity.gaussian_kernel import GaussianKernel
from rep_kedro.kernels.similarity.gram import PairSums, linear_pair_sums
from rep_kedro.kernels.similarity.stimulus_sample import (
    StimulusSample,
    sample_stimuli,
    suffices_for_distances,
    suffices_for_products,
    suffices_for_sums,
)
from rep_kedro.kernels.undefined import Reasons

Parameters = Mapping[str, Any]
Answer = tuple[str, Tensor, Reasons]

SMALL_ANGLE = 0.015  # radians: the cosine is within 1e-4 of one
MIN_BATCH = 8  # batches may be half as large, and four stimuli are the least
ZERO_BIASED = "its centred kernel matrix is zero"
ZERO_WIDTH = "the median distance between its stimuli, the unit of the kernel width, is zero"
ZERO_DEBIASED = "its debiased self-similarity is zero, as when all stimuli are equally far apart"


def compare_cka(
    representations: Sequence[Tensor], requests: Mapping[str, Parameters], *, memory_bytes: int
) -> Iterator[Answer]:
    """Compare all models under measures of the CKA family.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), at least four stimuli.
        requests: Parameters by name: ``kernel`` (linear, gaussian, distance), ``estimator`` (biased,
            debiased, lange, minibatch), and what these need.
        memory_bytes: Working memory beyond the features and their centred copy.

    Returns:
        Iterator over (name, similarities (n_models, n_models) float64, reason for each NaN).
    """
    models = centre_all(representations)
    samples = sample_stimuli(models)
    is_single = models[0].features.dtype != torch.float64
    linear = {name: p for name, p in requests.items() if p["kernel"] == "linear"}
    by_distance = {name: p for name, p in requests.items() if name not in linear}
    if linear and (not is_single or suffices_for_products(samples)):
        for name, values, reasons in _compare_by_products(models, linear, memory_bytes):
            if not (is_single and _has_small_angle(values, linear[name])):
                yield name, values, reasons
                del linear[name]
    if linear:
        exact = centre_all(representations, dtype=torch.float64)
        yield from _compare_by_products(exact, linear, memory_bytes)
        del exact
    if by_distance:
        maps = _distance_maps(models, samples, by_distance, memory_bytes)
        if is_single and not suffices_for_distances(samples, maps.functions):
            models = centre_all(representations, dtype=torch.float64)
            maps = _distance_maps(models, samples, by_distance, memory_bytes)
        yield from _compare_by_distance(models, samples, maps, by_distance, memory_bytes)


def _has_small_angle(values: Tensor, parameters: Parameters) -> bool:
    """Return whether a measure is an angle of which float32 knows little: the arc cosine of nearly one."""
    if parameters.get("transform") != "arccos":
        return False
    return bool(((values > 0) & (values < SMALL_ANGLE)).any())


def _compare_by_products(
    models: Sequence[CentredFeatures], requests: Mapping[str, Parameters], memory_bytes: int
) -> Iterator[Answer]:
    whole = {name: p for name, p in list(requests.items()) if p["estimator"] != "minibatch"}
    if whole:
        sums = linear_pair_sums(models, memory_bytes=memory_bytes)
        u_centred = _u_centrable_sums(models, memory_bytes) or sums
        diagonal = torch.stack([m.squared_norms for m in models])
        for name, parameters in whole.items():
            chosen = u_centred if parameters["estimator"] == "debiased" else sums
            yield name, *_conclude(chosen, diagonal, models, parameters)
    for name, parameters in list(requests.items()):
        if parameters["estimator"] == "minibatch":
            yield name, *_minibatch_cka(models, parameters, memory_bytes)


def _u_centrable_sums(models: Sequence[CentredFeatures], memory_bytes: int) -> PairSums | None:
    """Return sums that U-centring leaves digits of, where those of Gram matrices are nearly all taken off.

    So it is where one stimulus outweighs all others. Squared distances are Gram matrices but for row terms
    and a factor of minus two, and the debiased estimator does not see row terms.
    """
    if models[0].features.dtype != torch.float64:
        return None
    samples, maps = sample_stimuli(models), [SquaredDistance()]
    if suffices_for_sums(samples, maps):
        return None
    [(sums, _)] = distance_pair_sums(models, maps, samples, memory_bytes=memory_bytes)
    return sums.scaled(-0.5)


def _conclude(
    sums: PairSums, diagonal: Tensor, models: Sequence[CentredFeatures], parameters: Parameters
) -> tuple[Tensor, Reasons]:
    """Centre as the estimator asks and take cosines."""
    estimator = parameters["estimator"]
    if estimator == "debiased":
        inner, if_zero = sums.u_centred(), ZERO_DEBIASED
    elif estimator == "biased":
        inner, if_zero = sums.double_centred(diagonal), ZERO_BIASED
    elif estimator == "lange":
        inner, if_zero = sums.products, ZERO_BIASED
    else:
        raise ValueError(f"unknown estimator {estimator!r}, allowed: biased, debiased, lange, minibatch")
    values, reasons = cosines(inner, sums.rounding, flaws_of(models), if_zero=if_zero)
    return _transformed(values, parameters.get("transform", "none")), reasons


def _transformed(values: Tensor, transform: str) -> Tensor:
    if transform == "arccos":
        # a cosine beyond one is rounding; the range is otherwise that of the estimator
        return values.clamp(-1, 1).arccos()
    if transform == "root":
        return values.clamp_min(0).sqrt()
    return values


def _minibatch_cka(
    models: Sequence[CentredFeatures], parameters: Parameters, memory_bytes: int
) -> tuple[Tensor, Reasons]:
    """Average unbiased HSIC over batches of stimuli, the same for all models, then normalise.

    The batches are as equal as can be and leave out no stimulus.

    Source:
        Nguyen, Raghu & Kornblith 2021, arXiv:2010.15327, equation 3.
    """
    n, batch_size = len(models[0].features), int(parameters["batch_size"])
    if batch_size < MIN_BATCH:
        raise ValueError(f"batch_size of minibatch CKA must be at least {MIN_BATCH}, got {batch_size}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(int(parameters["seed"])))
    inner = torch.zeros(len(models), len(models), dtype=torch.float64, device=models[0].features.device)
    rounding = inner.new_zeros(len(models))
    for batch in order.tensor_split(-(-n // batch_size)):
        parts = [_batch_of(m, batch) for m in models]
        sums = _u_centrable_sums(parts, memory_bytes) or linear_pair_sums(parts, memory_bytes=memory_bytes)
        weight = len(batch) * (len(batch) - 3)
        inner += sums.u_centred() / weight
        rounding += sums.rounding / weight
    return cosines(inner, rounding, flaws_of(models), if_zero=ZERO_DEBIASED)


def _batch_of(model: CentredFeatures, batch: Tensor) -> CentredFeatures:
    """Centre a batch again, but keep the scale of the whole so that batches have the right weight."""
    x = model.features[batch.to(model.features.device)]
    mean = x.mean(dim=0, dtype=torch.float64)
    features = (x - mean).to(x.dtype)
    squared_norms = features.double().square().sum(dim=1)
    return CentredFeatures(features, squared_norms, model.unit, is_crowded=model.is_crowded)


@dataclass(frozen=True)
class _DistanceMaps:
    """The different functions of distances that requests need.

    Attributes:
        by_key: Functions by the parameters of each.
        flaws: Of each function the models for which it has no width, and why.
    """

    by_key: dict[tuple[Any, ...], Distance | GaussianKernel]
    flaws: dict[tuple[Any, ...], dict[int, str]]

    @property
    def functions(self) -> list[Distance | GaussianKernel]:
        return list(self.by_key.values())


def _distance_maps(
    models: Sequence[CentredFeatures],
    samples: Sequence[StimulusSample],
    requests: Mapping[str, Parameters],
    memory_bytes: int,
) -> _DistanceMaps:
    medians: dict[int, list[float]] = {}
    maps = _DistanceMaps({}, {})
    for parameters in requests.values():
        key = _map_key(parameters)
        if key in maps.by_key:
            continue
        if parameters["kernel"] == "distance":
            maps.by_key[key], maps.flaws[key] = Distance(), {}
            continue
        widths = [float(parameters["width"])] * len(models)
        if parameters["width_unit"] == "median":
            seed = int(parameters["seed"])
            if seed not in medians:
                medians[seed] = [median_distance(m, torch.Generator().manual_seed(seed)) for m in models]
            widths = [w * median for w, median in zip(widths, medians[seed], strict=True)]
        maps.flaws[key] = {index: ZERO_WIDTH for index, width in enumerate(widths) if width == 0}
        relative = [w / m.unit if w and m.unit else 1.0 for w, m in zip(widths, models, strict=True)]
        maps.by_key[key] = GaussianKernel(relative, models, samples, memory_bytes=memory_bytes)
    return maps


def _map_key(parameters: Parameters) -> tuple[Any, ...]:
    return tuple(parameters.get(name) for name in ("kernel", "width", "width_unit", "seed"))


def _compare_by_distance(
    models: Sequence[CentredFeatures],
    samples: Sequence[StimulusSample],
    maps: _DistanceMaps,
    requests: Mapping[str, Parameters],
    memory_bytes: int,
) -> Iterator[Answer]:
    """Answer all measures that are functions of distances from one pass over the distances."""
    answers = distance_pair_sums(models, maps.functions, samples, memory_bytes=memory_bytes)
    by_key = dict(zip(maps.by_key, answers, strict=True))
    for name, parameters in requests.items():
        key = _map_key(parameters)
        (sums, terms), function = by_key[key], maps.by_key[key]
        diagonal = 2 * terms
        if isinstance(function, GaussianKernel) and parameters["estimator"] != "debiased":
            sums, diagonal = function.with_diagonal(sums, terms)
        yield name, *_conclude(sums, diagonal, _with_flaws(models, maps.flaws[key]), parameters)


def _with_flaws(models: Sequence[CentredFeatures], flaws: Mapping[int, str]) -> list[CentredFeatures]:
    return [replace(m, flaw=m.flaw or flaws.get(index)) for index, m in enumerate(models)]
