"""Entries of vision models in the layout of Hugging Face's transformers."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.sources.entry import NetworkEntry
from rep_kedro.parameter_rules import Seed, Side


class TransformersModel(NetworkEntry):
    """A vision model of transformers, or the image side of a two-sided one; needs the extra `transformers`.

    Attributes:
        name: `<owner>/<name>` of a repository, with `@<branch, tag or commit>` for another than the newest.
        folder: A local folder in the same layout (`config.json`, `*.safetensors`), instead of `name`.
        pretrained: Take the weights that are there; False draws new ones.
        seed: Of drawn weights.
        size_px: Side of the input, where it is not that of `preprocessor_config.json`.
        resize_px: Side before the margin is cut off, likewise.
        interpolation: Of the resizing, likewise.
        mean: Of the input, per channel, likewise.
        std: Of the input, per channel, likewise.
    """

    source: Literal["transformers"]
    name: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")
    folder: str | None = Field(default=None, min_length=1)
    pretrained: bool = True
    seed: Seed = 0
    size_px: Side | None = None
    resize_px: Side | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    places: ClassVar[dict[str, Any]] = {"folder": True}

    @model_validator(mode="after")
    def _require_one_place(self) -> Self:
        if (self.name is None) == (self.folder is None):
            raise UserError("set either name (of a repository) or folder")
        return self

    @property
    def title(self) -> str:
        """What messages call the network."""
        return str(self.name or self.folder)

    @property
    def has_published_weights(self) -> bool:
        """Whether the weights are those that are there, not drawn here."""
        return self.pretrained

    def recipe(self) -> dict[str, Any]:
        """Return what the network depends on; a folder counts by its content."""
        return {key: value for key, value in super().recipe().items() if key != "folder"}
