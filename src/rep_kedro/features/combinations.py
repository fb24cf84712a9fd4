"""Several networks as one: their concatenated features."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey, code_revision
from rep_kedro.errors import UserError, suggest
from rep_kedro.features.spec import Combination, describe
from rep_kedro.features.views import FeatureView, FittedOn, Reading, layer_of

if TYPE_CHECKING:
    import numpy as np

    from rep_kedro.features.chain import FittedStep

LAYER = "combined"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CombinationView:
    """Features of several networks as one network with one layer, ``combined``.

    Each network's features are seen through its own view, then concatenated, reduced, and get rows
    of length one.

    Attributes:
        key: ``<stimulus set>/<combination>``.
        combination: What is combined, and how.
        members: Views by network, in the combination's order.
        layers: Layer of each network.
        fitted_on: Which of the seen rows the reduction is fitted on; None for all.
    """

    key: str
    combination: Combination
    members: Mapping[str, FeatureView]
    layers: Mapping[str, str]
    fitted_on: FittedOn | None = None

    @property
    def is_plain(self) -> bool:
        """A combination is never stored."""
        return False

    @property
    def meta(self) -> Mapping[str, Any]:
        """As that of stored features of a network with one layer."""
        first = next(iter(self.members.values())).meta
        kept = {name: first[name] for name in ("n_stimuli", "stimulus_ids_sha256")}
        return {**kept, "layers": [LAYER], "final_layer": LAYER}

    @property
    def reference(self) -> dict[str, Any]:
        """References of all networks, layers and transform."""
        return {
            "key": self.key,
            "members": [view.reference for view in self.members.values()],
            "layers": list(self.layers.values()),
            "transform": describe(self.combination.transform),
            "fitted_on": "all" if self.fitted_on is None else self.fitted_on.name,
            "code": code_revision("rep_kedro.features.combinations"),
        }

    def open(self) -> Reading:
        """Return what reads the features; its only layer is ``combined``."""
        return Reading(self.key, self.meta, self._read)

    def _read(self, layer: str) -> "tuple[np.ndarray[Any, Any], dict[str, list[FittedStep]]]":
        import numpy as np

        from rep_kedro.features.chain import explain_fewer_components, fit_and_apply
        from rep_kedro.features.views import require_finite, share_memory
        from rep_kedro.kernels.layers.feature_transform import ZeroLengthError

        if layer != LAYER:
            raise KeyError(f"combination {self.key} has only the layer {LAYER!r}, got {layer!r}")
        fitted: dict[str, list[FittedStep]] = {}
        parts = []
        for model, view in self.members.items():
            reading = view.open()
            parts.append(reading.tensor(self.layers[model]))
            for steps in reading.fitted.values():
                fitted[model] = steps
        joined = share_memory(np.concatenate(parts, axis=1))
        del parts
        require_finite(self.key, LAYER, joined)
        fit_rows = None if self.fitted_on is None else self.fitted_on.choose()
        try:
            made, fitted[""] = fit_and_apply(joined, self.combination.transform, fit_rows=fit_rows)
        except ZeroLengthError as error:
            raise UserError(f"combination {self.key}: {error}") from error
        if fewer := explain_fewer_components(self.combination.transform, fitted[""]):
            _log.info("combination %s has %s: its features vary in no more directions", self.key, fewer)
        return made.numpy(), fitted


def list_combinations(
    combinations: Mapping[str, Combination],
    available: Mapping[str, Sequence[str]],
    view: "Callable[[str], FeatureView]",
    fitted_on: "Callable[[str], FittedOn | None]",
    without: Collection[str] = (),
) -> list[CombinationView]:
    """Return each combination on each stimulus set on which its networks have features.

    Args:
        combinations: By name.
        available: Networks with features, by stimulus set.
        view: Returns the view of ``<stimulus set>/<model>``.
        fitted_on: Returns which rows transforms are fitted on, by stimulus set.
        without: ``<stimulus set>/<combination>`` of those to leave out.

    Raises:
        ValueError: If a combination has the name of a network, its networks have features together on no
            stimulus set, one of them has no features where another has, lacks the layer, or saw other
            stimuli.
    """
    found = []
    for name, combination in combinations.items():
        made = []
        for stimulus_set, models in available.items():
            if name in models:
                raise UserError(f"combination {name!r} has the name of a network; choose another")
            if str(MemberKey(stimulus_set, name)) not in without and set(combination.models) & set(models):
                made.append(_combine(name, combination, stimulus_set, models, view, fitted_on))
        if not made and not any(str(MemberKey(stimulus_set, name)) in without for stimulus_set in available):
            known = {model for models in available.values() for model in models}
            hint = suggest(combination.models[0], known)
            raise UserError(f"combination {name!r} names no network with features; {hint}")
        found += made
    return found


def _combine(
    name: str,
    combination: Combination,
    stimulus_set: str,
    models: Sequence[str],
    view: "Callable[[str], FeatureView]",
    fitted_on: "Callable[[str], FittedOn | None]",
) -> CombinationView:
    missing = [model for model in combination.models if model not in models]
    if missing:
        raise UserError(
            f"combination {name!r} names {missing[0]!r}, which has no features of {stimulus_set!r}; "
            f"{suggest(missing[0], models)}"
        )
    members = {model: view(str(MemberKey(stimulus_set, model))) for model in combination.models}
    hashes = {str(member.meta["stimulus_ids_sha256"]) for member in members.values()}
    if len(hashes) > 1:
        raise UserError(
            f"networks of combination {name!r} saw different stimuli of {stimulus_set}, or another order: "
            f"{', '.join(combination.models)}"
        )
    layers = {model: layer_of(member, combination.layer) for model, member in members.items()}
    key = str(MemberKey(stimulus_set, name))
    return CombinationView(key, combination, members, layers, fitted_on(stimulus_set))
