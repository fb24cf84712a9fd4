"""What is probed: features of networks through views, and combinations of networks."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rep_kedro.analyses.probing.fitting import make_probes
from rep_kedro.analyses.probing.labels import choose_label, draw_few, read_targets
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.datasets import MemberKey, Tensors
from rep_kedro.features import (
    CombinationView,
    FeatureSource,
    FeatureView,
    FittedOn,
    RowFinder,
    list_combinations,
)

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle

FITTED_ON = "labelled training stimuli"


def list_sources(
    features: "Mapping[str, TensorsHandle]",
    stimulus_subsets: "Mapping[str, ArrowHandle]",
    chosen: Mapping[str, tuple[Sequence[str], str]],
    params: ProbingParams,
    without: Collection[str] = (),
) -> Iterator[FeatureSource]:
    """Return what is probed on the chosen stimulus sets; no features are read.

    Args:
        features: Handles by ``<stimulus set>/<model>``.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``.
        chosen: Networks and key of the subset, by stimulus set.
        params: How features are transformed, and which networks are combined.
        without: Keys of combinations that cannot be made, because features are missing.

    Yields:
        One source for each network and stimulus set, then those of the combinations.

    Raises:
        ValueError: If a subset has stimuli that the features do not have, or a combination cannot be made.
    """
    finder = RowFinder(stimulus_subsets)

    def fitted_on(stimulus_set: str) -> FittedOn:
        return FittedOn(
            FITTED_ON, partial(_choose_training, stimulus_subsets[chosen[stimulus_set][1]], params)
        )

    def view(key: str) -> FeatureView:
        stimulus_set = MemberKey.parse(key).stimulus_set
        handle = features[key]
        return FeatureView(
            handle,
            rows=finder.find(handle, stimulus_subsets[chosen[stimulus_set][1]]),
            transform=params.transform,
            fitted_on=fitted_on(stimulus_set),
            ids=partial(finder.ids_of, handle),
        )

    for stimulus_set, (models, _) in chosen.items():
        for model in models:
            yield view(str(MemberKey(stimulus_set, model)))
    if chosen:
        available = {name: sorted(_models_of(features, name)) for name in chosen}
        yield from list_combinations(params.combinations, available, view, fitted_on, without)


def probe_source(source: FeatureSource, subset: "ArrowHandle", params: ProbingParams) -> Tensors:
    """Fit and test the probes of one source (``fitting.make_probes``); what transforms learned is kept too.

    Args:
        source: A network or a combination.
        subset: The stimulus subset that is seen.
        params: How to fit.
    """
    reading = source.open()
    made = make_probes(reading, subset, params)
    meta = dict(made.meta)
    if isinstance(source, CombinationView):
        meta["combination"] = list(source.members)
    return Tensors({**made.tensors, **reading.pack_fitted()}, meta)


def _models_of(features: "Mapping[str, TensorsHandle]", stimulus_set: str) -> list[str]:
    keys = map(MemberKey.parse, features)
    return [key.name for key in keys if key.stimulus_set == stimulus_set]


def _choose_training(subset: "ArrowHandle", params: ProbingParams) -> "Tensor":
    """Return which stimuli of a subset train: labelled, in the training split, and drawn if only few are."""
    return draw_few(
        read_targets(subset, choose_label(subset, params.labels)), params.few_shot, params.all_seeds[0]
    )
