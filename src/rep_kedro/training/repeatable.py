"""Random streams of a training, and computing in the same order every time."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rep_kedro.kernels.precision import full_precision


def make_stream(seed: int, purpose: str) -> torch.Generator:
    """Return a generator of its own for each purpose."""
    return torch.Generator().manual_seed(_number(seed, purpose))


@contextmanager
def drawing(seed: int, purpose: str, device: str) -> Iterator[None]:
    """Let torch's global generators, from which dropout draws, begin with the purpose; they are put back."""
    is_cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        # `torch.manual_seed` notes a traceback for each kind of device that is not in use, in every step
        (torch.manual_seed if is_cuda else torch.default_generator.manual_seed)(_number(seed, purpose))
        yield


def _number(seed: int, purpose: str) -> int:
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Compute in the same order every time, in full float32; on a CPU on one thread."""
    memory: Any = torch.utils.deterministic
    threads, filling = torch.get_num_threads(), memory.fill_uninitialized_memory
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if torch.device(device).type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may not repeat itself
    try:
        if torch.device(device).type == "cpu":
            torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False  # nothing here reads memory that was not written
        convolutions = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with full_precision(), convolutions:
            yield
    finally:
        memory.fill_uninitialized_memory = filling
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_num_threads(threads)
