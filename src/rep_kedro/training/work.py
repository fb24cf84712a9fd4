"""The training work: decode the images, train one network after another, and return members."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Tensors
from rep_kedro.datasets.plan import Json
from rep_kedro.datasets.platform import PLATFORM, describe_platform
from rep_kedro.machine import keep_freed_memory
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.trained import MONITOR_PREFIX, PROJECTOR_PREFIX
from rep_kedro.training.decoding import decode_splits
from rep_kedro.training.loop import train_in_moments
from rep_kedro.training.memory import PeakMemory
from rep_kedro.training.monitors.registry import make_monitors
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.params import DEFAULT_MEMORY_BYTES, Checkpoints
from rep_kedro.training.run import TrainedNetwork
from rep_kedro.training.spec import SNAPSHOT_MARK, NetworkSpec, PlannedNetwork
from rep_kedro.training.state import StateFile
from rep_kedro.training.stimuli import TrainingStimuli

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rep_kedro.datasets import ArrowHandle
    from rep_kedro.training.data_parallel import Processes

Networks = Mapping[str, PlannedNetwork]
"""What to make, by name."""


@dataclass(frozen=True)
class Place:
    """Where and how trainings are computed; part of no recipe.

    Attributes:
        device: Such as `cpu` or `cuda`.
        n_devices: On which each network is trained.
        n_at_once: Processes that train different networks at the same time.
        portable: Whether this process computes the same bytes on every machine; recorded with the members.
        memory_bytes: Decoded images that need more are read from a temporary file.
        checkpoints: Where the states of trainings are stored; None for nowhere.
        is_own_process: Whether this process does nothing else.
        processes: Those that train each network together; None for this one alone.
    """

    device: str = "cpu"
    n_devices: int = 1
    n_at_once: int = 1
    portable: bool = False
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    checkpoints: Checkpoints | None = None
    is_own_process: bool = False
    processes: "Processes | None" = None


def train_networks(
    names: Sequence[str], networks: Networks, stimulus_sets: "Mapping[str, ArrowHandle]", place: Place
) -> Iterator[tuple[str, Tensors | Exception]]:
    """Train the named networks one after the other; one that fails does not stop the others.

    A network and its snapshots come from one training, which ends when the last of them is there.

    Args:
        names: Which networks and snapshots.
        networks: All that are planned.
        stimulus_sets: By name.
        place: Where and how.

    Yields:
        Name, and the member or the error that took its place.
    """
    keep_freed_memory()
    stimuli = _Stimuli(stimulus_sets, place.memory_bytes)
    for base, wanted in by_training(names).items():
        waiting = dict(wanted)
        planned = networks[next(iter(wanted))]
        try:
            began = perf_counter()
            images = stimuli.of(planned.spec, planned.architecture)
            peak = PeakMemory(place.device, may_reset=place.is_own_process)
            with closing(_train(base, list(wanted.values()), planned, images, place)) as moments:
                for moment, trained in moments:
                    name = base if moment is None else f"{base}{SNAPSHOT_MARK}{moment}"
                    if name in waiting:
                        waiting.pop(name)
                        costs = {**peak.read(), "seconds": perf_counter() - began}
                        yield name, _to_member(trained, networks[name].spec, place, costs)
                        began = perf_counter()
                    if not waiting:
                        break
        except Exception as error:
            yield from ((name, error) for name in waiting)


def _train(
    name: str, moments: Sequence[str | None], planned: PlannedNetwork, images: TrainingStimuli, place: Place
) -> Generator[tuple[str | None, TrainedNetwork]]:
    """Train one network."""
    spec, architecture = planned.spec, planned.architecture
    yield from train_in_moments(
        name,
        architecture,
        make_objective(spec.objective, spec.options),
        seed=spec.seed,
        order_seed=spec.order_seed,
        schedule=spec.schedule,
        stimuli=images,
        device=place.device,
        processes=place.processes,
        precision=spec.precision,
        monitors=make_monitors(spec.monitors),
        metrics=spec.metrics,
        moments=[moment for moment in moments if moment is not None],
        state_file=_state_file(name, planned, place),
    )


def _state_file(name: str, planned: PlannedNetwork, place: Place) -> StateFile | None:
    if place.checkpoints is None:
        return None
    platform = describe_platform(place.device, portable=place.portable)
    identity = {"recipe": planned.digest, PLATFORM: platform}
    chosen = place.checkpoints
    stores = place.processes is None or place.processes.rank == 0
    seconds = chosen.seconds if stores else math.inf
    return StateFile(Path(chosen.folder), name, identity, seconds=seconds, steps=chosen.steps)


def by_training(names: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """Return the names by the network that is trained for them, each with its moment."""
    found: dict[str, dict[str, str | None]] = {}
    for name in names:
        base, _, moment = name.partition(SNAPSHOT_MARK)
        found.setdefault(base, {})[name] = moment or None
    return found


def _to_member(trained: TrainedNetwork, spec: NetworkSpec, place: Place, costs: dict[str, Json]) -> Tensors:
    network = trained.network
    history = [{**metrics, "epoch": int(metrics["epoch"])} for metrics in trained.history]
    state = _without_counters(network)
    state |= {f"{MONITOR_PREFIX}{name}": value for name, value in trained.watched.items()}
    meta: dict[str, Any] = {"monitors": trained.watched_meta} if trained.watched_meta else {}
    if trained.projector is not None:
        stored = _without_counters(trained.projector)
        state |= {f"{PROJECTOR_PREFIX}{name}": value for name, value in stored.items()}
        meta |= {"projector": trained.projector.definition}
    meta |= {"ended": trained.ended} if trained.ended else {}
    meta |= {"moment": spec.moment} if spec.moment else {}
    meta |= {"order_seed": spec.order_seed} if spec.order_seed is not None else {}
    return Tensors(
        state,
        {
            **meta,
            "architecture": spec.architecture,
            "definition": network.architecture.as_json(),
            "objective": spec.objective,
            "seed": spec.seed,
            "stimulus_set": spec.stimulus_set,
            "n_classes": network.n_classes,
            "input_px": network.architecture.input.size_px,
            "history": history,
            "n_updates": trained.n_updates,
            "n_images_seen": trained.n_images_seen,
            "test_accuracy": history[-1].get("test_accuracy"),
            PLATFORM: describe_platform(place.device, portable=place.portable),
        },
        journal=costs,
    )


def _without_counters(module: "nn.Module") -> dict[str, "Tensor"]:
    """Return a state; nothing reads batch counters, which not every reader of the format takes."""
    return {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}


class _Stimuli:
    """Decoded images, once for each stimulus set and form; those of the last set are kept."""

    def __init__(self, handles: "Mapping[str, ArrowHandle]", memory_bytes: int) -> None:
        self._handles, self._memory_bytes = handles, memory_bytes
        self._found: dict[tuple[str, int, int, str | None, int | None], TrainingStimuli] = {}

    def of(self, spec: NetworkSpec, architecture: DefinedNetwork) -> TrainingStimuli:
        """Return the images of a network's stimulus set, as its architecture takes them."""
        name, taken = spec.stimulus_set, architecture.input
        form = (name, taken.size_px, taken.channels, spec.labels, spec.n_test)
        if form not in self._found:
            self._found = {key: value for key, value in self._found.items() if key[0] == name}
            self._found[form] = decode_splits(
                self._handles[name],
                taken.size_px,
                taken.channels,
                labels=spec.labels,
                n_test=spec.n_test,
                memory_bytes=self._memory_bytes,
            )
        return self._found[form]
