"""Pages of HTML, such as the report."""

import re
from pathlib import Path

from kedro.io import DatasetError

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.file import KeptFileDataset
from rep_kedro.datasets.plan import Json, digest_of
from rep_kedro.datasets.seal import with_seal_comment, without_seal_comment

_RECIPE = re.compile(r"<!-- recipe-([0-9a-f]{32}) -->\n\Z")


class TextDataset(KeptFileDataset[str]):
    """One UTF-8 page, replaced atomically; comments at its end hold its recipe's digest and the seal."""

    def load(self) -> str:
        """Return the text."""
        return _RECIPE.sub("", self._text(self.path_to_read()))

    def _text(self, path: Path) -> str:
        return without_seal_comment(path.read_text(encoding="utf-8"))

    def _write(self, path: Path, value: str, recipe: Json) -> None:
        if not isinstance(value, str):
            raise DatasetError(f"{self.name}: expected text, received {type(value).__name__}")
        header = f"<!-- recipe-{digest_of(recipe)} -->\n" if recipe else ""
        write_bytes_atomically(path, with_seal_comment(f"{value}{header}"))

    def _stored_recipe(self, path: Path) -> str | None:
        found = _RECIPE.search(self._text(path))
        return found[1] if found else None
