"""Features that were made elsewhere, as members of the collection of features."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rep_kedro.datasets import Planned, Tensors, code_revision
from rep_kedro.errors import UserError, suggest
from rep_kedro.features.from_files.formats import explained, open_arrays
from rep_kedro.features.from_files.rows import (
    IDS_FILE,
    Indices,
    find_places,
    find_repeats,
    pick_rows,
    read_ids,
)
from rep_kedro.features.from_files.stored_arrays import StoredArray
from rep_kedro.features.images import hash_stimulus_ids
from rep_kedro.models.files import identify_file, is_here, require_file
from rep_kedro.models.places import FilePlace
from rep_kedro.models.sources.array_specs import (
    ArrayPlace,
    DissimilaritiesModel,
    FeaturesModel,
    FileModel,
    Repeats,
)

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle

MATRIX = "dissimilarities"
ASYMMETRY = 1e-5  # of entries that should be equal, relative to the largest
_KIND = "file of features"


class FeatureFile(NamedTuple):
    """An open file, whose features were not read.

    Attributes:
        name: What messages call it.
        layers: Its arrays by name, in depth order.
        ids: Of its rows; None where their order is declared.
        n_rows: Rows of every array.
    """

    name: str
    layers: Mapping[str, StoredArray]
    ids: Sequence[str] | None
    n_rows: int


def require_readable(entry: FileModel) -> None:
    """Refuse files whose arrays or ids are not there or do not fit each other; no feature is read.

    Raises:
        UserError: What is wrong with which file.
    """
    for place in entry.files.values():
        if is_here(place) and isinstance(entry, DissimilaritiesModel):
            _open_matrix(place, entry)
        elif is_here(place) and isinstance(entry, FeaturesModel):
            open_file(place, entry.layers)


def plan_member(entry: FileModel, stimulus_set: "ArrowHandle", subset: "ArrowHandle") -> Planned:
    """Plan what a file holds for the stimuli of a subset; ids are compared, no number is read.

    Args:
        entry: Names the file of the stimulus set.
        stimulus_set: The handle of the images.
        subset: The stimuli that networks are shown, in their order.

    Raises:
        UserError: If the file is missing or does not fit the stimuli.
    """
    place = entry.files[stimulus_set.key]
    recipe = {
        "model": {
            **entry.model_dump(mode="json", include={"source", "layers", "array"}),
            **entry.model_dump(mode="json", include={"repeats"}, exclude_none=True),
            **place.recipe(),
            **_identify(place),
        },
        "stimulus_set": stimulus_set.reference,
        "stimulus_subset": subset.reference,
        "code": code_revision("rep_kedro.features.from_files.members"),
    }
    if isinstance(entry, DissimilaritiesModel):
        file = _open_matrix(place, entry) if is_here(place) else None
        compute = partial(_read_repeats if entry.repeats else _read_matrix, entry, stimulus_set, subset)
    else:
        assert isinstance(entry, FeaturesModel)  # noqa: S101 - there is no other kind
        file = open_file(place, entry.layers) if is_here(place) else None
        compute = partial(_read_features, entry, stimulus_set, subset)
    if file is not None:
        _find_places(file, place, stimulus_set, subset)
        if isinstance(entry, DissimilaritiesModel) and entry.repeats:
            _find_repeats(file, subset, place.limit_bytes)
    return Planned(recipe, compute)


def width_of_file(entry: FileModel) -> int:
    """Return the number of features of one stimulus, over all arrays; all files have as many."""
    if not isinstance(entry, FeaturesModel):
        return 0
    file = open_file(next(iter(entry.files.values())), entry.layers)
    return sum(prod(array.shape[1:]) for array in file.layers.values())


def open_file(place: ArrayPlace, layers: Sequence[str] = (), *, may_repeat: bool = False) -> FeatureFile:
    """Open a file and see that its arrays and ids fit each other.

    Args:
        place: Where it is, and where its ids are.
        layers: Names or glob patterns of arrays; all unless given.
        may_repeat: Whether rows may have the same id.

    Raises:
        UserError: If an array is missing or not of numbers, or they differ in their number of rows.
    """
    name = f"{_KIND} {place.path or place.url}"
    arrays = open_arrays(require_file(place, _KIND), name, place.ids, limit_bytes=place.limit_bytes)
    with explained(name):
        ids = read_ids(place, arrays, name, may_repeat=may_repeat)
        known = [key for key in arrays if key != place.ids]
        chosen = {key: arrays[key] for key in _choose(known, layers, name)}
        n_rows = len(ids) if ids is not None else _n_rows_of_first(chosen)
        for key, array in chosen.items():
            if array.kind != "number" or not array.shape or 0 in array.shape:
                others = "" if layers or len(known) == 1 else "; choose arrays by name (layers or array)"
                raise UserError(
                    f"array {key!r} has shape {array.shape} and holds {array.kind}, not features{others}"
                )
            if array.shape[0] != n_rows:
                what = "ids" if ids is not None else "rows of the first array"
                raise UserError(f"array {key!r} has {array.shape[0]} rows, there are {n_rows} {what}")
    return FeatureFile(name, chosen, ids, n_rows)


def _n_rows_of_first(arrays: Mapping[str, StoredArray]) -> int:
    first = next(iter(arrays.values()))
    return first.shape[0] if first.shape else 0


def _choose(known: Sequence[str], layers: Sequence[str], name: str) -> list[str]:
    """Return the wanted arrays, in the order in which they are named."""
    if not known:
        raise UserError(f"{name} has no arrays of features")
    found: dict[str, None] = {}
    for pattern in layers or known:
        matches = [key for key in known if key == pattern] or [
            key for key in known if fnmatchcase(key, pattern)
        ]
        if not matches:
            raise UserError(f"{name} has no array {pattern!r}; {suggest(pattern, known)}")
        found |= dict.fromkeys(matches)
    return list(found)


def _find_places(
    file: FeatureFile, place: ArrayPlace, stimulus_set: "ArrowHandle", subset: "ArrowHandle"
) -> Indices:
    try:
        return find_places(file.ids, file.n_rows, place, stimulus_set, subset)
    except UserError as problem:
        raise UserError(f"{file.name}: {problem}") from problem


def _read_features(entry: FeaturesModel, stimulus_set: "ArrowHandle", subset: "ArrowHandle") -> Tensors:
    place = entry.files[stimulus_set.key]
    file = open_file(place, entry.layers)
    rows = _find_places(file, place, stimulus_set, subset)
    features = {
        layer: pick_rows(array, rows, place.limit_bytes, f"{file.name}: array {layer!r}")
        for layer, array in file.layers.items()
    }
    return Tensors(
        dict(features),
        {
            "layers": list(features),
            "final_layer": list(features)[-1],
            "pooling": None,
            **_facts(subset, len(rows)),
        },
    )


def _open_matrix(place: ArrayPlace, entry: DissimilaritiesModel) -> FeatureFile:
    """Open a file with one matrix of dissimilarities, or of features of repeated stimuli.

    Raises:
        UserError: If it holds several and none is named, or dissimilarities are not square.
    """
    layers = () if entry.array is None else (entry.array,)
    file = open_file(place, layers, may_repeat=entry.repeats is not None)
    if len(file.layers) > 1:
        raise UserError(
            f"{file.name} holds {len(file.layers)} arrays; name one: array: {next(iter(file.layers))}"
        )
    for name, array in file.layers.items():
        if entry.repeats is None and array.shape != (file.n_rows, file.n_rows):
            raise UserError(
                f"{file.name}: array {name!r} has shape {array.shape}; a matrix of dissimilarities is square"
            )
    return file


def _read_matrix(entry: DissimilaritiesModel, stimulus_set: "ArrowHandle", subset: "ArrowHandle") -> Tensors:
    place = entry.files[stimulus_set.key]
    file = _open_matrix(place, entry)
    [(name, array)] = file.layers.items()
    rows = _find_places(file, place, stimulus_set, subset)
    said = f"{file.name}: array {name!r}"
    matrix = pick_rows(array, rows, place.limit_bytes, said, dtype=np.float64, is_square=True)
    off = np.abs(matrix - matrix.T)
    if off.max() > ASYMMETRY * np.abs(matrix).max():
        raise UserError(
            f"{said} is not symmetric: entries differ from their mirror image by up to {off.max():.3g};"
            " dissimilarities of two stimuli are one number"
        )
    return Tensors({MATRIX: (matrix + matrix.T) / 2}, _facts(subset, len(rows)))


def _find_repeats(file: FeatureFile, subset: "ArrowHandle", limit_bytes: int) -> Indices:
    """Return the rows of every presentation, shape (n_repeats, n_stimuli), if they fit into memory."""
    [array] = file.layers.values()
    wanted = subset.table(["stimulus_id"])["stimulus_id"].to_pylist()
    width = prod(array.shape[1:])
    n_bytes = np.dtype(np.float64).itemsize * max(width, len(wanted)) ** 2
    if n_bytes > limit_bytes:
        raise UserError(
            f"{file.name}: repeats of {len(wanted)} stimuli with {width} features take {n_bytes:,} bytes, the"
            f" limit is {limit_bytes:,}; if meant, raise limit_bytes"
        )
    try:
        return find_repeats(file.ids or (), wanted)
    except UserError as problem:
        raise UserError(f"{file.name}: {problem}") from problem


def _read_repeats(entry: DissimilaritiesModel, stimulus_set: "ArrowHandle", subset: "ArrowHandle") -> Tensors:
    import torch

    from rep_kedro.kernels.similarity.repeats import make_rdm

    place, settings = entry.files[stimulus_set.key], entry.repeats or Repeats()
    file = _open_matrix(place, entry)
    [(name, array)] = file.layers.items()
    rows, said = _find_repeats(file, subset, place.limit_bytes), f"{file.name}: array {name!r}"
    features = pick_rows(array, rows.ravel(), place.limit_bytes, said, dtype=np.float64)
    repeats = torch.from_numpy(features.reshape(*rows.shape, -1))
    found = make_rdm(repeats, settings.rdm, shrinkage=settings.shrinkage)
    if isinstance(found, str):
        raise UserError(f"{said}: {found}, so {settings.rdm} is undefined")
    matrix = np.zeros((rows.shape[1], rows.shape[1]))
    matrix[np.triu_indices(len(matrix), 1)] = found.numpy()
    facts = {**_facts(subset, len(matrix)), "n_repeats": len(rows)}
    return Tensors({MATRIX: matrix + matrix.T}, facts)


def _facts(subset: "ArrowHandle", n_stimuli: int) -> dict[str, Any]:
    ids = subset.table(["stimulus_id"])["stimulus_id"].to_pylist()
    return {"n_stimuli": n_stimuli, "stimulus_ids_sha256": hash_stimulus_ids(ids)}


def _identify(place: ArrayPlace) -> dict[str, Any]:
    """Return the digests of a file, and of the file with its ids."""
    found = identify_file(place, _KIND)
    if place.ids_file is None:
        return found
    return {**found, "ids_sha256": identify_file(FilePlace(path=place.ids_file), IDS_FILE)["sha256"]}
