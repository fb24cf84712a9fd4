"""All stimulus sources by name. A new one is a module in ``readers`` and a line here."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from rep_kedro.stimuli.base import SourceSpec
from rep_kedro.stimuli.readers.derived import DerivedSpec
from rep_kedro.stimuli.readers.digits import DigitsSpec
from rep_kedro.stimuli.readers.hugging_face import HuggingFaceSpec
from rep_kedro.stimuli.readers.idx import IdxSpec
from rep_kedro.stimuli.readers.image_folder import ImageFolderSpec
from rep_kedro.stimuli.readers.npz import NpzSpec
from rep_kedro.stimuli.readers.parquet import ParquetSpec
from rep_kedro.stimuli.readers.photograph_patches import PhotographPatchesSpec
from rep_kedro.stimuli.readers.shapes import ShapesSpec
from rep_kedro.stimuli.readers.torchvision import TorchvisionSpec
from rep_kedro.stimuli.readers.webdataset import WebdatasetSpec

AnySource = Annotated[
    DerivedSpec
    | DigitsSpec
    | HuggingFaceSpec
    | IdxSpec
    | ImageFolderSpec
    | NpzSpec
    | ParquetSpec
    | PhotographPatchesSpec
    | ShapesSpec
    | TorchvisionSpec
    | WebdatasetSpec,
    Field(discriminator="source"),
]
_ANY_SOURCE: TypeAdapter[Any] = TypeAdapter(AnySource)


def parse_source(entry: Mapping[str, Any]) -> SourceSpec:
    """Return the checked parameters of one source.

    Raises:
        pydantic.ValidationError: If the source or a key is unknown, or a value is out of range.
    """
    spec: SourceSpec = _ANY_SOURCE.validate_python(entry)
    return spec
