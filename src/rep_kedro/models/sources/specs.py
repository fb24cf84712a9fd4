"""Entries of the model registry: a few lines of YAML per network, checked before any node runs."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, PositiveInt, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import require_scaling
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.places import StatePlace
from rep_kedro.models.sources.array_specs import DissimilaritiesModel, FeaturesModel
from rep_kedro.models.sources.code_specs import PythonModel
from rep_kedro.models.sources.entry import NetworkEntry
from rep_kedro.models.sources.transformers_spec import TransformersModel
from rep_kedro.parameter_rules import Seed, Side

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class TrainedModel(NetworkEntry):
    """A network of the training pipeline; all its kept layers unless `layers` selects others."""

    source: Literal["trained"]
    network: str
    layers: tuple[str, ...] = ()


class TimmModel(NetworkEntry):
    """A model of timm.

    Attributes:
        name: As `resnet18` or `resnet18.a1_in1k`, or `hf-hub:<owner>/<name>` of any repository in its layout.
        pretrained: Take the published weights; False draws new ones.
        seed: Of drawn weights.
        size_px: Input side, where the model allows another than its own.
        resize_px: Side before the margin is cut off, where it differs from that of the weights.
        interpolation: Of the resizing, where it differs from that of the weights.
        n_classes: Width of the head of a network with drawn weights.
    """

    source: Literal["timm"]
    name: str
    pretrained: bool = True
    seed: Seed = 0
    size_px: Side | None = None
    resize_px: Side | None = None
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = None
    n_classes: PositiveInt | None = None

    @model_validator(mode="after")
    def _require_drawn_head(self) -> Self:
        return _with_drawn_head(self)

    @property
    def has_published_weights(self) -> bool:
        """Whether the weights are published ones, not drawn here."""
        return self.pretrained


class TorchvisionModel(NetworkEntry):
    """A model of torchvision.

    Attributes:
        weights: Name of published weights, such as `IMAGENET1K_V1` or `DEFAULT`; null draws new ones.
        seed: Of drawn weights.
        n_classes: Width of the head of a network with drawn weights.
    """

    source: Literal["torchvision"]
    name: str
    weights: str | None = "DEFAULT"
    seed: Seed = 0
    n_classes: PositiveInt | None = None

    @model_validator(mode="after")
    def _require_drawn_head(self) -> Self:
        return _with_drawn_head(self)

    @property
    def has_published_weights(self) -> bool:
        """Whether the weights are published ones, not drawn here."""
        return self.weights is not None


class OpenClipModel(NetworkEntry):
    """The image side of a model of open_clip.

    Attributes:
        name: Of the library, or `hf-hub:<owner>/<name>` of any repository in its layout.
        pretrained: Tag of published weights, such as `openai`, or `hub` for those of a repository; null draws
            new ones.
        seed: Of drawn weights.
    """

    source: Literal["open_clip"]
    name: str
    pretrained: str | None
    seed: Seed = 0
    objective: str = "image-text"

    @property
    def has_published_weights(self) -> bool:
        """Whether the weights are published ones, not drawn here."""
        return self.pretrained is not None


class CheckpointModel(NetworkEntry, StatePlace):
    """A file of weights for one of this project's architectures.

    Attributes:
        architecture: Name of the architecture.
        path, url, sha256, within, prefix, rename, left_out, ignored: The file, see `StatePlace`.
        n_classes: Width of the head; null if the file has none.
        seed: Of the training, where it is known and the file is its end: networks that differ in nothing else
            are repeats.
        mean: Of the input, per channel, where it differs from the architecture's.
        std: Of the input, per channel, where it differs from the architecture's.
    """

    source: Literal["checkpoint"]
    architecture: str
    n_classes: PositiveInt | None = None
    seed: Seed | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layers: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _require_architecture(self) -> "CheckpointModel":
        definition = load_architecture(self.architecture)
        for key in ("mean", "std"):
            values = getattr(self, key)
            if values is not None and len(values) != definition.input.channels:
                raise UserError(
                    f"{key} needs one value per channel of {self.architecture!r}"
                    f" ({definition.input.channels}), got {list(values)}"
                )
        require_scaling(self.mean or (), self.std or (), "of the entry")
        return self

    def recipe(self) -> dict[str, Any]:
        """Return what the network depends on; the seed of weights that are read is a remark."""
        return {name: value for name, value in super().recipe().items() if name != "seed"}


class WeightsFileModel(NetworkEntry, StatePlace):
    """A file of weights, as published by others, for an architecture of timm, torchvision or open_clip.

    Attributes:
        architecture: Library and name, such as `torchvision/resnet50`. Of a model of open_clip the file need
            hold the image side alone.
        path, url, sha256, within, prefix, rename, left_out, ignored: The file, see `StatePlace`.
        n_classes: Width of the head, where it is not the library's.
        size_px: Side of the input.
        resize_px: Side before the margin is cut off.
        interpolation: Of the resizing.
        mean: Of the input, per channel. torchvision's GoogLeNet and Inception scale the default input to that
            of their first training, as torchvision's own loading does; with another mean or std they do not.
        std: Of the input, per channel.

    Without values, the input is that of ImageNet (224 of 256 pixels, bilinear), or of CLIP for open_clip (224
    pixels, bicubic).
    """

    source: Literal["weights_file"]
    architecture: str = Field(pattern=r"^((timm|torchvision)/\w+|open_clip/[\w.-]+)$")
    n_classes: PositiveInt | None = None
    size_px: Side = 224
    resize_px: Side = 256
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @model_validator(mode="before")
    @classmethod
    def _take_input_of_clip(cls, content: Any) -> Any:
        if isinstance(content, dict) and str(content.get("architecture")).startswith("open_clip/"):
            size = content.get("size_px", 224)
            clip = {"resize_px": size, "interpolation": "bicubic", "mean": CLIP_MEAN, "std": CLIP_STD}
            return {**clip, **content}
        return content

    @model_validator(mode="after")
    def _require_scaling(self) -> Self:
        require_scaling(self.mean, self.std, "of the entry")
        return self

    @property
    def library(self) -> str:
        """`timm`, `torchvision` or `open_clip`."""
        return self.architecture.partition("/")[0]

    @property
    def name(self) -> str:
        """Name of the architecture in its library."""
        return self.architecture.partition("/")[2]


_Drawn = TypeVar("_Drawn", bound=TimmModel | TorchvisionModel)


def _with_drawn_head(entry: _Drawn) -> _Drawn:
    if entry.n_classes is not None and entry.has_published_weights:
        raise UserError(
            f"n_classes: {entry.n_classes} applies to random weights; published weights have their own head"
        )
    return entry


ZooEntry = (
    TimmModel
    | TorchvisionModel
    | OpenClipModel
    | CheckpointModel
    | WeightsFileModel
    | PythonModel
    | TransformersModel
)
BuiltByName = TimmModel | TorchvisionModel | WeightsFileModel
"""Classifiers that a library builds from a name, without their weights."""
ModelEntry = Annotated[
    TrainedModel | ZooEntry | FeaturesModel | DissimilaritiesModel, Field(discriminator="source")
]

OWN_CODE = frozenset({"python"})
"""Sources that run code of the user."""
MAY_NEED_NUMBERS = frozenset({*OWN_CODE, "transformers"})
"""Sources whose networks may compute with numbers of their own, and so not be followed by shapes alone."""
FROM_FILES = frozenset({"checkpoint", "weights_file", "python"})
"""Sources whose weights are a file that the entry names."""
