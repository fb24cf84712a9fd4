"""Natural image patches cut from scikit-learn's two sample photographs.

Patches are cells of a grid, so no two share a pixel; those of the test split are from another part of each
photograph than those of the train split.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rep_kedro.errors import UserError
from rep_kedro.parameter_rules import Seed
from rep_kedro.stimuli.base import SourceSpec
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.splits import rank_by_seed, share_equally

if TYPE_CHECKING:
    import numpy as np

PHOTOGRAPHS = ("china", "flower")  # 427 x 640 pixels each
_TRAIN_WIDTH_FRACTION = 2 / 3  # the left part is for training


class PhotographPatchesSpec(SourceSpec):
    """Patches of the two photographs; the label is the photograph.

    Attributes:
        size_px: Side length of a patch, in pixels.
        n_train: Patches of the split ``train``, from both photographs together.
        n_test: Patches of the split ``test``.
        seed: Decides which cells of the grid are taken.
    """

    source: Literal["photograph_patches"] = "photograph_patches"
    size_px: int = Field(default=16, ge=1, le=128)
    n_train: int = Field(default=240, ge=0)
    n_test: int = Field(default=120, ge=0)
    seed: Seed = 0


def read(spec: PhotographPatchesSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<photograph>/<row>-<column>`` of the patch's upper left pixel."""
    return StimulusStream(PHOTOGRAPHS, _stimuli(spec), is_encoded_here=True)


def _stimuli(spec: PhotographPatchesSpec) -> Iterator[Stimulus]:
    from sklearn.datasets import load_sample_image

    photographs = [load_sample_image(f"{name}.jpg") for name in PHOTOGRAPHS]
    for split, n_wanted in (("train", spec.n_train), ("test", spec.n_test)):
        for label, n_patches in enumerate(share_equally(n_wanted, len(PHOTOGRAPHS))):
            photograph = photographs[label]
            corners = _draw_corners(photograph, split, n_patches, PHOTOGRAPHS[label], spec)
            for top, left in corners:
                patch = photograph[top : top + spec.size_px, left : left + spec.size_px]
                stimulus_id = f"{PHOTOGRAPHS[label]}/{top:03d}-{left:03d}"
                yield Stimulus(stimulus_id, encode_png(patch), label, split)


def _draw_corners(
    photograph: "np.ndarray", split: str, n_patches: int, name: str, spec: PhotographPatchesSpec
) -> list[tuple[int, int]]:
    """Return the upper left corners of some cells of the split's part of a photograph, in reading order."""
    height, width = photograph.shape[:2]
    border = int(width * _TRAIN_WIDTH_FRACTION)
    first, last = (0, border) if split == "train" else (border, width)
    cells = [
        (top, left)
        for top in range(0, height - spec.size_px + 1, spec.size_px)
        for left in range(first, last - spec.size_px + 1, spec.size_px)
    ]
    if n_patches > len(cells):
        raise UserError(
            f"photograph {name!r} has {len(cells)} patches of {spec.size_px} px for the split {split}, "
            f"{n_patches} were asked for; ask for fewer or for smaller ones"
        )
    ranked = rank_by_seed([f"{name}/{top}-{left}" for top, left in cells], spec.seed)
    return sorted(cells[index] for index in ranked[:n_patches])
