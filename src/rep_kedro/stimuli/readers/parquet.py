"""Parquet files with encoded images, as Hugging Face stores them.

The image column holds bytes, or a struct with a field ``bytes``.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from rep_kedro.errors import shorten, suggest
from rep_kedro.stimuli.base import FileSourceSpec, require_path
from rep_kedro.stimuli.classes import (
    LabelsByName,
    names_in_order,
    order_names,
    require_distinct,
    require_few_classes,
    require_one_list,
)
from rep_kedro.stimuli.columnar import ColumnarFile
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.shards import require_all_shards
from rep_kedro.stimuli.split_rule import split_files
from rep_kedro.stimuli.walking import note_unread, walk_files

DeclaredNames = tuple[str, list[str]]  # place and class names
_ENDINGS = frozenset({".parquet", ".parq", ".pq"})


class ParquetSpec(FileSourceSpec):
    """Parquet files.

    Attributes:
        path: One file, or a folder; names of files or folders may say the split
            (``rep_kedro.stimuli.split_rule``).
        image_column: Column of the encoded images.
        label_column: Column of the labels, whole numbers or text; None for a set without labels.
        id_column: Column of stable ids; without one the id is the position within the split.
    """

    source: Literal["parquet"] = "parquet"
    image_column: str = "image"
    label_column: str | None = "label"
    id_column: str | None = None


def read(spec: ParquetSpec, log: DamageLog, declared: Iterable[DeclaredNames] = ()) -> StimulusStream:
    """Open the source; ids are ``<split>/<position>`` or ``<split>/<id>``.

    Args:
        spec: The source's parameters.
        log: Takes what is damaged or not read.
        declared: (place, class names) that descriptions next to the files declare.

    Raises:
        FileNotFoundError: If a file is missing.
        DamagedSourceError: If a file is no Parquet file, a column is missing or of a wrong type, or files
            declare different class names.
        UserError: If names could be those of splits, or not.
    """
    files = _list_files(spec, log)
    for _, file in files:
        _require_columns(file, spec)
    in_files = (each for _, file in files for each in _declared_names(file, spec))
    class_names = spec.class_names or require_one_list([*declared, *in_files]) or _find_names(files, spec)
    return StimulusStream(class_names, _stimuli(files, class_names, spec, log))


def _stimuli(
    files: list[tuple[str, Path]], class_names: list[str] | None, spec: ParquetSpec, log: DamageLog
) -> Iterator[Stimulus]:
    labels = LabelsByName(class_names)
    counts: dict[str, int] = {}
    for split, file in files:
        for image, elsewhere, found, own_id in _rows(file, spec):
            position = counts.get(split, 0)
            counts[split] = position + 1
            stimulus_id = f"{split}/{position:06d}" if spec.id_column is None else f"{split}/{own_id}"
            label = labels.find(found) if isinstance(found, str) else found
            if isinstance(label, str):
                log.add(stimulus_id, label)
            elif image is None:
                log.add(
                    stimulus_id,
                    f"no bytes in the image column{(elsewhere and f', only a path {elsewhere!r}') or ''}",
                )
            elif image.size > spec.limits.record_bytes:
                log.add(stimulus_id, str(spec.limits.too_many_bytes(image.size, "the image")))
            else:
                yield Stimulus(stimulus_id, image.to_pybytes(), label, split)


def _rows(file: Path, spec: ParquetSpec) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield a view of the image, the path of one that is elsewhere, label and id; None if absent."""
    for batch in ColumnarFile(file, spec.limits).batches(_columns(spec)):
        images = batch.column(spec.image_column)
        paths = _part(images, "path")
        found = _part(images, "bytes")
        contents = images if found is None else found
        others = [_cells(batch, name) for name in (spec.label_column, spec.id_column)]
        for row, (label, own_id) in enumerate(zip(*others, strict=True)):
            elsewhere = None if paths is None else paths[row].as_py()
            yield contents[row].as_buffer(), elsewhere, label, own_id


def _part(images: Any, name: str) -> Any:
    """Return a field of a column of structures, null where the whole is null; None if there is none."""
    import pyarrow.types as pt

    place = images.type.get_field_index(name) if pt.is_struct(images.type) else -1
    return images.flatten()[place] if place >= 0 else None


