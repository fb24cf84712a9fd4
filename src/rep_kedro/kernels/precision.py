"""Products of float32 numbers in full float32, whatever reduced precision the process has enabled.

Multiplied in TensorFloat32 or bfloat16, float32 matrices keep three digits or two. What the process has set
is put back after every step, so that its own work in between is done as it asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch

Step = TypeVar("Step")

_WITHOUT_FLOAT64 = frozenset({"mps"})  # Metal has no double precision
FULL = ("ieee", "none")  # "none" leaves it to the surrounding settings, and nothing shortens there either


def accumulation_dtype(device: torch.device | str) -> torch.dtype:
    """Return the widest floating type that a device computes with: sums of many numbers are taken in it."""
    return torch.float32 if torch.device(device).type in _WITHOUT_FLOAT64 else torch.float64


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32: no TensorFloat32, no bfloat16, no autocast."""
    switches = (
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]  # set when torch is imported
    )
    shortened = [(switch, switch.fp32_precision) for switch in switches if switch.fp32_precision not in FULL]
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            for switch, _ in shortened:
                switch.fp32_precision = "ieee"
            yield
        finally:
            for switch, before in shortened:
                switch.fp32_precision = "none"
                if switch.fp32_precision != before:  # it was not the surrounding settings that said so
                    switch.fp32_precision = before


def in_full_precision(steps: Iterator[Step]) -> Iterator[Step]:
    """Take each step of an iterator in full precision, and none of what happens between them."""
    while True:
        with full_precision():
            try:
                step = next(steps)
            except StopIteration:
                return
        yield step
