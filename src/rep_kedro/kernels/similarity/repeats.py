"""Dissimilarities of stimuli that were presented several times: under augmentation, dropout, or noise.

Repeats show how much a feature varies where the stimulus does not. Mahalanobis dissimilarities measure
differences in units of that noise. Crossnobis ones also multiply only differences of different repeats, so
that noise adds nothing on average: stimuli that a model does not distinguish are at zero, or as often below.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre
from rep_kedro.kernels.undefined import Reasons, pair_reasons

RDM_KINDS = ("crossnobis", "mahalanobis", "crossvalidated_euclidean")
COMPARISONS = ("pearson", "spearman", "cosine")
DOUBLE_BYTES = 8
MIN_STIMULI = 4
ROUNDINGS = 16  # of the largest value: smaller noise comes from the mean over equal repeats
CERTAIN = "one of its features differs between stimuli but not between repeats, so that its noise has no size"
DEPENDENT = "the noise of its features is linearly dependent; choose a positive shrinkage, or auto"
ALL_EQUAL = "all its dissimilarities are equal"


def compare_repeats(
    representations: Sequence[Tensor],
    *,
    rdm: str = "crossnobis",
    compare: str = "pearson",
    shrinkage: float | None = None,
    memory_bytes: int,
    names: Sequence[str] | None = None,
) -> tuple[Tensor, Reasons]:
    """Compare the dissimilarity matrices (RDMs) of models that saw every stimulus several times.

    Args:
        representations: One tensor for each model, shape (n_repeats, n_stimuli, n_features_i), finite,
            stimulus s the same in all; repeats of different models need not correspond.
        rdm: One of ``RDM_KINDS``.
        compare: How RDMs are compared, one of ``COMPARISONS``.
        shrinkage: See ``make_rdm``.
        memory_bytes: Bound for the RDMs of all models.
        names: What errors call the models; ``representation 0`` and so on by default.

    Returns:
        Similarities, shape (n_models, n_models), float64, symmetric, NaN where undefined, and a reason for
        each NaN.

    Raises:
        ValueError: If a choice is unknown, representations do not fit together, there are fewer than two
            repeats or four stimuli, or memory is too small.

    Source:
        Walther et al. 2016, doi:10.1016/j.neuroimage.2015.12.012.
    """
    called = names or [f"representation {index}" for index in range(len(representations))]
    _require_repeats(representations, called)
    if compare not in COMPARISONS:
        raise ValueError(f"unknown comparison {compare!r}; known: {', '.join(COMPARISONS)}")
    n_stimuli = representations[0].shape[1]
    needed = DOUBLE_BYTES * len(representations) * n_stimuli * (n_stimuli - 1) // 2
    if needed > memory_bytes:
        raise ValueError(
            f"RDMs of {len(representations)} models of {n_stimuli} stimuli take {needed} bytes,"
            f" but memory_bytes is {memory_bytes}; allow more memory or compare fewer stimuli"
        )
    why, vectors = {}, []
    for model, x in enumerate(representations):
        dissimilarities = make_rdm(x, rdm, shrinkage=shrinkage)
        if isinstance(dissimilarities, str):
            why[model] = dissimilarities
            dissimilarities = torch.zeros(0)
        elif compare != "cosine" and bool(dissimilarities.min() == dissimilarities.max()):
            why[model] = ALL_EQUAL
        vectors.append(_standardise(dissimilarities, compare))
    values = torch.full((len(vectors), len(vectors)), torch.nan, dtype=torch.float64)
    kept = [model for model in range(len(vectors)) if model not in why]
    if kept:
        stacked = torch.stack([vectors[model] for model in kept])
        values[torch.tensor(kept)[:, None], torch.tensor(kept)] = (stacked @ stacked.T).cpu()
    return values, pair_reasons(why, len(vectors))


def make_rdm(repeats: Tensor, kind: str, *, shrinkage: float | None = None) -> Tensor | str:
    """Return the dissimilarities of every two stimuli, in the order of rows above the diagonal.

    Squared distances, divided by the number of features that vary. ``mahalanobis``: of the mean of the
    repeats, in units of the noise of one repeat; at least zero. ``crossnobis``: the mean product of the
    differences in two different repeats, in the same units; unbiased given the noise, at times below zero.
    ``crossvalidated_euclidean``: the same in the units of the features.

    Args:
        repeats: Shape (n_repeats, n_stimuli, n_features), finite, at least two repeats.
        kind: One of ``RDM_KINDS``.
        shrinkage: How far the covariance of the noise is moved towards its diagonal, in [0, 1]; None
            estimates what brings it closest to the truth.

    Returns:
        Shape (n_stimuli * (n_stimuli - 1) / 2,), float64; or why there are none.

    Raises:
        ValueError: If the kind is unknown or the shrinkage out of range.

    Source:
        Walther et al. 2016, doi:10.1016/j.neuroimage.2015.12.012, equations 3 and 6; Schäfer & Strimmer 2005,
        doi:10.2202/1544-6115.1175, table 1, target D (shrinkage). rsatoolbox computes the same.
    """
    if kind not in RDM_KINDS:
        raise ValueError(f"unknown kind of RDM {kind!r}; known: {', '.join(RDM_KINDS)}")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must be between 0 and 1, got {shrinkage}")
    n_repeats, n_stimuli, _ = repeats.shape
    flat: CentredFeatures = centre(repeats.flatten(end_dim=1), dtype=torch.float64)
    if flat.flaw is not None:
        return flat.flaw
    varies = repeats.flatten(end_dim=1).amax(dim=0) > repeats.flatten(end_dim=1).amin(dim=0)
    x = flat.features[:, varies].view(n_repeats, n_stimuli, -1)
    if kind == "crossvalidated_euclidean":
        return _distances(x * flat.unit, crossed=True)
    whitened = _whiten(x, shrinkage)
    if isinstance(whitened, str):
        return whitened
    return _distances(whitened, crossed=kind == "crossnobis")


def _whiten(x: Tensor, shrinkage: float | None) -> Tensor | str:
    """Return features in which the noise within stimuli has the identity as covariance, or why not."""
    noise = (x - x.mean(dim=0)).flatten(end_dim=1)
    freedom = len(noise) - x.shape[1]
    rounding = ROUNDINGS * torch.finfo(torch.float64).eps * x.abs().amax(dim=(0, 1))
    if bool((noise.abs().amax(dim=0) <= rounding).any()):
        return CERTAIN
    sizes = (noise.square().sum(dim=0) / freedom).sqrt()
    noise = noise / sizes
    correlation = noise.T @ noise / freedom
    share = _estimate_shrinkage(noise, correlation, freedom) if shrinkage is None else shrinkage
    correlation *= 1 - share
    correlation.fill_diagonal_(1.0)
    factor, failed = torch.linalg.cholesky_ex(correlation)
    if int(failed) or float(factor.diagonal().min()) ** 2 < len(factor) * torch.finfo(torch.float64).eps:
        return DEPENDENT
    rows = (x / sizes).flatten(end_dim=1)
    whitened: Tensor = torch.linalg.solve_triangular(factor, rows.T, upper=False).T
    return whitened.reshape(x.shape)


def _estimate_shrinkage(noise: Tensor, correlation: Tensor, freedom: int) -> float:
    """Return the share of the off-diagonal that is expected to be error of estimation, in [0, 1]."""
    mean = correlation * freedom / len(noise)
    variances = noise.square().T @ noise.square() / len(noise) - mean.square()
    off = ~torch.eye(len(mean), dtype=torch.bool, device=mean.device)
    size = mean[off].square().sum()
    if not size:
        return 1.0
    return float((variances[off].sum() / freedom / size).clamp(0, 1))


def _distances(x: Tensor, *, crossed: bool) -> Tensor:
    """Return squared distances over the number of features; crossed: from different repeats alone."""
    n_repeats, n_stimuli, n_features = x.shape
    summed = x.sum(dim=0)
    summed = summed - summed.mean(dim=0)
    products = summed @ summed.T
    if crossed:
        within = x - x.mean(dim=1, keepdim=True)
        products -= sum(repeat @ repeat.T for repeat in within)
        products /= n_repeats * (n_repeats - 1)
    else:
        products /= n_repeats**2
    norms = products.diagonal()
    squared = norms[:, None] + norms - 2 * products
    rows, columns = torch.triu_indices(n_stimuli, n_stimuli, 1, device=x.device)
    return squared[rows, columns] / n_features


def _standardise(dissimilarities: Tensor, compare: str) -> Tensor:
    """Return a vector of norm one whose products with others are the comparison."""
    if compare == "spearman":
        from scipy.stats import rankdata

        dissimilarities = torch.from_numpy(rankdata(dissimilarities.cpu().numpy())).to(dissimilarities)
    if compare != "cosine" and len(dissimilarities):
        dissimilarities = dissimilarities - dissimilarities.mean()
    unit: Tensor = dissimilarities / torch.linalg.vector_norm(dissimilarities)
    return unit


def _require_repeats(representations: Sequence[Tensor], names: Sequence[str]) -> None:
    if not representations:
        raise ValueError("no representations to compare, need at least one")
    for name, x in zip(names, representations, strict=True):
        shape = tuple(x.shape)
        if len(shape) != 3 or 0 in shape:
            raise ValueError(
                f"{name} has shape {shape}, need (n_repeats, n_stimuli, n_features), none of them 0"
            )
        if shape[0] < 2:
            raise ValueError(f"{name} has 1 repeat, need at least 2")
        if shape[1] != representations[0].shape[1]:
            raise ValueError(
                f"{name} has {shape[1]} stimuli, {names[0]} has {representations[0].shape[1]};"
                " all must have the same stimuli"
            )
        if shape[1] < MIN_STIMULI:
            raise ValueError(f"{name} has {shape[1]} stimuli, need at least {MIN_STIMULI}")
        if not torch.isfinite(x).all():
            raise ValueError(f"{name} contains NaN or infinity, need finite numbers")
