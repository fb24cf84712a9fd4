"""Which rows of the stitching tables figures and text show."""

import pandas as pd

BASELINE = "ps_inv"


def one_map(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the least-squares map, or of the first map where there is none of its name.

    Controls, layers of other names and flattened layers are left out; ``layer`` is that of both networks.
    """
    rows = plain(results)
    maps = set(rows["map"])
    name = BASELINE if BASELINE in maps else min(maps, default=BASELINE)
    return rows[rows["map"] == name]


def plain(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of networks joined at layers of one name, without controls, with a column ``layer``."""
    is_plain = (
        (results["control"] == "none")
        & (results["front_layer"] == results["end_layer"])
        & ~results["flatten"].astype(bool)
    )
    rows = results[is_plain]
    return rows.assign(layer=rows["end_layer"])
