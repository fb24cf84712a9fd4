"""What a user writes of a table of labels for images, and the sources that take one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import require_once
from rep_kedro.stimuli.base import FileSourceSpec, PlainName, SourcePath


def _as_texts(values: Any) -> Any:
    """Return one name or several, numbers as they are written."""
    listed = values if isinstance(values, list | tuple) else [values]
    return [str(value) if type(value) is int else value for value in listed]


def _with_separators(columns: Any) -> Any:
    """Return the separator of each column; a list of names has none, its cells are lists."""
    return columns if isinstance(columns, Mapping) else dict.fromkeys(_as_texts(columns))


Texts = Annotated[list[str], BeforeValidator(_as_texts), Field(min_length=1)]


class LabelTableSpec(Parameters):
    """A file with one row for each image.

    Attributes:
        file: CSV, TSV, JSON lines (``.jsonl``, ``.ndjson``) or Parquet, by its ending; text in UTF-8.
        id: Column that names the image: its path below the source's folder, or an end of it, with or without
            the image's ending; of a shard the sample's key.
        label: Columns of labels. The first is the label of the set, and probes choose among all. Where it is
            not given it is the only other column.
        split: Column of splits, whose values follow the rule of names (``rep_kedro.stimuli.split_names``).
        splits: Values of that column by split, where they are not names of splits, such as numbers of folds;
            rows with other values are left out and counted.
        multi_label: Columns with several labels in a cell, kept with the set: the separator by column, or
            null (or a list of columns) where cells are lists (JSON lines, Parquet).
        missing: Texts that mean no label. An empty cell is none anyway. Where it is not given, texts such as
            NaN or NA are refused, because they could be either.
        delimiter: Between the columns of a CSV file.
        unmatched: What becomes of rows without an image and images without a row: refused, or left out and
            counted.
    """

    file: SourcePath
    id: str
    label: Texts | None = None
    split: str | None = None
    splits: dict[PlainName, Texts] | None = None
    multi_label: Annotated[dict[str, str | None], BeforeValidator(_with_separators)] = Field(
        default_factory=dict
    )
    missing: list[str] | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    unmatched: Literal["error", "leave_out"] = "error"

    @model_validator(mode="after")
    def _require_distinct_columns(self) -> "LabelTableSpec":
        split = [] if self.split is None else [self.split]
        require_once([self.id, *(self.label or []), *split, *self.multi_label], "columns of labels")
        if self.splits is not None and self.split is None:
            raise UserError("splits has no effect without split, the column that has these values")
        stated = [value for values in (self.splits or {}).values() for value in values]
        require_once(stated, "values of splits")
        return self


def is_label_table(file: Path, spec: "TableLabelledSpec") -> bool:
    """Say whether a file among the images is the table of their labels."""
    table = None if spec.labels is None else spec.labels.file
    return table is not None and file.name == table.name and table.exists() and file.samefile(table)


class TableLabelledSpec(FileSourceSpec):
    """Parameters of a source of files whose labels may be in a table.

    Attributes:
        labels: The table; its labels replace those of the source.
    """

    labels: LabelTableSpec | None = None

    @model_validator(mode="after")
    def _refuse_what_the_table_decides(self) -> "TableLabelledSpec":
        if self.labels is None:
            return self
        if self.first_label is not None and self.class_names is None:
            raise UserError("first_label has no effect on labels of a table without class_names; remove it")
        if self.labels.split is not None and isinstance(self.splits, dict):
            raise UserError("splits has no effect together with labels.split; remove one of the two")
        if self.labels.split is not None and self.test_fraction:
            raise UserError("test_fraction has no effect together with labels.split; remove one of the two")
        return self

    def recipe(self) -> dict[str, Any]:
        """Return the parameters that the set's bytes depend on, without places, as plain JSON data."""
        kept = super().recipe()
        if self.labels is None:
            del kept["labels"]
        else:
            del kept["labels"]["file"]
        return kept
