"""Settings of the random views that objectives train on."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.kernels.training.augment import (
    draw_affine_views,
    draw_colours,
    draw_crops,
    draw_flips,
    draw_lighting,
    draw_noise,
    draw_padded_crops,
)
from rep_kedro.parameter_model import PlainNumbers
from rep_kedro.parameter_rules import MAX_SIDE_PX


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
        padding_px: Width of a black margin around the image, before a crop of its own side; comes first.
        lighting_std: Standard deviation of noise along the principal directions of colours, for colour
            images; comes before pixel noise.
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
    padding_px: int = Field(default=0, ge=0, le=MAX_SIDE_PX, exclude_if=lambda px: px == 0)
    lighting_std: float = Field(default=0.0, ge=0, exclude_if=lambda std: std == 0)

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
        if self.lighting_std:
            images = draw_lighting(images, generator, std=self.lighting_std)
        return draw_noise(images, generator, std=self.noise_std)
