"""A stimulus set made of another one of the study: its images with less detail, of another side, on a canvas.

Ids, labels and splits are those of the other set. What happens to an image depends on the seed and its id
alone. A placement at random on a black canvas, on noise between the image's own extremes, or on what padding
repeats is that of Richter et al. 2021 (arXiv:2102.01582); here every place is possible, the last one too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import PrivateAttr, model_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_rules import Seed, Side
from rep_kedro.stimuli.base import SourceSpec
from rep_kedro.stimuli.decoding import fit_square
from rep_kedro.stimuli.label_columns import META, further_columns
from rep_kedro.stimuli.opening import open_source
from rep_kedro.stimuli.pixels import QUIET, decode_image
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamageLog, Stimulus, StimulusStream

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image

_ROWS_AT_A_TIME = 64
_GREY_MODES = frozenset({"1", "L"})


class DerivedSpec(SourceSpec):
    """Images of another set, changed in the order of these attributes; at least one is given.

    Attributes:
        of: Name of the other set.
        shrink_px: The shorter side is shrunk to this and enlarged again: the same side, less detail.
        side_px: Side that the largest central square is resized to.
        canvas_px: Side of a square that the image is placed on.
        place: Where on the canvas: at random, or in the centre.
        background: What surrounds it: black, uniform noise between its darkest and lightest value, itself
            mirrored at its edges, or its edges repeated.
        seed: Of places and noise.
    """

    source: Literal["derived"] = "derived"
    of: str
    shrink_px: Side | None = None
    side_px: Side | None = None
    canvas_px: Side | None = None
    place: Literal["random", "centre"] = "random"
    background: Literal["black", "noise", "reflected", "edge"] = "black"
    seed: Seed = 0

    _parent: SourceSpec | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _require_change(self) -> Self:
        if self.shrink_px is self.side_px is self.canvas_px is None:
            raise UserError("a derived set needs shrink_px, side_px or canvas_px")
        given = sorted(self.model_fields_set & {"place", "background", "seed"})
        if no_effect := sorted(self.model_fields_set & {"limits", "on_damaged"}):
            raise UserError(f"{', '.join(no_effect)} has no effect here; set it for {self.of!r}")
        if self.canvas_px is None and given:
            raise UserError(f"{', '.join(given)} without canvas_px has no effect; set it, or remove them")
        if self.side_px is not None and self.canvas_px is not None and self.canvas_px < self.side_px:
            raise UserError(f"canvas_px {self.canvas_px} is smaller than side_px {self.side_px}")
        return self

    def with_parent(self, parent: SourceSpec) -> Self:
        """Return the same parameters with those of the other set, whose limits and damage are the same."""
        resolved = self.model_copy(update={"limits": parent.limits, "on_damaged": parent.on_damaged})
        resolved._parent = parent
        return resolved

    @property
    def parent(self) -> SourceSpec:
        """The parameters of the other set.

        Raises:
            UserError: If they are not known here: a derived set is one of a study.
        """
        if self._parent is None:
            raise UserError(f"a set derived of {self.of!r} is made in a study that has that set")
        return self._parent

    def origin(self) -> SourceSpec:
        """Return the source that the images come from in the end."""
        return self.parent.origin()

    def roots(self) -> dict[str, list[Path]]:
        """Return the files and folders of that source."""
        return self.parent.roots()

    def recipe(self) -> dict[str, Any]:
        """Return the parameters that the set's bytes depend on, with those of the other set."""
        return {**super().recipe(), "parent": self.parent.recipe()}

    def side_after(self, size: tuple[int, int], name: str) -> tuple[int, int]:
        """Return width and height of the image that one of this size becomes.

        Raises:
            UserError: If it has no more detail than `shrink_px` leaves, or is larger than the canvas.
        """
        if self.shrink_px is not None and self.shrink_px >= min(size):
            raise UserError(f"shrink_px {self.shrink_px} is not below the side of {name}, {_shown(size)}")
        size = size if self.side_px is None else (self.side_px, self.side_px)
        if self.canvas_px is None:
            return size
        if self.canvas_px < max(size):
            raise UserError(f"canvas_px {self.canvas_px} is smaller than {name}, {_shown(size)}")
        return self.canvas_px, self.canvas_px


