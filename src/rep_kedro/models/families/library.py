"""Networks of timm, torchvision and code of the user, to be trained here from drawn weights."""

from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, StrictBool, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import Size
from rep_kedro.models.families.variant import Variant
from rep_kedro.models.foreign import ForeignDefinition
from rep_kedro.models.own_code import CodePlace, digest_code

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _LibraryVariant(Variant):
    """One network of a library.

    Attributes:
        name: In the library.
        arguments: Further arguments of its constructor, by name.
        layers: Layers whose features are stored: names of submodules, or glob patterns.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9]\w*$")
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    layers: tuple[str, ...] = Field(min_length=1)
    size_px: Size = 224
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD

    library: ClassVar[Literal["timm", "torchvision"]]

    def define(self) -> ForeignDefinition:
        """Return how the library builds it."""
        return ForeignDefinition(
            description=self.description or f"{self.name} of {self.library}",
            input=self.input,
            library=self.library,
            name=self.name,
            arguments=self.arguments,
            keep=self.layers,
        )


class TimmVariant(_LibraryVariant):
    """One network of timm; `name` as `resnet18`."""

    family: ClassVar[str] = "timm"
    library: ClassVar[Literal["timm", "torchvision"]] = "timm"


class TorchvisionVariant(_LibraryVariant):
    """One network of torchvision; `name` as `densenet121`."""

    family: ClassVar[str] = "torchvision"
    library: ClassVar[Literal["timm", "torchvision"]] = "torchvision"

    @model_validator(mode="after")
    def _require_three_channels(self) -> Self:
        if self.channels != len("rgb"):
            raise UserError(f"networks of torchvision take images of 3 channels, not {self.channels}")
        return self


class PythonVariant(CodePlace, Variant):
    """One network that code of the user makes; training and reading it run that code.

    Attributes:
        file, module, class_: The code, see `CodePlace`.
        arguments: What it is called with, by name.
        classes_argument: The argument that takes the number of classes, the width of its only layer so wide.
        layers: Layers whose features are stored: names of submodules, or glob patterns.
        allow_code: That the code may be run: it may do all that Python may.
    """

    family: ClassVar[str] = "python"

    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    classes_argument: str = Field(default="num_classes", pattern=r"^[A-Za-z_]\w*$")
    layers: tuple[str, ...] = Field(min_length=1)
    allow_code: StrictBool = False

    def define(self) -> ForeignDefinition:
        """Return how the code builds it, with the digests of the code; nothing is run.

        Raises:
            UserError: If the code is not allowed, missing or no Python.
        """
        if not self.allow_code:
            raise UserError(
                f"training {self.title} runs its Python code, which may do anything on this machine:"
                " read it, then set allow_code: true"
            )
        return ForeignDefinition(
            description=self.description or f"{self.maker}, code of the user",
            input=self.input,
            library="python",
            name=self.class_ or str(self.module),
            arguments=self.arguments,
            keep=self.layers,
            file=self.file,
            classes_argument=self.classes_argument,
            code=digest_code(self),
        )
