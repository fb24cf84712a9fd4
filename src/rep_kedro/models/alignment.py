"""Features mapped into another space by an affine map, such as one fitted to human judgements.

Source: Muttenthaler et al. 2023, Improving neural network representations using human similarity judgments
(gLocal); the layout of its files is that of its published `transform.npz`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rep_kedro.datasets import Tensors
from rep_kedro.errors import UserError
from rep_kedro.models.files import identify_file, require_file
from rep_kedro.models.places import Alignment

_NAMES = ("weights", "bias", "mean", "std")
_KIND = "alignment"


@dataclass(frozen=True)
class AffineMap:
    """The map `((x - mean) / std) @ weights + bias`.

    Attributes:
        weights: (n_features, n_aligned).
        bias: (n_aligned,) or one number.
        mean: (n_features,) or one number.
        std: (n_features,) or one number, positive.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def apply(self, features: Any) -> NDArray[np.float32]:
        """Return the aligned features.

        Args:
            features: (n_stimuli, n_features), numpy or torch on the CPU.

        Returns:
            (n_stimuli, n_aligned), float32, computed in float64.

        Raises:
            ValueError: If the map is for features of another width.
        """
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.weights):
            raise UserError(
                f"the alignment is for {len(self.weights)} features, got shape {tuple(values.shape)}"
            )
        mapped: NDArray[np.float64] = ((values - self.mean) / self.std) @ self.weights + self.bias
        return mapped.astype(np.float32)


def identify_alignment(alignment: Alignment) -> dict[str, Any]:
    """Return what the features depend on: the kind of the map and the digest of its file.

    Raises:
        ValueError: If a local file is missing.
    """
    return {"kind": alignment.kind, **identify_file(alignment, _KIND)}


def load_alignment(alignment: Alignment) -> AffineMap:
    """Read the map of an entry.

    Raises:
        ValueError: If the file is unavailable, contains something else, or its arrays do not fit together.
    """
    path = require_file(alignment, _KIND)
    arrays = _read_arrays(path)
    name = f"alignment {alignment.path or alignment.url}"
    unknown = sorted(set(arrays) - set(_NAMES))
    if unknown or "weights" not in arrays:
        there = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(f"{name} must contain weights, and optionally bias, mean and std; it has {there}")
    return _checked(arrays, name)


def align_features(features: Tensors, mapping: AffineMap) -> Tensors:
    """Return the features of the one layer that was read, aligned."""
    aligned = {layer: mapping.apply(values) for layer, values in features.tensors.items()}
    return Tensors(aligned, {**features.meta, "alignment": "affine"})


def _checked(arrays: Mapping[str, NDArray[Any]], file: str) -> AffineMap:
    try:
        found = {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items()}
    except (TypeError, ValueError) as problem:
        raise UserError(f"{file} contains values that are not numbers") from problem
    weights = found["weights"]
    if weights.ndim != 2:
        raise UserError(f"{file}: weights must be a matrix, got shape {weights.shape}")
    n_features, n_aligned = weights.shape
    widths = {"bias": n_aligned, "mean": n_features, "std": n_features}
    for name, width in widths.items():
        value = np.squeeze(found.get(name, np.array(1.0 if name == "std" else 0.0)))
        if value.shape not in {(), (width,)}:
            raise UserError(f"{file}: {name} must be one number or {width}, got shape {value.shape}")
        found[name] = value
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise UserError(f"{file}: {name} contains NaN or infinity")
    if (found["std"] <= 0).any():
        raise UserError(f"{file}: std must be positive, its smallest value is {found['std'].min()}")
    return AffineMap(**found)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return dict(load_file(path))
        except (OSError, SafetensorError) as problem:
            raise UserError(f"alignment {path} is damaged: {problem}") from problem
    if path.suffix != ".npz":
        raise UserError(f"alignment {path} has suffix {path.suffix!r}; known: .npz, .safetensors")
    from zipfile import BadZipFile

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, BadZipFile) as problem:
        cause = " ".join(str(problem).split())[:120]
        raise UserError(f"alignment {path} is damaged or contains more than arrays: {cause}") from problem
