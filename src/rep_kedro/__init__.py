"""Compare what neural networks represent: a Kedro project with a versioned data catalog."""

__version__ = "0.1.0"
