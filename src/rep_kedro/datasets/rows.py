"""The digest of a table's rows: equal digests, equal tables."""

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_DIGEST_CHARS = 32


def rows_digest(table: "pd.DataFrame") -> str:
    """Return a digest of the columns' names and values, in the order of the rows; the index does not count.

    Args:
        table: Numbers, truths, text and lists of text; missing values of any kind are equal.

    Example:
        >>> import pandas as pd
        >>> ours = pd.DataFrame({"x": [0.5, None]})
        >>> theirs = pd.DataFrame({"x": [0.5, float("nan")]}, index=[7, 8])
        >>> rows_digest(ours) == rows_digest(theirs), rows_digest(ours) == rows_digest(ours.head(1))
        (True, False)
    """
    digest = hashlib.sha256()
    for name in table.columns:
        values = table[name].astype(object).where(table[name].notna(), None).tolist()
        digest.update(json.dumps([str(name), values], default=_plain).encode())
    return digest.hexdigest()[:_DIGEST_CHARS]


def _plain(value: object) -> object:
    """Return a value as JSON data: a list for a cell that holds one, else its text."""
    import numpy as np

    return value.tolist() if isinstance(value, np.ndarray) else str(value)
