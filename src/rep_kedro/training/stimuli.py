"""The images that a network is trained on and evaluated with."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split.

    Attributes:
        images: uint8, (n, c, h, w).
        labels: int64, (n,), from 0; None where a stimulus set has none.
    """

    images: Tensor
    labels: Tensor | None


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
