"""What k stitches minimise together: each its own loss and penalties, the tail called once for all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rep_kedro.kernels.stitching.batches import Inputs
from rep_kedro.kernels.stitching.losses import LOSSES, Batch, distance_of_layers, measure_cka
from rep_kedro.kernels.stitching.recipes import StitchRecipe
from rep_kedro.kernels.stitching.running import EndLayer, run_tail, run_tail_with_later


class Objective:
    """Losses of k stitches into one layer, all of which need the tail, or none.

    Args:
        recipes: Of the stitches, in the order of the batch axis.
        end: Where they end.
        like: Gives dtype and device.
    """

    def __init__(self, recipes: Sequence[StitchRecipe], end: EndLayer, *, like: Tensor) -> None:
        self._end, self._device = end, like.device
        self._needs_tail = recipes[0].needs_tail
        self._by_loss = {name: self._places([recipe.loss == name for recipe in recipes]) for name in LOSSES}
        self._penalised = self._places([recipe.cka_penalty != 0.0 for recipe in recipes])
        self._later = self._places([recipe.later_layers != 0.0 for recipe in recipes])
        self._l1, self._cka_penalty, self._later_layers, self._temperature = (
            like.new_tensor([getattr(recipe, name) for recipe in recipes])
            for name in ("l1", "cka_penalty", "later_layers", "temperature")
        )

    def measure(self, stitched: Tensor, inputs: Inputs, weights: Sequence[Tensor]) -> Tensor:
        """Return what each stitch minimises, (k,).

        Args:
            stitched: Activations behind the maps, (k, batch, n_positions, n_end).
            inputs: What the step sees.
            weights: Of the maps, in order, (some of k, n_end, n_front) each.
        """
        losses = self._l1 * torch.cat([weight.abs().mean(dim=(1, 2)) for weight in weights])
        logits, later = self._run_tail(stitched)
        original = None if inputs.original is None else inputs.original.flatten(2)
        temperature = self._temperature[:, None, None]
        batch = Batch(
            stitched.flatten(2), original, logits, inputs.target, temperature, self._end.has_several
        )
        for name, places in self._by_loss.items():
            if len(places):
                losses = losses.index_add(0, places, LOSSES[name](batch.pick(places)))
        if len(self._penalised):
            alignment = measure_cka(batch.pick(self._penalised))
            losses = losses.index_add(0, self._penalised, self._cka_penalty[self._penalised] * alignment)
        if later and inputs.original is not None:
            with torch.no_grad():
                _, theirs = run_tail_with_later(self._end, inputs.original)
            distances = distance_of_layers(later, theirs)[self._later]
            losses = losses.index_add(0, self._later, self._later_layers[self._later] * distances)
        return losses

    def _run_tail(self, stitched: Tensor) -> tuple[Tensor | None, Sequence[Tensor]]:
        """Return logits and later layers, as far as something needs them."""
        if not self._needs_tail:
            return None, ()
        if len(self._later):
            return run_tail_with_later(self._end, stitched)
        return run_tail(self._end, stitched), ()

    def _places(self, wanted: Sequence[bool]) -> Tensor:
        return torch.tensor(wanted, device=self._device).nonzero().flatten()
