"""The images that a network is trained on and evaluated with."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

EVALUATION_BATCH = 512
"""Images of a forward pass that nothing is learned from."""
Split = Literal["train", "test"]


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split.

    Attributes:
        images: uint8, (n, c, h, w).
        labels: int64, (n,), from 0; float32, (n, n_classes), 1 where an image has the label, if it may have
            several; None where a stimulus set has none.
        is_streamed: Whether the images are in a file, and read from it as they are used.
    """

    images: Tensor
    labels: Tensor | None
    is_streamed: bool = False

    def labels_or_zeros(self, rows: Tensor) -> Tensor:
        """Return the labels of some images; zeros where there are none."""
        return torch.zeros(len(rows), dtype=torch.int64) if self.labels is None else self.labels[rows]


@dataclass(frozen=True)
class TrainingStimuli:
    """What a network learns from, and what it is tried on.

    Attributes:
        train: Images to learn from.
        test: Images for the reported accuracy only; nothing is chosen by them.
        n_classes: Classes of the stimulus set; None where it has no labels.
    """

    train: LabelledImages
    test: LabelledImages
    n_classes: int | None
