"""Networks that can be joined: those of one recipe, and any other by its name."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rep_kedro.analyses.stitching.donors import Donor, ForeignDonor, file_donor, trained_donor
from rep_kedro.analyses.stitching.params import JointParams, StitchingParams
from rep_kedro.datasets import missing_of
from rep_kedro.datasets.plan import Json, canonical_json
from rep_kedro.errors import UserError, require_known, suggest
from rep_kedro.models.sources.array_specs import FileModel
from rep_kedro.models.sources.specs import CheckpointModel, ModelEntry, ZooEntry
from rep_kedro.stimuli.label_columns import find_labels, has_several

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle, TensorsHandle

_SHOWN = 3
_log = logging.getLogger(__name__)


class Study(NamedTuple):
    """What there is to choose from.

    Attributes:
        stimulus_sets: Handles by name.
        networks: Handles of networks trained here.
        entries: Networks from elsewhere, by name.
        absent: Networks that should be there and are missing; they are not a mistake of the parameters.
        params: What is chosen.
    """

    stimulus_sets: Mapping[str, "ArrowHandle"]
    networks: Mapping[str, "TensorsHandle"]
    entries: Mapping[str, ModelEntry]
    absent: Collection[str]
    params: StitchingParams

    @property
    def all_sets(self) -> set[str]:
        """Names of stimulus sets, missing ones included."""
        return {*self.stimulus_sets, *missing_of(self.stimulus_sets)}


def is_named(joint: JointParams) -> bool:
    """Return whether a joint names networks, and does not join those of each recipe among themselves."""
    return not (isinstance(joint.fronts, str) and isinstance(joint.ends, str))


def find_donor(study: Study, name: str) -> Donor:
    """Return a network by its name.

    Raises:
        UserError: If there is none, or it cannot be joined.
    """
    require_known("network", name, {*study.networks, *study.entries})
    if name in study.networks:
        handle = study.networks[name]
        if handle.meta["n_classes"] is None:
            raise UserError(
                f"network {name!r} has no head ({handle.meta['objective']}); stitching needs labels"
            )
    try:
        return _open_trained(study, name) if name in study.networks else _open_entry(study, name)
    except UserError as problem:
        raise UserError(f"network {name!r} cannot be joined: {problem}") from problem


def _open_trained(study: Study, name: str) -> Donor:
    """Return a network trained here.

    Raises:
        UserError: If torch.fx cannot follow its code.
    """
    handle = study.networks[name]
    stimulus_set, labels = handle.meta["stimulus_set"], handle.recipe.get("labels")
    donor = trained_donor(name, handle, stimulus_set, labels)
    _ = donor.outline  # known by now, or refused
    return donor


def _open_entry(study: Study, name: str) -> Donor:
    entry = study.entries[name]
    if why := _why_not(entry, study.all_sets):
        raise UserError(why)
    if isinstance(entry, CheckpointModel):
        return file_donor(name, entry)
    donor = ForeignDonor(name, cast("ZooEntry", entry))
    _ = donor.outline  # known by now, or refused
    return donor


def list_kinds(study: Study) -> list[dict[str, Donor]]:
    """Return the networks of each recipe, by name: trained here, or files of one description."""
    params = study.params
    found: dict[tuple[str, str, str], dict[str, Donor]] = {}
    for name, donor in _open_wanted(study):
        shared = _shared_recipe(study.networks[name].recipe, params)
        found.setdefault(("trained", donor.stimulus_set, shared), {})[name] = donor
    for name, entry in _open_files(study):
        donor = file_donor(name, entry)
        shared = donor.handle.meta | ({} if params.across_objectives else {"objective": entry.objective})
        found.setdefault(("file", donor.stimulus_set, canonical_json(shared)), {})[name] = donor
    _log_files_without_partner(found, params)
    return [kind for _, kind in sorted(found.items(), key=lambda item: (*item[0][:2], min(item[1])))]


def _open_wanted(study: Study) -> Iterator[tuple[str, Donor]]:
    """Yield networks trained here that `all` includes; those that cannot be joined are logged."""
    left_out = defaultdict[str, list[str]](list)
    for name, handle in _wanted(study.networks, study.params):
        meta = handle.meta
        if meta["n_classes"] is None or not _is_wanted_set(meta["stimulus_set"], study.params):
            continue
        require_known("stimulus set", meta["stimulus_set"], study.all_sets)
        try:
            donor = _open_trained(study, name)
        except UserError as problem:
            if not isinstance(study.params.models, str):
                raise UserError(f"stitching.models: {name!r} cannot be joined: {problem}") from problem
            left_out[str(problem)].append(name)
        else:
            yield name, donor
    _log_left_out(left_out)


def require_common_labels(front: Donor, end: Donor, stimulus_sets: Mapping[str, "ArrowHandle"]) -> None:
    """Refuse networks that do not predict the same classes.

    Raises:
        UserError: Says which classes each predicts.
    """
    classes = [donor.outline.n_classes for donor in (front, end)]
    if classes[0] == classes[1] and (front.stimulus_set, front.labels) == (end.stimulus_set, end.labels):
        return
    found = [_labels_of(donor, stimulus_sets) for donor in (front, end)]
    if classes[0] != classes[1] or found[0] is None or found[0] != found[1]:
        raise UserError(
            f"{_labels_in_words(front)} and {_labels_in_words(end)} have other label sets;"
            " join networks of the same classes"
        )


def _labels_of(donor: Donor, stimulus_sets: Mapping[str, "ArrowHandle"]) -> tuple[list[str], bool] | None:
    """Return the names of classes, and whether an image may have several; None where they are not known."""
    if donor.stimulus_set not in stimulus_sets:
        return None
    meta = stimulus_sets[donor.stimulus_set].meta
    names = find_labels(meta, donor.labels, donor.stimulus_set)[1]
    return None if names is None else (names, donor.labels is not None and has_several(meta, donor.labels))


def _labels_in_words(donor: Donor) -> str:
    column = f", {donor.labels}" if donor.labels else ""
    return f"{donor.name} ({donor.outline.n_classes} classes of {donor.stimulus_set}{column})"


def _shared_recipe(recipe: Mapping[str, Json], params: StitchingParams) -> str:
    """Return what networks of one recipe have in common: all but the seed, or all but the training."""
    own = {"seed", *(("objective", "schedule", "code") if params.across_objectives else ())}
    return canonical_json({name: value for name, value in recipe.items() if name not in own})


def _log_files_without_partner(
    found: Mapping[tuple[str, str, str], Mapping[str, object]], params: StitchingParams
) -> None:
    files = [list(donors) for (source, *_), donors in found.items() if source == "file"]
    alone = [names[0] for names in files if len(names) == 1]
    needs_partner = [joint for joint in params.joints if not is_named(joint) and not joint.include_self]
    if alone and needs_partner:
        why = "no other file has its architecture, input, n_classes and trained_on"
        if not params.across_objectives:
            why += ", and its objective; see stitching.across_objectives"
        _log_left_out({why: sorted(alone)})


def _log_left_out(left_out: Mapping[str, Sequence[str]]) -> None:
    """Log networks that are not joined, those of one reason together."""
    for why, names in left_out.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        _log.info("not stitched: %s%s (%s)", ", ".join(names[:_SHOWN]), more, why)


def _open_files(study: Study) -> Iterator[tuple[str, CheckpointModel]]:
    """Yield files of weights that `all` includes; networks that it leaves out are logged."""
    params, left_out = study.params, defaultdict[str, list[str]](list)
    if all(isinstance(x, list) for joint in params.joints for x in (joint.fronts, joint.ends)):
        return
    for name, entry in _wanted(study.entries, params):
        if name in study.networks:
            raise UserError(f"features.models.{name} has the name of a network trained here; choose another")
        is_file = isinstance(entry, CheckpointModel | FileModel)
        why = _why_not(entry, study.all_sets) if is_file else _why_not_of_all(entry)
        if why and not isinstance(params.models, str):
            raise UserError(f"stitching.models: {name!r} cannot be joined: {why}")
        if why:
            left_out[why].append(name)
        elif isinstance(entry, CheckpointModel) and _is_wanted_set(str(entry.trained_on), params):
            yield name, entry
    _log_left_out(left_out)


def _why_not_of_all(entry: ModelEntry) -> str:
    return f"networks of source {entry.source} are joined where stitching.joints names them"


def _why_not(entry: ModelEntry, stimulus_sets: Collection[str]) -> str:
    """Return why a network from elsewhere cannot be joined, or nothing."""
    if isinstance(entry, FileModel):
        return "its features come from a file, without a network"
    if isinstance(entry, CheckpointModel) and entry.n_classes is None:
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


def require_wanted_set(end: str, stimulus_set: str, params: StitchingParams) -> None:
    """Refuse a network that a joint names and that was trained on another set than those chosen."""
    if not _is_wanted_set(stimulus_set, params):
        raise UserError(
            f"{end} was trained on {stimulus_set!r}, which stitching.stimulus_sets leaves out; add it there"
        )


def require_known_names(study: Study) -> None:
    """Refuse names of networks and stimulus sets that there are not, with close matches."""
    params, models = study.params, {*study.networks, *study.entries, *study.absent}
    named = [names for joint in params.joints for names in (joint.fronts, joint.ends)]
    for name in (each for names in (params.models, *named) if isinstance(names, list) for each in names):
        require_known("network", name, models)
    for name in () if isinstance(params.stimulus_sets, str) else params.stimulus_sets:
        require_known("stimulus set", name, study.all_sets)
