"""A collection of typed artifacts: keep what is there, compute what is not, report what fails.

The one mechanism behind every result that has many members. A planner node returns recipes and functions;
the collection compares recipes with what is stored and calls only the functions it needs.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro.utils import load_obj

from rep_kedro.datasets.atomic import sweep_partials, write_bytes_atomically
from rep_kedro.datasets.earlier import fetch_earlier, is_earlier
from rep_kedro.datasets.journal import read_journal
from rep_kedro.datasets.member import DamagedMemberError, Header, MemberDataset, MemberHandle
from rep_kedro.datasets.plan import Planned, Shard, canonical_json, digest_of
from rep_kedro.datasets.previews import TablePreview
from rep_kedro.datasets.work import MemberWork, Worker

_PLAN_FILE = "plan.json"
_KEY = re.compile(r"[\w][\w.+=@-]*(/[\w][\w.+=@-]*)*", re.ASCII)
_SHOWN = 5
_log = logging.getLogger(__name__)


class CollectionError(DatasetError):
    """Members that failed, are missing, or were refused; the message names them."""


class CollectionDataset(AbstractDataset[Mapping[str, Planned], dict[str, Any]]):
    """A folder of members, each with its recipe in its own header.

    Saving takes a plan, ``{key: Planned(recipe, compute)}``: a member whose stored recipe equals the planned
    one is kept, any other is computed and written atomically, so an interrupted run goes on where it stopped.
    Files of keys that are no longer planned stay (they may be wanted again) but are not loaded. Loading gives
    lazy handles and refuses an incomplete collection.

    Args:
        filepath: The folder. ``dvc:///<path>`` reads an earlier revision (see ``fs_args``).
        member: Dotted name of the members' format, a :class:`MemberDataset`.
        member_validator: Dotted name of a function that is given each computed value and raises if it breaks
            the contract; nothing is written then.
        recompute: Names to compute even if their recipe is unchanged: this collection's, or
            ``<collection>/<key>`` with wildcards. Also lets a damaged member be replaced.
        shard: ``<index>/<count>``: work that part of the plan only.
        fs_args: For ``dvc:///``: ``url`` of the repository and ``rev``.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self,
        *,
        filepath: str,
        member: str,
        member_validator: str | None = None,
        recompute: Sequence[str] | str | None = None,
        shard: str | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = PurePosixPath(filepath)
        self._earlier = (filepath, fs_args or {}) if is_earlier(filepath) else None
        self._format: type[MemberDataset] = load_obj(member)
        self._validate: Callable[[Any], Any] | None = load_obj(member_validator) if member_validator else None
        self._recompute = (
            recompute.replace("+", " ").split() if isinstance(recompute, str) else list(recompute or [])
        )
        self._shard = Shard.parse(str(shard)) if shard else None
        self._fetched: Path | None = None
        self.metadata = metadata

    @property
    def name(self) -> str:
        """The collection's name: that of its folder."""
        return self._filepath.name

    @property
    def folder(self) -> Path:
        """The collection's local folder (of an earlier revision: a temporary copy)."""
        if self._earlier is None:
            return Path(self._filepath)
        if self._fetched is None:
            self._fetched = fetch_earlier(*self._earlier)
        return self._fetched

    def save(self, data: Mapping[str, Planned]) -> None:
        """Keep, compute or refuse each planned member.

        Raises:
            CollectionError: If any member failed or was refused; all others are done.
            DatasetError: If the plan is not a plan, or the folder cannot be written.
        """
        if self._earlier is not None:
            raise DatasetError(f"{self.name} of an earlier revision can only be read")
        self._require_plan(data)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sweep_partials(self.folder)
            self._write_plan(data)
        except OSError as problem:
            raise DatasetError(f"cannot write {self.folder}: {problem.strerror or problem}") from problem
        keys = self._shard.select(data) if self._shard else list(data)
        refused: dict[str, str] = {}
        todo = [key for key in keys if self._is_to_do(key, data[key], refused)]
        work = [MemberWork(key, data[key], self._dataset_for(key, data[key])) for key in todo]
        worker = Worker(self.name, self.folder, self._validate, n_kept=len(keys) - len(todo) - len(refused))
        failed = refused | worker.run(work)
        if failed:
            raise CollectionError(self._failure_message(failed, n_planned=len(keys)))

    def load(self) -> dict[str, Any]:
        """Return a lazy handle for each planned member, by key.

        Raises:
            CollectionError: If the collection was not made, or a planned member is missing, of another
                recipe, or damaged.
        """
        planned = self._read_plan()
        journal = read_journal(self.folder)
        handles: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for key, digest in planned.items():
            path = self._path_of(key)
            try:
                handle = self._format.open_member(path, self._format.read_header(path))
            except FileNotFoundError:
                problems[key] = "missing"
            except DamagedMemberError as problem:
                problems[key] = str(problem)
            else:
                if handle.key != key or handle.digest != digest:
                    problems[key] = "of another recipe than planned"
                handle.journal = journal.get((key, digest), {})
                handles[key] = handle
        if problems:
            raise CollectionError(
                f"{self.name} is incomplete: {len(problems)} of {len(planned)} members are not as planned "
                f"({_listed(problems)}); run the pipeline that makes it again to complete it"
            )
        return handles

    def unplanned(self) -> list[Path]:
        """Return the files of members that are no longer planned."""
        kept = {self._path_of(key) for key in self._read_plan()}
        return sorted(path for path in self.folder.rglob(f"*{self._format.suffix}") if path not in kept)

    def preview(self, nrows: int = 12) -> TablePreview:
        """Return the first members for Kedro-Viz: key, size, recipe digest."""
        handles = list(self.load().values())[:nrows]
        rows = [[handle.key, handle.path.stat().st_size, handle.digest[:8]] for handle in handles]
        return TablePreview(
            {"index": list(range(len(rows))), "columns": ["member", "bytes", "recipe"], "data": rows}
        )

    def _require_plan(self, data: Any) -> None:
        if not isinstance(data, Mapping) or not all(isinstance(value, Planned) for value in data.values()):
            raise DatasetError(f"{self.name}: a planner must return {{key: Planned(recipe, compute)}}")
        if not data:
            raise DatasetError(
                f"{self.name}: the plan is empty; choose at least one member in the parameters"
            )
        lowered: dict[str, str] = {}
        for key, planned in data.items():
            if not _KEY.fullmatch(key) or ".." in key:
                raise DatasetError(
                    f"{self.name}: key {key!r} is not a name; "
                    "use letters, digits and _ . + = @ - with / between parts"
                )
            other = lowered.setdefault(key.lower(), key)
            if other != key:
                raise DatasetError(f"{self.name}: keys {other!r} and {key!r} differ in case only")
            try:
                canonical_json(planned.recipe)
            except (TypeError, ValueError) as problem:
                raise DatasetError(
                    f"{self.name}: recipe of {key!r} is not plain JSON data: {problem}"
                ) from problem

    def _is_to_do(self, key: str, planned: Planned, refused: dict[str, str]) -> bool:
        """Tell whether a member must be computed; a damaged one is noted as refused."""
        if any(
            fnmatchcase(f"{self.name}/{key}", pattern) or pattern == self.name for pattern in self._recompute
        ):
            return True
        path = self._path_of(key)
        try:
            header: Header = self._format.read_header(path)
        except FileNotFoundError:
            return True
        except DamagedMemberError as problem:
            refused[key] = f"{problem}; rebuild it with --params recompute={self.name}/{key}"
            return False
        return header.key != key or canonical_json(header.recipe) != canonical_json(planned.recipe)

    def _path_of(self, key: str) -> Path:
        return self.folder / f"{key}{self._format.suffix}"

    def _dataset_for(self, key: str, planned: Planned) -> MemberDataset:
        return self._format(filepath=str(self._path_of(key)), key=key, recipe=planned.recipe)

    def _write_plan(self, plan: Mapping[str, Planned]) -> None:
        members = {key: digest_of(planned.recipe) for key, planned in plan.items()}
        content = {"format": "plan/1", "collection": self.name, "members": members}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        path = self.folder / _PLAN_FILE
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_bytes_atomically(path, text.encode())

    def _read_plan(self) -> dict[str, str]:
        path = self.folder / _PLAN_FILE
        try:
            members = json.loads(path.read_text(encoding="utf-8"))["members"]
        except FileNotFoundError:
            raise CollectionError(f"{self.name} has not been made yet: there is no {path}") from None
        except (ValueError, KeyError, TypeError) as problem:
            raise CollectionError(f"{path} is not a plan written by this project") from problem
        return dict(members)

    def _failure_message(self, failed: Mapping[str, str], *, n_planned: int) -> str:
        lines = "\n".join(f"  {key}: {why}" for key, why in failed.items())
        head = f"{self.name}: {len(failed)} of {n_planned} members failed (the others are done and kept)"
        return f"{head}:\n{lines}"

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "member": self._format.__name__}

    def _exists(self) -> bool:
        try:
            self.load()
        except (CollectionError, OSError):
            return False
        return True


def _listed(problems: Mapping[str, str]) -> str:
    shown = [f"{key}: {why}" for key, why in list(problems.items())[:_SHOWN]]
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def iterate_members(handles: Mapping[str, MemberHandle], prefix: str) -> Iterator[tuple[str, MemberHandle]]:
    """Yield (rest of the key, handle) of the members below a prefix such as a stimulus set."""
    for key, handle in handles.items():
        if key.startswith(f"{prefix}/"):
            yield key[len(prefix) + 1 :], handle
