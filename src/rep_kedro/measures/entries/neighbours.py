"""Measures on the nearest neighbours of each stimulus."""

from rep_kedro.measures.measure import Family, FewestStimuli, Invariance, Json, Measure

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


def _entry(
    measure_id: str,
    title: str,
    source: str,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    symmetric: bool = True,
    distance: str = "cosine",
    larger_is_more_similar: bool = True,
    n_neighbours: int | None = None,
    **parameters: Json,
) -> Measure:
    lists: dict[str, Json] = {} if n_neighbours is None else {"n_neighbours": n_neighbours}
    return Measure(
        id=measure_id,
        title=title,
        family=Family.NEIGHBOUR,
        source=source,
        value_range=value_range,
        larger_is_more_similar=larger_is_more_similar,
        invariances=BY_COSINE if distance == "cosine" else BY_EUCLIDEAN,
        symmetric=symmetric,
        fewest_stimuli=FewestStimuli(1 + n_neighbours) if n_neighbours else FewestStimuli(),
        parameters={"distance": distance, **parameters, **lists},
    )


ENTRIES = (
    _entry("mutual_knn_10", "Mutual kNN (k = 10)", HUH, statistic="mutual_knn", n_neighbours=10),
    _entry(
        "mutual_knn_10_euclidean",
        "Mutual kNN (k = 10, Euclidean)",
        HUH,
        distance="euclidean",
        statistic="mutual_knn",
        n_neighbours=10,
    ),
    _entry("jaccard_10", "Jaccard (k = 10)", WANG, statistic="jaccard", n_neighbours=10),
    _entry(
        "rank_similarity_10", "Rank similarity (k = 10)", WANG, statistic="rank_similarity", n_neighbours=10
    ),
    _entry(
        "cycle_knn_10",
        "Cycle kNN (k = 10)",
        HUH,
        symmetric=False,
        statistic="cycle_knn",
        n_neighbours=10,
    ),
    _entry(
        "second_order_cosine_10",
        "Second-order cosine (k = 10)",
        "Hamilton et al. 2016, arXiv:1606.02821",
        value_range=(-1.0, 1.0),
        statistic="second_order_cosine",
        n_neighbours=10,
    ),
    _entry("cknna_10", "CKNNA (k = 10)", HUH, value_range=(-1.0, 1.0), statistic="cknna", n_neighbours=10),
    _entry(
        "cknna_reference_10",
        "CKNNA as released (k = 10)",
        HUH,
        value_range=(-float("inf"), float("inf")),
        symmetric=False,
        statistic="cknna_reference",
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
        statistic="information_imbalance",
    ),
    _entry(
        "information_imbalance_cosine",
        "Information imbalance (row to column, cosine)",
        GLIELMO,
        value_range=(0.0, 2.0),
        symmetric=False,
        larger_is_more_similar=False,
        statistic="information_imbalance",
    ),
)
