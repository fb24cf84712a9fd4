"""The measured peak memory of a training: what grew, or why it cannot be seen."""

import platform
import subprocess
import sys

import pytest
import torch

from rep_kedro.training.memory import REASON, PeakMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is measured on Linux")
MANY = 64 * 2**20


def test_the_growth_of_the_process_is_measured():
    code = f"""if True:
        import torch
        from rep_kedro.training.memory import PEAK, PeakMemory
        torch.ones(3 * {MANY}, dtype=torch.uint8)
        peak = PeakMemory("cpu", may_reset=True)
        torch.ones({MANY}, dtype=torch.uint8)  # a peak stays when its memory is given back
        print(peak.read()[PEAK])
    """  # in a process of its own: one that ran other tests gives memory back at any time
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 0.9 * MANY < int(done.stdout) < 1.5 * MANY


def test_a_peak_below_an_earlier_one_has_a_reason():
    torch.ones(2 * MANY, dtype=torch.uint8)
    peak = PeakMemory("cpu", may_reset=False)
    torch.ones(MANY, dtype=torch.uint8)
    assert peak.read() == {REASON: "the process had used as much memory before"}


def test_other_devices_have_a_reason():
    assert list(PeakMemory("meta", may_reset=False).read()) == [REASON]


STEPS = """
import resource, sys
import numpy as np
from rep_kedro.machine import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    return [np.ones(1 << 20) for _ in range(6)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries return memory by other rules")
def test_what_a_step_frees_serves_the_next_one_without_new_pages():
    found = {
        way: int(subprocess.run([sys.executable, "-c", STEPS, way], capture_output=True, check=True).stdout)
        for way in ("returned", "kept")
    }
    assert found["kept"] < 200
    assert found["returned"] > 5_000
