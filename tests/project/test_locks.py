"""What `make` installs is pinned to the versions of constraints.txt, and every file of it has a digest."""

import re

import pytest
from tests.project.conftest import ROOT

NAME = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")


def entries(name):
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return [each for each in re.split(r"(?m)^(?=[A-Za-z0-9])", text) if not each.startswith("#")]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", ["build", "packages", "torch", "torch-cpu"])
def test_every_locked_package_has_one_version_and_digests_and_no_address(name):
    assert entries(name)
    for entry in entries(name):
        assert NAME.match(entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry[:80]
        assert "://" not in entry
        assert not re.search(r"(?<!\S)/\w", entry)


def test_the_versions_are_those_of_the_constraints():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    pinned = {normal(name): version for name, version in pinned.items()}
    found = [NAME.match(entry).groups() for name in ("packages", "torch") for entry in entries(name)]
    locked = {normal(name): version for name, version in found}
    assert {name: locked.get(name) for name in pinned} == pinned
    assert NAME.match(entries("torch-cpu")[0]).groups() == ("torch", pinned["torch"])


def test_make_installs_nothing_without_a_digest():
    recipe = (ROOT / "Makefile").read_text()
    start = recipe.index("$(STAMP):")
    lines = [line for line in recipe[start : recipe.index("\nrun:")].splitlines() if "$(INSTALL)" in line]
    assert len(lines) == 4
    assert all("--require-hashes" in line or line.endswith("--no-build-isolation -e .") for line in lines)


def test_an_audit_that_could_not_ask_about_a_package_fails():
    recipe = (ROOT / "Makefile").read_text()
    assert "pip-audit --strict" in recipe[recipe.index("\naudit:") :]
