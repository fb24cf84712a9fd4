"""What extracting features will take, reckoned before anything is computed.

Time comes from the journal where a network was read before, else from a network's operations, the bytes that
its steps read and write, and the size of its input, with a short calibration of the machine: right within a
factor of about two, which tells minutes from days.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from rep_kedro.datasets import MemberKey
from rep_kedro.pipelines.features.forms import NetworkForm

_FLOAT_BYTES = 4
_CALIBRATION_SECONDS = 0.12  # for each of five kinds of work
_SMALL_FLOATS, _LARGE_FLOATS = 1 << 20, 1 << 24
_FRESH_BYTES = 1 << 25  # larger pieces of memory come fresh from the system each time, which is slow
_PICTURE_PX = 64
_SMALL_PX, _LARGE_PX = 16, 224
_INPUT_COPIES = 3  # scaling holds the images, the images less the mean, and the result
_QUEUED_BATCHES = 2  # decoded, besides those that the decoding threads work on


@dataclass(frozen=True)
class Speed:
    """What this machine does in a second, in float32.

    Attributes:
        flops: Operations of convolutions and matrix products.
        small_bytes: Bytes that element-wise steps read and write, for tensors that fit into reused memory.
        large_bytes: The same for tensors that do not.
        n_inputs: Numbers of input that are resized and scaled, by one thread.
        image_seconds: Time that one thread needs for a small image, which all images need besides.
    """

    flops: float
    small_bytes: float
    large_bytes: float
    n_inputs: float
    image_seconds: float


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
        memory_bytes: What the program has now, weights, decoded images, the largest step of a batch, and the
            features of the largest set, twice.
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
    decode_threads: int = 1,
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
        decode_threads: Threads that decode images ahead.
    """
    row_bytes = _FLOAT_BYTES * sum(form.widths.values())
    largest = max(pending, default=0)
    image_bytes = form.n_inputs * (_FLOAT_BYTES * _INPUT_COPIES + decode_threads + _QUEUED_BATCHES)
    memory = (
        process_bytes()
        + _FLOAT_BYTES * form.n_parameters
        + min(batch_size, largest) * (form.activation_bytes + image_bytes)
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


def reckon_seconds(form: NetworkForm, speed: Speed, *, batch_size: int, decode_threads: int = 1) -> float:
    """Return the time of one stimulus from the sizes of a network and the speed of the machine."""
    is_large = batch_size * form.activation_bytes / 2 > _FRESH_BYTES
    traffic = form.traffic_bytes / (speed.large_bytes if is_large else speed.small_bytes)
    network = form.n_flops / speed.flops + traffic
    return network + (speed.image_seconds + form.n_inputs / speed.n_inputs) / decode_threads


def process_bytes() -> int:
    """Return the most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
        stimulus_set, model = MemberKey.parse(key)
        seconds = line.get("seconds")
        if stimulus_set in n_stimuli and isinstance(seconds, int | float):
            so_far = total.setdefault(model, [0.0, 0.0])
            so_far[0] += seconds
            so_far[1] += n_stimuli[stimulus_set]
    return {model: seconds / shown for model, (seconds, shown) in total.items() if shown}


@cache
def measure_speed(device: str, threads: int | None) -> Speed:
    """Return the speed of this machine, measured once for the life of the process.

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
            small, large = (torch.ones(n, device=place) for n in (_SMALL_FLOATS, _LARGE_FLOATS))

            def pass_over(values: torch.Tensor) -> None:
                torch.relu(values)[0].item()

            def multiply() -> None:
                torch.nn.functional.conv2d(maps, kernel, padding=1)
                (tokens @ weight)[0, 0].item()  # item() waits for the device

            image_seconds = _seconds_of(_picture_decoder(_SMALL_PX))
            n_flops = 2 * (8 * 128 * 28 * 28 * 128 * 9 + 8 * 197 * 384 * 1536)
            return Speed(
                flops=n_flops / _seconds_of(multiply),
                small_bytes=2 * small.nbytes / _seconds_of(partial(pass_over, small)),
                large_bytes=2 * large.nbytes / _seconds_of(partial(pass_over, large)),
                n_inputs=3
                * _LARGE_PX**2
                / max(_seconds_of(_picture_decoder(_LARGE_PX)) - image_seconds, 1e-6),
                image_seconds=image_seconds,
            )
    finally:
        torch.set_num_threads(before)


def _picture_decoder(side: int) -> Callable[[], object]:
    """Return a function that makes one image ready for a network, as extraction does."""
    import io

    import numpy as np
    from PIL import Image

    from rep_kedro.models.preprocessing import Preprocessing
    from rep_kedro.pipelines.features.images import make_pixels

    pixels = np.random.default_rng(0).integers(0, 255, (_PICTURE_PX, _PICTURE_PX, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    preprocessing = Preprocessing(size_px=side, resize_px=side, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def decode() -> object:
        import torch

        return preprocessing.scale(torch.from_numpy(make_pixels([buffer.getvalue()], preprocessing)))

    return decode


def _seconds_of(call: Callable[[], object]) -> float:
    """Return the time of one call: the mean after one to warm up."""
    call()
    n_calls, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < _CALIBRATION_SECONDS or not n_calls:
        call()
        n_calls += 1
    return seconds / n_calls
