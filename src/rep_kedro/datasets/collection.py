"""A collection of typed artifacts: keep what is there, compute what is not, report what fails.

The one mechanism behind every result that has many members. A planner node returns recipes and functions;
the collection compares recipes with what is stored and calls only the functions it needs.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro.utils import load_obj

from rep_kedro.datasets.atomic import sweep_partials
from rep_kedro.datasets.earlier import fetch_earlier, is_earlier
from rep_kedro.datasets.journal import begin_journal, read_failures, read_journal
from rep_kedro.datasets.keys import require_inside, require_keys
from rep_kedro.datasets.member import MemberDataset, MemberHandle, with_remedy
from rep_kedro.datasets.partial import (
    WHOLE,
    Handles,
    foreseen_of,
    left_out_of,
    list_gaps,
    partial_of,
    shorten_gaps,
)
from rep_kedro.datasets.plan import Planned, Shard, canonical_json, digest_of_text, strict_json
from rep_kedro.datasets.plan_file import CollectionError, StoredPlan, read_plan, write_plan
from rep_kedro.datasets.previews import TablePreview, preview_members
from rep_kedro.datasets.seal import DamagedMemberError
from rep_kedro.datasets.work import MemberWork, Worker
from rep_kedro.errors import suggest

_log = logging.getLogger(__name__)


class CollectionDataset(AbstractDataset[Mapping[str, Planned], dict[str, Any]]):
    """A folder of members, each with its recipe in its own header.

    Saving takes a plan, ``{key: Planned(recipe, compute)}``: a member whose stored recipe equals the planned
    one is kept, any other is computed and written atomically, so an interrupted run goes on where it stopped.
    Files of keys that are no longer planned stay (they may be wanted again) but are not loaded. Loading gives
    lazy handles and refuses an incomplete collection, unless the run keeps going: then it gives what is there
    and says what is missing.

    Args:
        filepath: The folder. ``dvc:///<path>`` reads an earlier revision (see ``fs_args``).
        member: Dotted name of the members' format, a :class:`MemberDataset`.
        member_validator: Dotted name of a function that is given each computed value and raises if it breaks
            the contract; nothing is written then.
        recompute: Names to compute even if their recipe is unchanged: this collection's, or
            ``<collection>/<key>`` with wildcards. Also lets a damaged member be replaced.
        shard: ``<index>/<count>``: work that part of the plan only.
        keep_going: Whether to go on with what is there where members fail, are missing or cannot be planned.
        may_be_empty: Whether a plan without members is allowed.
        fs_args: For ``dvc:///``: ``url`` of the repository and ``rev``.
        metadata: For Kedro-Viz.

    Attributes:
        counts: How many members the last plan that was saved computed and kept; None before that.
    """

    def __init__(  # noqa: PLR0913 - the keys of a catalog entry
        self,
        *,
        filepath: str,
        member: str,
        member_validator: str | None = None,
        recompute: Sequence[str] | str | None = None,
        shard: str | None = None,
        keep_going: bool = False,
        may_be_empty: bool = False,
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
        self._keep_going = keep_going
        self._may_be_empty = may_be_empty
        self._fetched: Path | None = None
        self._expected: StoredPlan | None = None
        self._recipes: dict[str, str] = {}  # of what is expected
        self.counts: tuple[int, int] | None = None
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
        recipes = self._require_plan(data)
        self._require_recompute_is_planned(data)
        left_out, partial = left_out_of(data), partial_of(data)
        if left_out and not self._keep_going:
            raise CollectionError(
                list_gaps(f"{self.name}: {len(left_out)} members cannot be planned", left_out)
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            require_inside(self.folder, data)
            sweep_partials(self.folder)
            write_plan(self.folder, self.name, recipes, left_out, partial)
            begin_journal(self.folder)
            self._expected, self._recipes = None, {}
        except OSError as problem:
            raise DatasetError(f"cannot write {self.folder}: {self._why_not_written(problem)}") from problem
        keys = self._shard.select(data) if self._shard else list(data)
        refused: dict[str, str] = {}
        todo = [key for key in keys if self._is_to_do(key, recipes[key], refused)]
        work = [MemberWork(key, data[key], self._dataset_for(key, data[key])) for key in todo]
        worker = Worker(self.name, self.folder, self._validate, n_kept=len(keys) - len(todo) - len(refused))
        failed = refused | worker.run(work)
        self.counts = (worker.n_done, len(keys) - len(todo) - len(refused))
        if failed and not self._keep_going:
            head = f"{self.name}: {len(failed)} of {len(keys)} members failed (the others are done and kept)"
            raise CollectionError(list_gaps(head, failed))

    def give_up(self, why: str) -> None:
        """Store the reason why nothing can be planned instead of a plan; members stay for the next plan.

        Raises:
            OSError: If the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_plan(self.folder, self.name, {}, {WHOLE: why}, {})
        self._expected = None

    def why_missing(self) -> str | None:
        """Return why the last run could not plan the collection; None if it could, or never tried."""
        try:
            return (self._expected or self._read_plan()).left_out.get(WHOLE)
        except CollectionError:
            return None

    def load(self) -> Handles:
        """Return a lazy handle for each planned member, by key.

        Raises:
            CollectionError: If the collection was not made, or, unless the run keeps going, a member is
                missing, of another recipe, damaged, or made without some of its inputs.
        """
        expected = self._expected
        if expected is None or any(expected):  # where no member is planned, none need be made
            stored = self._read_plan()
            expected = expected or stored
        found = self._look_for(expected)
        gaps = found.partial | found.missing
        if gaps and not self._keep_going:
            n_members = len(found) + len(found.missing)
            raise CollectionError(
                f"{self.name} is incomplete: {len(gaps)} of {n_members} members are not as planned "
                f"({shorten_gaps(gaps)}); run the pipeline that makes it again to complete it"
            )
        return found

    def load_partial(self) -> Handles:
        """Return a lazy handle for each member that is as planned, and say which are not.

        Raises:
            CollectionError: If nothing has been planned yet.
        """
        return self._look_for(self._expected or self._read_plan())

    def load_files(self) -> Handles:
        """Return a lazy handle for each planned member that is there; without a sound plan for each file."""
        with suppress(CollectionError):
            return self.load_partial()
        found = Handles({}, {}, {})
        for path in sorted(self.folder.rglob(f"*{self._format.suffix}")):
            key = path.relative_to(self.folder).as_posix().removesuffix(self._format.suffix)
            try:
                found[key] = self._open(key)
            except DamagedMemberError as problem:
                found.missing[key] = str(problem)
        return found

    def expect(self, data: Mapping[str, Planned], *, or_as_stored: bool = False) -> int:
        """Load from now on what a plan says, whatever the stored plan does; nothing is written.

        Args:
            data: The plan.
            or_as_stored: Whether to expect what the plan leaves out, or makes of some inputs only, as stored.

        Returns:
            How many members are expected as stored.
        """
        recipes = self._require_plan(data)
        members = {key: digest_of_text(recipe) for key, recipe in recipes.items()}
        left_out, partial = dict(left_out_of(data)), dict(partial_of(data))
        stored = StoredPlan({}, {}, {})
        if or_as_stored:
            with suppress(CollectionError):
                stored = self._read_plan()
        as_stored = {key: stored.members[key] for key in (*left_out, *partial) if key in stored.members}
        for key in as_stored:
            left_out.pop(key, None)
            partial.pop(key, None)
        partial |= {key: why for key, why in stored.partial.items() if key in as_stored}
        self._expected = StoredPlan(members | as_stored, left_out, partial)
        self._recipes = recipes | {key: canonical_json(part) for key, part in foreseen_of(data).items()}
        return len(as_stored)

    def _read_plan(self) -> StoredPlan:
        return read_plan(self.folder, self.name, may_be_empty=self._may_be_empty)

    def _look_for(self, plan: StoredPlan) -> Handles:
        require_inside(self.folder, plan.members)
        journal, failures = read_journal(self.folder), read_failures(self.folder)
        handles: dict[str, Any] = {}
        missing = dict(plan.left_out)
        for key, digest in plan.members.items():
            try:
                handle = self._open(key)
            except FileNotFoundError:
                missing[key] = failures.get((key, digest), "missing")
            except DamagedMemberError as problem:
                missing[key] = str(problem)
            else:
                if handle.digest != digest:
                    missing[key] = "of another recipe than planned"
                    continue
                handle.journal = journal.get((key, digest), {})
                handles[key] = handle
        planned = {key: self._recipes[key] for key in missing if key in self._recipes}
        return Handles(handles, missing, plan.partial, planned)

    def pending(self, data: Mapping[str, Planned]) -> list[str]:
        """Return the keys of a plan that saving it would compute or refuse; nothing is written.

        Raises:
            DatasetError: If the plan is not a plan.
        """
        recipes, refused = self._require_plan(data), dict[str, str]()
        return [key for key in data if self._is_to_do(key, recipes[key], refused) or key in refused]

    def unplanned(self) -> list[Path]:
        """Return the files of members that are no longer planned."""
        plan = self._read_plan()
        if WHOLE in plan.left_out:  # which members are wanted is not known
            return []
        kept = {self._path_of(key) for key in plan.members}
        return sorted(path for path in self.folder.rglob(f"*{self._format.suffix}") if path not in kept)

    def preview(self, nrows: int = 20, columns: Sequence[str] = ()) -> TablePreview:
        """Return the first members for Kedro-Viz: key, fields of the header, seconds, size, recipe digest.

        Args:
            nrows: How many members are shown.
            columns: Fields of the members' headers to show, such as ``n_stimuli``.
        """
        return preview_members(islice(self.load().values(), nrows), columns)

    def _why_not_written(self, problem: OSError) -> str:
        for path in (self.folder, *self.folder.parents):
            if path.exists() and not path.is_dir():
                return f"{path} is a file where a folder is expected; move it away"
        why = problem.strerror or str(problem)
        return f"{why}; fix this and run again (finished results are kept)"

    def _require_plan(self, data: Any) -> dict[str, str]:
        """Return the canonical text of each recipe; refuse what is not a plan."""
        if not isinstance(data, Mapping) or not all(isinstance(value, Planned) for value in data.values()):
            raise TypeError(f"{self.name}: a planner must return {{key: Planned(recipe, compute)}}")
        if not (data or left_out_of(data) or self._may_be_empty):
            raise DatasetError(
                f"{self.name}: the plan is empty; choose at least one member in the parameters"
            )
        require_keys(data, self.name, self._format.suffix)
        recipes = {}
        for key, planned in data.items():
            try:
                recipes[key] = strict_json(dict(planned.recipe), "recipe")
            except (TypeError, ValueError, RecursionError) as problem:
                raise TypeError(
                    f"{self.name}: recipe of {key!r} is not plain JSON data: {problem}"
                ) from problem
        return recipes

    def _require_recompute_is_planned(self, data: Mapping[str, Planned]) -> None:
        """Refuse a name to recompute that is of this collection but meets no planned member."""
        for pattern in self._recompute:
            if pattern.startswith(f"{self.name}/") and not any(self._is_meant(pattern, key) for key in data):
                hint = suggest(pattern, [f"{self.name}/{key}" for key in data])
                raise DatasetError(f"recompute {pattern!r} fits none of {len(data)} planned members; {hint}")

    def _is_meant(self, pattern: str, key: str) -> bool:
        return pattern == self.name or fnmatchcase(f"{self.name}/{key}", pattern)

    def _is_to_do(self, key: str, recipe: str, refused: dict[str, str]) -> bool:
        """Return whether a member must be computed; a damaged one is noted as refused."""
        if any(self._is_meant(pattern, key) for pattern in self._recompute):
            return True
        try:
            handle = self._open(key)
        except FileNotFoundError:
            return True
        except DamagedMemberError as problem:
            refused[key] = str(problem)
            return False
        return canonical_json(handle.recipe) != recipe

    def _open(self, key: str) -> MemberHandle:
        path = self._path_of(key)
        try:
            handle = self._format.open_checked(path)
            if handle.key != key:
                raise DamagedMemberError(f"{path} was renamed: by its header it is {handle.key!r}")
        except DamagedMemberError as problem:
            raise with_remedy(problem, self.name, key) from problem
        handle.collection = self.name
        return handle

    def _path_of(self, key: str) -> Path:
        return self.folder / f"{key}{self._format.suffix}"

    def _dataset_for(self, key: str, planned: Planned) -> MemberDataset:
        return self._format(filepath=str(self._path_of(key)), key=key, recipe=planned.recipe)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "member": self._format.__name__}

    def _exists(self) -> bool:
        try:
            self.load()
        except (DatasetError, OSError):
            return False
        return True
