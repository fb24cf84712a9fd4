"""Linear probes, and ensembles of their predictions."""
