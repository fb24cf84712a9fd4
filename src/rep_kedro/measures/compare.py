"""Compare all models under many measures in one call.

What measures of a family share (Gram matrices, distances, ranks, neighbour lists, bases) is made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError
from rep_kedro.measures.measure import MIN_STIMULI, Family, Measure

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

NO_REASON = "undefined; the kernel gives no reason"


@dataclass(frozen=True)
class Comparison:
    """Similarity of every model to every model under one measure.

    Attributes:
        values: Shape (n_models, n_models), float64; NaN where undefined. The diagonal is computed.
        reasons: For each NaN, by (row, column), why there is no value.
    """

    values: np.ndarray
    reasons: dict[tuple[int, int], str]


def compare_under(
    representations: Sequence[Tensor],
    measures: Iterable[Measure],
    *,
    memory_bytes: int,
    device: torch.device | str | None = None,
    names: Sequence[str] | None = None,
) -> Iterator[tuple[str, Comparison]]:
    """Compare every pair of models under every measure, sharing all preparation.

    The same as ``rep_kedro.measures.compare_models``, with measures in place of their ids: what is imported
    here does not grow with the registry, so that a new measure does not change the revision of this code.

    Args:
        representations: One matrix for each model.
        measures: From the registry.
        memory_bytes: Working memory.
        device: Where to compute.
        names: What reasons and errors call the models; ``representation 0`` and so on by default.
    """
    from rep_kedro.kernels.precision import in_full_precision

    chosen = list(measures)
    if memory_bytes <= 0:
        raise UserError(f"memory_bytes must be positive, got {memory_bytes}")
    called = names or [f"representation {index}" for index in range(len(representations))]
    _require_comparable(representations, called)
    for measure in chosen:
        if measure.compares == "outputs":
            _require_equal_widths(measure.id, representations, called)
    return in_full_precision(_compare_families(list(representations), chosen, memory_bytes, device, called))


def _compare_families(
    representations: list[Tensor],
    measures: list[Measure],
    memory_bytes: int,
    device: torch.device | str | None,
    names: Sequence[str],
) -> Iterator[tuple[str, Comparison]]:
    from rep_kedro.kernels.similarity.distinct_stimuli import find_copies
    from rep_kedro.kernels.undefined import explain

    if not measures:
        return
    prepared = in_one_type(representations, device)
    order, copies = list(Family), [find_copies(x) for x in prepared]
    for _, group in groupby(sorted(measures, key=lambda m: order.index(m.family)), lambda m: m.family):
        by_id = {measure.id: measure for measure in group}
        refusals = {
            name: _refusals(measure, prepared) | _too_few_different(measure, copies, len(prepared[0]))
            for name, measure in by_id.items()
        }
        for name in [name for name in by_id if len(refusals[name]) == len(prepared) ** 2]:
            del by_id[name]
            yield name, _refused(refusals[name], len(prepared))
        if not by_id:
            continue
        runner = next(iter(by_id.values())).runner
        requests = {name: dict(measure.parameters) for name, measure in by_id.items()}
        for name, values, reasons in runner(prepared, dict(requests), memory_bytes=memory_bytes):
            said = {pair: explain(why, names) for pair, why in reasons.items()}
            yield name, _conclude(values, said, refusals[name])
            del requests[name]
        if requests:
            raise ValueError(
                f"{runner.__module__} has no answer to {requests}; see the entries of the registry"
            )


def in_one_type(representations: Sequence[Tensor], device: torch.device | str | None = None) -> list[Tensor]:
    """Return representations in float64 where one holds numbers that float32 would round, else in float32.

    One type for all: values of two models cannot have more digits than the worse of them.
    """
    import torch

    exact = {torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8, torch.int16}
    dtype = torch.float32 if all(x.dtype in exact for x in representations) else torch.float64
    return [x.detach().to(device=device or x.device, dtype=dtype) for x in representations]


def _refusals(measure: Measure, representations: Sequence[Tensor]) -> dict[tuple[int, int], str]:
    """Return for each pair of models that the measure refuses why it does.

    What counts ranks or components is refused by the kernel, which knows them.
    """
    n_stimuli, widths = len(representations[0]), [x.shape[1] for x in representations]
    fewest = measure.fewest_stimuli
    if fewest.counts == "nothing" and n_stimuli < fewest.constant:
        reason = f"{measure.id} needs at least {fewest.constant} stimuli, got {n_stimuli}"
        return {(a, b): reason for a in range(len(widths)) for b in range(len(widths))}
    reasons = {
        (a, b): measure.refusal(n_stimuli, width_a, width_b)
        for a, width_a in enumerate(widths)
        for b, width_b in enumerate(widths)
    }
    return {pair: reason for pair, reason in reasons.items() if reason is not None}


def _too_few_different(
    measure: Measure, copies: Sequence[Tensor | None], n_stimuli: int
) -> dict[tuple[int, int], str]:
    """Return for each two models that saw too few different stimuli why they cannot be compared."""
    from rep_kedro.kernels.similarity.distinct_stimuli import count_distinct, describe_count

    fewest = measure.fewest_stimuli.given(0, 0)
    rows = range(len(copies))
    if measure.compares != "features" or n_stimuli < fewest:
        return {}
    few = [own is not None and int(own.max()) + 1 < fewest for own in copies]
    counts = {
        (a, b): count_distinct(copies[a], copies[b], n_stimuli)
        for a in rows
        for b in rows
        if a != b and few[a] and few[b]
    }
    return {
        pair: f"{measure.id} needs at least {fewest} different stimuli, got {describe_count(n, n_stimuli)}"
        for pair, n in counts.items()
        if n < fewest
    }


def _refused(refusals: Mapping[tuple[int, int], str], n_models: int) -> Comparison:
    import numpy as np

    return Comparison(np.full((n_models, n_models), np.nan), dict(refusals))


def _conclude(
    values: Tensor, reasons: Mapping[tuple[int, int], str], refusals: Mapping[tuple[int, int], str]
) -> Comparison:
    """Blank what the measure refuses, and see that every NaN has its reason."""
    import numpy as np

    matrix = values.cpu().double().numpy().copy()
    for pair in refusals:
        matrix[pair] = np.nan
    known = {**reasons, **refusals}
    undefined = sorted((int(a), int(b)) for a, b in np.argwhere(np.isnan(matrix)))
    return Comparison(matrix, {pair: known.get(pair, NO_REASON) for pair in undefined})


def _require_comparable(representations: Sequence[Tensor], names: Sequence[str]) -> None:
    import torch

    if not representations:
        raise UserError("no representations to compare, need at least one")
    for name, x in zip(names, representations, strict=True):
        if x.ndim != 2 or x.shape[1] == 0:
            raise UserError(
                f"{name} has shape {tuple(x.shape)}, need (n_stimuli, n_features) with at least one feature"
            )
        if len(x) != len(representations[0]):
            raise UserError(
                f"{name} has {len(x)} stimuli,"
                f" {names[0]} has {len(representations[0])}; all must have the same stimuli"
            )
        if len(x) < MIN_STIMULI:
            raise UserError(f"{name} has {len(x)} stimuli, need at least {MIN_STIMULI}")
        if x.is_complex():
            raise UserError(f"{name} is complex, need real numbers")
        # a finite sum has finite terms, and is found thirty times as fast
        if not torch.isfinite(x.sum()) and not torch.isfinite(x).all():
            rows = (~torch.isfinite(x).all(dim=1)).nonzero().flatten()
            raise UserError(
                f"{name} contains NaN or infinity in {len(rows)} of {len(x)} stimuli,"
                f" first in stimulus {int(rows[0])}"
            )


def _require_equal_widths(measure_id: str, representations: Sequence[Tensor], names: Sequence[str]) -> None:
    """Refuse outputs for different classes, shape (n_stimuli, n_classes)."""
    for name, x in zip(names, representations, strict=True):
        if x.shape[1] != representations[0].shape[1]:
            raise UserError(
                f"{measure_id} compares outputs for the same classes, but {names[0]} has"
                f" {representations[0].shape[1]} columns and {name} has {x.shape[1]}"
            )
