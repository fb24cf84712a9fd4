"""What every entry of the model registry may say."""

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.places import Alignment
from rep_kedro.models.pooling_names import Layout, Pooling
from rep_kedro.parameter_model import Parameters


class Described(Parameters):
    """What an entry says for people.

    Attributes:
        objective: For the model card.
        trained_on: For the model card.
        architecture_class: For the model card, such as `transformer`; the architecture's name unless given.
    """

    objective: str = "unstated"
    trained_on: str | None = None
    architecture_class: str | None = None

    places: ClassVar[dict[str, Any]] = {"path": True, "url": True}

    def without_places(self) -> dict[str, Any]:
        """Return the entry as plain JSON, without where its files are."""
        return self.model_dump(mode="json", exclude=self.places)


class NetworkEntry(Described):
    """What an entry of a network says.

    Attributes:
        layers: Names of submodules, or glob patterns, whose features are kept.
        pooling: Differs from the pipeline's.
        layout: Where channels and tokens are in the layers' output; `auto` finds it out for each layer.
        n_prefix_tokens: Class token and registers before the patches; found out for each layer unless given.
        alignment: An affine map of the features of the one layer that is read, such as gLocal's.
    """

    layers: tuple[str, ...] = Field(min_length=1)
    pooling: Pooling | None = None
    layout: Layout = "auto"
    n_prefix_tokens: int | None = Field(default=None, ge=0)
    alignment: Alignment | None = None

    @model_validator(mode="after")
    def _require_one_aligned_layer(self) -> Self:
        if self.alignment and (len(self.layers) != 1 or set("*?") & set(self.layers[0])):
            raise UserError(
                f"alignment applies to one layer; name exactly one in layers, got {list(self.layers)}"
            )
        return self

    def recipe(self) -> dict[str, Any]:
        """Return what the network depends on; files count by their content, which is recorded elsewhere."""
        files = {"path", "url", "sha256"}
        apart = {*Described.model_fields, *files, "layers", "pooling", "alignment"}
        return self.model_dump(mode="json", exclude=apart)

    @property
    def title(self) -> str:
        """What messages call the network."""
        return str(getattr(self, "architecture", "") or getattr(self, "name", ""))
