"""Operators declared for torchvision: each case in a process of its own, since an import cannot be undone."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

DECLARE = "from rep_kedro._torchvision import declare_torchvision_operators as declare; first = declare(); "


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
def test_the_package_imports_after_the_declaration(package):
    assert _run(f"{DECLARE}import {package}; print({package}.__version__)")


def test_a_second_call_does_nothing_more():
    code = (
        "import torch; print(first == declare()); import torchvision\n"
        "print(len(torch.ops.torchvision.nms.overloads()))"
    )
    assert _run(DECLARE + code).split() == ["True", "1"]


def test_nothing_is_declared_where_the_compiled_library_loads():
    code = (
        "import torch; torch.ops.load_library = lambda path: None\n"
        "from rep_kedro._torchvision import declare_torchvision_operators\n"
        "print(declare_torchvision_operators(), hasattr(torch.ops.torchvision, 'nms'))"
    )
    assert _run(code).split() == ["False", "False"]


def test_torchvision_that_was_already_imported_is_left_alone():
    code = "import torchvision; declare.cache_clear(); print(declare())"
    assert _run(DECLARE + code) == "False"
