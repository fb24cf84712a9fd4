"""Text files, such as the report."""

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.file import FileDataset


class TextDataset(FileDataset[str, str]):
    """One UTF-8 text file, replaced atomically."""

    def save(self, data: str) -> None:
        """Write the text."""
        write_bytes_atomically(self.path_to_write(), data.encode())

    def load(self) -> str:
        """Return the text."""
        return self.path_to_read().read_text(encoding="utf-8")
