"""Entries of networks that the user's own Python code makes."""

from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator

from rep_kedro.models.own_code import CodePlace
from rep_kedro.models.places import StatePlace
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.entry import NetworkEntry
from rep_kedro.parameter_rules import Seed


class PythonModel(CodePlace, NetworkEntry):
    """A network that Python code of the user makes. Reading it runs the code: `features.allow_code: true`.

    Attributes:
        file, module, class_: The code, see `CodePlace`.
        arguments: What it is called with, by name.
        weights: A file of weights: its path, or a mapping with `path` or `url`, see `StatePlace`.
        preprocessing: How pixels become the input: `size_px`, `mean`, `std`; `resize_px` is `size_px` unless
            given, `interpolation` bilinear.
        seed: Of weights that the code draws.
    """

    source: Literal["python"]
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

    def recipe(self) -> dict[str, Any]:
        """Return what the network depends on; code and weights count by their content."""
        apart = {"file", "weights", "preprocessing"}
        found = {name: value for name, value in super().recipe().items() if name not in apart}
        which = (
            self.weights.model_dump(mode="json", exclude={"path", "url", "sha256"}) if self.weights else None
        )
        return {**found, "state": which}
