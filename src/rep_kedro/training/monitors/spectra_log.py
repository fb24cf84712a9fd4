"""The spectra of a network's layers by mode and epoch: how they are stored, and read again."""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rep_kedro.models.watching import WatchedSpectrum

Mode = Literal["train", "eval"]
MODES: tuple[Mode, ...] = ("train", "eval")
_ABOUT = "about"


class SpectraLog:
    """Spectra in the order in which they came, each mode with epochs of its own."""

    def __init__(self) -> None:
        self._about: dict[str, dict[str, Any]] = {mode: {"epochs": [], "layers": {}} for mode in MODES}
        self._eigenvalues: dict[str, list[Tensor]] = {}

    def note(self, mode: Mode, epoch: int, spectra: Mapping[str, WatchedSpectrum]) -> None:
        """Add the spectra of all layers of one epoch."""
        self._about[mode]["epochs"].append(epoch)
        for layer, seen in spectra.items():
            self._eigenvalues.setdefault(f"{mode}/{layer}", []).append(seen.eigenvalues)
            rows = self._about[mode]["layers"].setdefault(
                layer, {"n_samples": [], "two_nn": [], "reason": [], "two_nn_reason": []}
            )
            two_nn = math.nan if seen.neighbours is None else seen.neighbours.two_nn
            rows["n_samples"].append(seen.n_samples)
            rows["reason"].append(seen.reason)
            rows["two_nn"].append(None if math.isnan(two_nn) else two_nn)
            rows["two_nn_reason"].append(
                seen.neighbours.reason if seen.neighbours and math.isnan(two_nn) else ""
            )

    def tensors(self) -> dict[str, Tensor]:
        """Return `<mode>/<layer>/eigenvalues`, (n_epochs, n_features), float64."""
        found = {}
        for name, spectra in self._eigenvalues.items():
            width = max(map(len, spectra))  # an epoch in which nothing was read has none
            padded = [nn.functional.pad(each, (0, width - len(each))) for each in spectra]
            found[f"{name}/eigenvalues"] = torch.stack(padded)
        return found

    def meta(self) -> dict[str, Any]:
        """Return by mode its `epochs`, and by layer `n_samples`, `two_nn` and reasons, one per epoch."""
        return self._about

    def state(self) -> dict[str, Tensor]:
        """Return all of it as tensors."""
        about = torch.frombuffer(bytearray(json.dumps(self._about).encode()), dtype=torch.uint8)
        return {**self.tensors(), _ABOUT: about}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._about = json.loads(bytes(state[_ABOUT].tolist()))
        self._eigenvalues = {
            name.removesuffix("/eigenvalues"): list(values)
            for name, values in state.items()
            if name != _ABOUT
        }
