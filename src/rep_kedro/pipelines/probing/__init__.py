"""Linear probes on every stored layer."""
