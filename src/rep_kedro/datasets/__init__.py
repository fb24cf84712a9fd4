"""Typed, versioned artifacts: the collection, its member formats, and single-file datasets.

This room alone knows file formats. Names are imported when first used, so that listing pipelines
or commands never pays for pandas, pyarrow or torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rep_kedro.datasets.arrow import ArrowDataset, ArrowHandle
    from rep_kedro.datasets.collection import CollectionDataset
    from rep_kedro.datasets.document import DocumentDataset, DocumentHandle
    from rep_kedro.datasets.drawing import DrawingDataset, DrawingHandle, FigureCollectionDataset
    from rep_kedro.datasets.journal import read_journal
    from rep_kedro.datasets.keys import MemberKey
    from rep_kedro.datasets.matrix import (
        LabelledMatrix,
        MatrixCollectionDataset,
        MatrixDataset,
        MatrixHandle,
    )
    from rep_kedro.datasets.member import MemberHandle, rebuilt_by
    from rep_kedro.datasets.node import RecipeNode, only, reference_of
    from rep_kedro.datasets.partial import Handles, Plan, missing_of, partial_of, planned_recipe
    from rep_kedro.datasets.plan import Batch, Planned, Shard
    from rep_kedro.datasets.plan_file import CollectionError
    from rep_kedro.datasets.revision import code_revision
    from rep_kedro.datasets.rows import rows_digest
    from rep_kedro.datasets.seal import DamagedMemberError
    from rep_kedro.datasets.table import EarlierTableDataset, TableDataset, TableHandle
    from rep_kedro.datasets.tensors import Tensors, TensorsDataset, TensorsHandle
    from rep_kedro.datasets.text import TextDataset

_NAMES = {
    "arrow": "ArrowDataset ArrowHandle",
    "collection": "CollectionDataset",
    "document": "DocumentDataset DocumentHandle",
    "drawing": "DrawingDataset DrawingHandle FigureCollectionDataset",
    "journal": "read_journal",
    "keys": "MemberKey",
    "matrix": "LabelledMatrix MatrixCollectionDataset MatrixDataset MatrixHandle",
    "member": "MemberHandle rebuilt_by",
    "node": "RecipeNode only reference_of",
    "partial": "Handles Plan missing_of partial_of planned_recipe",
    "plan": "Batch Planned Shard",
    "plan_file": "CollectionError",
    "revision": "code_revision",
    "rows": "rows_digest",
    "seal": "DamagedMemberError",
    "table": "EarlierTableDataset TableDataset TableHandle",
    "tensors": "Tensors TensorsDataset TensorsHandle",
    "text": "TextDataset",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "ArrowDataset",
    "ArrowHandle",
    "Batch",
    "CollectionDataset",
    "CollectionError",
    "DamagedMemberError",
    "DocumentDataset",
    "DocumentHandle",
    "DrawingDataset",
    "DrawingHandle",
    "EarlierTableDataset",
    "FigureCollectionDataset",
    "Handles",
    "LabelledMatrix",
    "MatrixCollectionDataset",
    "MatrixDataset",
    "MatrixHandle",
    "MemberHandle",
    "MemberKey",
    "Plan",
    "Planned",
    "RecipeNode",
    "Shard",
    "TableDataset",
    "TableHandle",
    "Tensors",
    "TensorsDataset",
    "TensorsHandle",
    "TextDataset",
    "code_revision",
    "missing_of",
    "only",
    "partial_of",
    "planned_recipe",
    "read_journal",
    "rebuilt_by",
    "reference_of",
    "rows_digest",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
