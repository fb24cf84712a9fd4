"""Saturation of every layer over a training."""
