"""Cost of extracting features: bytes from shapes, time from means of the journal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING

from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.sources.array_specs import FileModel
from rep_kedro.models.sources.specs import ModelEntry, TrainedModel

if TYPE_CHECKING:
    from rep_kedro.datasets import TensorsHandle

_FLOAT_BYTES = 4
_SIMILAR_RATIO = 10.0  # of operations; beyond it the time per operation is another


@dataclass(frozen=True)
class NetworkEstimate:
    """What the pending members of one network take.

    Attributes:
        model: Its name.
        n_pending: Members to compute.
        n_stimuli: Images to show.
        n_bytes: Size of the members.
        seconds: Time; None where earlier runs allow no estimate.
    """

    model: str
    n_pending: int
    n_stimuli: int
    n_bytes: int
    seconds: float | None


def estimate_networks(
    pending: Mapping[str, Mapping[str, int]],
    seconds_per_stimulus: Mapping[str, float],
    *,
    width_of: Callable[[str], int],
    flops_of: Callable[[str], int],
) -> list[NetworkEstimate]:
    """Return what each network with pending members takes, the longest first.

    The time of one stimulus is the network's own mean in earlier runs. A network without one takes the mean
    time per operation of the planned networks that have one and a tenth to ten times as many operations.

    Args:
        pending: Number of images to show, by network and stimulus set; empty where nothing is pending.
        seconds_per_stimulus: Mean time of one stimulus in earlier runs, by network.
        width_of: Returns the number of features of a network.
        flops_of: Returns the operations of one stimulus; called only where time is scaled by them.
    """
    flops_of = cache(flops_of)
    measured = [model for model in pending if model in seconds_per_stimulus]
    estimates = []
    for model, sets in pending.items():
        if not sets:
            continue
        n_stimuli, seconds = sum(sets.values()), seconds_per_stimulus.get(model)
        if seconds is None and measured:
            known = [(flops_of(other), seconds_per_stimulus[other]) for other in measured]
            seconds = _scale_seconds(flops_of(model), known)
        total = None if seconds is None else n_stimuli * seconds
        n_bytes = n_stimuli * _FLOAT_BYTES * width_of(model)
        estimates.append(NetworkEstimate(model, len(sets), n_stimuli, n_bytes, total))
    return sorted(estimates, key=lambda each: -(each.seconds or 0.0))


def _scale_seconds(n_flops: int, known: list[tuple[int, float]]) -> float | None:
    """Return the time of some operations from networks with similarly many, by operations and seconds."""
    fewest, most = n_flops / _SIMILAR_RATIO, n_flops * _SIMILAR_RATIO
    rates = [seconds / other for other, seconds in known if fewest <= other <= most and other]
    return n_flops * fmean(rates) if rates else None


def mean_seconds(
    journal: Mapping[tuple[str, str], Mapping[str, object]], n_stimuli: Mapping[str, int]
) -> dict[str, float]:
    """Return the mean time of one stimulus for every network in the journal of the features.

    Args:
        journal: Lines by key, `<stimulus set>/<model>`, and recipe digest.
        n_stimuli: Stimuli shown, by stimulus set.

    Returns:
        Seconds per stimulus over all lines of a network, loading included, by network.
    """
    total: dict[str, list[float]] = {}
    for (key, _), line in journal.items():
        stimulus_set, model = MemberKey.parse(key)
        seconds = line.get("seconds")
        if stimulus_set in n_stimuli and isinstance(seconds, int | float):
            so_far = total.setdefault(model, [0.0, 0.0])
            so_far[0] += seconds
            so_far[1] += n_stimuli[stimulus_set]
    return {model: seconds / shown for model, (seconds, shown) in total.items() if shown}


def width_of(model: str, *, networks: "Mapping[str, TensorsHandle]", params: FeaturesParams) -> int:
    """Return the number of features stored for one stimulus, over all layers, from shapes alone.

    Args:
        model: The network's name.
        networks: Handles of the networks trained here, by name; no weight is read.
        params: The model registry, and how networks are read.

    Raises:
        UserError: If the network is missing, or name, layers or pooling of its entry do not fit.
    """
    import torch

    from rep_kedro.models.layers import LayerReader
    from rep_kedro.models.outline import outline_network
    from rep_kedro.models.trained import (
        definition_of,
        layers_to_read,
        rebuild_trained_network,
        run_to_embedding,
    )

    entry = _entry_of(model, networks, params)
    if isinstance(entry, FileModel):
        from rep_kedro.features.from_files.members import width_of_file

        return width_of_file(entry)
    if isinstance(entry, TrainedModel):
        module = rebuild_trained_network(networks[entry.network])
        spec = definition_of(networks[entry.network]).input
        image = torch.empty(1, spec.channels, spec.size_px, spec.size_px, device="meta")
        layers = layers_to_read(networks[entry.network], entry.layers, with_embedding=params.embeddings)
        run = run_to_embedding(module, networks[entry.network], layers)
        reader = LayerReader(module.to("meta"), layers, example=image, run=run)
    else:
        reader = outline_network(entry).reader
    return sum(reader.widths(entry.pooling or params.pooling).values())


def flops_of(model: str, *, networks: "Mapping[str, TensorsHandle]", params: FeaturesParams) -> int:
    """Return the operations of one stimulus, two per multiply-accumulate; arguments as for `width_of`.

    Features from a file take none.
    """
    from rep_kedro.models.cost import count_trained_cost, count_zoo_cost

    entry = _entry_of(model, networks, params)
    if isinstance(entry, FileModel):
        return 0
    if isinstance(entry, TrainedModel):
        return count_trained_cost(networks[entry.network]).n_flops
    return count_zoo_cost(entry).n_flops


def _entry_of(model: str, networks: "Mapping[str, TensorsHandle]", params: FeaturesParams) -> ModelEntry:
    entry = params.entries().get(model, TrainedModel(source="trained", network=model))
    if isinstance(entry, TrainedModel) and entry.network not in networks:
        raise UserError(f"networks/{entry.network} is missing; run the training pipeline first")
    return entry
