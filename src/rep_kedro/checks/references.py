"""Check that names in one parameter exist where another parameter defines them.

Each check takes the parameters (valid, nested), those of the command line among them, and the loader, which
knows the file of each.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rep_kedro.checks.configuration import Loader, find_origin
from rep_kedro.checks.parameters import is_given
from rep_kedro.errors import UserError, suggest


def require_compared_measure(parameters: Mapping[str, Any], given: Mapping[str, Any], loader: Loader) -> None:
    """Refuse a measure of the report that is none of the measures of the similarity pipeline.

    Raises:
        ValueError: If it is none; the message has its place and the measures there are.
    """
    reporting, compared = parameters["reporting"], parameters["similarity"]["measures"]
    further = [("further_measures", measure) for measure in reporting.get("further_measures", ())]
    for name, reported in [("measure", reporting["measure"]), *further]:
        if reported not in compared:
            where = _place("reporting", name, given, loader)
            raise UserError(
                f"parameter reporting.{name}{where}: {reported!r} is not among similarity.measures; "
                f"choose one of {', '.join(compared)}, or add it there"
            )


def require_known_anchors(parameters: Mapping[str, Any], given: Mapping[str, Any], loader: Loader) -> None:
    """Refuse an anchor of consistency that is not a network of the study.

    Raises:
        ValueError: If one is none; the message has its place, and close matches or the networks there are.
    """
    from rep_kedro.checks.study_names import find_networks

    known = find_networks(parameters, with_unseen=True)
    for anchor in parameters["consistency"].get("anchors", ()):
        if known and anchor not in known:
            where = _place("consistency", "anchors", given, loader)
            raise UserError(
                f"parameter consistency.anchors{where}: {anchor!r} is not a network of this study; "
                f"{suggest(anchor, known)} (or set consistency.anchors: [])"
            )


def require_enough_stimuli(parameters: Mapping[str, Any], given: Mapping[str, Any], loader: Loader) -> None:
    """Refuse more clusters or neighbours of cluster learnability than a subset of known size has stimuli.

    Raises:
        ValueError: If there are too few; the message has the place, the subset and its size.
    """
    diagnostics, sets = parameters["diagnostics"], parameters["ingest"].get("stimulus_subsets") or {}
    settings, chosen = diagnostics.get("label_free") or {}, diagnostics.get("stimulus_sets", "all")
    subset = diagnostics.get("subset", "analysis")
    for name in ("n_clusters", "n_neighbours"):
        for stimulus_set in sets if chosen == "all" else chosen:
            total = ((sets.get(stimulus_set) or {}).get(subset) or {}).get("total")
            if total and settings.get(name, 0) >= (n := sum(total.values())):
                where = _place("diagnostics", "label_free", given, loader)
                raise UserError(
                    f"parameter diagnostics.label_free{where}: {name} {settings[name]} must be below {n}, the"
                    f" stimuli of subset {subset!r} of {stimulus_set!r}; lower it, or leave that set out of"
                    " diagnostics.stimulus_sets"
                )


def require_enough_to_draw(parameters: Mapping[str, Any], given: Mapping[str, Any], loader: Loader) -> None:
    """Refuse more training stimuli of each class for a probe than a subset of known size has.

    Raises:
        ValueError: If there are too few; the message has the place, the subset and its size.
    """
    probing, sets = parameters["probing"], parameters["ingest"].get("stimulus_subsets") or {}
    few_shot, chosen = probing.get("few_shot"), probing.get("stimulus_sets", "all")
    subset = probing.get("subset", "analysis")
    for stimulus_set in sets if chosen == "all" else chosen:
        per_class = ((sets.get(stimulus_set) or {}).get(subset) or {}).get("per_class")
        if (
            few_shot is None
            or not isinstance(per_class, Mapping)
            or stimulus_set in probing.get("labels", {})
        ):
            continue  # a further label may have larger classes than the one that was drawn by
        if (n := per_class.get("train", 0)) < few_shot:
            where = _place("probing", "few_shot", given, loader)
            raise UserError(
                f"parameter probing.few_shot{where}: {few_shot} must be at most {n}, the training stimuli of"
                f" each class in subset {subset!r} of {stimulus_set!r}; lower it, or leave that set out of"
                " probing.stimulus_sets"
            )


def drop_default_anchors(
    parameters: Mapping[str, Any], given: Mapping[str, Any], loader: Loader
) -> Mapping[str, Any]:
    """Return the parameters of a study that trains no network without the anchors of the default study.

    Those are networks trained here, so that a study of imported networks alone has none of them. Anchors that
    it names itself stay.
    """
    training, consistency = parameters.get("training"), parameters.get("consistency")
    trains = not isinstance(training, Mapping) or training.get("grids") != []
    keys = ("consistency", "anchors")
    origin = find_origin(loader, keys)
    base = Path(loader.conf_source, loader.base_env or "base").absolute()
    is_default = origin and base in Path(origin).absolute().parents
    if trains or not isinstance(consistency, Mapping) or not is_default or is_given(keys, given):
        return parameters
    return {**parameters, "consistency": {**consistency, "anchors": []}}


def _place(name: str, key: str, given: Mapping[str, Any], loader: Loader) -> str:
    """Return where a parameter is set, as part of a sentence; empty if nowhere."""
    inner = given.get(name)
    is_given = isinstance(inner, Mapping) and key in inner
    origin = "--params" if is_given else find_origin(loader, (name, key))
    return f" in {origin}" if origin else ""