def _cells(batch: Any, column: str | None) -> list[Any]:
    cells: list[Any] = [None] * batch.num_rows if column is None else batch.column(column).to_pylist()
    return cells


def _columns(spec: ParquetSpec) -> list[str]:
    return [name for name in (spec.image_column, spec.label_column, spec.id_column) if name is not None]


def _require_columns(file: Path, spec: ParquetSpec) -> None:
    import pyarrow.types as pt

    schema = ColumnarFile(file, spec.limits).schema
    for name in _columns(spec):
        if schema.names.count(name) > 1:
            raise DamagedSourceError(
                f"{file.name} has {schema.names.count(name)} columns {name!r}; rename all but the one that is"
                " meant"
            )
        if name not in schema.names:
            raise DamagedSourceError(f"{file.name} has no column {name!r}; {suggest(name, schema.names)}")
    image = schema.field(spec.image_column).type
    if pt.is_struct(image) and image.get_field_index("bytes") >= 0:
        image = image.field("bytes").type
    if not (pt.is_binary(image) or pt.is_large_binary(image)):
        raise DamagedSourceError(
            f"column {spec.image_column!r} of {file.name} is {image}, expected binary or a"
            " struct with binary bytes"
        )
    if spec.label_column is not None:
        label = schema.field(spec.label_column).type
        label = label.value_type if pt.is_dictionary(label) else label
        if not (pt.is_integer(label) or pt.is_string(label) or pt.is_large_string(label)):
            raise DamagedSourceError(
                f"column {spec.label_column!r} of {file.name} is {label}, expected whole numbers or text"
            )


def _declared_names(file: Path, spec: ParquetSpec) -> Iterator[DeclaredNames]:
    """Yield the class names of Hugging Face's description in the file, if there are any."""
    metadata = ColumnarFile(file, spec.limits).schema.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[spec.label_column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return
    yield file.name, names_in_order(names, file.name)


def _find_names(files: list[tuple[str, Path]], spec: ParquetSpec) -> list[str] | None:
    """Return the labels of text columns, in order; numbers have no names."""
    if spec.label_column is None:
        return None
    found = set[object]()
    is_text = {file.name: ColumnarFile(file, spec.limits).holds_text(spec.label_column) for _, file in files}
    if len(set(is_text.values())) > 1:
        raise DamagedSourceError(
            f"column {spec.label_column!r} is text in some files, numbers in others:"
            f" {shorten(sorted(is_text))}"
        )
    for _, file in files:
        if any(is_text.values()):
            for batch in ColumnarFile(file, spec.limits).batches([spec.label_column]):
                found.update(batch.column(0).unique().to_pylist())
                require_few_classes(len(found), f"column {spec.label_column!r} of {file.name}")
    names = order_names(name for name in found if isinstance(name, str))
    require_distinct(names, is_settled=spec.label_map is not None)
    return names or None


def _list_files(spec: ParquetSpec, log: DamageLog) -> list[tuple[str, Path]]:
    files = []
    for split, paths in spec.roots().items():
        for path in paths:
            if require_path(path).is_file():
                own = split or split_files([path.name], spec, str(path.parent))[0]
                files += [(own, path)] if own is not None else []
                continue
            files += _list_folder(split, path, spec, log)
    return sorted(files, key=lambda file: file[0] != "train")


def _list_folder(split: str, folder: Path, spec: ParquetSpec, log: DamageLog) -> Iterator[tuple[str, Path]]:
    there = dict(walk_files(folder, log))
    names = [name for name, file in there.items() if file.suffix.lower() in _ENDINGS]
    for name in there.keys() - set(names):
        note_unread(name, log)
    if not names:
        log.require_none()
        raise DamagedSourceError(f"no Parquet files (*.parquet) in {folder}")
    require_all_shards(there[name] for name in names)
    splits = [split] * len(names) if split else split_files(names, spec, str(folder))
    for name, own in zip(names, splits, strict=True):
        if own is None:
            log.left_out[name] += 1
        else:
            yield own, there[name]
