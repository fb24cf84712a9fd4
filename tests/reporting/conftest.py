"""The made-up study for every test of the report."""

import importlib.util
import sys
from pathlib import Path

import pytest


def load_synthetic_study():
    name = "synthetic_study"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("synthetic_study.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def make_study():
    return load_synthetic_study().make_study


@pytest.fixture
def study(make_study):
    return make_study(seed=0)


@pytest.fixture
def measure():
    return "cka_linear_debiased"
