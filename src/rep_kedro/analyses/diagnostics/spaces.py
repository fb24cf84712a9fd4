"""Which layers of a network are measured without labels."""

from collections.abc import Sequence


def spaces_of(layers: Sequence[str]) -> dict[str, str]:
    """Return the final one of some layers as `representation` and, where it was read, the projector's.

    Args:
        layers: Names in depth order.

    Example:
        >>> spaces_of(["relu5", "mean", "embedding"])
        {'representation': 'mean', 'embedding': 'embedding'}
    """
    from rep_kedro.models.trained import EMBEDDING, name_final_layer

    final = name_final_layer(layers)
    if final == EMBEDDING:
        return {"embedding": final}
    return {"representation": final} | ({"embedding": EMBEDDING} if EMBEDDING in layers else {})
