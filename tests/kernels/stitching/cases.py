"""A small pair of layers with a tail, for tests of stitches."""

import torch

from rep_kedro.kernels.stitching.activations import from_positions
from rep_kedro.kernels.stitching.moments import PairedMoments
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer

N_STIMULI, N_CLASSES, SHAPE = 30, 3, (4, 2, 2)


def stream(front, end):
    moments = PairedMoments(front.shape[2], end.shape[2])
    moments.update(front.flatten(0, 1), end.flatten(0, 1))
    return moments


class Case:
    """Fronts of several widths, and an end with a tail of two layers.

    Args:
        widths: Of the fronts, by name.
        seed: Of all numbers.
        dtype: Of all numbers.
        has_several: Whether a stimulus may have several labels.
    """

    def __init__(
        self, widths=(("a", 4), ("b", 4), ("wide", 6)), *, seed=0, dtype=torch.float64, has_several=False
    ):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        self.calls = 0
        self.mixing, self.head = draw(5, SHAPE[0]), draw(5, N_CLASSES)
        n_positions = SHAPE[1] * SHAPE[2]
        samples = {name: draw(N_STIMULI, n_positions, width) for name, width in widths}
        first = next(iter(samples.values()))
        self.end_samples = torch.tanh(first @ draw(first.shape[2], SHAPE[0])) + 0.3
        self.labels = torch.randint(N_CLASSES, (N_STIMULI,), generator=generator)
        if has_several:
            self.labels = torch.randint(2, (N_STIMULI, N_CLASSES), generator=generator)
        end_logits, _ = self.tail(from_positions(self.end_samples, SHAPE))
        self.end = EndLayer(
            SHAPE,
            lambda x: self.tail(x)[0],
            self.tail,
            samples=self.end_samples,
            logits=end_logits,
            labels=self.labels,
        )
        self.fronts = {
            name: FrontLayer(x, stream(x, self.end_samples), draw(N_STIMULI, N_CLASSES))
            for name, x in samples.items()
        }

    def tail(self, x):
        """Return logits and two later layers for maps (n, *SHAPE)."""
        self.calls += 1
        hidden = torch.einsum("nchw,dc->ndhw", torch.relu(x), self.mixing)
        later = torch.sin(hidden)
        return later.mean(dim=(2, 3)) @ self.head, [hidden, later]

    def for_reference(self, front):
        """Return what the reference takes."""
        own = self.fronts[front]
        return {
            "front": own.samples,
            "end": self.end_samples,
            "front_logits": own.logits,
            "end_logits": self.end.logits,
            "labels": self.labels,
            "tail": lambda x: self.tail(from_positions(x, SHAPE)),
        }
