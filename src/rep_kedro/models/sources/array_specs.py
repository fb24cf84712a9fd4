"""Entries of features that were made elsewhere: brain recordings, human judgements, other software."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.places import FilePlace
from rep_kedro.models.sources.entry import Described
from rep_kedro.parameter_model import Parameters

LIMIT_BYTES = 4_000_000_000


class ArrayPlace(FilePlace):
    """A file of arrays whose first axis counts stimuli, and which stimulus each row is.

    The content decides how it is read: `.npy`, `.npz`, `.safetensors`, Parquet, HDF5. Objects of Python are
    never read. Exactly one of `ids`, `ids_file` and `row_order` is given.

    Attributes:
        ids: Name of the array, column or HDF5 dataset in the file that holds the stimulus ids.
        ids_file: A text file with the stimulus id of each row, one per line.
        row_order: The file has no ids and its rows are those of: `shown`, the stimuli that the networks are
            shown (`features.subset`), in their order; `all`, the whole stimulus set; or a split, as `test`.
        limit_bytes: Most memory that one array may take.
    """

    ids: str | None = None
    ids_file: str | None = None
    row_order: str | None = Field(default=None, min_length=1)
    limit_bytes: PositiveInt = LIMIT_BYTES

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        given = [name for name in ("ids", "ids_file", "row_order") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UserError(
                f"{' and '.join(given) or 'nothing'} says which stimulus each row is; give exactly one of"
                " ids (an array in the file), ids_file (a text file, one id per line) and row_order (shown,"
                " all or a split)"
            )
        return self

    def recipe(self) -> dict[str, Any]:
        """Return what the features depend on, apart from the content of the files."""
        return {"ids": self.ids, "row_order": self.row_order}


class FileModel(Described):
    """What was made elsewhere and takes part as if of a network, where there are files for a stimulus set.

    Attributes:
        files: A file for each stimulus set, by its name.
    """

    source: str
    files: dict[str, ArrayPlace] = Field(min_length=1)

    places: ClassVar[dict[str, Any]] = {"files": {"__all__": {"path", "url", "ids_file", "limit_bytes"}}}

    @property
    def title(self) -> str:
        """What messages call it."""
        return ", ".join(str(place.path or place.url) for place in self.files.values())


class Repeats(Parameters):
    """How stimuli that were presented several times give dissimilarities; see `kernels.similarity.repeats`.

    Attributes:
        rdm: `crossnobis`, `mahalanobis` or `crossvalidated_euclidean`.
        shrinkage: How far the covariance of the noise is moved towards its diagonal; null estimates it.
    """

    rdm: Literal["crossnobis", "mahalanobis", "crossvalidated_euclidean"] = "crossnobis"
    shrinkage: float | None = Field(default=None, ge=0, le=1)


class DissimilaritiesModel(FileModel):
    """A matrix of dissimilarities, as of judgements or recordings. Measures of RSA take it as it is.

    Attributes:
        files: A file for each stimulus set; what is said of its rows is said of its columns, too.
        array: Name of the matrix in the files, where they hold several.
        repeats: The array holds features, not dissimilarities: one row for each presentation of a stimulus,
            whose id occurs as often as it was presented. The dissimilarities are computed from them.
    """

    source: Literal["dissimilarities"]
    array: str | None = None
    repeats: Repeats | None = None

    @model_validator(mode="after")
    def _require_ids_of_repeats(self) -> Self:
        for name, place in self.files.items():
            if self.repeats and place.row_order is not None:
                raise UserError(
                    f"repeats needs the stimulus of each row, but files.{name} has row_order; give ids or"
                    " ids_file"
                )
        return self


class FeaturesModel(FileModel):
    """Features that were made elsewhere.

    Attributes:
        files: A file for each stimulus set, by its name.
        layers: Names or glob patterns of the arrays, in depth order; all of the file unless given. Rows of
            more axes than one are laid out as one row. In Parquet, each column of lists is an array, and all
            columns of single numbers together are the array `columns`; an `.npy` file is `features`. What is
            no number (a column of texts) is refused unless the arrays are named.
    """

    source: Literal["features"]
    layers: tuple[str, ...] = ()
