"""Entries of networks that the user's own Python code makes."""

from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.entry import NetworkEntry
from rep_kedro.models.sources.places import StatePlace
from rep_kedro.parameter_rules import Seed


class PythonModel(NetworkEntry):
    """A network that Python code of the user makes. Reading it runs the code: `features.allow_code: true`.

    Attributes:
        file: A Python file; `~` and environment variables are filled in. It may import modules of its folder.
        module: `<module>:<class or function>` of an installed or importable module, instead of `file`.
        class_: In YAML `class`: the class, or a function that returns the network, in `file`.
        arguments: What it is called with, by name.
        weights: A file of weights: its path, or a mapping with `path` or `url`, see `StatePlace`.
        preprocessing: How pixels become the input: `size_px`, `mean`, `std`; `resize_px` is `size_px` unless
            given, `interpolation` bilinear.
        seed: Of weights that the code draws.
    """

    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True)

    source: Literal["python"]
    file: str | None = None
    module: str | None = Field(default=None, pattern=r"^\w+(\.\w+)*:\w+(\.\w+)*$")
    class_: str | None = Field(default=None, alias="class", pattern=r"^\w+(\.\w+)*$")
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    weights: StatePlace | None = None
    preprocessing: Preprocessing
    seed: Seed = 0

    places: ClassVar[dict[str, Any]] = {"file": True, "weights": {"path": True, "url": True}}

    @field_validator("weights", mode="before")
    @classmethod
    def _take_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("preprocessing", mode="before")
    @classmethod
    def _take_size(cls, value: object) -> object:
        return (
            {"resize_px": value["size_px"], **value}
            if isinstance(value, dict) and "size_px" in value
            else value
        )

    @model_validator(mode="after")
    def _require_one_place(self) -> Self:
        if (self.file is None) == (self.module is None):
            raise UserError("set either file or module")
        if (self.file is None) != (self.class_ is None):
            raise UserError(
                "file needs class: the class, or function, that makes the network"
                if self.file is not None
                else f"module names the class, as in module: {self.module}; leave out class"
            )
        return self

    @property
    def maker(self) -> str:
        """The class or function that makes the network."""
        return self.class_ or str(self.module).partition(":")[2]

    @property
    def title(self) -> str:
        """What messages call the network."""
        return f"{self.file}:{self.class_}" if self.file is not None else str(self.module)

    def recipe(self) -> dict[str, Any]:
        """Return what the network depends on; code and weights count by their content."""
        apart = {"file", "weights", "preprocessing"}
        found = {name: value for name, value in super().recipe().items() if name not in apart}
        which = (
            self.weights.model_dump(mode="json", exclude={"path", "url", "sha256"}) if self.weights else None
        )
        return {**found, "state": which}
