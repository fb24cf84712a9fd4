"""Augmentation, and arithmetic of training that is the same on every processor."""
