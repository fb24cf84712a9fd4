"""Compare what neural networks represent: a Kedro project with a versioned data catalog, and a Python API.

The functions below need no project and do not import Kedro; each is imported when it is first used.

Example:
    >>> import numpy as np, rep_kedro
    >>> x = np.random.default_rng(0).normal(size=(50, 8))
    >>> round(rep_kedro.similarity([x, 3 * x[:, ::-1]]).value, 6)
    1.0
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rep_kedro._torchvision import BeforeTorchvision

if TYPE_CHECKING:
    from rep_kedro.api.comparing import SimilarityMatrix as SimilarityMatrix
    from rep_kedro.api.comparing import compare as compare
    from rep_kedro.api.comparing import similarity as similarity
    from rep_kedro.api.describing import Spectrum as Spectrum
    from rep_kedro.api.describing import neighbour_dimensions as neighbour_dimensions
    from rep_kedro.api.describing import receptive_field as receptive_field
    from rep_kedro.api.describing import spectrum as spectrum
    from rep_kedro.api.extracting import extract as extract
    from rep_kedro.api.layer_matrix import LayerSimilarity as LayerSimilarity
    from rep_kedro.api.layers import layer_similarity as layer_similarity
    from rep_kedro.api.probing import ProbeResult as ProbeResult
    from rep_kedro.api.probing import probe as probe
    from rep_kedro.api.repeats import similarity_of_repeats as similarity_of_repeats
    from rep_kedro.errors import UserError as UserError
    from rep_kedro.kernels.layers.neighbour_dimensions import NeighbourDimensions as NeighbourDimensions
    from rep_kedro.measures.listing import measures as measures

__version__ = "0.1.0"

sys.meta_path.insert(0, BeforeTorchvision())

_MODULES = {
    "SimilarityMatrix": "rep_kedro.api.comparing",
    "compare": "rep_kedro.api.comparing",
    "similarity": "rep_kedro.api.comparing",
    "NeighbourDimensions": "rep_kedro.kernels.layers.neighbour_dimensions",
    "Spectrum": "rep_kedro.api.describing",
    "neighbour_dimensions": "rep_kedro.api.describing",
    "receptive_field": "rep_kedro.api.describing",
    "spectrum": "rep_kedro.api.describing",
    "extract": "rep_kedro.api.extracting",
    "LayerSimilarity": "rep_kedro.api.layer_matrix",
    "layer_similarity": "rep_kedro.api.layers",
    "ProbeResult": "rep_kedro.api.probing",
    "probe": "rep_kedro.api.probing",
    "similarity_of_repeats": "rep_kedro.api.repeats",
    "UserError": "rep_kedro.errors",
}

__all__ = [*_MODULES, "measures"]  # noqa: PLE0604 - names of the dict above


def __getattr__(name: str) -> Any:
    if name == "measures":  # a package that can be called
        return import_module("rep_kedro.measures")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]  # what completion in notebooks offers
