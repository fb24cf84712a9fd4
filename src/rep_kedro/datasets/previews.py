"""The types by which Kedro-Viz recognises previews (from a private module, imported here only)."""

from kedro_datasets._typing import HTMLPreview, ImagePreview, JSONPreview, PlotlyPreview, TablePreview

__all__ = ["HTMLPreview", "ImagePreview", "JSONPreview", "PlotlyPreview", "TablePreview"]
