"""Which of several groupings the report shows."""

import pandas as pd

MEAN = "mean"


def choose_clusters(model_clusters: pd.DataFrame) -> pd.DataFrame:
    """Return the clusters of the number of them that suits the mean similarity best.

    That is the one with the highest mean silhouette, where a network that is alone in its cluster counts as
    0, so that many clusters of one network do not win.

    Returns:
        Rows of networks that have a cluster, on all stimulus sets, with cluster as int64 and silhouette as
        float64; none where no silhouette is known.

    Source: Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7.
    """
    known = model_clusters.dropna(subset=["cluster"]).astype({"cluster": "int64", "silhouette": "float64"})
    of_mean = known[known["stimulus_set"] == MEAN]
    if not of_mean["silhouette"].notna().any():
        return known.iloc[:0]
    means = of_mean["silhouette"].fillna(0.0).groupby(of_mean["n_clusters"]).mean()
    return known[known["n_clusters"] == means.idxmax()]
