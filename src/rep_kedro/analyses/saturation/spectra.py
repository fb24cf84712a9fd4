"""Spectra of a training: those that the saturation monitor stored, or those of the stored weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rep_kedro.datasets import Tensors
from rep_kedro.models.sources.trained import MONITOR_PREFIX, restore_trained_network
from rep_kedro.training.evaluation import EVALUATION_BATCH
from rep_kedro.training.monitors.saturation import Reading, SaturationSettings, evaluation_purpose
from rep_kedro.training.monitors.spectra_log import SpectraLog
from rep_kedro.training.objectives.protocol import embed
from rep_kedro.training.repeatable import make_stream, repeatable
from rep_kedro.training.work import decode_splits

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle, TensorsHandle
    from rep_kedro.training.stimuli import TrainingStimuli


def was_watched(network: "TensorsHandle", settings: SaturationSettings) -> bool:
    """Return whether the network's training stored the spectra that these settings give."""
    monitors = network.meta.get("monitors", {})
    return bool(monitors.get(settings.id, {}).get("reading") == settings.reading())


def copy_watched(network: "TensorsHandle", settings: SaturationSettings) -> Tensors:
    """Return the spectra that a training stored."""
    prefix = f"{MONITOR_PREFIX}{settings.id}/"
    names = [name for name in network.names if name.startswith(prefix)]
    tensors: dict[str, Any] = {name.removeprefix(prefix): network.tensor(name) for name in names}
    return Tensors(tensors, {**network.meta["monitors"][settings.id], "is_watched": True})


def evaluate_stored(
    networks: Mapping[str, tuple["TensorsHandle", SaturationSettings]],
    stimulus_sets: Mapping[str, "ArrowHandle"],
    names: Sequence[str],
    *,
    device: str,
) -> Iterator[tuple[str, Tensors | Exception]]:
    """Yield the spectra that stored weights give in evaluation mode, those of the last epoch alone.

    They are, bit for bit on the same machine, those that the monitor stores after that epoch.

    Args:
        networks: Networks and what is read of them, by name.
        stimulus_sets: What they were trained on, by name.
        names: Which networks.
        device: Where to compute.

    Yields:
        Name, and spectra or the error that stopped this network alone.
    """
    decoded: dict[tuple[str, int, int], TrainingStimuli] = {}
    for name in names:
        handle, settings = networks[name]
        try:
            network = restore_trained_network(handle).to(device)
            spec = network.architecture.input
            form = (handle.meta["stimulus_set"], spec.size_px, spec.channels)
            if form not in decoded:
                decoded[form] = decode_splits(stimulus_sets[form[0]], *form[1:])
            with repeatable(device):
                yield name, _evaluate(handle, network, settings, decoded[form], device)
        except Exception as error:
            yield name, error


def _evaluate(
    handle: "TensorsHandle",
    network: Any,
    settings: SaturationSettings,
    stimuli: "TrainingStimuli",
    device: str,
) -> Tensors:
    history = handle.meta["history"]
    epoch = int(history[-1]["epoch"]) if history else 0
    reading = Reading(settings, network, stimuli, device)
    reading.require_memory(handle.key)
    reading.start(make_stream(handle.meta["seed"], f"monitor:{evaluation_purpose(epoch)}"))
    with torch.no_grad():
        for images in reading.images.split(EVALUATION_BATCH):
            embed(network, nn.Identity(), images.to(device).float() / 255)
    log = SpectraLog()
    log.note("eval", epoch, reading.watch.take())
    return Tensors(dict(log.tensors()), {**reading.describe(), **log.meta(), "is_watched": False})
