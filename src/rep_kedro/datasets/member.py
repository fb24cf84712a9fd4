"""What every member of a collection has: a header with its recipe, and a lazy handle."""

import errno
import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from kedro.io import AbstractDataset

from rep_kedro.datasets.plan import Json, digest_of, strict_json
from rep_kedro.datasets.seal import DamagedMemberError, require_seal

HEADER_KEY = "rep_kedro"
_UNSEALED = "/1"
_checked: set[tuple[str, int, int, int]] = set()  # files whose seals this process compared


@dataclass(frozen=True)
class Header:
    """What a member says of itself.

    Attributes:
        format: Name and version of the file format, such as ``tensors/2``.
        key: The member's key within its collection.
        recipe: Everything the member's bytes depend on.
        meta: What the maker reports: labels, counts, results per layer.
    """

    format: str
    key: str
    recipe: Json
    meta: Json

    @property
    def is_sealed(self) -> bool:
        """Whether the file has a digest of all its bytes; the first version of each format has none."""
        return not self.format.endswith(_UNSEALED)

    def to_json(self) -> str:
        """Return the header's one JSON text.

        Raises:
            TypeError, ValueError: If recipe or meta are not plain JSON data; the message says where.
        """
        if not isinstance(self.meta, dict):
            raise TypeError(f"meta of {self.key!r} must be a dict, received {type(self.meta).__name__}")
        return strict_json({"format": self.format, "key": self.key, "recipe": self.recipe, "meta": self.meta})


def header_from(text: Any, path: Path, expected_format: str) -> Header:
    """Read a header from its JSON text, check it and return it typed.

    A file of the first version of the format is read too: its content is the same, without a seal.

    Raises:
        DamagedMemberError: If it is not a header of this project or of another format.
    """
    try:
        content = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not {"format", "key", "recipe", "meta"} <= content.keys():
        raise DamagedMemberError(f"{path} is not a member written by this project")
    if content["format"] not in (expected_format, expected_format.partition("/")[0] + _UNSEALED):
        raise DamagedMemberError(f"{path} has format {content['format']!r}, expected {expected_format!r}")
    key, recipe, meta = content["key"], content["recipe"], content["meta"]
    if not isinstance(key, str) or not isinstance(recipe, dict) or not isinstance(meta, dict):
        raise DamagedMemberError(f"{path} has a header that was not written by this project")
    return Header(content["format"], key, recipe, meta)


def unreadable(path: Path, problem: OSError) -> OSError | DamagedMemberError:
    """Return what to raise for a file that cannot be opened: missing stays missing, the rest is damage."""
    if isinstance(problem, FileNotFoundError | NotADirectoryError):
        return FileNotFoundError(errno.ENOENT, "there is no such member", str(path))
    if isinstance(problem, IsADirectoryError):
        return DamagedMemberError(f"{path} is a folder where a file is expected; remove it")
    return DamagedMemberError(f"{path} cannot be read: {problem.strerror or problem}")


def rebuilt_by(collection: str, key: str) -> str:
    """Return the command that makes a damaged member again."""
    name = f"{collection}/{key}".replace("+", "?")  # a plus separates names there
    return f"kedro run --params recompute={name}"


def with_remedy(problem: DamagedMemberError, collection: str, key: str) -> DamagedMemberError:
    """Return a new error with the command that makes the member again, where it is of a collection."""
    remedy = f"; rebuild it with {rebuilt_by(collection, key)}" if collection else ""
    return DamagedMemberError(f"{problem}{remedy}")


class MemberHandle:
    """A stored member that reads only what is requested.

    Before its content is used, every byte of the file is compared with its seal, once per file and process.

    Args:
        path: The member's file.
        header: Its header, already read and checked.

    Attributes:
        meta: What the maker says: labels, counts, results per layer.
        is_sealed: Whether the file has a digest of all its bytes, which :meth:`verify` compares.
        journal: When and in how many seconds the member was computed, with which package versions; empty
            where that is not known. The collection sets it.
        collection: Name of the collection, where it is opened by one. The collection sets it.
    """

    seal_at_end: ClassVar[bool] = False

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.key = header.key
        self.recipe: Mapping[str, Json] = header.recipe
        self.meta: Mapping[str, Json] = header.meta or {}
        self.is_sealed = header.is_sealed
        self.journal: Mapping[str, Json] = {}
        self.collection = ""

    @cached_property
    def digest(self) -> str:
        """Digest of the recipe, 32 hexadecimal digits."""
        return digest_of(self.recipe)

    @property
    def reference(self) -> dict[str, str]:
        """Key and recipe digest: what a descendant's recipe holds of this member."""
        return {"key": self.key, "digest": self.digest}

    def require_whole(self) -> None:
        """Compare every byte of the file with what was written unless this process has done so before.

        Raises:
            DamagedMemberError: If anything in the file is not what was written.
        """
        if self._identity() not in _checked:
            self.verify()

    def verify(self) -> None:
        """Compare every byte of the file with what was written; a file without a seal passes.

        Raises:
            DamagedMemberError: If anything in the file is not what was written.
        """
        identity = self._identity()
        if self.is_sealed:
            try:
                require_seal(self.path, at_end=self.seal_at_end)
            except DamagedMemberError as problem:
                raise with_remedy(problem, self.collection, self.key) from problem
        _checked.add(identity)

    def _identity(self) -> tuple[str, int, int, int]:
        """Return the identity of a file, which changes when it is written again."""
        status = self.path.stat()
        return str(self.path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r}, digest={self.digest[:8]})"


class MemberDataset(AbstractDataset[Any, Any]):
    """A file format with a header; one file holds one member.

    As a catalog entry of its own it loads a handle; a collection uses it for each of its members.

    Args:
        filepath: The file.
        key: Written to the header; the collection gives it.
        recipe: Written to the header; the collection gives it.
        metadata: For Kedro-Viz and other readers of the catalog.
    """

    suffix: ClassVar[str]
    format: ClassVar[str]
    handle: ClassVar[type[MemberHandle]]

    def __init__(
        self,
        *,
        filepath: str,
        key: str = "",
        recipe: Mapping[str, Json] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = PurePosixPath(filepath)
        self._key = key or self._filepath.stem
        self._recipe = dict(recipe or {})
        self.metadata = metadata

    @property
    def path(self) -> Path:
        """The file as a local path."""
        return Path(self._filepath)

    @classmethod
    @abstractmethod
    def read_header(cls, path: Path) -> Header:
        """Read a file's header and check that the file is whole.

        Raises:
            FileNotFoundError: If there is no such file.
            DamagedMemberError: If the file is truncated, foreign or of another format.
        """

    @classmethod
    def open_checked(cls, path: Path) -> MemberHandle:
        """Return a lazy handle on a file, read and checked as :meth:`read_header` does."""
        return cls.handle(path, cls.read_header(path))

    def load(self) -> Any:
        """Return a lazy handle."""
        return self.open_checked(self.path)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "format": self.format}

    def _exists(self) -> bool:
        try:
            self.read_header(self.path)
        except (FileNotFoundError, DamagedMemberError):
            return False
        return True
