"""Where do probes stop improving along the layers, and is that the border of the receptive field?"""

from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.schemas.diagnostics import LAYER_TAILS

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any  # Kedro reads the hints

_TOO_FEW, _STILL_GAINS = "fewer than two layers have a probe", "the last layer still gains"
_KIND = ["architecture", "objective", "trained_on", "input_px"]


def compute_layer_tails(
    probe_results: DataFrame, receptive_fields: DataFrame, model_cards: DataFrame, params: DiagnosticsParams
) -> DataFrame:
    """Find the tail of each network and compare it with the border layer.

    Args:
        probe_results: Test accuracies by layer.
        receptive_fields: The border layers.
        model_cards: Which networks differ in the seed alone: same architecture, objective and training set,
            and the same input side.
        params: ``params.tail_epsilon``.

    Returns:
        Columns as in docs/tables.md: one row per stimulus set and network with probes.
    """
    of_border = receptive_fields[receptive_fields["is_border"].astype(bool)]
    borders = {
        str(model): (str(layer), int(depth))
        for model, layer, depth in zip(
            of_border["model"], of_border["layer"], of_border["depth"], strict=True
        )
    }
    rows = [
        {
            "stimulus_set": stimulus_set,
            "model": model,
            **_describe_tail(probes.sort_values("depth"), borders.get(str(model)), params.tail_epsilon),
        }
        for (stimulus_set, model), probes in probe_results.groupby(["stimulus_set", "model"], sort=True)
    ]
    return _with_range(LAYER_TAILS.frame(rows), receptive_fields, model_cards)


def _describe_tail(probes: DataFrame, border: tuple[str, int] | None, epsilon: float) -> dict[str, Any]:
    from rep_kedro.kernels.statistics.tails import find_tail

    accuracies, has_several = probes["test_accuracy"].to_numpy(float), len(probes) > 1
    tail = find_tail(accuracies, epsilon) if has_several else None
    border_layer, border_depth = border or (None, None)
    row = {
        "epsilon": epsilon,
        "n_layers": len(probes),
        "best_accuracy": float(accuracies.max()),
        "border_layer": border_layer,
        "border_depth": border_depth,
        "n_seeds": 1,
        "reason": "" if tail is not None else _STILL_GAINS if has_several else _TOO_FEW,
    }
    if tail is None:
        return row
    depth = int(probes["depth"].to_list()[tail])
    behind = None if border_depth is None else depth - border_depth
    return {
        **row,
        "tail_layer": probes["layer"].to_list()[tail],
        "tail_depth": depth,
        "layers_behind_border": behind,
    }


def _with_range(rows: DataFrame, receptive_fields: DataFrame, model_cards: DataFrame) -> DataFrame:
    """Return the rows with the range of tails over networks that differ in the seed alone."""
    sides = receptive_fields.drop_duplicates("model").set_index("model")["input_px"]
    kinds = model_cards.set_index("model").assign(input_px=sides)[_KIND]
    table = rows.join(kinds, on="model")
    table["architecture"] = table["architecture"].fillna(table["model"])  # without a card it is alone
    groups = table.groupby(["stimulus_set", *_KIND], dropna=False)
    rows = rows.assign(n_seeds=groups["model"].transform("size"))
    for name in ("min", "max"):
        depths = groups["tail_depth"].transform(name)
        rows[f"tail_depth_{name}"] = depths.where(rows["n_seeds"] > 1)
    return LAYER_TAILS.frame(rows)
