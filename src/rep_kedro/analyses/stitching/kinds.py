"""Kinds of networks that can be joined: trained here with different seeds, or files of one description."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.datasets import missing_of
from rep_kedro.datasets.plan import Json, canonical_json
from rep_kedro.errors import UserError, require_known, suggest
from rep_kedro.models.sources.specs import CheckpointModel, ModelEntry, TrainedModel
from rep_kedro.models.study import FeaturesParams

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle, TensorsHandle

_SHOWN = 3
_log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """Networks that are joined with one another.

    Attributes:
        stimulus_set: What they were trained on.
        handles: The networks, by name.
    """

    stimulus_set: str
    handles: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """Names of the networks, sorted."""
        return sorted(self.handles)


def group_networks(
    stimulus_sets: Mapping[str, "ArrowHandle"],
    networks: Mapping[str, "TensorsHandle"],
    features: FeaturesParams,
    params: StitchingParams,
    *,
    absent: Collection[str] = (),
) -> list[Kind]:
    """Return the kinds that have networks to join.

    Args:
        stimulus_sets: Handles by name.
        networks: Handles of networks trained here.
        features: Names the networks from elsewhere.
        params: Which networks and stimulus sets are wanted.
        absent: Networks that should be there and are missing; they are no mistake of the parameters.

    Raises:
        ValueError: If a wanted stimulus set or network is not there, or a wanted network cannot be joined.
    """
    entries = {n: e for n, e in features.entries().items() if not isinstance(e, TrainedModel)}
    all_sets = {*stimulus_sets, *missing_of(stimulus_sets)}
    _require_names(dict.fromkeys(all_sets), {*networks, *entries, *absent}, params)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, handle in _wanted(networks, params):
        meta = handle.meta
        can_be_cut = meta["n_classes"] is not None and "layers" in meta["definition"]
        if can_be_cut and _is_wanted_set(meta["stimulus_set"], params):
            trained_on = _require_name("stimulus set", meta["stimulus_set"], dict.fromkeys(all_sets))
            kind = ("trained", trained_on, _shared_recipe(handle.recipe, params))
            found.setdefault(kind, {})[name] = handle
    for name, handle, trained_on in _open_files(all_sets, networks, entries, params):
        shared = handle.meta | ({} if params.across_objectives else {"objective": entries[name].objective})
        kind = ("file", trained_on, canonical_json(shared))
        found.setdefault(kind, {})[name] = handle
    _log_files_without_partner(found, params)
    kinds = [Kind(trained_on, handles) for (_, trained_on, _), handles in sorted(found.items(), key=_place)]
    return [kind for kind in kinds if len(kind.handles) > 1 or params.include_self]


def _shared_recipe(recipe: Mapping[str, Json], params: StitchingParams) -> str:
    """Return what networks of one kind have in common: all but the seed, or all but the training."""
    own = {"seed", *(("objective", "schedule", "code") if params.across_objectives else ())}
    return canonical_json({name: value for name, value in recipe.items() if name not in own})


def _log_files_without_partner(
    found: Mapping[tuple[str, str, str], Mapping[str, object]], params: StitchingParams
) -> None:
    files = [list(handles) for (source, *_), handles in found.items() if source == "file"]
    alone = [names[0] for names in files if len(names) == 1]
    if alone and not params.include_self:
        why = "no other file has its architecture, input, n_classes and trained_on"
        if not params.across_objectives:
            why += ", and its objective; see stitching.across_objectives"
        _log_left_out([f"{name} ({why})" for name in sorted(alone)])


def _log_left_out(left_out: Sequence[str]) -> None:
    if left_out:
        more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        _log.info("not stitched: %s%s", ", ".join(left_out[:_SHOWN]), more)


def _place(found: tuple[tuple[str, str, str], Mapping[str, Any]]) -> tuple[str, str, str]:
    """Return where a kind comes in the order of the plan: trained before files, then by names."""
    (source, trained_on, _), handles = found
    return source, trained_on, min(handles)


def _open_files(
    stimulus_sets: Collection[str],
    networks: Mapping[str, "TensorsHandle"],
    entries: Mapping[str, ModelEntry],
    params: StitchingParams,
) -> Iterator[tuple[str, Any, str]]:
    """Yield name, handle and training set of networks from files; those that cannot be joined are logged."""
    from rep_kedro.models.sources.checkpoint import CheckpointHandle

    left_out = []
    for name, entry in _wanted(entries, params):
        if name in networks:
            raise UserError(f"features.models.{name} has the name of a network trained here; choose another")
        why = _why_not(entry, stimulus_sets)
        if why and not isinstance(params.models, str):
            raise UserError(f"stitching.models: {name!r} cannot be joined: {why}")
        if why:
            left_out.append(f"{name} ({why})")
        elif isinstance(entry, CheckpointModel) and _is_wanted_set(str(entry.trained_on), params):
            yield name, CheckpointHandle(name, entry), str(entry.trained_on)
    _log_left_out(left_out)


def _why_not(entry: ModelEntry, stimulus_sets: Collection[str]) -> str:
    """Return why a network from elsewhere cannot be joined, or nothing."""
    if not isinstance(entry, CheckpointModel):
        return "only networks of this project's architectures can be cut"
    if entry.n_classes is None:
        return "it has no head; give n_classes"
    if entry.trained_on not in stimulus_sets:
        hint = suggest(entry.trained_on, stimulus_sets)
        return f"trained_on {entry.trained_on!r} is no stimulus set of this study; {hint}"
    return ""


def _wanted(found: Mapping[str, Any], params: StitchingParams) -> list[tuple[str, Any]]:
    wanted = sorted(found) if isinstance(params.models, str) else params.models
    return [(name, found[name]) for name in wanted if name in found]


def _is_wanted_set(name: str, params: StitchingParams) -> bool:
    return isinstance(params.stimulus_sets, str) or name in params.stimulus_sets


def _require_names(stimulus_sets: Mapping[str, object], models: set[str], params: StitchingParams) -> None:
    for name in () if isinstance(params.models, str) else params.models:
        _require_name("network", name, dict.fromkeys(models))
    for name in () if isinstance(params.stimulus_sets, str) else params.stimulus_sets:
        _require_name("stimulus set", name, stimulus_sets)


def _require_name(kind: str, name: str, known: Mapping[str, object]) -> str:
    require_known(kind, name, known)
    return name
