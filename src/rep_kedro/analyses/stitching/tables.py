"""Tables of stitching: results, their summary, and paths between maps."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.schemas.stitching import STITCH_PATHS, STITCHING_RESULTS, STITCHING_SUMMARY

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import TensorsHandle

BASELINE = "ps_inv"
"""Map from which the others' differences are summarised, where there is one of this name."""
SUMMARISED = (
    *("relative_accuracy", "stitched_accuracy", "agreement", "cross_entropy", "js_divergence", "cka"),
    *("joint_l2", "logit_cka", "mahalanobis", "map_r2", "mean_average_precision"),
    "relative_mean_average_precision",
)
_PLACE = ["stimulus_set", "control", "front_layer", "end_layer", "flatten"]
_PAIR = ["front_model", "end_model"]
_CONFIDENCE = 0.95


def list_results(stitches: Mapping[str, "TensorsHandle"]) -> "DataFrame":
    """Return a row for each stitch."""
    rows = [
        STITCHING_RESULTS.pick({"reason": "", **_about(handle), **row})
        for handle in _in_order(stitches)
        for row in handle.meta["stitches"]
    ]
    return STITCHING_RESULTS.frame(rows)


def list_paths(stitches: Mapping[str, "TensorsHandle"]) -> "DataFrame":
    """Return a row for each point of the paths between maps."""
    rows = [
        STITCH_PATHS.pick({**_about(handle), **row})
        for handle in _in_order(stitches)
        for row in handle.meta.get("paths", ())
    ]
    return STITCH_PATHS.frame(rows)


def summarise_results(results: "DataFrame") -> "DataFrame":
    """Return mean, deviation and difference from `ps_inv` of each map and pair of layers.

    Intervals are those of the mean over stitches (Student's t), each stitch one value: networks that several
    stitches share make them narrower than independent ones would be.
    """
    rows: list[dict[str, Any]] = []
    baseline = results[results["map"] == BASELINE].drop_duplicates([*_PLACE, *_PAIR])
    for place, of_place in results.groupby([*_PLACE, "map"], sort=True):
        about = dict(zip([*_PLACE, "map"], place, strict=True))
        joined = of_place.merge(baseline, on=[*_PLACE, *_PAIR], how="left", suffixes=("", "_of_baseline"))
        for measure in SUMMARISED:
            values = of_place[measure].dropna()
            if len(values):
                rows.append(
                    {
                        **about,
                        "measure": measure,
                        "n_seeds": int(of_place.loc[values.index, "seed"].nunique()),
                        **_mean_of(values, {"mean": "mean", "low": "low", "high": "high"}),
                        "deviation": float(values.std(ddof=1)),
                        "n": len(values),
                        **_difference(joined, measure, is_baseline=about["map"] == BASELINE),
                    }
                )
    return STITCHING_SUMMARY.frame(rows)


def _difference(joined: "DataFrame", measure: str, *, is_baseline: bool) -> dict[str, Any]:
    differences = (joined[measure] - joined[f"{measure}_of_baseline"]).dropna()
    if is_baseline or not len(differences):
        return {"n_differences": 0}
    names = {"mean": "difference", "low": "difference_low", "high": "difference_high"}
    return {**_mean_of(differences, names), "n_differences": len(differences)}


def _mean_of(values: "Any", names: Mapping[str, str]) -> dict[str, Any]:
    from scipy.special import stdtrit

    mean = float(values.mean())
    found: dict[str, Any] = {names["mean"]: mean}
    if len(values) > 1:
        half = float(values.sem()) * float(stdtrit(len(values) - 1, (1 + _CONFIDENCE) / 2))
        found |= {names["low"]: mean - half, names["high"]: mean + half}
    return found


def _in_order(stitches: Mapping[str, "TensorsHandle"]) -> Iterator["TensorsHandle"]:
    return (stitches[key] for key in sorted(stitches))


def _about(handle: "TensorsHandle") -> dict[str, Any]:
    recipe = handle.recipe
    front, end, control = recipe["front"]["key"], recipe["end"]["key"], recipe["control"]
    return {
        "stimulus_set": recipe["stimulus_set"]["key"],
        "front_model": front,
        "end_model": end,
        "control": "self" if control == "none" and front == end else control,
        "map": recipe["map"]["name"],
    }
