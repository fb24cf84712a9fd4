"""A slow copy of a network and its head, which follows them: the target of BYOL, the teacher of DINO."""

import copy
import math

from torch import nn

from rep_kedro.models.network import Network


class SlowCopy(nn.Module):
    """Copies of a network and of what follows it, without gradients; batch statistics are their own.

    Attributes:
        network: Copy of the network.
        projector: Copy of what makes outputs of representations.
    """

    def __init__(self, network: Network, projector: nn.Module) -> None:
        super().__init__()
        self.network, self.projector = copy.deepcopy(network), copy.deepcopy(projector)
        self.requires_grad_(False)

    def follow(self, network: nn.Module, projector: nn.Module, momentum: float) -> None:
        """Move all weights towards those of network and projector.

        Args:
            network: Of the same form as the copied one.
            projector: Likewise.
            momentum: Share of the copy's own weights that is kept, in [0, 1].
        """
        for own, other in ((self.network, network), (self.projector, projector)):
            for slow, fast in zip(own.parameters(), other.parameters(), strict=True):
                slow.lerp_(fast.detach(), 1 - momentum)


def rising_momentum(first: float, progress: float) -> float:
    """Return a momentum that rises from `first` to 1 on half a cosine, at a share of the training.

    Source:
        Grill et al. 2020, arXiv:2006.07733, section 3.2.

    Example:
        >>> [rising_momentum(0.9, progress) for progress in (0, 0.5, 1)]
        [0.9, 0.95, 1.0]
    """
    return 1 - (1 - first) * (math.cos(math.pi * progress) + 1) / 2
