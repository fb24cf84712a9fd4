"""Families of architectures: one line of data per variant, one module that expands it; see `registry`."""
