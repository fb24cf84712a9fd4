"""What the variants of every family may say, and the input that they are built for."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import Field

from rep_kedro.models.architecture import (
    Architecture,
    DefinedNetwork,
    Initialisation,
    InputSpec,
    Size,
)
from rep_kedro.parameter_model import Parameters

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)  # as in published code; its own are wider


class Variant(Parameters, ABC):
    """One line of data: a network of a family.

    Attributes:
        description: What it is and whose.
        channels: Of the images; one makes them grey.
        size_px: Side of the images.
        mean: Of the input, per channel, with pixels in [0, 1]; one value stands for all channels.
        std: Of the input, per channel.
    """

    family: ClassVar[str]

    description: str = ""
    channels: Size = 3
    size_px: Size = 32
    mean: tuple[float, ...] = CIFAR10_MEAN
    std: tuple[float, ...] = CIFAR10_STD

    @property
    def input(self) -> InputSpec:
        """What the network is fed."""
        mean, std = (
            values * self.channels if len(values) == 1 else values for values in (self.mean, self.std)
        )
        return InputSpec(channels=self.channels, size_px=self.size_px, mean=mean, std=std)

    @abstractmethod
    def define(self) -> DefinedNetwork:
        """Return the definition that a network is built from."""


class LayeredVariant(Variant):
    """A variant that expands to named layers.

    Attributes:
        init: How weights are drawn.
    """

    init: Initialisation = Field(default="he")

    def define(self) -> Architecture:
        """Return the expanded layers."""
        layers, keep = self.expand()
        return Architecture.model_validate(
            {
                "description": self.description or f"A network of the family {self.family}",
                "input": self.input,
                "init": self.init,
                "layers": layers,
                "keep": keep,
            }
        )

    @abstractmethod
    def expand(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the layers as data, in depth order, and the names of those that are kept."""
