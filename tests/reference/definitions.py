"""What a measure of features is, read from its id alone: the naive formula for two models, in float64."""

import math
import re

import numpy as np
import torch
from tests.reference import (
    cka,
    descriptions,
    distances,
    linear_maps,
    matching,
    neighbours,
    predictivity,
    reweighting,
    rsa,
    sampling,
)

BATCHED = "cka_linear_minibatch_256"
K = 10

LINEAR_MAPS = {
    **{name: getattr(linear_maps, name) for name in ("cca_mean", "cca_mean_squared", "pwcca", "nbs")},
    **{name: getattr(linear_maps, name) for name in ("procrustes", "procrustes_angular", "size_and_shape")},
    "aligned_cosine": linear_maps.aligned_cosine,
    "eigenspace_overlap": linear_maps.eigenspace_overlap,
    "linear_regression_r2": linear_maps.linear_regression,
    "svcca_0.99": lambda x, y: linear_maps.svcca(x, y, 0.99),
    **{
        f"shape_angular_{alpha}": lambda x, y, alpha=alpha: linear_maps.shape_angular(x, y, float(alpha))
        for alpha in ("0", "0.5")
    },
    **{
        f"gulp_{ridge}": lambda x, y, ridge=ridge: linear_maps.gulp(x, y, float(ridge))
        for ridge in ("0.001", "0.01", "0.1", "1")
    },
}
KERNELS = {
    **{
        f"cka_linear_{estimator}": lambda x, y, estimator=estimator: cka.linear_cka(x, y, estimator)
        for estimator in ("biased", "debiased", "lange")
    },
    BATCHED: lambda x, y: cka.minibatch_cka(x, y, batches_of_256(len(x))),
    "cka_linear_angular": lambda x, y: math.acos(min(1.0, cka.linear_cka(x, y, "biased"))),
    "rv_coefficient": lambda x, y: cka.linear_cka(x, y, "biased"),
    "distance_correlation_biased": lambda x, y: math.sqrt(cka.distance_correlation(x, y, "biased")),
    "distance_correlation_debiased": lambda x, y: cka.distance_correlation(x, y, "debiased"),
}
LISTS = {
    **{
        f"{name}_10": lambda x, y, name=name: getattr(neighbours, name)(x, y, k=K)
        for name in ("cknna", "cknna_reference", "second_order_cosine", "second_order_cosine_distances")
    },
    **{
        f"{name}_10": lambda x, y, name=name: getattr(neighbours, name)(x, y, k=K, distance="cosine")
        for name in ("mutual_knn", "jaccard", "rank_similarity", "joint_rank_jaccard", "cycle_knn")
    },
    "mutual_knn_10_euclidean": lambda x, y: neighbours.mutual_knn(x, y, k=K, distance="euclidean"),
    "information_imbalance": lambda x, y: neighbours.information_imbalance(x, y, distance="euclidean"),
    "information_imbalance_cosine": lambda x, y: neighbours.information_imbalance(x, y, distance="cosine"),
}
DESCRIBED = {
    "magnitude_difference": descriptions.magnitude,
    "concentricity_difference": descriptions.concentricity,
    "uniformity_difference_directions": descriptions.uniformity_of_directions,
    "imd": descriptions.heat_trace,
    "geometry_score": descriptions.living_times,
}
DESCRIPTIONS = {
    name: lambda x, y, describe=describe: descriptions.difference(describe, x, y)
    for name, describe in DESCRIBED.items()
}
APART = {"rsm_norm_difference": distances.norm_difference, "rtd_lite": distances.rtd_lite}
HAVE_THE_UNITS_OF_FEATURES = ("size_and_shape", "magnitude_difference", "rsm_norm_difference")
UNITS = {
    **{name: getattr(matching, name) for name in ("permutation_match", "permutation_procrustes")},
    **{name: getattr(matching, name) for name in ("soft_match", "soft_correlation_match")},
    **{
        f"partial_soft_match_{mass}": lambda x, y, mass=mass: matching.partial_soft_match(x, y, float(mass))
        for mass in ("0.5", "0.9")
    },
}
PREDICTIONS = {
    "ridge_r2": lambda x, y: predictivity.ridge_r2(x, y, folds_of_five(len(x))),
    "ridge_r2_mean": lambda x, y: predictivity.ridge_r2_mean(x, y, folds_of_five(len(x))),
    "rsa_reweighted": lambda x, y: reweighting.rsa_reweighted(x, y, folds_of_five(len(x))),
    "ridge_r_mean": lambda x, y: predictivity.ridge_r_mean(x, y, folds_of_five(len(x))),
    "pls_25_r_mean": lambda x, y: predictivity.pls_r_mean(x, y, folds_of_five(len(x)), 25),
    "pls_25_r2": lambda x, y: predictivity.pls_r2(x, y, folds_of_five(len(x)), 25),
}

SAMPLES = {
    "cka_linear_debiased_twice": sampling.cka_debiased_twice,
    "nbs_moments_3": lambda x, y: sampling.nbs_moments(x, y, 3, orders_of(len(x), 2)),
}


def orders_of(n, n_orders):
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(n, generator=generator).numpy() for _ in range(n_orders)]


def folds_of_five(n):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return [fold.numpy() for fold in order.tensor_split(5)]


def batches_of_256(n):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return [batch.numpy() for batch in order.tensor_split(math.ceil(n / 256))]


def gaussian(measure_id, scale):
    _, _, unit, width, estimator = measure_id.split("_")

    def width_of(x):
        return float(width) * (cka.median_distance(x) if unit == "median" else 1 / np.longdouble(scale))

    return lambda x, y: cka.gaussian_cka(x, y, width_of(x), width_of(y), estimator)


def dissimilarities(measure_id):
    rdm, how = re.fullmatch("rsa_(correlation|cosine|(?:squared_)?euclidean)_(.*)", measure_id).groups()
    # rounding of the definition itself would tear apart the ties of doubled stimuli
    return lambda x, y: rsa.COMPARE[how](*(neighbours.rounded(rsa.rdm_vector(rdm, z)) for z in (x, y)))


def definition(measure_id, scale=1.0):
    """Read from the id alone what has to be computed.

    The function takes features of two models divided by ``scale``; where squares of the features themselves
    would leave the range of float64.
    """
    if measure_id.startswith("cka_rbf"):
        return gaussian(measure_id, scale)
    if measure_id.startswith("rsa_") and measure_id not in PREDICTIONS:
        return dissimilarities(measure_id)
    if measure_id == "shape_angular_0.5":
        return lambda x, y: linear_maps.shape_angular(x, y, scale / (scale + 1))
    if measure_id == "uniformity_difference":
        return lambda x, y: descriptions.difference(lambda z: descriptions.uniformity(z, scale), x, y)
    linear = {**LINEAR_MAPS, **PREDICTIONS, **SAMPLES}
    define = {**KERNELS, **linear, **LISTS, **APART, **DESCRIPTIONS, **UNITS}[measure_id]
    if measure_id in HAVE_THE_UNITS_OF_FEATURES:
        return lambda x, y: scale * define(x, y)
    return define
