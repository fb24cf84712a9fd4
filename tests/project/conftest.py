"""What tests of whole runs work with; the fixtures ``study`` and ``own_study`` are there for all tests."""

from tests.small_study import BIN, PARTS, ROOT, Run, copy_project, run_in, run_shared

__all__ = ["BIN", "PARTS", "ROOT", "Run", "copy_project", "run_in", "run_shared"]
