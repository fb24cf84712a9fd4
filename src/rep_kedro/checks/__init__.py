"""Checks before anything runs, so that a mistake costs seconds and is reported in one line."""
