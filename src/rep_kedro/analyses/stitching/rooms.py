"""Room for activations: in memory up to a limit, beyond it in a scratch file."""

from math import prod

import numpy as np
import torch
from torch import Tensor

from rep_kedro.kernels.scratch import scratch_file

_FLOAT_BYTES = 4


class ActivationRoom:
    """Gives room for float32 activations.

    What exceeds the limit is in mapped scratch files (``kernels/scratch.py``).

    Args:
        memory_bytes: The most in memory, over all tensors given.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._left = memory_bytes

    def give(self, shape: tuple[int, ...]) -> Tensor:
        """Return a float32 tensor to be filled.

        Raises:
            OSError: If the disk has no room for it; nothing has been written then.
        """
        n_bytes = prod(shape) * _FLOAT_BYTES
        if n_bytes <= self._left:
            self._left -= n_bytes
            return torch.empty(shape)
        with scratch_file(n_bytes) as stream:
            return torch.from_numpy(np.memmap(stream, np.float32, "r+", shape=shape))
