"""Tables of networks among networks: places on maps, and clusters."""

from rep_kedro.schemas.columns import MEASURE, MODEL, REASON, WITH_REASON, count, number, text
from rep_kedro.schemas.table import Table

_SET = text("stimulus_set", "name of the stimulus set, or `mean`: the mean over all")

MODEL_POSITIONS = Table(
    "model_positions",
    "One row for each map and network: where the network is on the map.",
    key=("stimulus_set", "measure", "method", "model"),
    columns=(
        _SET,
        MEASURE,
        text("method", "t-SNE or multidimensional scaling", values=("tsne", "mds")),
        MODEL,
        number("x", "first coordinate", missing=WITH_REASON),
        number("y", "second coordinate", missing=WITH_REASON),
        number("stress", "Kruskal's stress-1 of the whole map", low=0, missing="a map by t-SNE, or no map"),
        number(
            "divergence",
            "Kullback-Leibler divergence of the whole map, nats",
            missing="not by t-SNE, or no map",
        ),
        REASON,
    ),
    empty_when="no method is asked for",
)

MODEL_CLUSTERS = Table(
    "model_clusters",
    "One row for each clustering and network: which cluster the network is in.",
    key=("stimulus_set", "measure", "n_clusters", "model"),
    columns=(
        _SET,
        MEASURE,
        count("n_clusters", "clusters"),
        MODEL,
        count(
            "cluster",
            "cluster, from 0 in the order of their first networks by name",
            missing=WITH_REASON,
        ),
        number(
            "silhouette",
            "silhouette of the network by its dissimilarities",
            low=-1,
            high=1,
            missing=WITH_REASON,
        ),
        REASON,
    ),
    empty_when="the measures of the maps are not compared",
)

TABLES = (MODEL_POSITIONS, MODEL_CLUSTERS)
