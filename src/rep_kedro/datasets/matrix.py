"""Square matrices that carry the labels of their rows and columns."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from rep_kedro.datasets.arrow import ArrowDataset, ArrowHandle
from rep_kedro.datasets.collection import CollectionDataset
from rep_kedro.datasets.member import Header, MemberHandle
from rep_kedro.datasets.plan import Json
from rep_kedro.datasets.previews import PlotlyPreview, preview_heat_maps

if TYPE_CHECKING:
    import numpy as np

_LABEL_COLUMN = "label"


@dataclass(frozen=True)
class LabelledMatrix:
    """A square matrix over labelled items.

    Attributes:
        values: Shape (n, n), float64.
        labels: The items' names, unique, in the order of rows and columns.
        reasons: Why an entry is NaN, by (row label, column label).
        meta: What else the maker reports: measure, number of stimuli.
    """

    values: "np.ndarray[Any, Any]"
    labels: tuple[str, ...]
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    meta: dict[str, Json] = field(default_factory=dict)


class MatrixHandle(ArrowHandle):
    """Lazy access to one labelled matrix."""

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The items' names, from the header."""
        return tuple(self.meta["labels"])

    def matrix(self) -> LabelledMatrix:
        """Return the matrix."""
        import numpy as np

        table = self.table()
        values = np.empty((len(self.labels), len(self.labels)))
        for index in range(len(self.labels)):
            values[:, index] = table.column(index + 1).to_numpy()
        reasons = {(row, column): why for row, column, why in self.meta["reasons"]}
        meta = {name: value for name, value in self.meta.items() if name not in ("labels", "reasons")}
        return LabelledMatrix(values, self.labels, reasons, meta)


class MatrixDataset(ArrowDataset):
    """A labelled matrix as Parquet: a column of labels, then one column per item."""

    format: ClassVar[str] = "matrix/2"
    handle: ClassVar[type[MemberHandle]] = MatrixHandle

    def save(self, data: LabelledMatrix) -> None:
        """Write the file atomically.

        Raises:
            TypeError: If the data is not a :class:`LabelledMatrix`.
            ValueError: If its labels are not unique or do not fit its shape, or reasons are of other items.
        """
        import numpy as np
        import pyarrow as pa

        if not isinstance(data, LabelledMatrix):
            raise TypeError(f"{self._key}: expected a LabelledMatrix, received {type(data).__name__}")
        n = len(data.labels)
        values = np.asarray(data.values, dtype=np.float64)
        if values.shape != (n, n) or len(set(data.labels)) != n:
            raise ValueError(
                f"{self._key}: a matrix of shape {values.shape} needs as many unique labels, "
                f"received {n} ({len(set(data.labels))} different)"
            )
        strangers = {label for pair in data.reasons for label in pair} - set(data.labels)
        if strangers or {"labels", "reasons"} & data.meta.keys():
            raise ValueError(
                f"{self._key}: reasons must be of labelled items and meta without 'labels' and 'reasons', "
                f"received reasons of {sorted(strangers)} and meta of {sorted(data.meta)}"
            )
        columns = [pa.array(data.labels, pa.string())]
        columns += [pa.array(values[:, index], pa.float64()) for index in range(n)]
        table = pa.Table.from_arrays(
            columns, names=[_LABEL_COLUMN, *(f"to {label}" for label in data.labels)]
        )
        reasons = [[row, column, why] for (row, column), why in sorted(data.reasons.items())]
        meta = {**data.meta, "labels": list(data.labels), "reasons": reasons}
        self._write(table, Header(self.format, self._key, self._recipe, meta))


class MatrixCollectionDataset(CollectionDataset):
    """A collection of labelled matrices; its preview is heat maps."""

    def preview(self, colorscale: str = "Viridis", first: str = "*") -> PlotlyPreview:  # type: ignore[override]
        """Return heat maps for Kedro-Viz.

        Args:
            colorscale: A colour scale of Plotly.
            first: Pattern of the keys to begin with.
        """
        handles = self.load()
        keys = sorted(handles, key=lambda key: not fnmatchcase(key, first))
        matrices = ((key, handles[key].labels, handles[key].matrix().values) for key in keys)
        return preview_heat_maps(matrices, colorscale=colorscale)
