"""Transforms one after another: fitted on some rows, applied to all, stored and restored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rep_kedro.features.spec import Transform
from rep_kedro.kernels.layers.feature_transform import (
    AffineMap,
    fit_centring,
    fit_pca,
    fit_standardising,
    scale_to_unit_length,
)

_PARTS = ("offset", "scale", "axes")


@dataclass(frozen=True)
class FittedStep:
    """One step of a transform, with what it learned.

    Attributes:
        name: Of the step.
        learned: None for rows of length one, which learn nothing.
    """

    name: str
    learned: AffineMap | None = None

    def apply(self, x: Tensor) -> Tensor:
        """Return transformed features, of the same type."""
        return scale_to_unit_length(x) if self.learned is None else self.learned.apply(x)


class StoredTensors(Protocol):
    """What is needed of a stored member."""

    @property
    def names(self) -> list[str]:
        """Names of its tensors."""

    def tensor(self, name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
        """Return one of them."""


def fit_and_apply(
    x: Tensor, transform: Transform, *, fit_rows: Tensor | None = None
) -> tuple[Tensor, list[FittedStep]]:
    """Fit each step on what the steps before it make of some rows, and apply it to all rows.

    Args:
        x: Features, shape (n_stimuli, n_features), finite; not changed.
        transform: The steps.
        fit_rows: True for rows to fit on, shape (n_stimuli,); None fits on all.

    Returns:
        Transformed features, of the type of ``x``, and the fitted steps.

    Raises:
        ValueError: If a row has no length (``ZeroLengthError``), or there is no row to fit on.

    Cost: Memory at most two copies of the features, one of the rows to fit on, and what principal components
        take (``kernels.feature_transform.fit_pca``).
    """
    fitted = []
    for step in transform:
        fit_on = x if fit_rows is None or step == "unit_length" else x[fit_rows]
        match step:
            case "unit_length":
                done = FittedStep("unit_length")
            case "centre":
                done = FittedStep("centre", fit_centring(fit_on))
            case "standardise":
                done = FittedStep("standardise", fit_standardising(fit_on))
            case _:
                size = step.pca
                done = FittedStep(
                    "pca", fit_pca(fit_on, n_components=size.n_components, variance=size.variance)
                )
        fitted.append(done)
        x = done.apply(x)
    return x, fitted


def explain_fewer_components(transform: Transform, fitted: Sequence[FittedStep]) -> str:
    """Say how many principal components there are where fewer than requested; nothing otherwise."""
    fewer = [
        f"{done.learned.axes.shape[1]} principal components, not {step.pca.n_components}"
        for step, done in zip(transform, fitted, strict=True)
        if not isinstance(step, str) and done.learned is not None and done.learned.axes is not None
        if step.pca.n_components is not None and done.learned.axes.shape[1] < step.pca.n_components
    ]
    return ", then ".join(fewer)


def apply_steps(x: Tensor, steps: Sequence[FittedStep]) -> Tensor:
    """Apply fitted steps to further rows, shape (n_stimuli, n_features)."""
    for step in steps:
        x = step.apply(x)
    return x


def pack_steps(prefix: str, steps: Sequence[FittedStep]) -> dict[str, Tensor]:
    """Return what steps learned as named float32 tensors: ``<prefix>/<place>-<name>/<part>``.

    A step that learns nothing has one empty part, ``nothing``, so that it keeps its place.
    """
    packed = {}
    for place, step in enumerate(steps):
        stem = f"{prefix}/{place}-{step.name}"
        if step.learned is None:
            packed[f"{stem}/nothing"] = torch.zeros(0)
            continue
        for part in _PARTS:
            learned = getattr(step.learned, part)
            if learned is not None:
                packed[f"{stem}/{part}"] = learned.float()
    return packed


def unpack_steps(member: StoredTensors, prefix: str) -> list[FittedStep]:
    """Return the steps that ``pack_steps`` stored in a member; none where it stored none."""
    parts: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name in member.names:
        if name.startswith(f"{prefix}/"):
            place_and_step, _, part = name.removeprefix(f"{prefix}/").partition("/")
            place, _, step = place_and_step.partition("-")
            values = torch.from_numpy(np.array(member.tensor(name), dtype=np.float64))
            parts.setdefault((int(place), step), {})[part] = values
    return [
        FittedStep(step, _map_of(found)) for (_, step), found in sorted(parts.items(), key=lambda p: p[0])
    ]


def _map_of(parts: Mapping[str, Tensor]) -> AffineMap | None:
    if "nothing" in parts:
        return None
    return AffineMap(parts["offset"], parts.get("scale"), parts.get("axes"))
