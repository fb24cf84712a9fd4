"""What each table holds, declared once: columns, types, ranges, keys and meaning.

Nodes build their tables with these declarations, the catalog validates with them, docs/tables.md is written
from them. Importing them needs neither pandas nor pyarrow nor torch.
"""

from rep_kedro.errors import require_known
from rep_kedro.schemas import (
    consistency,
    diagnostics,
    features,
    ingest,
    layer_similarity,
    model_maps,
    probing,
    run,
    selection,
    similarity,
    stitching,
    training,
)
from rep_kedro.schemas.table import Table

BY_TOPIC: dict[str, tuple[Table, ...]] = {
    "Stimulus sets": ingest.TABLES,
    "Training": training.TABLES,
    "Networks": features.TABLES,
    "Layers": diagnostics.TABLES,
    "Similarity": similarity.TABLES,
    "Similarity of layers": layer_similarity.TABLES,
    "Consistency": consistency.TABLES,
    "Maps and clusters": model_maps.TABLES,
    "Probes and predictions": probing.TABLES,
    "Choice of networks without labels": selection.TABLES,
    "Stitching": stitching.TABLES,
    "The run": run.TABLES,
}
TABLES: dict[str, Table] = {table.name: table for tables in BY_TOPIC.values() for table in tables}


def get_table(name: str) -> Table:
    """Return the declaration of a table.

    Raises:
        UserError: If there is none of this name; the message offers names like it, or all.
    """
    require_known("table", name, TABLES)
    return TABLES[name]
