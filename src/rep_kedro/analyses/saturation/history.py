"""Rows of the table of saturations over a training, from stored spectra."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from rep_kedro.kernels.layers.spectrum import (
    measure_effective_rank_centred_lambda,
    measure_intrinsic_dimension,
    measure_participation_ratio_centred_lambda,
    measure_stable_rank_uncentred_sigma,
)

if TYPE_CHECKING:
    from rep_kedro.datasets import TensorsHandle

RULES = ("reach", "delve")


def list_history(handle: "TensorsHandle", deltas: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    """Yield one row for each layer, epoch, mode, share of variance and rule.

    Args:
        handle: Spectra of a network's training.
        deltas: Shares of variance, above 0 and up to 1.
    """
    for mode in ("train", "eval"):
        about = handle.meta[mode]
        for depth, layer in enumerate(handle.meta["layers"]):
            if layer not in about["layers"]:
                continue
            spectra = torch.from_numpy(handle.tensor(f"{mode}/{layer}/eigenvalues").copy())
            seen = about["layers"][layer]
            for i, epoch in enumerate(about["epochs"]):
                row = {
                    "model": handle.key,
                    "epoch": epoch,
                    "layer": layer,
                    "depth": depth,
                    "mode": mode,
                    "n_features": len(spectra[i]),
                    "n_samples": seen["n_samples"][i],
                    "two_nn_dimension": seen["two_nn"][i],
                }
                row["reason"] = "; ".join(filter(None, (seen["reason"][i], seen["two_nn_reason"][i])))
                yield from _measure(row, None if seen["reason"][i] else spectra[i], deltas)


def _measure(
    row: dict[str, Any], eigenvalues: torch.Tensor | None, deltas: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    """Yield the row for each share and rule; without a spectrum its measures are missing."""
    whole: dict[str, float | None] = dict.fromkeys(("participation_ratio", "effective_rank", "stable_rank"))
    if eigenvalues is not None:
        whole = {
            "participation_ratio": measure_participation_ratio_centred_lambda(eigenvalues),
            "effective_rank": measure_effective_rank_centred_lambda(eigenvalues),
            "stable_rank": measure_stable_rank_uncentred_sigma(eigenvalues.sqrt()),
        }
    for delta in deltas:
        for rule in RULES:
            dimension = None
            if eigenvalues is not None:
                dimension = measure_intrinsic_dimension(eigenvalues, delta=delta, rule=rule)  # type: ignore[arg-type]
            saturation = None if dimension is None else dimension / row["n_features"]
            yield {
                **row,
                **whole,
                "delta": delta,
                "rule": rule,
                "intrinsic_dimension": dimension,
                "saturation": saturation,
            }
