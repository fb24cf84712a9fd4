"""Settings of the random views that objectives train on."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rep_kedro.kernels.training.augment import (
    draw_affine_views,
    draw_colours,
    draw_crops,
    draw_flips,
    draw_noise,
)
from rep_kedro.parameter_model import PlainNumbers


class Views(PlainNumbers, BaseModel):
    """How far a view may differ from its image; the defaults change nothing.

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
        grey_probability: Share of images without colour.
        noise_std: Standard deviation of pixel noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop_area: tuple[float, float] = (1.0, 1.0)
    zoom: tuple[float, float] = (1.0, 1.0)
    rotation_deg: float = Field(default=0.0, ge=0, le=180)
    shift_fraction: float = Field(default=0.0, ge=0, le=1)
    shear: float = Field(default=0.0, ge=0)
    stretch: float = Field(default=0.0, ge=0)
    flip_probability: float = Field(default=0.0, ge=0, le=1)
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    saturation: float = Field(default=0.0, ge=0, le=1)
    grey_probability: float = Field(default=0.0, ge=0, le=1)
    noise_std: float = Field(default=0.0, ge=0)

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each image; images are (n, c, h, w) in [0, 1]."""
        moves = {"rotation_deg", "shift_fraction", "shear", "stretch"}
        if self.crop_area != (1.0, 1.0):
            images = draw_crops(images, generator, area=self.crop_area)
        if self.zoom != (1.0, 1.0) or any(getattr(self, name) for name in moves):
            images = draw_affine_views(
                images, generator, zoom=self.zoom, **{name: getattr(self, name) for name in sorted(moves)}
            )
        if self.flip_probability:
            images = draw_flips(images, generator, probability=self.flip_probability)
        colours = {"brightness", "contrast", "saturation", "grey_probability"}
        if any(getattr(self, name) for name in colours):
            images = draw_colours(
                images, generator, **{name: getattr(self, name) for name in sorted(colours)}
            )
        return draw_noise(images, generator, std=self.noise_std)
