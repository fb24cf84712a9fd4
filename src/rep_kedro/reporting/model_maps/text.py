"""Which networks form groups, and which pairs are similar on some stimulus sets only?"""

import pandas as pd

from rep_kedro.reporting.model_maps.clusters import MEAN, choose_clusters
from rep_kedro.reporting.names import written
from rep_kedro.reporting.page import Column, Table, counted, list_in_words, make_table, write_number
from rep_kedro.reporting.pairs import mean_and_spread, pairs_by_set
from rep_kedro.reporting.tables import objectives_in_order, trait_of

MOST_NAMES = 4
CLUSTER_COLUMNS = {
    "shown": Column("cluster", "count"),
    "model": Column("network"),
    "objective": Column("objective"),
    "architecture": Column("architecture"),
    "silhouette": Column("silhouette (−1 to 1)", "number", 2, absent="–"),
}
SPREAD_COLUMNS = {
    "model_a": Column("network"),
    "model_b": Column("other network"),
    "mean": Column("mean similarity", "number"),
    "std": Column("standard deviation", "number"),
}


def best_clusters(model_clusters: pd.DataFrame) -> pd.DataFrame:
    """Return the clusters by mean similarity, of the number of them with the highest mean silhouette."""
    chosen = choose_clusters(model_clusters)
    return chosen[chosen["stimulus_set"] == MEAN]


def clusters_in_words(clusters: pd.DataFrame, model_cards: pd.DataFrame) -> list[str]:
    """Say which cluster holds which networks."""
    if not len(clusters):
        return []
    objective = trait_of(model_cards, "objective")
    groups = []
    for cluster, part in clusters.groupby("cluster", sort=True):
        names = [str(model) for model in part["model"]]
        own = [objective.get(name, "unknown") for name in names]
        counts = list_in_words([f"{own.count(kind)} {written(kind)}" for kind in objectives_in_order(own)])
        listed = f" ({list_in_words(names)})" if len(names) <= MOST_NAMES else ""
        groups.append(f"{int(str(cluster)) + 1}: {counts}{listed}")
    mean = write_number(clusters["silhouette"].mean(), digits=2)
    return [
        f"By mean similarity, the networks form {counted(len(groups), 'cluster')}: the number with the "
        f"highest mean silhouette ({mean}) of those tried, which may differ for other networks. "
        f"{'; '.join(groups)}."
    ]


def spread_in_words(similarities: pd.DataFrame) -> list[str]:
    """Say how much the similarity of a pair differs between stimulus sets."""
    moments = _moments(similarities)
    if len(moments) < 2:
        return []
    return [
        f"The standard deviation of a pair's similarity over stimulus sets has a median of "
        f"{write_number(moments['std'].median())}."
    ]


def tables_of(
    similarities: pd.DataFrame, clusters: pd.DataFrame, model_cards: pd.DataFrame, n_extreme: int
) -> list[Table]:
    """Return the clusters, and the pairs whose similarity differs most between stimulus sets."""
    tables = []
    if len(clusters):
        rows = clusters.assign(
            shown=clusters["cluster"] + 1,
            **{
                trait: [
                    written(trait_of(model_cards, trait).get(str(m), "unknown")) for m in clusters["model"]
                ]
                for trait in ("objective", "architecture")
            },
        ).sort_values(["shown", "silhouette"], ascending=[True, False], kind="stable")
        tables.append(
            make_table(
                rows, CLUSTER_COLUMNS, "Clusters by mean similarity", is_folded=True, of=["model_clusters"]
            )
        )
    moments = _moments(similarities)
    if len(moments) > 1:
        caption = f"The {min(n_extreme, len(moments))} pairs that differ most between stimulus sets"
        tables.append(make_table(moments.head(n_extreme), SPREAD_COLUMNS, caption, is_folded=True))
    return tables


def _moments(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation of each pair, the largest deviation first."""
    wide = pairs_by_set(similarities)
    if wide.shape[1] < 2:
        return pd.DataFrame({"model_a": [], "model_b": [], "mean": [], "std": []})
    moments = mean_and_spread(wide).reset_index()
    return moments.sort_values("std", ascending=False, kind="stable").reset_index(drop=True)
