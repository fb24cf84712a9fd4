"""Check before any work that each network can be built and has the layers that its entry names."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rep_kedro.checks.configuration import Loader, find_origin
from rep_kedro.checks.parameters import is_given
from rep_kedro.errors import MissingFileError, UserError, counted
from rep_kedro.models.sources.array_specs import FileModel
from rep_kedro.models.sources.specs import FROM_FILES, ModelEntry, TrainedModel, ZooEntry

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

    from rep_kedro.features.params import FeaturesParams
    from rep_kedro.models.pooling_names import Pooling

_log = logging.getLogger(__name__)
_LIBRARIES = ("timm", "torchvision", "open_clip_torch", "torch")


def require_readable_networks(
    parameters: Mapping[str, Any],
    given: Mapping[str, Any],
    pipeline: "Pipeline",
    loader: Loader,
    *,
    may_lack_files: bool = False,
) -> None:
    """Refuse networks that cannot be built, layers that they lack, and poolings that these cannot give.

    No weight is read: networks are built on torch's meta device, a fraction of a second for each. Those that
    were found readable are remembered while entry, libraries and code stay the same.

    Args:
        parameters: Valid parameters, nested.
        given: Those of the command line.
        pipeline: The nodes that will run; networks matter if these make features.
        loader: The loader, which knows the file of each parameter.
        may_lack_files: Whether files of weights may be missing, as where a study is planned without its data.

    Raises:
        ValueError: If something is wrong with an entry; a line for each, with its place and close matches. A
            run that keeps going logs the lines instead.
    """
    if "features" not in pipeline.all_outputs():
        return
    from rep_kedro.features.params import FeaturesParams

    params = FeaturesParams.model_validate(parameters["features"])
    lines, absent = list[str](), list[str]()
    for keys, entry in _list_entries(params):
        try:
            _require_readable(entry, params.pooling, parameters)
        except UserError as problem:
            origin = "--params" if is_given(keys, given) else find_origin(loader, keys)
            where = f" in {origin}" if origin else ""
            is_absence = may_lack_files and isinstance(problem, MissingFileError)
            line = f"parameter {'.'.join(keys)}{where}: {' '.join(str(problem).split())}"
            (absent if is_absence else lines).append(line)
    if absent:
        more = (
            f", and {counted(len(absent) - 1, 'further network')} without its own" if len(absent) > 1 else ""
        )
        _log.warning("a run needs a file that is not here: %s%s", absent[0], more)
    if lines and not given.get("keep_going"):
        raise UserError("\n".join(lines))
    for line in lines:
        _log.warning("%s; the run continues without it", line)


def _list_entries(params: "FeaturesParams") -> Iterator[tuple[tuple[str, ...], ModelEntry]]:
    """Yield the wanted entries, each with the way to where it is defined."""
    for name, entry in params.entries().items():
        group = next((group for group, found in params.model_groups.items() if name in found), "")
        is_plain = params.models.get(name) is not None
        yield ("features", *(("models",) if is_plain else ("model_groups", group)), name), entry


def _require_readable(entry: ModelEntry, pooling: "Pooling", parameters: Mapping[str, Any]) -> None:
    if isinstance(entry, TrainedModel):
        _require_layers_of_trained(entry, parameters)
        return
    if isinstance(entry, FileModel):
        from rep_kedro.features.from_files import members

        members.require_readable(entry)
        return
    pooling = entry.pooling or pooling
    note = None if entry.source in FROM_FILES else _note_of(entry, pooling)
    if note is not None and note.exists():
        return
    from rep_kedro.models.outline import require_readable

    require_readable(entry, pooling)
    if note is not None:
        with suppress(OSError):  # a cache that cannot be written costs a second look
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()


def _require_layers_of_trained(entry: TrainedModel, parameters: Mapping[str, Any]) -> None:
    """Compare layers with the definition, where the network is one that this configuration trains."""
    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.architecture_files import load_definition
    from rep_kedro.models.foreign_network import list_reached_layers
    from rep_kedro.models.layers import select_layers
    from rep_kedro.training.params import TrainingParams

    spec = TrainingParams.model_validate(parameters["training"]).networks().get(entry.network)
    if entry.layers and spec is not None:
        definition: Any = load_definition(spec.architecture)
        is_own = isinstance(definition, Architecture)
        known = [layer.name for layer in definition.layers] if is_own else list_reached_layers(definition)
        select_layers(known, entry.layers)


def _note_of(entry: ZooEntry, pooling: "Pooling") -> Path | None:
    """Return the empty file that says that an entry was found readable; none for what changes elsewhere."""
    from rep_kedro.datasets import code_revision
    from rep_kedro.models.files import cache_folder
    from rep_kedro.models.sources.zoo import source_module_name

    if entry.source == "transformers" or getattr(entry, "name", "").startswith("hf-hub:"):
        return None
    facts = [
        entry.model_dump(mode="json"),
        pooling,
        [version(library) for library in _LIBRARIES],
        code_revision("rep_kedro.models.outline", source_module_name(entry)),
    ]
    return cache_folder().with_name("readable") / sha256(json.dumps(facts).encode()).hexdigest()
