"""The highest memory use of a training, as measured."""

from contextlib import suppress
from pathlib import Path

import torch

from rep_kedro.datasets.plan import Json

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs"), "5"
"""What makes Linux measure the peak of this process from now on."""
PEAK, REASON = "peak_memory_bytes", "peak_memory_reason"


class PeakMemory:
    """Measures from its making on, for one training.

    On a GPU this is the most that torch had allocated. On a CPU it is by how much the memory of the whole
    process grew at most. It can be less than the training needs, because a process uses memory again that it
    has freed but not returned; and where the process had used more before, it cannot be seen.

    Args:
        device: Where the training computes.
        may_reset: Whether the peak of the process so far may be forgotten, which others may want to know.
    """

    def __init__(self, device: str, *, may_reset: bool) -> None:
        self._device = torch.device(device)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif _STATUS.exists():
            if may_reset:
                with suppress(OSError):  # a container may forbid it
                    _RESET[0].write_text(_RESET[1], encoding="ascii")
            self._resident, self._peak = _read("VmRSS"), _read("VmHWM")

    def read(self) -> dict[str, Json]:
        """Return the peak in bytes, or the reason why it is not known, for the journal."""
        if self._device.type == "cuda":
            return {PEAK: torch.cuda.max_memory_allocated(self._device)}
        if self._device.type != "cpu" or not _STATUS.exists():
            return {REASON: "memory is measured on Linux and on CUDA devices"}
        if (peak := _read("VmHWM")) <= self._peak:
            return {REASON: "the process had used as much memory before"}
        return {PEAK: peak - self._resident}


def _read(name: str) -> int:
    """Return a line of the status of this process, in bytes."""
    status = _STATUS.read_text(encoding="ascii", errors="replace")
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024
