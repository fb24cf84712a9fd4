"""How many stimuli a similarity needs: the same networks compared on fewer and fewer of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.similarity.params import SampleSizeParams, SimilarityParams
from rep_kedro.analyses.similarity.selection import (
    NO_SUBSETS,
    Selection,
    choose_device,
    leave_out_sets,
    select_features,
)
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision
from rep_kedro.errors import UserError
from rep_kedro.measures import Measure, closest_measures, get_measure
from rep_kedro.schemas.similarity import SAMPLE_SIZES

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = DataFrame = TensorsHandle = Any  # so that Kedro can read the hints

CURVES = "similarity"
NO_PAIRS = "no pair of networks has a defined similarity"
FEW_PAIRS = "no correlation with all: it needs three pairs of networks with similarities that differ"


def plan_sample_size_curves(
    features: Mapping[str, TensorsHandle],
    similarity: SimilarityParams,
    params: SampleSizeParams,
    stimulus_subsets: Mapping[str, ArrowHandle] = NO_SUBSETS,
) -> Plan:
    """Plan the similarities on nested subsets of the stimuli, for each stimulus set and chosen measure.

    Args:
        features: Handles by ``<stimulus set>/<model>``; nothing is read while planning.
        similarity: Which networks, stimulus sets, stimuli and layers, transformed how.
        params: Which measures, sizes and orders.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; ids are read where a subset is named.

    Returns:
        Plan by ``<stimulus set>/<measure>``; empty without orders. A member contains ``similarity``, shape
        (n_orders, n_sizes, n_pairs), pairs of different networks in the order of rows above the diagonal;
        meta: ``labels``, ``sizes``.

    Raises:
        ValueError: If a measure has no curve, or as for the similarity matrices.
    """
    if not params.n_orders:
        return Plan()
    measures = [require_curve(measure_id) for measure_id in params.measures]
    plan = Plan()
    leave_out_sets(plan, params.measures, features, similarity, stimulus_subsets)
    for selection in select_features(features, similarity, stimulus_subsets):
        layers = selection.layers(similarity.layer)
        batch = _curve_batch(selection, layers, similarity, params)
        members = {}
        for measure in measures:
            recipe = {
                "measure": measure.recipe(),
                "features": selection.references,
                "layers": layers,
                **params.model_dump(include={"sizes", "n_orders", "max_stimuli", "seed"}),
                "code": code_revision("rep_kedro.analyses.inference.subset_curves"),
            }
            members[measure.id] = Planned(recipe, batch)
        selection.enter(plan, members)
    return plan


def tabulate_sample_sizes(sample_size_curves: Mapping[str, TensorsHandle]) -> DataFrame:
    """Describe the similarities on every number of stimuli, and how far they are from those on all stimuli.

    Args:
        sample_size_curves: Handles by ``<stimulus set>/<measure>``.

    Returns:
        Columns as in docs/tables.md: one row per stimulus set, measure and size. Quartiles
        are over pairs of networks and orders, changes are absolute differences from the largest size.
    """
    rows: list[dict[str, Any]] = []
    for key, handle in sorted(sample_size_curves.items()):
        stimulus_set, measure_id = MemberKey.parse(key)
        for row in _rows_of(handle):
            rows.append({"stimulus_set": stimulus_set, "measure": measure_id, **row})
    return SAMPLE_SIZES.frame(rows)


def _rows_of(handle: TensorsHandle) -> Iterator[dict[str, Any]]:
    import numpy as np

    pairs = np.array(handle.tensor(CURVES))  # (n_orders, n_sizes, n_pairs)
    pairs = pairs[:, :, np.isfinite(pairs).all(axis=(0, 1))]
    for index, size in enumerate(handle.meta["sizes"]):
        here, changes = pairs[:, index], np.abs(pairs[:, index] - pairs[:, -1])
        described = [np.nan] * 5
        if here.size:
            quartiles = np.quantile(here, [0.25, 0.75])
            described = [here.mean(), *quartiles, changes.mean(), changes.max()]
        names = ("mean_similarity", "first_quartile", "third_quartile", "mean_change", "largest_change")
        correlation = _mean_correlation(here, pairs[:, -1])
        yield {
            "n_stimuli": int(size),
            "n_orders": len(pairs),
            "n_pairs": pairs.shape[-1],
            **{name: float(value) for name, value in zip(names, described, strict=True)},
            "pearson_with_all": correlation,
            "reason": NO_PAIRS if not here.size else FEW_PAIRS if np.isnan(correlation) else "",
        }


def _mean_correlation(here: Any, everything: Any) -> float:
    """Return Pearson's r over pairs of networks, meaned over orders; NaN where it is undefined for one."""
    import torch

    from rep_kedro.kernels.statistics.correlation import correlate_rows

    if here.shape[-1] < 3:
        return float("nan")
    rows = torch.from_numpy(here), torch.from_numpy(everything)
    two = torch.stack(rows, dim=1)  # (n_orders, 2, n_pairs)
    valid = torch.ones_like(two[:, 0], dtype=torch.bool)
    return float(correlate_rows(two, valid, coefficient="pearson")[:, 0, 1].mean())


def require_curve(measure_id: str) -> Measure:
    """Return a measure that can be followed over the number of stimuli.

    Raises:
        ValueError: If it cannot.
    """
    measure = get_measure(measure_id)
    if not measure.has_interval:
        others = ", ".join(closest_measures(measure_id, lambda other: other.has_interval))
        raise UserError(
            f"measure {measure_id!r} has no curve over the number of stimuli; {others} and others have one:"
            " change sample_sizes.measures"
        )
    return measure


def _curve_batch(
    selection: Selection, layers: Mapping[str, str], similarity: SimilarityParams, params: SampleSizeParams
) -> Batch:
    def compute(keys: Sequence[str]) -> Iterator[tuple[str, object]]:
        import torch

        from rep_kedro.analyses.inference.nulls import MIN_STIMULI, draw_stimuli
        from rep_kedro.analyses.inference.subset_curves import trace_measure
        from rep_kedro.datasets import Tensors
        from rep_kedro.kernels.statistics.resampling import draw_permutations

        representations = selection.load(layers)
        n_stimuli = len(next(iter(representations.values())))
        if n_stimuli < MIN_STIMULI:
            raise UserError(
                f"stimulus set {selection.stimulus_set} has {n_stimuli} stimuli, curves over their number "
                f"need at least {MIN_STIMULI}; leave it out of similarity.stimulus_sets, or turn off all "
                "curves with sample_sizes.n_orders: 0"
            )
        chosen = draw_stimuli(n_stimuli, params.max_stimuli, params.seed)
        device = choose_device(similarity.device)
        used = [x[chosen].to(device) for x in representations.values()]
        sizes = [*(size for size in sorted(set(params.sizes)) if size < len(chosen)), len(chosen)]
        generator = torch.Generator().manual_seed(params.seed)
        orders = draw_permutations(len(chosen), params.n_orders, generator=generator)
        first, second = torch.triu_indices(len(used), len(used), offset=1)
        for key in keys:
            measure = get_measure(MemberKey.parse(key).name)
            curves = trace_measure(used, measure, orders, sizes)
            pairs = curves.cpu()[:, :, first, second]
            yield key, Tensors({CURVES: pairs}, {"labels": list(representations), "sizes": sizes})

    return Batch(compute)
