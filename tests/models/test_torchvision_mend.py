"""The torchvision mend, each case in a process of its own, since an import cannot be undone."""

import subprocess
import sys

import pytest

MEND = "from rep_kedro._torchvision import mend_torchvision; first = mend_torchvision(); "


def _run(code):
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", ["torchvision", "timm", "open_clip"])
def test_the_package_imports_after_the_mend(package):
    assert _run(f"{MEND}import {package}; print({package}.__version__)")


def test_mending_twice_does_nothing_more():
    code = (
        "import torch; print(first == mend_torchvision()); import torchvision\n"
        "print(len(torch.ops.torchvision.nms.overloads()))"
    )
    assert _run(MEND + code).split() == ["True", "1"]


def test_nothing_is_declared_where_the_compiled_library_loads():
    code = (
        "import torch; torch.ops.load_library = lambda path: None\n"
        "from rep_kedro._torchvision import mend_torchvision\n"
        "print(mend_torchvision(), hasattr(torch.ops.torchvision, 'nms'))"
    )
    assert _run(code).split() == ["False", "False"]


def test_torchvision_that_was_already_imported_is_left_alone():
    code = "import torchvision; mend_torchvision.cache_clear(); print(mend_torchvision())"
    assert _run(MEND + code) == "False"
