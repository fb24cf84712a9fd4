"""Batch norms in evaluation mode folded into the layers before them: the same outputs in fewer passes."""

from torch import nn


def fold_batch_norms(network: nn.Module, *, behind: str | None = None) -> nn.Module:
    """Return a frozen copy of a network without the batch norms that follow a convolution or linear layer.

    A batch norm in evaluation mode is an affine map of channels, which the layer before it can take over. It
    is kept where something else reads that layer, or where that layer is not behind ``behind``: who
    continues from there runs the batch norm, and not the layer. Outputs of layers that took over a batch norm
    are those of the batch norm; all others stay, up to rounding.

    Args:
        network: A `LayeredNetwork` or a module traced by torch.fx, in evaluation mode; it is not changed.
        behind: The layer from which runs continue; None for the whole network.

    Returns:
        A copy in evaluation mode, no parameter of which asks for a gradient.

    Raises:
        ValueError: If the network is in training mode.
    """
    raise NotImplementedError
