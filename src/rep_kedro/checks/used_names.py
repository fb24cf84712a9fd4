"""Where parameters name networks, stimulus sets and subsets, and of what kind each name is."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Keys = tuple[str, ...]
NETWORK, STIMULUS_SET, SUBSET = "network", "stimulus set", "stimulus subset"
ANY_NETWORK = "network, seen or not"
_CHOOSERS = ("features", "similarity", "layer_similarity", "probing", "diagnostics", "stitching")
"""Parameters that choose among what there is, with the same keys."""


def find_used_names(parameters: Mapping[str, Any], read: Iterable[str]) -> Iterator[tuple[Keys, str, str]]:
    """Yield where a name is used, of what kind it is, and the name.

    Args:
        parameters: Valid parameters, nested.
        read: Groups of parameters that a run reads.
    """
    for group in (name for name in _CHOOSERS if name in read):
        chosen = parameters[group]
        network = ANY_NETWORK if group == "stitching" else NETWORK  # which needs no features
        for key, kind in (("models", network), ("stimulus_sets", STIMULUS_SET)):
            if isinstance(chosen.get(key), list):
                yield from (((group, key), kind, name) for name in chosen[key])
        if chosen.get("subset") is not None:
            yield (group, "subset"), SUBSET, chosen["subset"]
    if "stitching" in read:
        yield from _names_used_by_joints(parameters["stitching"])
    if "diagnostics" in read:
        yield from _names_used_by_projections(parameters["diagnostics"].get("projections") or {})
    if "training" in read and parameters["training"].get("grids"):
        yield from _sets_to_train_on(parameters["training"])
    if "probing" in read:
        yield from _names_used_by_probing(parameters["probing"])
    if "consistency" in read:
        for name, steps in (parameters["consistency"].get("model_sets") or {}).items():
            for anchor in (step.get("anchor") for step in steps or ()):
                if anchor is not None:
                    yield ("consistency", "model_sets", name), ANY_NETWORK, anchor
    yield from _sets_with_files(parameters, read)


def _names_used_by_projections(projections: Mapping[str, Any]) -> Iterator[tuple[Keys, str, str]]:
    for key, kind in (("models", ANY_NETWORK), ("stimulus_sets", STIMULUS_SET), ("subset", SUBSET)):
        names = projections.get(key)
        if key == "subset":
            names = [] if names is None else [names]
        if isinstance(names, list):
            yield from ((("diagnostics", "projections", key), kind, name) for name in names)


def _sets_to_train_on(training: Mapping[str, Any]) -> Iterator[tuple[Keys, str, str]]:
    from rep_kedro.training.params import TrainingParams

    try:
        specs = TrainingParams.model_validate(training).networks().values()
    except ValueError:  # reported with its place
        return
    for name in dict.fromkeys(spec.stimulus_set for spec in specs):
        is_default = name == training.get("stimulus_set")
        yield ("training", "stimulus_set" if is_default else "grids"), STIMULUS_SET, name


def _names_used_by_joints(stitching: Mapping[str, Any]) -> Iterator[tuple[Keys, str, str]]:
    for number, joint in enumerate(stitching.get("joints") or ()):
        for side in ("fronts", "ends"):
            names = joint.get(side)
            for name in names if isinstance(names, list) else ():
                yield ("stitching", "joints", str(number), side), ANY_NETWORK, name


def _sets_with_files(parameters: Mapping[str, Any], read: Iterable[str]) -> Iterator[tuple[Keys, str, str]]:
    """Yield the stimulus sets for which entries name files of features."""
    models = (parameters["features"].get("models") or {}) if "features" in read else {}
    for name, entry in models.items():
        if entry is not None and "files" in entry:
            yield from (
                (("features", "models", name, "files"), STIMULUS_SET, each) for each in entry["files"]
            )


def _names_used_by_probing(probing: Mapping[str, Any]) -> Iterator[tuple[Keys, str, str]]:
    for chooser, kind in (("models", ANY_NETWORK), ("stimulus_sets", STIMULUS_SET)):
        chosen = (probing.get("layer_probes") or {}).get(chooser) or ()
        for name in () if isinstance(chosen, str) else chosen:
            yield ("probing", "layer_probes", chooser), kind, name
    for stimulus_set in probing.get("labels") or {}:
        yield ("probing", "labels", stimulus_set), STIMULUS_SET, stimulus_set
    for name, combination in (probing.get("combinations") or {}).items():
        for model in combination["models"]:
            yield ("probing", "combinations", name, "models"), NETWORK, model