def read(spec: DerivedSpec, log: DamageLog) -> StimulusStream:
    """Make the other set, and open its images, changed as they are asked for."""
    from rep_kedro.stimuli.assembly import assemble_stimulus_set, meta_of

    table = assemble_stimulus_set(open_source(spec.parent, log), spec.parent, log)
    meta = meta_of(table)
    further = _CopiedLabels(table.select(["stimulus_id", *further_columns(meta)]), meta)
    return StimulusStream(
        meta["class_names"], _stimuli(spec, table), is_encoded_here=True, first_label=0, further=further
    )


def require_derivable(spec: SourceSpec) -> tuple[int, int] | None:
    """Check the first image of the source against every step of a derived set; other sets pass.

    Returns:
        Width and height of the image in the end; None if it cannot be read, which its own set reports.

    Raises:
        UserError: If the image does not fit.
    """
    if isinstance(spec, DerivedSpec):
        size = require_derivable(spec.parent)
        return size and spec.side_after(size, f"an image of {spec.of!r}")
    stimulus = next(iter(open_source(spec, DamageLog()).stimuli), None)
    try:
        return None if stimulus is None else _decode(spec, stimulus.image).size
    except UserError:
        return None


def derive_image(spec: DerivedSpec, stimulus_id: str, image: "Image") -> "np.ndarray":
    """Return the pixels of a changed image, uint8, (height, width, channels), grey or colour as it was."""
    import numpy as np
    from PIL.Image import Resampling

    spec.side_after(image.size, f"stimulus {stimulus_id!r}")
    image = image.convert("L" if image.mode in _GREY_MODES else "RGB")
    if spec.shrink_px is not None:
        scale = spec.shrink_px / min(image.size)
        small = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(small, Resampling.BILINEAR).resize(image.size, Resampling.BILINEAR)
    if spec.side_px is not None:
        image = fit_square(image, spec.side_px)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return pixels if spec.canvas_px is None else _place(spec, stimulus_id, pixels)


def _place(spec: DerivedSpec, stimulus_id: str, pixels: "np.ndarray") -> "np.ndarray":
    import numpy as np

    canvas = int(spec.canvas_px or 0)
    name = int.from_bytes(sha256(stimulus_id.encode()).digest()[:8], "big")
    generator = np.random.default_rng([spec.seed, name])
    rooms = [canvas - side for side in pixels.shape[:2]]
    places = [int(generator.integers(0, room + 1)) for room in rooms]
    if spec.place == "centre":
        places = [room // 2 for room in rooms]
    around = [(place, room - place) for place, room in zip(places, rooms, strict=True)]
    if spec.background in {"reflected", "edge"}:
        mode: Any = "reflect" if spec.background == "reflected" else "edge"
        padded: np.ndarray = np.pad(pixels, [*around, (0, 0)], mode=mode)
        return padded
    ground = np.zeros((canvas, canvas, pixels.shape[2]), np.uint8)
    if spec.background == "noise":
        ground = generator.integers(pixels.min(), int(pixels.max()) + 1, ground.shape, np.uint8)
    top, left = places
    ground[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return ground


def _stimuli(spec: DerivedSpec, table: "pa.Table") -> Iterator[Stimulus]:
    columns = ["stimulus_id", "image", "label", "split"]
    for batch in table.select(columns).to_batches(max_chunksize=_ROWS_AT_A_TIME):
        for stimulus in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
            stimulus_id, encoded, label, split = stimulus
            pixels = derive_image(spec, stimulus_id, _decode(spec.parent, encoded))
            yield Stimulus(stimulus_id, encode_png(pixels), label, split)


def _decode(spec: SourceSpec, encoded: bytes) -> "Image":
    with QUIET:
        return decode_image(encoded, limits=spec.limits, value_range=spec.value_range()).image


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"


@dataclass(frozen=True)
class _CopiedLabels:
    """The further labels of the other set."""

    labels: "pa.Table"
    meta: Mapping[str, Any]

    def add_to(self, table: "pa.Table") -> "pa.Table":
        """Return the table with a column for each; the rows are those of the other set, in its order."""
        for name in self.labels.column_names[1:]:
            table = table.append_column(self.labels.schema.field(name), self.labels[name])
        return table

    def describe(self, class_names: object) -> dict[str, Any]:
        """Return what the other set's meta says of them."""
        return {key: self.meta[key] for key in META if key in self.meta}
