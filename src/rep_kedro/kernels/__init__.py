"""Pure functions on tensors: torch, numpy and scipy only, no files, no labels, no Kedro."""
