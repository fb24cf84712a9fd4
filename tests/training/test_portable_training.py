"""Portable training: the same bytes whatever the environment asks for; no process outlives its parent."""

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import numpy as np
import pytest
import torch
from tests.small_collections import ARROW, make_stimuli, run_plan, store

from rep_kedro.datasets import CollectionError, TensorsDataset
from rep_kedro.kernels.training.portable import portable_sqrt
from rep_kedro.models.trained import PROJECTOR_PREFIX
from rep_kedro.pipelines.training.nodes import plan_networks
from rep_kedro.training import processes
from rep_kedro.training.params import TrainingParams

pytestmark = pytest.mark.slow

IS_X86 = platform.machine() in ("x86_64", "AMD64") and torch.cpu._is_avx2_supported()
GOLDEN = {
    "cnn_supervised_s0": "9d18003f8d876b47",
    "cnn_simclr_s0": "dc45cc96d3288a64",
    "small_resnet_vicreg_s0": "78ba9d49a99081e4",
}
GOLDEN_TORCH = "2.13.0"


def grid(objective, architecture, epochs=1):
    schedule = {"epochs": epochs, "batch_size": 32, "learning_rate": 0.02}
    return {"objective": objective, "architectures": [architecture], "seeds": [0], "schedule": schedule}


GRIDS = [grid("supervised", "cnn"), grid("simclr", "cnn"), grid("vicreg", "small_resnet")]


@pytest.fixture(scope="module")
def stimulus_sets(tmp_path_factory):
    pixels = np.random.RandomState(0).randint(0, 256, (96, 16, 16, 3), dtype=np.uint8)
    table = make_stimuli(pixels, [i % 4 for i in range(96)], ["train"] * 64 + ["test"] * 32, list("abcd"))
    return store(tmp_path_factory.mktemp("sets"), {"noise": table}, ARROW)


def plan(stimulus_sets, grids=GRIDS, **changes):
    return plan_networks(
        stimulus_sets, TrainingParams.model_validate({"stimulus_set": "noise", "grids": grids, **changes})
    )


def digest(handle):
    """Return a digest of the network's weights alone, without those of the projector."""
    content = hashlib.sha256()
    for name in (name for name in handle.names if not name.startswith(PROJECTOR_PREFIX)):
        content.update(name.encode() + handle.tensor(name).tobytes())
    return content.hexdigest()[:16]


ENVIRONMENTS = [
    {},
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "AVX2"},
    {
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "DNNL_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
]


@pytest.mark.skipif(not IS_X86, reason="the arithmetic is that of x86-64 processors with AVX2")
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=["plain", "other choices", "more threads"])
def test_the_bytes_are_those_of_every_other_machine(stimulus_sets, tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = run_plan(tmp_path, plan(stimulus_sets))
    platforms = [handle.meta["platform"] for handle in found.values()]
    assert {shown["cpu_capability"] for shown in platforms} == {"AVX2"}
    assert all(shown["portable"] and "processor" not in shown for shown in platforms)
    if version("torch").partition("+")[0] == GOLDEN_TORCH:
        assert {name: digest(handle) for name, handle in found.items()} == GOLDEN


def test_training_that_need_not_be_portable_records_the_processor(stimulus_sets, tmp_path):
    found = run_plan(tmp_path, plan(stimulus_sets, [GRIDS[0]], portable=False))
    shown = found["cnn_supervised_s0"].meta["platform"]
    assert shown["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert shown["machine"] == platform.machine()
    assert shown["processor"]
    assert shown["versions"]["torch"] == version("torch").partition("+")[0]
    assert not shown["portable"]


def test_the_platform_is_in_the_header_and_in_no_recipe(stimulus_sets, tmp_path):
    found = run_plan(tmp_path, plan(stimulus_sets, [GRIDS[0]], portable=False))["cnn_supervised_s0"]
    assert "platform" in TensorsDataset.read_header(found.path).meta
    assert "platform" not in json.dumps(found.recipe)


def test_a_process_that_ends_early_is_one_clear_error(stimulus_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "__name__", "rep_kedro.no_such_module")
    with pytest.raises(
        CollectionError, match="the training process ended with exit code 1 before its work was done"
    ):
        run_plan(tmp_path, plan(stimulus_sets))
    assert not list(tmp_path.glob("*.safetensors"))


ENDLESS = """
import sys
from pathlib import Path
from rep_kedro.datasets import ArrowDataset, CollectionDataset
from rep_kedro.pipelines.training.nodes import plan_networks
from rep_kedro.training.params import TrainingParams
schedule = {"batch_size": 32, "learning_rate": 0.02}
supervised = {"objective": "supervised", "architectures": ["cnn"]}
grids = [
    {**supervised, "seeds": [seed], "schedule": {**schedule, "epochs": epochs}}
    for seed, epochs in ((0, 1), (1, 1_000_000))
]
sets = {"noise": ArrowDataset.open_checked(Path(sys.argv[1]))}
plan = plan_networks(sets, TrainingParams.model_validate({"stimulus_set": "noise", "grids": grids}))
CollectionDataset(filepath=sys.argv[2], member="rep_kedro.datasets.TensorsDataset").save(plan)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_its_parent_and_what_was_finished_is_kept(stimulus_sets, tmp_path, how):
    command = [sys.executable, "-c", ENDLESS, str(stimulus_sets["noise"].path), str(tmp_path / "networks")]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    try:
        first = tmp_path / "networks" / "cnn_supervised_s0.safetensors"
        wait_until(lambda: first.exists() or parent.poll() is not None)
        (child,) = children_of(parent.pid)
        os.kill(parent.pid, how)
        parent.wait(60)
        wait_until(lambda: not is_running(child))
    finally:
        parent.kill()
        parent.communicate()
    assert TensorsDataset.open_checked(first).meta["seed"] == 0
    assert not list((tmp_path / "networks").glob(".*partial"))


def wait_until(is_so):
    """Wait for something that must come; a minute is only to end a test that fails."""
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def children_of(pid):
    found = []
    for stat in os.listdir("/proc"):
        if stat.isdigit() and (fields := stat_of(stat)) and int(fields[1]) == pid:
            found.append(int(stat))
    return found


def is_running(pid):
    fields = stat_of(pid)
    return fields is not None and fields[0] != "Z"


def stat_of(pid):
    """Return state, parent and further fields of a process; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            return stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_portable_roots_are_exact_to_two_units_in_the_last_place(dtype):
    x = torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=dtype) * 100
    exact = np.sqrt(x.numpy().astype(np.longdouble))
    found = portable_sqrt(x).numpy()
    spacing = np.spacing(exact.astype(found.dtype))
    assert (np.abs(found - exact) <= 2 * spacing).all()


def test_portable_roots_have_the_gradient_of_roots_and_a_root_of_zero():
    x = torch.tensor([0.25, 4.0, 9.0], dtype=torch.float64, requires_grad=True)
    portable_sqrt(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 0.25, 1 / 6], dtype=torch.float64))
    assert portable_sqrt(torch.tensor([0.0, torch.inf])).tolist() == [0.0, torch.inf]
