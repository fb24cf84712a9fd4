"""What the report of each stitch shows, read from members of the collection."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.stitching.layers import LayerPair
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.analyses.stitching.tables import BASELINE
from rep_kedro.datasets import Plan, Planned, code_revision, missing_of, planned_recipe, rebuilt_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rep_kedro.datasets import TensorsHandle

_DRAWING = "rep_kedro.reporting.stitching.document"


def plan_reports(
    stitches: Mapping[str, "TensorsHandle"], networks: Mapping[str, "TensorsHandle"], params: StitchingParams
) -> Plan:
    """Plan a report for each stitch of the maps that `reports` names.

    Returns:
        Plan by ``<stimulus set>/<front>-to-<end>/<map>/<layers>-s<seed>``. Those of stitches that are missing
        are left out; where not even their recipe is known, under the key of their member.
    """
    plan = Plan()
    plan.left_out = _left_out(stitches, params)
    for key, handle in stitches.items():
        if handle.recipe["map"]["name"] not in params.reports:
            continue
        baseline = stitches.get(f"{key.rpartition('/')[0]}/{BASELINE}")
        donors = {name: networks[name] for name in dict.fromkeys(_donors_of(handle)) if name in networks}
        for row in handle.meta["stitches"]:
            recipe = {
                "stitch": handle.reference,
                "baseline": None if baseline is None else baseline.reference,
                "networks": [donor.reference for donor in donors.values()],
                "place": _place_of(row),
                "code": code_revision(_DRAWING, __name__),
            }
            compute = partial(_draw, handle, row, baseline, donors)
            plan[f"{key}/{_place_of(row)}"] = Planned(recipe, compute)
    return plan


def _left_out(stitches: Mapping[str, "TensorsHandle"], params: StitchingParams) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in missing_of(stitches):
        name = key.rpartition("/")[2]
        if name in params.reports:
            joined = planned_recipe(stitches, key).get("layers", ())
            places = [
                f"/{_place(LayerPair(*layers).name, seed)}"
                for layers in joined
                for seed in params.maps[name].wanted_seeds
            ]
            found |= {f"{key}{place}": f"stitches/{key} is missing" for place in places or [""]}
    return found


def _donors_of(handle: "TensorsHandle") -> Iterator[str]:
    yield from (handle.recipe[side]["key"] for side in ("front", "end"))


def _place_of(row: Mapping[str, Any]) -> str:
    return _place(_layers_of(row), row["seed"])


def _place(layers: str, seed: int) -> str:
    return f"{layers}-s{seed}".replace("/", ".")


def _layers_of(row: Mapping[str, Any]) -> str:
    names = ("front_layer", "end_layer", "front_depth", "depth", "flatten")
    return LayerPair(*(row[name] for name in names)).name


def _draw(
    handle: "TensorsHandle",
    row: Mapping[str, Any],
    baseline: "TensorsHandle | None",
    donors: Mapping[str, "TensorsHandle"],
) -> "list[Figure]":
    import numpy as np

    from rep_kedro.reporting.stitching.document import StitchFacts, draw_report

    place = f"{_layers_of(row)}/s{row['seed']}"
    names = [name.removeprefix(f"{place}/") for name in handle.names if name.startswith(f"{place}/")]
    parts = {name: np.asarray(handle.tensor(f"{place}/{name}")) for name in names}
    matrices = {"the map": parts["weight"]}
    if "start/weight" in parts:
        start = parts["start/weight"]
        matrices |= {"its start": start, "map less start": parts["weight"] - start}
    solved = _baseline_of(row, handle, baseline)
    if solved is not None and baseline is not None:
        weight = np.asarray(baseline.tensor(f"{_layers_of(row)}/s0/weight"))
        matrices |= {"least squares": weight, "map less least squares": parts["weight"] - weight}
    if "mask" in parts:
        matrices["mask"] = parts["mask"].astype(bool)
    front, end = _donors_of(handle)
    recipe = handle.recipe
    control = "" if recipe["control"] == "none" else f" ({recipe['control']})"
    how = f"map {recipe['map']['name']}, seed {row['seed']}"
    return draw_report(
        StitchFacts(
            title=f"{front}{control} to {end}\nat {_layers_of(row)}, {how}",
            matrices=matrices,
            row=row,
            baseline=solved or {},
            losses=parts.get("loss", np.empty(0)),
            histories={name: points for name, donor in donors.items() if (points := _history_of(donor))},
            recipe=recipe,
            command=rebuilt_by("stitches", handle.key),
        )
    )


def _baseline_of(
    row: Mapping[str, Any], handle: "TensorsHandle", baseline: "TensorsHandle | None"
) -> Mapping[str, Any] | None:
    if baseline is None or baseline.key == handle.key:
        return None
    return next((each for each in baseline.meta["stitches"] if _layers_of(each) == _layers_of(row)), None)


def _history_of(donor: "TensorsHandle") -> list[tuple[int, float]]:
    return [
        (int(epoch["epoch"]), float(epoch["test_accuracy"]))
        for epoch in donor.meta.get("history") or ()
        if epoch.get("test_accuracy") is not None
    ]
