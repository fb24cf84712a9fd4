"""Measures of a representation that need no labels, from the spectra of its final layer.

To add a measure of a spectrum, add an entry to `MEASURES`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets import MemberKey
from rep_kedro.schemas.diagnostics import LABEL_FREE_MEASURES

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from rep_kedro.datasets import TensorsHandle
else:
    DataFrame = Tensor = TensorsHandle = Any  # Kedro reads the hints

FEW_STIMULI_PER_FEATURE = 5  # with fewer, ranks follow the number of stimuli
_FLOAT32_PRECISION = 2.0**-23


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
        return Result(getattr(kernels, name)(spectrum.eigenvalues))

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

    if not spectrum.sigma.min() > 0:
        return Result(reason="a singular value is zero")
    return Result(measure_condition_number_sigma(spectrum.sigma))


def _stable_rank(sigma: Tensor) -> float:
    from rep_kedro.kernels.layers.spectrum import measure_stable_rank_uncentred_sigma

    return measure_stable_rank_uncentred_sigma(sigma)


def _alpha_req(spectrum: Spectrum) -> Result:
    from rep_kedro.kernels.layers.spectrum import fit_power_law_centred_lambda

    if spectrum.eigenvalues is None:
        return Result(reason=spectrum.about["reason"])
    first, last = spectrum.params.alpha_req_window
    last = min(last, int((spectrum.eigenvalues > 0).sum()))
    if last <= first:
        return Result(reason=f"{last} eigenvalues are positive, the window begins at {first}")
    fit = fit_power_law_centred_lambda(spectrum.eigenvalues, first=first, last=last)
    return Result(fit.alpha, {"first": first, "last": last, "r2": None if fit.r2 != fit.r2 else fit.r2})


def _neighbours(key: str) -> Callable[[Spectrum], Result]:
    def compute(spectrum: Spectrum) -> Result:
        value = spectrum.about[key]
        return Result(value) if value is not None else Result(reason=spectrum.about["neighbours_reason"])

    return compute


MEASURES: dict[str, Callable[[Spectrum], Result]] = {
    "rankme": _rankme,
    "stable_rank": _of_sigma(_stable_rank),
    "numerical_rank": _numerical_rank,
    "condition_number": _condition_number,
    "effective_rank": _of_eigenvalues("measure_effective_rank_centred_lambda"),
    "participation_ratio": _of_eigenvalues("measure_participation_ratio_centred_lambda"),
    "nesum": _of_eigenvalues("measure_nesum_centred_lambda"),
    "alpha_req": _alpha_req,
    "two_nn_dimension": _neighbours("two_nn_dimension"),
    "mle_dimension": _neighbours("mle_dimension"),
}
"""Each measure of a spectrum by name, in the order of rows."""

NEAR_ONE = frozenset({"condition_number", "alpha_req"})
"""Measures of which a value nearest to 1 is preferred; of the others the largest."""


def measure_label_free(spectra: Mapping[str, TensorsHandle], params: DiagnosticsParams) -> DataFrame:
    """Compute measures that need no labels, of the final layer of each network.

    Args:
        spectra: Handles by ``<stimulus set>/<model>``.
        params: Constants of the measures.

    Returns:
        Columns as in docs/tables.md; a value that is missing has a reason, and `caution` says where a value
        cannot be compared with that of another network.
    """
    return LABEL_FREE_MEASURES.frame(
        row for key in sorted(spectra) for row in _rows(key, spectra[key], params)
    )


def _rows(key: str, handle: TensorsHandle, params: DiagnosticsParams) -> Iterator[dict[str, Any]]:
    stimulus_set, model = MemberKey.parse(key)
    spectra = {space: _read(handle, about, params) for space, about in _spaces_of(handle).items()}
    width = spectra["representation"].shape[1] if "representation" in spectra else None
    for space, spectrum in spectra.items():
        n, k = spectrum.shape
        cautions = [f"fewer than {FEW_STIMULI_PER_FEATURE} stimuli per feature"] * (
            n < FEW_STIMULI_PER_FEATURE * k
        )
        if space == "embedding" and width is not None and k > width:
            cautions.append("the embedding is wider than the representation, which bounds its rank")
        for measure, compute in MEASURES.items():
            result = compute(spectrum)
            yield {
                "stimulus_set": stimulus_set,
                "model": model,
                "space": space,
                "layer": spectrum.about["layer"],
                "measure": measure,
                "value": result.value,
                "n": n,
                "k": k,
                "settings": json.dumps(dict(result.settings), sort_keys=True),
                "caution": "; ".join(cautions),
                "reason": result.reason,
            }


def _spaces_of(handle: TensorsHandle) -> dict[str, Mapping[str, Any]]:
    """Return what is known of the network's final layer and, where it was read, of the projector's."""
    from rep_kedro.models.sources.trained import EMBEDDING, name_final_layer

    layers = {about["layer"]: about for about in handle.meta["layers"]}
    final = name_final_layer(list(layers))
    if final == EMBEDDING:
        return {"embedding": layers[final]}
    return {"representation": layers[final]} | (
        {"embedding": layers[EMBEDDING]} if EMBEDDING in layers else {}
    )


def _read(handle: TensorsHandle, about: Mapping[str, Any], params: DiagnosticsParams) -> Spectrum:
    import torch

    layer = about["layer"]
    sigma = torch.from_numpy(handle.tensor(f"{layer}/feature_sigma").copy())
    eigenvalues = None
    if not about["reason"]:
        eigenvalues = torch.from_numpy(handle.tensor(f"{layer}/eigenvalues").copy())
    return Spectrum(sigma, eigenvalues, about, params)
