"""Measures of a representation that need no labels, of its final layer.

To add a measure of a spectrum, add an entry to `MEASURES`; one of features or views is computed with the
spectra (`final_layers.py`) and has an entry with `_stored`.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.diagnostics.spaces import spaces_of
from rep_kedro.datasets import MemberKey
from rep_kedro.schemas.diagnostics import LABEL_FREE_MEASURES

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from rep_kedro.datasets import TensorsHandle
else:
    DataFrame = Tensor = TensorsHandle = Any  # Kedro reads the hints

FEW_STIMULI_PER_FEATURE = 5  # with fewer, ranks follow the number of stimuli
FEWEST_NETWORKS = 3  # to standardise over
_FLOAT32_PRECISION, _FLOAT64_PRECISION = 2.0**-23, 2.0**-52


@dataclass(frozen=True)
class Spectrum:
    """What is known of one layer of a network on one stimulus set.

    Attributes:
        sigma: Singular values of the stored features as they are, not centred.
        eigenvalues: Of the covariance of the channels; None where they do not vary.
        about: The layer's entry in the metadata of the member.
        params: Constants of the measures.
    """

    sigma: Tensor
    eigenvalues: Tensor | None
    about: Mapping[str, Any]
    params: DiagnosticsParams

    @property
    def shape(self) -> tuple[int, int]:
        """Stimuli and features of the stored features."""
        n = int(self.about["n_stimuli"])
        return n, max(len(self.sigma), int(self.about["n_channels"]))

    @property
    def samples(self) -> dict[str, int]:
        """Samples of the covariance, for the settings: stimuli times positions where the layer has a map."""
        return {"n_samples": int(self.about["n_samples"])}


@dataclass(frozen=True)
class Result:
    """A value, with the constants that it depends on, or the reason why there is none."""

    value: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


def _of_sigma(measure: Callable[[Tensor], float]) -> Callable[[Spectrum], Result]:
    def compute(spectrum: Spectrum) -> Result:
        return Result(measure(spectrum.sigma)) if spectrum.sigma.max() > 0 else Result(reason=_ZERO)

    return compute


def _of_eigenvalues(name: str) -> Callable[[Spectrum], Result]:
    def compute(spectrum: Spectrum) -> Result:
        from rep_kedro.kernels.layers import spectrum as kernels

        if spectrum.eigenvalues is None:
            return Result(reason=spectrum.about["reason"])
        return Result(getattr(kernels, name)(spectrum.eigenvalues), spectrum.samples)

    return compute


_ZERO = "all features are zero"


def _rankme(spectrum: Spectrum) -> Result:
    from rep_kedro.kernels.layers.spectrum import measure_rankme_uncentred_sigma

    epsilon = spectrum.params.rankme_epsilon
    if not spectrum.sigma.max() > 0:
        return Result(reason=_ZERO)
    return Result(measure_rankme_uncentred_sigma(spectrum.sigma, epsilon=epsilon), {"epsilon": epsilon})


def _numerical_rank(spectrum: Spectrum) -> Result:
    from rep_kedro.kernels.layers.spectrum import measure_numerical_rank_sigma

    found = measure_numerical_rank_sigma(spectrum.sigma, shape=spectrum.shape, precision=_FLOAT32_PRECISION)
    return Result(float(found), {"precision": _FLOAT32_PRECISION})


def _condition_number(spectrum: Spectrum) -> Result:
    from rep_kedro.kernels.layers.spectrum import measure_condition_number_sigma

    if spectrum.sigma.min() <= spectrum.sigma.max() * max(spectrum.shape) * _FLOAT64_PRECISION:
        return Result(reason="a singular value is zero up to rounding")
    return Result(measure_condition_number_sigma(spectrum.sigma))


def _stable_rank(sigma: Tensor) -> float:
    from rep_kedro.kernels.layers.spectrum import measure_stable_rank_uncentred_sigma

    return measure_stable_rank_uncentred_sigma(sigma)


def _alpha_req(spectrum: Spectrum) -> Result:
    from rep_kedro.kernels.layers.spectrum import fit_power_law_centred_lambda

    if spectrum.eigenvalues is None:
        return Result(reason=spectrum.about["reason"])
    first, last = spectrum.params.alpha_req_window
    rounding = spectrum.eigenvalues.max() * len(spectrum.eigenvalues) * _FLOAT64_PRECISION
    last = min(last, int((spectrum.eigenvalues > rounding).sum()))
    if last <= first:
        return Result(reason=f"{last} eigenvalues exceed rounding, the window begins at {first}")
    fit = fit_power_law_centred_lambda(spectrum.eigenvalues, first=first, last=last)
    r2 = None if fit.r2 != fit.r2 else fit.r2
    return Result(fit.alpha, {"first": first, "last": last, "r2": r2, **spectrum.samples})


def _neighbours(key: str) -> Callable[[Spectrum], Result]:
    def compute(spectrum: Spectrum) -> Result:
        value = spectrum.about[key]
        return Result(value) if value is not None else Result(reason=spectrum.about["neighbours_reason"])

    return compute


def _stored(name: str) -> Callable[[Spectrum], Result]:
    def compute(spectrum: Spectrum) -> Result:
        return Result(**spectrum.about["label_free"][name])

    return compute


@dataclass(frozen=True)
class Measure:
    """How a measure is computed and read.

    Attributes:
        compute: From what is known of one layer; None if it takes all networks of a stimulus set.
        prefers: Which networks are expected to perform better: of high or low values, or of those near 1.
        is_rank: Whether it counts dimensions that carry variance.
    """

    compute: Callable[[Spectrum], Result] | None
    prefers: Literal["high", "low", "near 1"] = "high"
    is_rank: bool = False


MEASURES: dict[str, Measure] = {
    "rankme": Measure(_rankme, is_rank=True),
    "stable_rank": Measure(_of_sigma(_stable_rank), is_rank=True),
    "numerical_rank": Measure(_numerical_rank, is_rank=True),
    "condition_number": Measure(_condition_number, "near 1"),
    "effective_rank": Measure(_of_eigenvalues("measure_effective_rank_centred_lambda"), is_rank=True),
    "participation_ratio": Measure(
        _of_eigenvalues("measure_participation_ratio_centred_lambda"), is_rank=True
    ),
    "nesum": Measure(_of_eigenvalues("measure_nesum_centred_lambda"), is_rank=True),
    "alpha_req": Measure(_alpha_req, "near 1"),
    "two_nn_dimension": Measure(_neighbours("two_nn_dimension")),
    "mle_dimension": Measure(_neighbours("mle_dimension")),
    "coherence": Measure(_stored("coherence"), "low"),
    "self_cluster": Measure(_stored("self_cluster"), "low"),
    "uniformity": Measure(_stored("uniformity"), "low"),
    "idest": Measure(_stored("idest"), "low"),
    "cluster_learnability": Measure(_stored("cluster_learnability")),
    "clid": Measure(None),
    "lidar": Measure(_stored("lidar"), is_rank=True),
    "alignment": Measure(_stored("alignment"), "low"),
}
"""Each measure by name, in the order of rows."""


def measure_label_free(
    spectra: Mapping[str, TensorsHandle], n_classes: Mapping[str, int], params: DiagnosticsParams
) -> DataFrame:
    """Compute measures that need no labels, of the final layer of each network.

    Args:
        spectra: Handles by ``<stimulus set>/<model>``.
        n_classes: Classes of each stimulus set, 0 where it has no labels.
        params: Constants of the measures.

    Returns:
        Columns as in docs/tables.md; a value that is missing has a reason, and `caution` says where a value
        cannot be compared with that of another network.
    """
    found = [row for key in sorted(spectra) for row in _rows(key, spectra[key], n_classes, params)]
    _standardise_clid(found)
    return LABEL_FREE_MEASURES.frame(found)


def _rows(
    key: str, handle: TensorsHandle, n_classes: Mapping[str, int], params: DiagnosticsParams
) -> Iterator[dict[str, Any]]:
    stimulus_set, model = MemberKey.parse(key)
    spectra = {space: _read(handle, about, params) for space, about in _spaces_of(handle).items()}
    width = spectra["representation"].shape[1] if "representation" in spectra else None
    for space, spectrum in spectra.items():
        n, k = spectrum.shape
        cautions = [f"fewer than {FEW_STIMULI_PER_FEATURE} stimuli per feature"] * (
            n < FEW_STIMULI_PER_FEATURE * k
        )
        is_wide = space == "embedding" and width is not None and k > width
        for name, measure in MEASURES.items():
            result = measure.compute(spectrum) if measure.compute else Result()
            own = _cautions_of(measure, result, k, n_classes.get(stimulus_set, 0), is_wide=is_wide)
            yield {
                "stimulus_set": stimulus_set,
                "model": model,
                "space": space,
                "layer": spectrum.about["layer"],
                "measure": name,
                "value": result.value,
                "n": n,
                "k": k,
                "settings": json.dumps(dict(result.settings), sort_keys=True),
                "caution": "; ".join([*cautions, *own]),
                "reason": result.reason,
            }


def _cautions_of(measure: Measure, result: Result, k: int, n_classes: int, *, is_wide: bool) -> Iterator[str]:
    """Yield what limits a value of one measure."""
    if not measure.is_rank or result.value is None:
        return
    if is_wide:
        yield "the embedding is wider than the representation, which bounds its rank"
    if 0 < n_classes < result.value:
        yield f"above the {n_classes} classes, beyond which a rank says little about a linear probe"
    if (n_images := result.settings.get("n_images", k + 1)) <= k:
        yield f"{n_images} images bound it by {n_images - 1}"


def _standardise_clid(rows: Sequence[dict[str, Any]]) -> None:
    """Fill the rows of CLID: cluster learnability and TwoNN, each standardised over networks, and summed.

    Source:
        Lu et al. 2022, arXiv:2206.01251, section 3.3.
    """
    import numpy as np

    parts: dict[tuple[str, str], dict[str, dict[str, dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in rows:
        parts[row["stimulus_set"], row["space"]][row["measure"]][row["model"]] = row
    for found in parts.values():
        both = [found[name] for name in ("cluster_learnability", "two_nn_dimension")]
        missing = {
            model: next((each[model]["reason"] for each in both if each[model]["value"] is None), "")
            for model in found["clid"]
        }
        models = [model for model, reason in missing.items() if not reason]
        values = np.array([[each[model]["value"] for model in models] for each in both], dtype=float)
        spread = values.std(axis=1) if models else np.zeros(2)
        for model, row in found["clid"].items():
            row["settings"] = json.dumps({"n_networks": len(models)})
            if missing[model]:
                row["reason"] = missing[model]
            elif len(models) < FEWEST_NETWORKS:
                row["reason"] = f"standardised over networks: needs {FEWEST_NETWORKS}, got {len(models)}"
            elif not spread.all():
                row["reason"] = "standardised over networks: one of its parts is equal in all of them"
            else:
                own = values[:, models.index(model)]
                row["value"] = float(((own - values.mean(axis=1)) / spread).sum())


def _spaces_of(handle: TensorsHandle) -> dict[str, Mapping[str, Any]]:
    """Return what is known of the network's final layer and, where it was read, of the projector's."""
    layers = {about["layer"]: about for about in handle.meta["layers"]}
    return {space: layers[layer] for space, layer in spaces_of(list(layers)).items()}


def _read(handle: TensorsHandle, about: Mapping[str, Any], params: DiagnosticsParams) -> Spectrum:
    import torch

    layer = about["layer"]
    sigma = torch.from_numpy(handle.tensor(f"{layer}/feature_sigma").copy())
    eigenvalues = None
    if not about["reason"]:
        eigenvalues = torch.from_numpy(handle.tensor(f"{layer}/eigenvalues").copy())
    return Spectrum(sigma, eigenvalues, about, params)
