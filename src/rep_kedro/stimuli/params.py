"""Parameters of the ingest pipeline."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import without_nulls
from rep_kedro.stimuli.base import PlainName
from rep_kedro.stimuli.readers.derived import DerivedSpec
from rep_kedro.stimuli.sources import AnySource
from rep_kedro.stimuli.subsets import (
    AllRule,
    AnyRule,
    PublishedBootstrapRule,
    PublishedClassCapRule,
    StratifiedRule,
)

DEFAULT_SUBSET = "analysis"


class IngestParams(Parameters):
    """Which stimulus sets and subsets there are.

    A set or subset that is null is dropped, a set with its subsets: so an environment takes away what
    ``conf/base`` has.

    Attributes:
        stimulus_sets: Source of each set by name.
        stimulus_subsets: Rules by set and subset; a set without an entry gets one subset, ``analysis``, which
            holds all its stimuli. An empty entry means no subset.
        threads: Used to check large images; changes speed, not results.
    """

    stimulus_sets: dict[PlainName, AnySource]
    stimulus_subsets: dict[PlainName, dict[PlainName, AnyRule]] = Field(default_factory=dict)
    threads: int = Field(default=2, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("stimulus_sets"), Mapping):
            return values
        sets, subsets = values["stimulus_sets"], values.get("stimulus_subsets")
        kept = {**values, "stimulus_sets": without_nulls(sets)}
        if isinstance(subsets, Mapping):
            kept["stimulus_subsets"] = {
                name: without_nulls(rules)
                for name, rules in subsets.items()
                if rules is not None and not (name in sets and sets[name] is None)
            }
        return kept

    @model_validator(mode="after")
    def _require_known_sets(self) -> "IngestParams":
        named = [(name, f"stimulus_subsets.{name}") for name in self.stimulus_subsets]
        for set_name, rules in self.stimulus_subsets.items():
            for subset_name, rule in rules.items():
                if isinstance(rule, PublishedClassCapRule):
                    named += [
                        (name, f"stimulus_subsets.{set_name}.{subset_name}.after") for name in rule.after
                    ]
        for name, place in named:
            if name not in self.stimulus_sets:
                raise UserError(f"{place}: no stimulus set {name!r}; {suggest(name, self.stimulus_sets)}")
        return self

    @model_validator(mode="after")
    def _resolve_parents(self) -> "IngestParams":
        for name in self.stimulus_sets:
            self.stimulus_sets[name] = self._with_parents(name, ())
        return self

    def _with_parents(self, name: str, below: tuple[str, ...]) -> AnySource:
        """Return the source of a set; of a derived one with that of the set that it is made of."""
        spec = self.stimulus_sets[name]
        if not isinstance(spec, DerivedSpec):
            return spec
        place = f"stimulus_sets.{name}.of"
        if spec.of not in self.stimulus_sets:
            raise UserError(f"{place}: no stimulus set {spec.of!r}; {suggest(spec.of, self.stimulus_sets)}")
        if spec.of in {name, *below}:
            raise UserError(f"{place}: {spec.of!r} is itself made of {name!r}; one of them needs a source")
        return spec.with_parent(self._with_parents(spec.of, (*below, name)))

    @model_validator(mode="after")
    def _require_distinct_subsets(self) -> "IngestParams":
        for set_name, rules in self.stimulus_subsets.items():
            drawn_by: dict[str, str] = {}
            for subset_name, rule in rules.items():
                for name in _repeated_names(subset_name, rule):
                    other = drawn_by.setdefault(name, subset_name)
                    if other != subset_name:
                        raise UserError(
                            f"stimulus_subsets.{set_name}: {other!r} and {subset_name!r} both name a subset"
                            f" {name!r} (repeats add _s<seed>); rename one"
                        )
        return self

    def rules(self) -> dict[str, dict[str, AnyRule]]:
        """Return the rule of every subset by set and subset; repeated draws have one entry each."""
        return {
            set_name: {
                name: rule
                for subset_name, given in self.stimulus_subsets.get(
                    set_name, {DEFAULT_SUBSET: AllRule()}
                ).items()
                for name, rule in _repeat(subset_name, given).items()
            }
            for set_name in self.stimulus_sets
        }


def _repeat(subset_name: str, rule: AnyRule) -> dict[str, AnyRule]:
    names = _repeated_names(subset_name, rule)
    return {name: rule.model_copy(update=changes) for name, changes in names.items()}


def _repeated_names(subset_name: str, rule: AnyRule) -> dict[str, dict[str, int]]:
    """Return the names of the subsets that a rule draws, and in what each of them differs from it."""
    if not isinstance(rule, StratifiedRule | PublishedBootstrapRule) or rule.repeats == 1:
        return {subset_name: {}}
    seeds = range(rule.seed, rule.seed + rule.repeats)
    return {f"{subset_name}_s{seed}": {"seed": seed, "repeats": 1} for seed in seeds}
