"""Losses of convex probes and their gradients, for all layers and weight decays at once."""

import torch
from torch import Tensor


class SoftmaxProblem:
    """Each sample has one class: the loss is the mean cross-entropy of a softmax.

    Points have shape (layers, axes + 1, classes, decays), the last axis of features is the bias.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        n_classes: int,
        decay: Tensor,
        sample_weights: Tensor | None = None,
    ) -> None:
        self.features = features
        self.weight_of = None
        if sample_weights is not None:
            share = (sample_weights / sample_weights.double().mean()).to(features)
            self.weight_of = share[None, :, None, None]  # of each sample, mean 1
        self.target = self.place_labels(labels.to(features.device))
        self.shape = (len(features), features.shape[2], n_classes, len(decay))
        penalised = features.new_ones(features.shape[2], 1, 1)
        penalised[-1] = 0.0
        self.penalty = penalised * decay  # (axes + 1, 1, decays); the bias is free
        self.curvature = features.square().mean(dim=1)[:, :, None, None]

    def place_labels(self, labels: Tensor) -> Tensor:
        """Return labels, (n_samples,), such that they broadcast to logits."""
        return labels[None, :, None, None]

    def keep_decays(self, keep: Tensor) -> None:
        """Go on with some of the weight decays only."""
        self.penalty = self.penalty[..., keep]
        self.shape = (*self.shape[:3], int(keep.sum()))

    def logits(self, point: Tensor) -> Tensor:
        """Return (layers, samples, classes, decays)."""
        return torch.bmm(self.features, point.flatten(2)).view(-1, self.features.shape[1], *self.shape[2:])

    def cross_entropy(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of each setting, (layers, decays), and the probabilities, like the logits."""
        target = self.target.expand(logits.shape[0], -1, -1, logits.shape[3])
        top = logits.amax(dim=2, keepdim=True)
        chosen = (logits.gather(2, target) - top).squeeze(2)
        powers = (logits - top).exp_()
        total = powers.sum(dim=2, keepdim=True)
        return self.average(total.squeeze(2).log() - chosen), powers.div_(total)

    def average(self, losses: Tensor) -> Tensor:
        """Return the mean over samples, (layers, decays), of (layers, samples, decays)."""
        weighted = losses if self.weight_of is None else losses * self.weight_of[..., 0]
        return weighted.mean(dim=1)

    def gradient(self, point: Tensor, probabilities: Tensor) -> Tensor:
        """Return the gradient of the penalised loss at a point; takes the labels off the probabilities."""
        n_samples = probabilities.shape[1]
        residual = self.take_labels_off(probabilities)
        if self.weight_of is not None:
            residual *= self.weight_of
        slope = torch.bmm(self.features.mT, residual.flatten(2)) / n_samples
        return slope.view(self.shape) + self.penalty * point

    def take_labels_off(self, probabilities: Tensor) -> Tensor:
        """Return the gradient of each sample's loss with respect to its logits; changes its argument."""
        target = self.target.expand(probabilities.shape[0], -1, -1, probabilities.shape[3])
        return probabilities.scatter_add_(2, target, probabilities.new_full((), -1.0).expand(target.shape))

    def scale(self, probabilities: Tensor) -> Tensor:
        """Return the diagonal guess of the inverse Hessian, the softmax taken as its mean p (1 - p)."""
        diagonal = self.spread(probabilities) * self.curvature + self.penalty
        return torch.where(diagonal > 0.0, 1.0 / diagonal, torch.ones_like(diagonal))

    def spread(self, probabilities: Tensor) -> Tensor:
        """Return the mean p (1 - p), such that it broadcasts to points."""
        n_samples, n_classes = probabilities.shape[1:3]
        spread = (1.0 - probabilities.square().sum(dim=(1, 2)) / n_samples) / n_classes
        return spread[:, None, None, :]


class SigmoidProblem(SoftmaxProblem):
    """Each sample has any number of classes: the loss is the mean over samples of the sum over classes."""

    def place_labels(self, labels: Tensor) -> Tensor:
        """Return labels, (n_samples, n_classes) of 0 and 1, such that they broadcast to logits."""
        return labels.to(self.features)[None, :, :, None]

    def cross_entropy(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of each setting, (layers, decays), and the probabilities, like the logits."""
        losses = torch.nn.functional.softplus(logits) - logits * self.target
        return self.average(losses.sum(dim=2)), logits.sigmoid()

    def take_labels_off(self, probabilities: Tensor) -> Tensor:
        """Return the gradient of each sample's loss with respect to its logits; changes its argument."""
        return probabilities.sub_(self.target)

    def spread(self, probabilities: Tensor) -> Tensor:
        """Return the mean p (1 - p), such that it broadcasts to points."""
        return (probabilities * (1.0 - probabilities)).mean(dim=1)[:, None]
