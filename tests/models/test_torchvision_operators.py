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


@pytest.mark.parametrize("package", ["torchvision", "timm", "open_clip", "torchvision.ops"])
def test_a_package_imports_after_this_one_without_a_call(package):
    assert _run(f"import rep_kedro, {package}, sys; print(sys.modules['torchvision'].__version__)")


def test_names_of_all_libraries_are_listed_in_a_new_process():
    code = "from rep_kedro.models.sources.by_name import names_by_library as names; print(*names())"
    assert _run(code).split() == ["timm", "torchvision", "open_clip"]


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
