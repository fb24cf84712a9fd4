"""Definitions of networks to train that a library or code of the user builds, not layers written as data."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, JsonValue

from rep_kedro.models.architecture import Architecture, DefinedNetwork


class ForeignDefinition(DefinedNetwork):
    """A network that is built by calling a constructor.

    Attributes:
        library: Whose constructor it is; `python` is code of the user.
        name: Of the network in its library; of code the class, or `<module>:<class>`.
        arguments: What the constructor is called with, by name.
        keep: Layers whose features are stored: names of submodules, or glob patterns.
        file: Of code that is no installed module: where it is. Part of no recipe.
        classes_argument: Of code: the argument that takes the number of classes.
        code: Digests of the code, by module.
    """

    library: Literal["timm", "torchvision", "python"]
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    keep: tuple[str, ...] = Field(min_length=1)
    file: str | None = None
    classes_argument: str | None = None
    code: dict[str, str] | None = None

    @property
    def builder(self) -> str:
        """The dotted name of the module that builds it."""
        return f"rep_kedro.models.sources.{self.library}"

    def as_json(self) -> dict[str, Any]:
        """Return the definition as plain JSON data, without where its file is."""
        return self.model_dump(mode="json", exclude={"file"}, exclude_none=True)


def read_definition(content: Mapping[str, Any]) -> DefinedNetwork:
    """Return a definition from the JSON data that `as_json` or `model_dump` gave."""
    kind = ForeignDefinition if "library" in content else Architecture
    return kind.model_validate(content)
