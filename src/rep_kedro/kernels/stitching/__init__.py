"""Joining the beginning of one network to the end of another by an affine map between two of their layers."""
