"""Real handwritten digits: the 1,797 grey images of 8 x 8 pixels that come with scikit-learn."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from rep_kedro.parameter_rules import Seed
from rep_kedro.stimuli.base import SourceSpec
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.splits import draw_test_rows

_WHITE = 16  # grey levels of the digits: 0 to 16


class DigitsSpec(SourceSpec):
    """Handwritten digits of scikit-learn (test part of UCI's "Optical Recognition of Handwritten Digits").

    Attributes:
        test_fraction: Share of each class that becomes the split ``test``.
        seed: Decides which digits those are.
    """

    source: Literal["digits"] = "digits"
    test_fraction: float = Field(default=0.3, ge=0, lt=1)
    seed: Seed = 0


def read(spec: DigitsSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<digit>/<position in scikit-learn's order>``."""
    return StimulusStream([str(digit) for digit in range(10)], _stimuli(spec), is_encoded_here=True)


def _stimuli(spec: DigitsSpec) -> Iterator[Stimulus]:
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / _WHITE)).astype(np.uint8)
    labels = [int(label) for label in digits.target]
    ids = [f"{label}/{position:04d}" for position, label in enumerate(labels)]
    is_test = draw_test_rows(ids, labels, test_fraction=spec.test_fraction, seed=spec.seed)
    for stimulus_id, image, label, test in zip(ids, pixels, labels, is_test, strict=True):
        yield Stimulus(stimulus_id, encode_png(image), label, "test" if test else "train")
