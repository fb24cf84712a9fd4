"""Measures on the nearest neighbours of each stimulus."""

from typing import Any

from rep_kedro.measures.families.neighbours import compare
from rep_kedro.measures.measure import Family, FewestStimuli, Inference, Invariance, Json, Measure

BY_COSINE = frozenset(
    {
        Invariance.ROTATION,
        Invariance.ISOTROPIC_SCALING,
        Invariance.UNIT_PERMUTATION,
        Invariance.ROW_SCALING,
    }
)
BY_EUCLIDEAN = frozenset(
    {
        Invariance.ROTATION,
        Invariance.ISOTROPIC_SCALING,
        Invariance.UNIT_PERMUTATION,
        Invariance.TRANSLATION,
    }
)

HUH = "Huh et al. 2024, arXiv:2405.07987"
WANG = "Wang et al. 2022, IEEE TKDE 34:927, https://openreview.net/forum?id=Xas3rL5UJT"
GLIELMO = "Glielmo et al. 2022, doi:10.1093/pnasnexus/pgac039"

OF_LISTS = Inference(
    is_biased=True,
    no_interval="no interval for nearest neighbours: a resample has fewer different stimuli,"
    " so neighbours are farther away",
)


def _entry(
    measure_id: str,
    title: str,
    source: str,
    *,
    statistic: str,
    distance: str = "cosine",
    n_neighbours: int | None = None,
    **facts: Any,
) -> Measure:
    """Return a measure; ``facts`` are fields of it, a similarity in [0, 1] by default."""
    lists: dict[str, Json] = {} if n_neighbours is None else {"n_neighbours": n_neighbours}
    usual = {"value_range": (0.0, 1.0), "larger_is_more_similar": True}
    return Measure(
        id=measure_id,
        title=title,
        family=Family.NEIGHBOUR,
        runner=compare,
        source=source,
        invariances=BY_COSINE if distance == "cosine" else BY_EUCLIDEAN,
        fewest_stimuli=FewestStimuli(1 + n_neighbours) if n_neighbours else FewestStimuli(),
        parameters={"distance": distance, "statistic": statistic, **lists},
        **{**usual, **facts},
    )


ENTRIES = (
    _entry(
        "mutual_knn_10",
        "Mutual kNN (k = 10)",
        HUH,
        statistic="mutual_knn",
        formula="mean over i of |N(i) ∩ N'(i)| / k; N of x, N' of y",
        n_neighbours=10,
        inference=OF_LISTS,
    ),
    _entry(
        "mutual_knn_10_euclidean",
        "Mutual kNN (k = 10, Euclidean)",
        HUH,
        distance="euclidean",
        statistic="mutual_knn",
        formula="mean over i of |N(i) ∩ N'(i)| / k; N of x, N' of y",
        n_neighbours=10,
        inference=OF_LISTS,
    ),
    _entry(
        "jaccard_10",
        "Jaccard (k = 10)",
        WANG,
        statistic="jaccard",
        formula="mean over i of |N(i) ∩ N'(i)| / |N(i) ∪ N'(i)|",
        n_neighbours=10,
        inference=OF_LISTS,
    ),
    _entry(
        "rank_similarity_10",
        "Rank similarity (k = 10)",
        WANG,
        statistic="rank_similarity",
        formula="mean over i of Σ 2 / ((1 + |r − r'|)(r + r')) / Σ 1/p, j in N(i) ∩ N'(i) with ranks r, "
        "r'; p = 1 to |N(i) ∩ N'(i)|",
        n_neighbours=10,
    ),
    _entry(
        "joint_rank_jaccard_10",
        "Joint rank and Jaccard (k = 10)",
        WANG,
        statistic="joint_rank_jaccard",
        formula="mean over i of jaccard times rank similarity of i",
        n_neighbours=10,
    ),
    _entry(
        "cycle_knn_10",
        "Cycle kNN (k = 10)",
        HUH,
        symmetric=False,
        is_extreme_for_itself=False,  # asks one model whether nearness is mutual
        statistic="cycle_knn",
        formula="share of i that are in N(j) for some j in N'(i); N of the row, N' of the column",
        n_neighbours=10,
    ),
    _entry(
        "second_order_cosine_10",
        "Second-order cosine (k = 10)",
        "Hamilton et al. 2016, arXiv:1606.02821",
        value_range=(-1.0, 1.0),
        statistic="second_order_cosine",
        formula="mean over i of the cosine between sᵢ and tᵢ, the cosines of i with N(i) ∪ N'(i) for x and "
        "for y",
        n_neighbours=10,
    ),
    _entry(
        "second_order_cosine_distances_10",
        "Second-order cosine of distances, as in ReSi (k = 10)",
        "Klabunde et al. 2024, arXiv:2408.00531, released code",
        statistic="second_order_cosine_distances",
        formula="as second_order_cosine, of distances 1 − cosine",
        n_neighbours=10,
    ),
    _entry(
        "cknna_10",
        "CKNNA (k = 10)",
        HUH,
        value_range=(-1.0, 1.0),
        statistic="cknna",
        formula="s(x, y) / √(s(x, x) s(y, y)), s(x, y) = Σ over j in N(i) ∩ N'(i) of K_ij L_ij; K, L: "
        "cosines less the mean of their row",
        n_neighbours=10,
    ),
    _entry(
        "cknna_reference_10",
        "CKNNA as released (k = 10)",
        HUH,
        value_range=(-float("inf"), float("inf")),
        symmetric=False,
        statistic="cknna_reference",
        formula="HSIC(x, y) / √(HSIC(x, x) HSIC(y, y)), unbiased, of cosines where j is in N(i) ∩ N'(i), "
        "zero elsewhere",
        n_neighbours=10,
    ),
    _entry(
        "information_imbalance",
        "Information imbalance (row to column)",
        GLIELMO,
        value_range=(0.0, 2.0),
        symmetric=False,
        distance="euclidean",
        larger_is_more_similar=False,
        is_extreme_for_itself=False,  # ranks count from one
        statistic="information_imbalance",
        formula="2/n times the mean rank for y of the nearest neighbour for x",
    ),
    _entry(
        "information_imbalance_cosine",
        "Information imbalance (row to column, cosine)",
        GLIELMO,
        value_range=(0.0, 2.0),
        symmetric=False,
        larger_is_more_similar=False,
        is_extreme_for_itself=False,  # ranks count from one
        statistic="information_imbalance",
        formula="2/n times the mean rank for y of the nearest neighbour for x",
    ),
)
