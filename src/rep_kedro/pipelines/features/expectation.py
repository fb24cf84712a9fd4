"""What reading one network will take, from its entry, the stimuli, and what earlier runs took."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.models.sources.specs import TrainedModel
from rep_kedro.pipelines.features.estimate import (
    NetworkEstimate,
    estimate_network,
    measure_speed,
    reckon_seconds,
    seconds_by_model,
)
from rep_kedro.pipelines.features.forms import NetworkForm, describe_form, describe_trained_form
from rep_kedro.pipelines.features.params import FeaturesParams

if TYPE_CHECKING:
    from rep_kedro.datasets import TensorsHandle


def expect_network(
    model: str,
    networks: "Mapping[str, TensorsHandle]",
    params: FeaturesParams,
    pending: Sequence[int],
    *,
    n_members: int,
    n_stimuli: Mapping[str, int],
    journal: Mapping[tuple[str, str], Mapping[str, Any]],
) -> NetworkEstimate:
    """Return what one network will take.

    Args:
        model: Its name.
        networks: Handles of the networks trained here, by name.
        params: The model registry, and how networks are read.
        pending: Number of stimuli of each pending member.
        n_members: Members planned, pending or not.
        n_stimuli: Stimuli shown, by stimulus set.
        journal: Of the features.

    Raises:
        ValueError: If the network's form cannot be found out.
    """
    form = find_form(model, networks, params)
    measured = seconds_by_model(journal, n_stimuli).get(model)
    seconds = measured or 0.0
    if pending and measured is None:
        speed = measure_speed(params.device, params.threads)
        seconds = reckon_seconds(
            form, speed, batch_size=params.batch_size, decode_threads=params.decode_threads
        )
    return estimate_network(
        model,
        form,
        pending,
        n_members=n_members,
        batch_size=params.batch_size,
        seconds_per_stimulus=seconds,
        is_measured=measured is not None,
        decode_threads=params.decode_threads,
    )


def find_form(model: str, networks: "Mapping[str, TensorsHandle]", params: FeaturesParams) -> NetworkForm:
    """Return the sizes of a network, trained here or from elsewhere."""
    entry = params.entries().get(model, TrainedModel(source="trained", network=model))
    pooling = entry.pooling or params.pooling
    if isinstance(entry, TrainedModel):
        return describe_trained_form(networks[entry.network], entry.layers, pooling=pooling)
    return describe_form(entry, pooling=pooling)
