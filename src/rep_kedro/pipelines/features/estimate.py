"""What extracting features will take, reckoned before anything is computed.

Time comes from the journal where a network was read before, else from its operations and a short calibration
of the machine: right within a factor of two or three, which tells minutes from days.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rep_kedro.pipelines.features.forms import NetworkForm

_FLOAT_BYTES = 4
_CALIBRATION_SECONDS = 0.4


@dataclass(frozen=True)
class NetworkEstimate:
    """What one network will take.

    Attributes:
        model: Its name.
        n_members: Members planned.
        n_pending: Members to compute.
        n_stimuli: Images it is shown for them.
        n_flops: Operations of one image.
        seconds: Time for all pending members.
        is_measured: Whether the time is from the journal.
        disk_bytes: Size of the pending members.
        memory_bytes: Weights, the largest step of a batch, and the features of the largest set, twice.
    """

    model: str
    n_members: int
    n_pending: int
    n_stimuli: int
    n_flops: int
    seconds: float
    is_measured: bool
    disk_bytes: int
    memory_bytes: int


def estimate_network(
    model: str,
    form: NetworkForm,
    pending: Sequence[int],
    *,
    n_members: int,
    batch_size: int,
    seconds_per_stimulus: float,
    is_measured: bool,
) -> NetworkEstimate:
    """Return what one network will take.

    Args:
        model: Its name.
        form: Its sizes.
        pending: Number of stimuli of each pending member.
        n_members: Members planned, pending or not.
        batch_size: Images at a time.
        seconds_per_stimulus: Time of one image.
        is_measured: Whether that time is from the journal.
    """
    row_bytes = _FLOAT_BYTES * sum(form.widths.values())
    largest = max(pending, default=0)
    memory = (
        _FLOAT_BYTES * form.n_parameters
        + min(batch_size, largest) * form.activation_bytes
        + 2 * largest * row_bytes
    )
    return NetworkEstimate(
        model=model,
        n_members=n_members,
        n_pending=len(pending),
        n_stimuli=sum(pending),
        n_flops=form.n_flops,
        seconds=sum(pending) * seconds_per_stimulus,
        is_measured=is_measured,
        disk_bytes=sum(pending) * row_bytes,
        memory_bytes=memory if pending else 0,
    )


def seconds_by_model(
    journal: Mapping[tuple[str, str], Mapping[str, object]], n_stimuli: Mapping[str, int]
) -> dict[str, float]:
    """Return the time of one stimulus for every network that the journal of the features knows.

    Args:
        journal: Lines by key, `<stimulus set>/<model>`, and recipe digest.
        n_stimuli: Stimuli shown, by stimulus set.

    Returns:
        Seconds per stimulus over all its lines, loading included, by model.
    """
    total: dict[str, list[float]] = {}
    for (key, _), line in journal.items():
        stimulus_set, _, model = key.partition("/")
        seconds = line.get("seconds")
        if stimulus_set in n_stimuli and isinstance(seconds, int | float):
            so_far = total.setdefault(model, [0.0, 0.0])
            so_far[0] += seconds
            so_far[1] += n_stimuli[stimulus_set]
    return {model: seconds / shown for model, (seconds, shown) in total.items() if shown}


def measure_rate(device: str, threads: int | None) -> float:
    """Return the operations per second of this machine: a convolution and a matrix product, float32.

    Args:
        device: Where features are to be computed; the CPU is measured if it is not there.
        threads: CPU threads; None for all.
    """
    import torch

    place = device if device == "cpu" or torch.cuda.is_available() else "cpu"
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.no_grad():
            maps, kernel = torch.ones(8, 128, 28, 28, device=place), torch.ones(128, 128, 3, 3, device=place)
            tokens, weight = torch.ones(8 * 197, 384, device=place), torch.ones(384, 1536, device=place)
            n_flops = 2 * (8 * 128 * 28 * 28 * 128 * 9 + 8 * 197 * 384 * 1536)
            seconds, n_rounds = 0.0, -1
            while seconds < _CALIBRATION_SECONDS:
                began = time.perf_counter()
                torch.nn.functional.conv2d(maps, kernel, padding=1)
                torch.relu(tokens @ weight).sum().item()  # item() waits for the device
                n_rounds += 1
                seconds += (time.perf_counter() - began) * (n_rounds > 0)  # the first is to warm up
    finally:
        torch.set_num_threads(before)
    return n_flops * n_rounds / seconds
