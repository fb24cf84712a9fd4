"""How similar are representations of stimuli that were presented several times?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rep_kedro.api.arrays import Representations, name_tensors
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

_MEMORY_BYTES = 1_000_000_000


def similarity_of_repeats(
    representations: Representations,
    rdm: str = "crossnobis",
    compare: str = "pearson",
    *,
    shrinkage: float | None = None,
    names: Sequence[str] | None = None,
) -> DataFrame:
    """Compare dissimilarity matrices (RDMs) that take the noise between repeats into account.

    Repeats are presentations of the same stimuli under other augmentations, dropout masks or noise.

    Args:
        representations: Arrays by name, or a list, each of shape (n_repeats, n_stimuli, n_features), at least
            two repeats and four stimuli, stimulus s the same in all.
        rdm: ``crossnobis`` (differences in units of the noise, multiplied between different repeats: zero on
            average for stimuli that do not differ), ``mahalanobis`` (the same of the mean of the
            repeats), or ``crossvalidated_euclidean`` (not in units of the noise).
        compare: ``pearson``, ``spearman`` or ``cosine``.
        shrinkage: How far the covariance of the noise is moved towards its diagonal, in [0, 1]; None
            estimates it.
        names: Of the members of a list; x0, x1 and so on by default.

    Returns:
        Similarities in [-1, 1], names on both axes.

    Raises:
        UserError: If arrays do not fit together, a choice is unknown, or an RDM is undefined.

    Example:
        >>> import numpy as np, rep_kedro
        >>> rng = np.random.default_rng(0)
        >>> seen = rng.normal(size=(30, 5)) + 0.1 * rng.normal(size=(2, 30, 5))
        >>> found = rep_kedro.similarity_of_repeats({"a": seen, "b": seen @ rng.normal(size=(5, 5))})
        >>> bool(found.loc["a", "b"] > 0.95)
        True
    """
    import pandas as pd

    from rep_kedro.kernels.similarity.repeats import compare_repeats
    from rep_kedro.kernels.undefined import explain

    tensors = name_tensors(representations, names)
    labels = list(tensors)
    try:
        values, reasons = compare_repeats(
            [x if x.is_floating_point() else x.double() for x in tensors.values()],
            rdm=rdm,
            compare=compare,
            shrinkage=shrinkage,
            memory_bytes=_MEMORY_BYTES,
            names=labels,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    for reason in reasons.values():
        raise UserError(f"{explain(reason[:1], labels)}, so {rdm} is undefined")
    return pd.DataFrame(values.numpy(), index=labels, columns=labels)
