"""Arithmetic with the same bits on every processor of a family."""

from torch import Tensor


def portable_sqrt(x: Tensor) -> Tensor:
    """Return the square root of each entry, the same bits on every x86-64 processor.

    On a CPU `torch.sqrt` calls Intel's MKL, which starts from the processor's own estimate of 1 / sqrt(x);
    the estimates of AMD and Intel differ, and with them the last digits of roots. `rsqrt` and `reciprocal`
    use the exact instructions for roots and quotients, which IEEE 754 defines to the last bit.

    Args:
        x: Of any shape, not negative.

    Returns:
        Same shape and dtype; within two units in the last place of the root.

    Example:
        >>> import torch
        >>> portable_sqrt(torch.tensor([0.0, 4.0, 2.25]))
        tensor([0.0000, 2.0000, 1.5000])
    """
    return x.rsqrt().reciprocal()
