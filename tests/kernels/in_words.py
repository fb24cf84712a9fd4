"""Reasons of kernels as text, models called by their places."""

from rep_kedro.kernels.undefined import Reasons, explain


def in_words(reasons: Reasons) -> dict[tuple[int, int], str]:
    """Return each reason as text: ``model 1: what is wrong with it``."""
    return {pair: explain(why, [f"model {i}" for i in range(100)]) for pair, why in reasons.items()}
