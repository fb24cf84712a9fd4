"""How pixels become a network's input, as data that goes into the recipe."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import require_scaling
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import Side

if TYPE_CHECKING:
    import torch

    from rep_kedro.models.architecture import DefinedNetwork


class Preprocessing(Parameters):
    """The largest central square, resized to `resize_px`, its centre of `size_px` cut out, then scaled.

    Pixels / 255, less `mean`, divided by `std`. Every network sees the same central square of a stimulus,
    but for the margin that its own preprocessing cuts off.

    Attributes:
        size_px: Side of the network's input.
        resize_px: Side before the margin is cut off, at least `size_px`.
        interpolation: Of the resizing, always antialiased.
        mean: One value per channel; one channel makes the images grey.
        std: One value per channel.
    """

    size_px: Side
    resize_px: Side
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _require_consistent(self) -> Self:
        if self.resize_px < self.size_px:
            raise UserError(f"resize_px {self.resize_px} is below size_px {self.size_px}")
        if len(self.mean) != len(self.std) or len(self.mean) not in {1, 3}:
            raise UserError(f"mean and std need one or three values each, got {self.mean} and {self.std}")
        require_scaling(self.mean, self.std, "of the preprocessing")
        return self

    @classmethod
    def of_definition(cls, definition: "DefinedNetwork") -> Self:
        """Return what a network of this definition is fed."""
        spec = definition.input
        return cls(size_px=spec.size_px, resize_px=spec.size_px, mean=spec.mean, std=spec.std)

    def scale(self, images: "torch.Tensor") -> "torch.Tensor":
        """Return uint8 images (n, c, h, w) as the float32 input, on the device they are on."""
        import torch

        mean, std = (torch.tensor(x, device=images.device).view(-1, 1, 1) for x in (self.mean, self.std))
        return (images.float() / 255 - mean) / std
