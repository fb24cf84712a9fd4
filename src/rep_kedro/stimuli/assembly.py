"""From a source to the one table that every stimulus set is."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rep_kedro.errors import counted
from rep_kedro.stimuli.base import SourceSpec
from rep_kedro.stimuli.classes import (
    LOOK_LIKE_IDS,
    MAX_FOUND_CLASSES,
    Numbering,
    name_by_number,
    note_shared_names,
    shared_names,
)
from rep_kedro.stimuli.copies import count_copies, first_of_copies
from rep_kedro.stimuli.decoding import CheckedImage, check_images
from rep_kedro.stimuli.findings import Findings
from rep_kedro.stimuli.labels import map_labels
from rep_kedro.stimuli.limits import Limits
from rep_kedro.stimuli.pixels import UnreadableImageError, decode_image
from rep_kedro.stimuli.png import encode_png, png_size
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.settled_splits import settle_splits
from rep_kedro.stimuli.spool import BatchSpool
from rep_kedro.stimuli.walking import is_text
from rep_kedro.stimuli.wide_values import ValueRange

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BATCH = 512
_BYTES_PER_BATCH = 4 << 20
_LONGEST_ID = 4096
_THREADED_BYTES = 16 << 10  # larger images are checked in threads; the decoder lets other threads run


def schema() -> "pa.Schema":
    """Return the columns of every stimulus set."""
    import pyarrow as pa

    return pa.schema(
        [("stimulus_id", pa.string()), ("image", pa.binary()), ("label", pa.int32()), ("split", pa.string())]
    )


def assemble_stimulus_set(
    stream: StimulusStream, spec: SourceSpec, log: DamageLog, *, threads: int = 2
) -> "pa.Table":
    """Read a source to its end and return its stimulus set.

    Every image is decoded once to find damaged ones. Sets larger than a limit go to a temporary file, not to
    memory.

    Returns:
        Table with columns stimulus_id, image (encoded bytes as they came), label (null where there is none),
        split, and further labels (``rep_kedro.stimuli.label_columns``). ``schema.metadata[b"meta"]`` is JSON
        with ``class_names``, ``image_size_px`` (side length if all images are squares of one size, else
        null), ``wide_values`` (of images with more than 8 bits
        per channel: ``n_images``, ``smallest``, ``largest`` value; else null), ``several_frames`` (how many
        images have more than the one that counts), ``n_stimuli``, ``counts`` by split,
        ``class_counts`` by split and class, ``classes_of_test_alone`` (their names), ``n_copies`` and
        ``n_copies_across_splits`` (see :func:`count_copies`), ``test_is`` (see :func:`settle_splits`),
        ``source``, ``sha256`` (see :func:`digest_rows`), ``left_out`` (what the parameters leave out, by
        split or folder), ``damaged``, ``ignored`` and ``notes`` (of what was decided, in words).

    Raises:
        DamagedSourceError: If anything is damaged and ``on_damaged`` is ``error``; if nothing is left.
    """
    findings = Findings()
    names_of_source = stream.class_names
    note_shared_names(stream.class_names, log)
    stated = getattr(spec, "first_label", None)
    numbering = Numbering(stream.class_names, stream.first_label if stated is None else stated)
    stream = replace(stream, stimuli=numbering.follow(stream.stimuli, log))
    label_map = getattr(spec, "label_map", None)
    if label_map is not None:
        stream = map_labels(stream, label_map, log)
    spool = BatchSpool(schema())
    try:
        for stimuli in _group(_distinct(stream, spec.limits, log)):
            kept = stimuli if stream.is_encoded_here else _check(stimuli, spec, log, findings, threads)
            spool.append(_to_batch(kept))
            findings.add_sizes(png_size(each.image) for each in kept if stream.is_encoded_here)
        table = spool.finish()
    finally:
        spool.discard()
    table = _leave_out_unlabelled(table, log)
    table = _settle_labels(table, numbering, log, is_mapped=label_map is not None)
    numbering.note_doubt(names_of_source, log)
    if spec.on_damaged == "error":
        log.require_none()
    if not table.num_rows:
        damaged = (
            f"; {counted(len(log.damaged), 'damaged item')}: {log.first_damaged()}" if log.damaged else ""
        )
        raise DamagedSourceError(f"no stimulus is left of source {spec.source!r}{damaged}")
    findings.require_effect(spec.value_range())
    originals = first_of_copies(table.select(["image"]).to_batches(max_chunksize=_ROWS_PER_BATCH))
    table, test_is = settle_splits(table, spec, originals, log)
    class_names = stream.class_names or name_by_number(set(table["label"].unique().to_pylist()) - {None})
    further = stream.further
    table = table if further is None else further.add_to(table)
    meta = _describe(table, class_names) | {
        **({} if further is None else further.describe(class_names)),
        **findings.describe(),
        **count_copies(originals, table["split"].to_pylist()),
        "test_is": test_is,
        "source": spec.recipe(),
        "left_out": dict(log.left_out),
        "damaged": [{"item": item, "reason": reason} for item, reason in log.damaged],
        "ignored": sorted(log.ignored),
        "notes": log.notes,
    }
    return table.replace_schema_metadata({b"meta": json.dumps(meta, ensure_ascii=False).encode()})


def meta_of(table: "pa.Table") -> dict[str, Any]:
    """Return what a stimulus set or subset says of itself."""
    meta: dict[str, Any] = json.loads(table.schema.metadata[b"meta"])
    return meta


def digest_rows(table: "pa.Table") -> str:
    """Return the SHA-256 over ids, images, labels and splits, row by row, each preceded by its length."""
    digest = hashlib.sha256()
    for batch in table.select(["stimulus_id", "image", "label", "split"]).to_batches(
        max_chunksize=_ROWS_PER_BATCH
    ):
        columns = [batch.column(index).to_pylist() for index in range(4)]
        for stimulus_id, image, label, split in zip(*columns, strict=True):
            for part in (
                stimulus_id.encode(),
                image,
                b"" if label is None else b"%d" % label,
                split.encode(),
            ):
                digest.update(b"%d:" % len(part))
                digest.update(part)
    return digest.hexdigest()


def _distinct(stream: StimulusStream, limits: Limits, log: DamageLog) -> Iterator[Stimulus]:
    """Yield the stimuli whose ids are text and new and whose labels have names."""
    if not all(map(is_text, stream.class_names or ())):
        raise DamagedSourceError("a class name is not UTF-8")
    seen = set[str]()
    n_classes = MAX_FOUND_CLASSES if stream.class_names is None else len(stream.class_names)
    n_allowed = n_classes + (stream.class_names is not None)  # labels may turn out to be counted from 1
    for stimulus in stream.stimuli:
        label = stimulus.label
        if stimulus.stimulus_id in seen:
            log.add(stimulus.stimulus_id, "id occurs twice")
        elif not is_text(stimulus.stimulus_id):
            log.add(ascii(stimulus.stimulus_id), "the name is not UTF-8")
        elif len(stimulus.stimulus_id) > _LONGEST_ID:
            log.add(stimulus.stimulus_id[:40], f"the name has more than {_LONGEST_ID} characters")
        elif label is not None and label >= n_classes and stream.class_names is None:
            log.add(stimulus.stimulus_id, f"label {label}: {LOOK_LIKE_IDS}")
        elif label is not None and not 0 <= label < n_allowed:
            log.add(stimulus.stimulus_id, f"label {label} is outside of the {n_classes} classes")
        else:
            seen.add(stimulus.stimulus_id)
            limits.require_stimuli(len(seen), "the source")
            yield stimulus


def _group(stimuli: Iterable[Stimulus]) -> Iterator[list[Stimulus]]:
    group, n_bytes = list[Stimulus](), 0
    for stimulus in stimuli:
        group.append(stimulus)
        n_bytes += len(stimulus.image)
        if len(group) == _ROWS_PER_BATCH or n_bytes >= _BYTES_PER_BATCH:
            yield group
            group, n_bytes = [], 0
    if group:
        yield group


def _check(
    stimuli: list[Stimulus], spec: SourceSpec, log: DamageLog, findings: Findings, threads: int
) -> list[Stimulus]:
    """Return the stimuli whose images can be decoded, scaled if asked for; the others go to the log."""
    stated = spec.value_range()
    checked = _check_all([each.image for each in stimuli], threads, limits=spec.limits, value_range=stated)
    good = []
    for stimulus, found in zip(stimuli, checked, strict=True):
        if isinstance(found, UnreadableImageError):
            log.add(stimulus.stimulus_id, str(found))
            continue
        findings.add(found)
        is_scaled = stated is not None and found.wide_range is not None
        good.append(_store_scaled(stimulus, spec.limits, stated) if is_scaled else stimulus)
    return good


def _store_scaled(stimulus: Stimulus, limits: Limits, stated: ValueRange | None) -> Stimulus:
    """Return a stimulus whose 16 bits became 8, so that all who read the set see the same."""
    import numpy as np

    pixels = np.asarray(decode_image(stimulus.image, limits=limits, value_range=stated).image)
    return stimulus._replace(image=encode_png(pixels))


def _check_all(
    images: Sequence[bytes], threads: int, **how: Any
) -> list[CheckedImage | UnreadableImageError]:
    if threads < 2 or sum(map(len, images)) < _THREADED_BYTES * len(images):
        return list(check_images(images, **how))
    share = -(-len(images) // threads)
    shares = [images[start : start + share] for start in range(0, len(images), share)]
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(lambda share: list(check_images(share, **how)), shares)
        return [found for part in parts for found in part]


def _to_batch(stimuli: list[Stimulus]) -> "pa.RecordBatch":
    import pyarrow as pa

    columns = list(zip(*stimuli, strict=True)) or [()] * 4
    return pa.RecordBatch.from_arrays(
        [pa.array(list(column), field.type) for column, field in zip(columns, schema(), strict=True)],
        schema=schema(),
    )


def _leave_out_unlabelled(table: "pa.Table", log: DamageLog) -> "pa.Table":
    """Leave out the stimuli without a label if others have one."""
    labels = table["label"]
    if labels.null_count in {0, len(labels)}:
        return table
    is_missing = [label is None for label in labels.to_pylist()]
    return _leave_out(table, is_missing, "no label, while others have one", log)


def _settle_labels(table: "pa.Table", numbering: Numbering, log: DamageLog, *, is_mapped: bool) -> "pa.Table":
    """Count labels from 0 where they are counted from 1; leave out the label that is one too many."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n_classes = numbering.n_classes
    if numbering.is_from_one():
        numbering.require_unmapped(log, is_mapped=is_mapped)
        labels = pc.subtract(table["label"], pa.scalar(1, pa.int32()))
        return table.set_column(table.schema.get_field_index("label"), "label", labels)
    if is_mapped or n_classes is None or numbering.largest < n_classes:
        return table
    is_beyond = [label == n_classes for label in table["label"].to_pylist()]
    reason = f"label {n_classes} is outside of the {n_classes} classes{numbering.hint()}"
    return _leave_out(table, is_beyond, reason, log)


