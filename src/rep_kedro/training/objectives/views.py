"""Settings of the random views that objectives train on."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from rep_kedro.errors import UserError, suggest
from rep_kedro.kernels.training.augment import (
    draw_affine_views,
    draw_crops,
    draw_flips,
    draw_lighting,
    draw_noise,
    draw_padded_crops,
)
from rep_kedro.kernels.training.colours import draw_blur, draw_colours, draw_solarised
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import MAX_SIDE_PX

Probability = Annotated[float, Field(ge=0, le=1)]
_MOVES = ("rotation_deg", "shift_fraction", "shear", "stretch")
_COLOURS = ("brightness", "contrast", "saturation", "hue", "grey_probability")


class Views(Parameters):
    """How far a view may differ from its image; the defaults change nothing.

    Changes are made in the order of this list.

    Attributes:
        crop_area: Smallest and largest share of the area of a random crop; (1, 1) for none.
        zoom: Smallest and largest magnification.
        rotation_deg: Largest rotation to either side.
        shift_fraction: Largest shift, as a fraction of the side.
        shear: Largest shear.
        stretch: Largest change of the aspect ratio, natural logarithm.
        flip_probability: Share of mirrored images.
        brightness: Largest relative change, as are contrast and saturation.
        contrast: Around the image's mean.
        saturation: Around grey.
        hue: Largest turn of the hues, in turns.
        jitter_probability: Share of images to which brightness, contrast, saturation and hue apply.
        colour_order: `random` applies these four in an order of each image's own and clips after each, as
            torchvision does; `fixed` in the order of this list, clipped once.
        grey_probability: Share of images without colour.
        blur_probability: Share of blurred images.
        blur_sigma_px: Smallest and largest standard deviation of the blur.
        blur_window: Side of the blur's window, as a fraction of the image's; at least 3 pixels.
        solarise_probability: Share of images whose pixels from 128 of 255 on are inverted.
        noise_std: Standard deviation of pixel noise.
        padding_px: Width of a black margin around the image, before a crop of its own side; comes first.
        lighting_std: Standard deviation of noise along the principal directions of colours, for colour
            images; comes before pixel noise.
    """

    crop_area: tuple[float, float] = (1.0, 1.0)
    zoom: tuple[float, float] = (1.0, 1.0)
    rotation_deg: float = Field(default=0.0, ge=0, le=180)
    shift_fraction: float = Field(default=0.0, ge=0, le=1)
    shear: float = Field(default=0.0, ge=0)
    stretch: float = Field(default=0.0, ge=0)
    flip_probability: Probability = 0.0
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)
    jitter_probability: Probability = 1.0
    colour_order: Literal["fixed", "random"] = "fixed"
    grey_probability: Probability = 0.0
    blur_probability: Probability = 0.0
    blur_sigma_px: tuple[float, float] = (0.1, 2.0)
    blur_window: float = Field(default=0.1, gt=0, le=1)
    solarise_probability: Probability = 0.0
    noise_std: float = Field(default=0.0, ge=0)
    padding_px: int = Field(default=0, ge=0, le=MAX_SIDE_PX, exclude_if=lambda px: px == 0)
    lighting_std: float = Field(default=0.0, ge=0, exclude_if=lambda std: std == 0)

    @model_validator(mode="after")
    def _require_ranges(self) -> Self:
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise UserError(
                f"crop_area must be an ascending pair above 0 and up to 1, got {list(self.crop_area)}"
            )
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise UserError(f"zoom must be a positive ascending pair, got {list(self.zoom)}")
        if not 0 < self.blur_sigma_px[0] <= self.blur_sigma_px[1]:
            raise UserError(
                f"blur_sigma_px must be a positive ascending pair, got {list(self.blur_sigma_px)}"
            )
        return self

    def changed(self, changes: Mapping[str, Any], what: str) -> "Views":
        """Return views with other settings.

        Args:
            changes: Settings by name.
            what: The option that has them, for messages.

        Raises:
            UserError: If a name or value is wrong; it names the option and the setting.
        """
        for name in changes:
            if name not in type(self).model_fields:
                raise UserError(f"{what}: unknown setting {name!r}; {suggest(name, type(self).model_fields)}")
        try:
            return type(self).model_validate({**self.model_dump(), **changes})
        except ValidationError as problem:
            error = problem.errors()[0]
            why = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
            if error["loc"]:  # else of several settings together, which the message names
                why = f"{'.'.join(map(str, error['loc']))} {why}, got {error['input']!r}"
            raise UserError(f"{what}: {why}") from problem

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each image; images are (n, c, h, w) in [0, 1].

        Raises:
            UserError: If there is lighting, and the images are grey.
        """
        if self.lighting_std and images.shape[1] != len("rgb"):
            raise UserError(
                f"views.lighting_std is for colour images; these have {images.shape[1]} channels: set it to 0"
            )
        if self.padding_px:
            images = draw_padded_crops(images, generator, padding_px=self.padding_px)
        if self.crop_area != (1.0, 1.0):
            images = draw_crops(images, generator, area=self.crop_area)
        if self.zoom != (1.0, 1.0) or any(getattr(self, name) for name in _MOVES):
            moves = {name: getattr(self, name) for name in _MOVES}
            images = draw_affine_views(images, generator, zoom=self.zoom, **moves)
        if self.flip_probability:
            images = draw_flips(images, generator, probability=self.flip_probability)
        if any(getattr(self, name) for name in _COLOURS):
            images = draw_colours(
                images,
                generator,
                jitter_probability=self.jitter_probability,
                order=self.colour_order,
                **{name: getattr(self, name) for name in _COLOURS},
            )
        if self.lighting_std:
            images = draw_lighting(images, generator, std=self.lighting_std)
        if self.blur_probability:
            images = draw_blur(
                images,
                generator,
                probability=self.blur_probability,
                sigma_px=self.blur_sigma_px,
                window=self.blur_window,
            )
        if self.solarise_probability:
            images = draw_solarised(images, generator, probability=self.solarise_probability)
        return draw_noise(images, generator, std=self.noise_std)
