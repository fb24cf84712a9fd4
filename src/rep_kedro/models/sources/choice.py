"""Which networks from elsewhere a study has: parameters that more than one pipeline reads."""

from difflib import get_close_matches
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.sources.specs import ModelEntry

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ModelChoice(BaseModel):
    """Which networks from elsewhere a study has.

    Attributes:
        models: Networks by name. Null leaves out one that another configuration defines.
        model_groups: More networks, by group and name, that are left alone unless `groups` names their group.
        groups: Names of groups to add; one text may name several, as `places+middle`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[ModelName, ModelEntry | None] = {}
    model_groups: dict[str, dict[ModelName, ModelEntry]] = {}
    groups: str | list[str] = []

    @model_validator(mode="after")
    def _require_known_groups(self) -> Self:
        self.entries()
        return self

    def entries(self) -> dict[str, ModelEntry]:
        """Return the entries that are wanted, by name: those of `models`, then those of the chosen groups.

        Raises:
            ValueError: If a group is unknown, or gives a name that is taken.
        """
        found = {name: entry for name, entry in self.models.items() if entry is not None}
        wanted = self.groups.replace("+", " ").split() if isinstance(self.groups, str) else self.groups
        for group in wanted:
            if group not in self.model_groups:
                close = get_close_matches(group, self.model_groups)
                hint = f", did you mean {close[0]!r}" if close else ""
                known = ", ".join(self.model_groups) or "none"
                raise UserError(f"unknown group {group!r}{hint}; known: {known}")
            for name, entry in self.model_groups[group].items():
                if found.get(name, entry) != entry:
                    raise UserError(f"group {group!r} has another {name!r} than there is already")
                found[name] = entry
        return found
