"""A network that is ready to be read, from any source."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.pooling_names import Layout
from rep_kedro.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode and how to feed and read it.

    Attributes:
        module: The network; layer names are those of its submodules.
        preprocessing: From pixels to its input.
        layers: Names or patterns of the layers to read.
        layout: Of its activations, if it is not to be found out.
        n_prefix_tokens: Tokens before the patches, if they are not to be found out.
        run: How it is called, if not as `module(x)`.
    """

    module: nn.Module
    preprocessing: Preprocessing
    layers: tuple[str, ...]
    layout: Layout = "auto"
    n_prefix_tokens: int | None = None
    run: Callable[[Tensor], object] | None = None


def read_layers(model: LoadedModel, example: Tensor) -> LayerReader:
    """Return a reader of the network's layers.

    Args:
        model: The network.
        example: One stimulus with a batch axis.
    """
    return LayerReader(
        model.module,
        model.layers,
        example=example,
        run=model.run,
        layout=model.layout,
        n_prefix_tokens=model.n_prefix_tokens,
    )


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Draw weights from a seed, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def explained(model: str, weights: object) -> Iterator[None]:
    """Say in one line that weights are unavailable, whatever the library raises."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        cause = " ".join(str(error).split())[:120]
        why = (
            "HF_HUB_OFFLINE is set and they are not in the local cache"
            if HF_HUB_OFFLINE
            else f"they are not in the local cache and cannot be fetched ({type(error).__name__}: {cause})"
        )
        raise UserError(
            f"no weights {weights!r} for {model}: {why}; fetch them once while online, "
            f"or set pretrained: false for random weights"
        ) from error
