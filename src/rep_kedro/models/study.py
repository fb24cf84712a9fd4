"""The networks that a study reads, and how: parameters of the features pipeline, also used by stitching."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, StrictBool, model_validator

from rep_kedro.errors import UserError, require_known
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.sources.specs import OWN_CODE, ModelEntry
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import MAX_NAME_CHARS

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MAX_NAME_CHARS)]


class StimulusFacts(Parameters):
    """What is known of a stimulus set before it is there.

    Attributes:
        title: Its name for people.
        group: Kind of images.
        n_train: Images of the training split.
        n_classes: Classes.
        n_analysis: Images that the networks are shown.
    """

    title: str
    group: str
    n_train: PositiveInt
    n_classes: PositiveInt
    n_analysis: PositiveInt


class FeaturesParams(Parameters):
    """Which networks see which images, and what is kept.

    Attributes:
        stimulus_facts: What is known of stimulus sets before they are there; read by `kedro plan` alone.
        stimulus_sets: Names of stimulus sets, or `all`.
        subset: Name of the subset of each set that is shown; its order is the order of the rows.
        networks: Names of networks trained here, or `all`.
        embeddings: Whether layer `embedding`, what the projector gives, is read of networks trained here that
            have one and whose entries name no layers.
        allow_code: Whether entries of source `python` may run the Python code that they name.
        models: Further networks, by name: see `rep_kedro.models.sources.specs`. Null leaves out one that
            another configuration defines.
        model_groups: More networks, by group and name, that are left alone unless `groups` names their group.
        groups: Names of groups to add; one text may name several, as `places+middle`.
        pooling: From activation to features, unless an entry overrides it.
        batch_size: Images at a time. Part of no recipe: it changes memory and speed, and at most last digits.
        device: Where to compute, such as `cpu` or `cuda`; part of no recipe.
        threads: CPU threads of torch, part of no recipe; null for all. Small networks are fastest on one, and
            their last digits then do not depend on the machine's number of cores.
        decode_threads: Threads that decode images while the network works, part of no recipe.
        autocast: Compute in mixed precision with this type; faster on GPUs, and other numbers: part of the
            recipe where it is set.
        channels_last: Lay maps out with the channels innermost: faster convolutions, other last digits; part
            of the recipe where it is set.
    """

    stimulus_facts: dict[str, StimulusFacts] = {}
    stimulus_sets: Literal["all"] | list[str] = "all"
    subset: str = "analysis"
    networks: Literal["all"] | list[str] = "all"
    embeddings: StrictBool = False
    allow_code: StrictBool = False
    models: dict[ModelName, ModelEntry | None] = {}
    model_groups: dict[str, dict[ModelName, ModelEntry]] = {}
    groups: str | list[str] = []
    pooling: Pooling = "average"
    batch_size: PositiveInt = 256
    device: str = "cpu"
    threads: PositiveInt | None = None
    decode_threads: PositiveInt = 1
    autocast: Literal["bfloat16", "float16"] | None = None
    channels_last: bool = False

    @model_validator(mode="after")
    def _require_known_groups(self) -> Self:
        self.entries()
        return self

    @model_validator(mode="after")
    def _require_allowed_code(self) -> Self:
        self.require_allowed(self.entries())
        return self

    def require_allowed(self, entries: Mapping[str, ModelEntry]) -> None:
        """Refuse entries, by name, whose Python code the study does not allow to run.

        Raises:
            UserError: Names them.
        """
        found = [f"{name} ({entry.title})" for name, entry in entries.items() if entry.source in OWN_CODE]
        if found and not self.allow_code:
            raise UserError(
                f"{', '.join(found)} would run Python code, which may do anything on this machine;"
                " read it, then set features.allow_code: true, or leave the entry out"
            )

    def entries(self) -> dict[str, ModelEntry]:
        """Return the entries that are wanted, by name: those of `models`, then those of the chosen groups.

        Raises:
            ValueError: If a group is unknown, or gives a name that is taken.
        """
        found = {name: entry for name, entry in self.models.items() if entry is not None}
        wanted = self.groups.replace("+", " ").split() if isinstance(self.groups, str) else self.groups
        for group in wanted:
            require_known("group", group, self.model_groups)
            for name, entry in self.model_groups[group].items():
                if found.get(name, entry) != entry:
                    raise UserError(f"group {group!r} redefines {name!r} with another value")
                found[name] = entry
        return found

    def precision(self) -> dict[str, str | bool]:
        """Return what the recipe says of the way of computing: nothing unless it was changed."""
        said: dict[str, str | bool] = {}
        if self.autocast:
            said["autocast"] = self.autocast
        if self.channels_last:
            said["channels_last"] = True
        return said