def _leave_out(table: "pa.Table", is_out: Sequence[bool], reason: str, log: DamageLog) -> "pa.Table":
    """Move stimuli to the log."""
    import pyarrow as pa

    ids = table["stimulus_id"].to_pylist()
    runs, start = [], 0
    for row, out in enumerate([*is_out, True]):
        if out:
            runs.append(table.slice(start, row - start))  # slices copy nothing
            start = row + 1
            if row < len(ids):
                log.add(ids[row], reason)
    return pa.concat_tables(runs)


def _describe(table: "pa.Table", class_names: Sequence[str] | None) -> dict[str, Any]:
    labels, splits = table["label"].to_pylist(), table["split"].to_pylist()
    counts: dict[str, int] = dict(Counter(splits))
    cells = Counter(zip(splits, labels, strict=True))
    names = list(class_names) if class_names is not None else None
    return {
        "class_names": names,
        "n_stimuli": table.num_rows,
        "counts": counts,
        "class_counts": {
            split: {name: cells[split, label] for label, name in enumerate(_distinct_names(names))}
            for split in counts
        },
        "classes_of_test_alone": [
            name
            for label, name in enumerate(_distinct_names(names))
            if cells["test", label] and not cells["train", label] and counts.get("train")
        ],
        "sha256": digest_rows(table),
    }


def _distinct_names(names: list[str] | None) -> list[str]:
    """Return class names; those that several classes share get the label behind them."""
    shared = set(shared_names(names or []))
    return [f"{name} ({label})" if name in shared else name for label, name in enumerate(names or [])]
