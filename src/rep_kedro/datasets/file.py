"""What datasets of one file share: a local path or an earlier revision, atomic replacement."""

from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

from kedro.io import AbstractDataset, DatasetError

from rep_kedro.datasets.atomic import sweep_partials_of, write_bytes_atomically
from rep_kedro.datasets.earlier import fetch_earlier, is_earlier
from rep_kedro.datasets.seal import DamagedMemberError, has_seal, require_seal

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class FileDataset(AbstractDataset[_In, _Out], Generic[_In, _Out]):
    """Base of the single-file datasets.

    Args:
        filepath: The file. ``dvc:///<path>`` reads an earlier revision.
        fs_args: For ``dvc:///``: ``url`` of the repository and ``rev``.
        metadata: For Kedro-Viz.
    """

    seal_at_end: ClassVar[bool] = True

    def __init__(
        self, *, filepath: str, fs_args: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        self._filepath = PurePosixPath(filepath)
        self._earlier = (filepath, fs_args or {}) if is_earlier(filepath) else None
        self.metadata = metadata

    def path_to_read(self) -> Path:
        """Return the local file to read, every byte compared with its seal.

        Earlier revisions may be older than seals and are read without one.

        Raises:
            DatasetError: If it has not been made yet, or is damaged.
        """
        path = Path(self._filepath) if self._earlier is None else fetch_earlier(*self._earlier)
        if not path.exists():
            why = self.why_missing() or f"there is no {path}"
            raise DatasetError(f"{self._filepath.stem} has not been made yet: {why}")
        if self._earlier is None or has_seal(path):
            try:
                require_seal(path, at_end=self.seal_at_end)
            except DamagedMemberError as problem:
                raise DatasetError(f"{problem}; run the pipeline that makes it again") from problem
        return path

    def path_to_write(self) -> Path:
        """Return the local file to replace.

        Raises:
            DatasetError: If this is an earlier revision.
        """
        if self._earlier is not None:
            raise DatasetError(f"{self._filepath.stem} of an earlier revision can only be read")
        path = Path(self._filepath)
        sweep_partials_of(path)
        self._reason_path.unlink(missing_ok=True)
        return path

    def give_up(self, why: str) -> None:
        """Remove the file, whose inputs have changed since, and keep the reason why there is no other.

        Raises:
            OSError: If the folder cannot be written.
        """
        Path(self._filepath).unlink(missing_ok=True)
        write_bytes_atomically(self._reason_path, why.encode())

    def why_missing(self) -> str | None:
        """Return why the last run could not make the file; None if it is there or was never tried."""
        if self._exists():
            return None
        try:
            return self._reason_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def _reason_path(self) -> Path:
        return Path(f"{self._filepath}.missing")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}

    def _exists(self) -> bool:
        return self._earlier is not None or Path(self._filepath).exists()
