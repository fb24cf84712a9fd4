"""How similar two models are, for all pairs of models at once."""
