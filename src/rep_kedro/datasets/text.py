"""Pages of HTML, such as the report."""

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.file import FileDataset
from rep_kedro.datasets.seal import with_seal_comment, without_seal_comment


class TextDataset(FileDataset[str, str]):
    """One UTF-8 page, replaced atomically; a comment at its end holds the seal."""

    def save(self, data: str) -> None:
        """Write the text."""
        write_bytes_atomically(self.path_to_write(), with_seal_comment(data))

    def load(self) -> str:
        """Return the text."""
        return without_seal_comment(self.path_to_read().read_text(encoding="utf-8"))
