"""What datasets of one file share: earlier revisions, atomic replacement, what keeps an unchanged file."""

import logging
import time
from abc import abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

from kedro.io import AbstractDataset, DatasetError

from rep_kedro.datasets.atomic import sweep_partials_of, write_bytes_atomically
from rep_kedro.datasets.earlier import fetch_earlier, is_earlier
from rep_kedro.datasets.plan import Json, Planned, digest_of, strict_json
from rep_kedro.datasets.seal import DamagedMemberError, has_seal, require_seal

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_log = logging.getLogger(__name__)


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

    @property
    def name(self) -> str:
        """The name of what the file holds: that of the file."""
        return self._filepath.stem

    def path_to_read(self) -> Path:
        """Return the local file to read, every byte compared with its seal.

        Earlier revisions may be older than seals and are read without one.

        Raises:
            DatasetError: If it has not been made yet, or is damaged.
        """
        path = Path(self._filepath) if self._earlier is None else fetch_earlier(*self._earlier)
        if not path.exists():
            why = self.why_missing() or f"there is no {path}"
            raise DatasetError(f"{self.name} has not been made yet: {why}")
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
            raise DatasetError(f"{self.name} of an earlier revision can only be read")
        path = Path(self._filepath)
        sweep_partials_of(path)
        if self._reason_path.exists():  # a folder that can only be read needs nothing removed
            self._reason_path.unlink()
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


class KeptFileDataset(FileDataset[Any, _Out], Generic[_Out]):
    """A single file that is kept as long as it was made by the planned recipe, like a member of a collection.

    Attributes:
        counts: How many files (0 or 1) the last save computed and kept; None before that.
    """

    counts: tuple[int, int] | None = None

    def save(self, data: Any) -> None:
        """Write a value; or keep or compute what a :class:`~rep_kedro.datasets.plan.Planned` plans.

        A file without a recipe, damaged, or of another recipe is computed and replaced atomically.

        Raises:
            DatasetError: If the value is not of this format, or the file cannot be written.
            TypeError: If the recipe is not plain JSON data.
        """
        path = self.path_to_write()
        if not isinstance(data, Planned):
            self._write(path, data, {})
            self.counts = (1, 0)
            return
        if not self.pending(data):
            self.counts = (0, 1)
            _log.debug("%s: kept", self.name)
            return
        began = time.perf_counter()
        self._write(path, data.value(), dict(data.recipe))
        self.counts = (1, 0)
        _log.info("%s: computed in %.2f s", self.name, time.perf_counter() - began)

    def pending(self, data: Planned) -> bool:
        """Return whether saving a plan would compute the file; nothing is written.

        Raises:
            TypeError: If the recipe is not plain JSON data.
        """
        try:
            strict_json(dict(data.recipe), "recipe")
        except (TypeError, ValueError, RecursionError) as problem:
            raise TypeError(f"{self.name}: its recipe is not plain JSON data: {problem}") from problem
        try:
            path = self.path_to_read()
            return self._stored_recipe(path) != digest_of(dict(data.recipe))
        except DatasetError:  # it has not been made yet, or is damaged
            return True

    @abstractmethod
    def _write(self, path: Path, value: Any, recipe: Json) -> None:
        """Write a value with its recipe, which is empty where none was planned."""

    @abstractmethod
    def _stored_recipe(self, path: Path) -> str | None:
        """Return the digest of the recipe in a file's header, or None if it has none."""
