"""Room for activations: in memory up to a limit, beyond it in a scratch file."""

import os
import tempfile
from math import prod

import numpy as np
import torch
from torch import Tensor

_FLOAT_BYTES = 4


class ActivationRoom:
    """Gives room for float32 activations.

    What exceeds the limit is in mapped files in the folder for temporary files (``TMPDIR``). They have no
    name, so that nothing of them is left, not even after a kill.

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
        with tempfile.TemporaryFile(prefix="rep_kedro-stitching-") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(n_bytes, 1))  # a mapped write to a full disk kills
            return torch.from_numpy(np.memmap(stream, np.float32, "r+", shape=shape))
