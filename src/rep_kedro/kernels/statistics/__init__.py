"""Certainty of similarities: permutation tests, bootstrap intervals, consistency, corrections."""
