"""Which features are compared: networks, stimulus sets, stimuli, layers; checked before anything is read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rep_kedro.datasets import MemberKey, Plan, Planned, missing_of
from rep_kedro.errors import UserError, suggest
from rep_kedro.features import FeatureSource, FeatureView, RowFinder, Transform
from rep_kedro.features.views import layer_of, require_finite, share_memory

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = Tensor = TensorsHandle = Any  # so that Kedro can read the hints

NO_SUBSETS: Mapping[str, ArrowHandle] = MappingProxyType({})


class FeatureChoice(Protocol):
    """The parameters by which features are chosen."""

    @property
    def stimulus_sets(self) -> Literal["all"] | list[str]:
        """Names of stimulus sets, or all."""

    @property
    def models(self) -> Literal["all"] | list[str]:
        """Names of networks, or all."""

    @property
    def subset(self) -> str | None:
        """The stimulus subset on which they are compared; None for all stimuli of the features."""

    @property
    def transform(self) -> Transform:
        """What is done to the features first."""


@dataclass(frozen=True)
class Selection:
    """The networks that are compared on one stimulus set.

    Attributes:
        stimulus_set: Its name.
        sources: Features by network, in alphabetical order, as they are seen.
        missing: Networks whose features are missing.
    """

    stimulus_set: str
    sources: Mapping[str, FeatureSource]
    missing: tuple[str, ...] = ()

    @property
    def references(self) -> list[dict[str, Any]]:
        """What the features are, for recipes."""
        return [dict(source.reference) for source in self.sources.values()]

    def enter(self, plan: Plan, members: Mapping[str, Planned]) -> None:
        """Add members of this stimulus set to a plan, with what they lack.

        Args:
            plan: What is planned so far.
            members: By id of the measure; they compare the networks that are there.
        """
        for measure_id, planned in members.items():
            key = str(MemberKey(self.stimulus_set, measure_id))
            plan[key] = planned
            if self.missing:
                plan.partial[key] = f"made without {', '.join(self.missing)}, whose features are missing"

    def layers(self, layer: str) -> dict[str, str]:
        """Return the layer of each network; ``final`` means its last.

        Raises:
            ValueError: If a network has no such layer.
        """
        return {model: layer_of(source, layer) for model, source in self.sources.items()}

    def load(self, layers: Mapping[str, str]) -> dict[str, Tensor]:
        """Read the features, one float32 matrix (n_stimuli, n_features) for each network.

        Features that are seen as they are stored are not copied: their pages are those of the file. They must
        not be written to. Chosen rows and transformed features are copies, so that all networks take
        4 * n_stimuli * (sum of n_features) bytes.

        Raises:
            ValueError: If a number is NaN or infinite, or a row that is to have length one has none.
        """
        found = {}
        for model, source in self.sources.items():
            found[model] = share_memory(source.open().tensor(layers[model]))
            require_finite(source.key, layers[model], found[model])
        return found


def select_features(
    features: Mapping[str, TensorsHandle],
    params: FeatureChoice,
    stimulus_subsets: Mapping[str, ArrowHandle] = NO_SUBSETS,
) -> Iterator[Selection]:
    """Choose the features that are compared, by stimulus set in alphabetical order; no features are read.

    Args:
        features: Handles by ``<stimulus set>/<model>``.
        params: Which networks, stimulus sets and stimuli, and how features are transformed.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``.

    Yields:
        One selection for each stimulus set of which there are features.

    Raises:
        ValueError: If a chosen stimulus set or network has no features, two networks saw other stimuli or
            saw them in another order, or a subset is not there or has stimuli that they did not see.
    """
    finder = RowFinder(stimulus_subsets)
    available: dict[str, list[str]] = {}
    missing = missing_of(features)
    without_subset = _sets_without(params.subset, stimulus_subsets)
    for key in sorted({*features, *missing}):
        stimulus_set, model = MemberKey.parse(key)
        available.setdefault(stimulus_set, []).append(model)
    for stimulus_set in _choose("stimulus set", params.stimulus_sets, list(available)):
        chosen = _choose("network", params.models, available[stimulus_set])
        keys = {model: str(MemberKey(stimulus_set, model)) for model in chosen}
        handles = {model: features[key] for model, key in keys.items() if key in features}
        if not handles or stimulus_set in without_subset:
            continue
        _require_same_stimuli(stimulus_set, handles)
        subset = _require_subset(stimulus_set, params.subset, stimulus_subsets)
        yield Selection(
            stimulus_set,
            {
                model: FeatureView(
                    handle,
                    rows=None if subset is None else finder.find(handle, subset),
                    transform=params.transform,
                    ids=partial(finder.ids_of, handle),
                )
                for model, handle in handles.items()
            },
            tuple(model for model in chosen if model not in handles),
        )


def leave_out_sets(
    plan: Plan,
    measure_ids: Iterable[str],
    features: Mapping[str, TensorsHandle],
    params: FeatureChoice,
    stimulus_subsets: Mapping[str, ArrowHandle] = NO_SUBSETS,
) -> None:
    """Say in a plan on which stimulus sets nothing can be compared, as all features or stimuli are missing.

    Args:
        plan: What is planned.
        measure_ids: Measures of the plan.
        features: Handles by ``<stimulus set>/<model>``.
        params: Which stimulus sets and stimuli are compared.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``.
    """
    gone = _sets_of(missing_of(features)) - _sets_of(features)
    absent = {name: f"features/{name}/* are missing" for name in gone}
    absent |= _sets_without(params.subset, stimulus_subsets)
    for name, why in sorted(absent.items()):
        if isinstance(params.stimulus_sets, str) or name in params.stimulus_sets:
            plan.left_out |= {str(MemberKey(name, measure_id)): why for measure_id in measure_ids}


def _sets_without(subset: str | None, stimulus_subsets: Mapping[str, ArrowHandle]) -> dict[str, str]:
    """Return why stimulus sets lack a subset that could not be drawn, by name of the set."""
    missing = map(MemberKey.parse, missing_of(stimulus_subsets))
    return {key.stimulus_set: f"stimulus_subsets/{key} is missing" for key in missing if key.name == subset}


def _sets_of(keys: Iterable[str]) -> set[str]:
    return {MemberKey.parse(key).stimulus_set for key in keys}


def choose_device(name: str) -> str:
    """Return the device to compute on: ``auto`` means the first GPU where there is one, else the CPU."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _choose(kind: str, wanted: str | list[str], available: list[str]) -> list[str]:
    """Return the wanted names, sorted, or all that are available.

    Raises:
        ValueError: If one is not available; the message has close matches.
    """
    if isinstance(wanted, str):
        return sorted(available)
    for name in wanted:
        if name not in available:
            raise UserError(f"no features of {kind} {name!r}; {suggest(name, available)}")
    return sorted(set(wanted))


def _require_subset(
    stimulus_set: str, subset: str | None, stimulus_subsets: Mapping[str, ArrowHandle]
) -> ArrowHandle | None:
    """Return the subset on which networks are compared; None for all stimuli of the features.

    Raises:
        ValueError: If the stimulus set has no such subset; the message has close matches.
    """
    if subset is None:
        return None
    key = str(MemberKey(stimulus_set, subset))
    if key not in stimulus_subsets:
        known = [k.name for k in map(MemberKey.parse, stimulus_subsets) if k.stimulus_set == stimulus_set]
        raise UserError(
            f"stimulus set {stimulus_set!r} has no subset {subset!r} for similarity.subset; "
            f"{suggest(subset, known)}"
        )
    return stimulus_subsets[key]


def _require_same_stimuli(stimulus_set: str, handles: Mapping[str, TensorsHandle]) -> None:
    by_ids: dict[str, list[str]] = {}
    for model, handle in handles.items():
        by_ids.setdefault(str(handle.meta["stimulus_ids_sha256"]), []).append(model)
    if len(by_ids) > 1:
        groups = " and ".join(", ".join(models[:3]) for models in by_ids.values())
        raise UserError(f"networks saw different stimuli of {stimulus_set}, or another order: {groups}")
