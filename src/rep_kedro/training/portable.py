"""Training that gives the same bytes on every x86-64 processor with AVX2.

The libraries under torch choose their code by the processor, once, when they are loaded. Training therefore
runs in processes of its own, with the choice made in its environment: one thread, AVX2 for torch and oneDNN,
and for MKL the branch that is the same for all makers (docs/adr/0010).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rep_kedro.training.processes import train_in_processes

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle, Tensors
    from rep_kedro.training.work import Networks, Place

ARITHMETIC = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
"""The environment that fixes the arithmetic; part of the recipes."""
_log = logging.getLogger(__name__)


def train_portably(
    names: Sequence[str], networks: "Networks", stimulus_sets: "Mapping[str, ArrowHandle]", place: "Place"
) -> "Iterator[tuple[str, Tensors | Exception]]":
    """Train networks as :func:`~.processes.train_in_processes` does, with the arithmetic fixed."""
    is_portable = _has_avx2()
    if not is_portable:
        _log.warning(
            "training.portable needs an x86-64 processor with AVX2, which this machine does not have:"
            " its networks differ from those of other machines in their last digits"
        )
    settings = ARITHMETIC if is_portable else {}
    place = replace(place, portable=is_portable)
    yield from train_in_processes(names, networks, stimulus_sets, place, settings)


def _has_avx2() -> bool:
    """Return whether the processor has the instructions, whatever torch in this process is limited to."""
    import torch

    return bool(torch.cpu._is_avx2_supported())
