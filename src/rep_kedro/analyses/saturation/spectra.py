"""Spectra of a training: those that the saturation monitor stored, or those of the stored weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from rep_kedro.datasets import Tensors
from rep_kedro.models.trained import MONITOR_PREFIX, definition_of, restore_for_training
from rep_kedro.training.decoding import decode_splits
from rep_kedro.training.monitors.saturation import Reading, SaturationSettings, evaluation_purpose
from rep_kedro.training.monitors.spectra_log import SpectraLog
from rep_kedro.training.objectives.protocol import embed
from rep_kedro.training.repeatable import make_stream, repeatable
from rep_kedro.training.stimuli import EVALUATION_BATCH

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


class Stored(NamedTuple):
    """A network that was trained without the monitor.

    Attributes:
        moments: The network and its snapshots, in the order of their epochs.
        settings: What is read.
        stimulus_set: What it was trained on.
    """

    moments: tuple["TensorsHandle", ...]
    settings: SaturationSettings
    stimulus_set: "ArrowHandle"


def evaluate_stored(
    networks: Mapping[str, Stored], names: Sequence[str], *, device: str, memory_bytes: int
) -> Iterator[tuple[str, Tensors | Exception]]:
    """Yield the spectra that stored weights give in evaluation mode, of snapshots and of the last epoch.

    They are, bit for bit on the same machine, those that the monitor stores after these epochs.

    Args:
        networks: By name.
        names: Which networks.
        device: Where to compute.
        memory_bytes: Images that take more, decoded, are read from a temporary file.

    Yields:
        Name, and spectra or the error that stopped this network alone.
    """
    decoded: dict[tuple[Any, ...], TrainingStimuli] = {}
    for name in names:
        stored = networks[name]
        try:
            spec = definition_of(stored.moments[0]).input
            labels, n_test = (stored.moments[0].recipe.get(name) for name in ("labels", "n_test"))
            form = (stored.stimulus_set.key, spec.size_px, spec.channels, labels, n_test)
            if form not in decoded:
                images = decode_splits(
                    stored.stimulus_set,
                    spec.size_px,
                    spec.channels,
                    labels=labels,
                    n_test=n_test,
                    memory_bytes=memory_bytes,
                )
                decoded = {form: images}
            with repeatable(device):
                yield name, _evaluate(stored, decoded[form], device)
        except Exception as error:
            yield name, error


def _evaluate(stored: Stored, stimuli: "TrainingStimuli", device: str) -> Tensors:
    log, about = SpectraLog(), dict[str, Any]()
    for handle in stored.moments:
        network = restore_for_training(handle).to(device)
        reading = Reading(stored.settings, network, stimuli, device)
        reading.require_memory(handle.key)
        epoch = epoch_of(handle)
        reading.start(make_stream(handle.meta["seed"], f"monitor:{evaluation_purpose(epoch)}"))
        with torch.no_grad():
            for start in range(0, len(reading.images), EVALUATION_BATCH):
                images = reading.images[start : start + EVALUATION_BATCH]
                embed(network, nn.Identity(), images.to(device).float() / 255)
        log.note("eval", epoch, reading.watch.take())
        about = reading.describe()
    return Tensors(dict(log.tensors()), {**about, **log.meta(), "is_watched": False})


def epoch_of(network: "TensorsHandle") -> int:
    """Return after how many epochs a network or a snapshot was stored."""
    history = network.meta["history"]
    return int(history[-1]["epoch"]) if history else 0
