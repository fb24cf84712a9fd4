"""Nodes that make single files: their function is called only where the file is not up to date.

A table or a page is kept as long as its recipe is unchanged, like a member of a collection. Its recipe is
what the node's function depends on: references of the inputs, parameters and the revision of the code.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from kedro.pipeline import Node

from rep_kedro.datasets.member import MemberHandle
from rep_kedro.datasets.partial import missing_of, partial_of
from rep_kedro.datasets.plan import Json, Planned, digest_of
from rep_kedro.datasets.revision import code_revision
from rep_kedro.datasets.rows import rows_digest


class RecipeNode(Node):
    """A node whose outputs are single files with a recipe: tables, pages.

    Running it gives a :class:`~rep_kedro.datasets.plan.Planned` for each output, which the output's dataset
    keeps or computes. The function gets tables as DataFrames, everything else as loaded.

    Args:
        func: Makes the outputs from the inputs; a pure function.
        inputs: As of any node.
        outputs: As of any node.
        counts: What of an input counts, by the input's name, where that is not all of it: parameters that
            change no value, such as a device or a path, are not part of a recipe.
        data: Files and folders of data that the code reads, such as templates: their content counts.
        **options: As of any node.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        inputs: Any,
        outputs: Any,
        *,
        counts: Mapping[str, Callable[[Any], Json]] | None = None,
        data: Sequence[Path] = (),
        **options: Any,
    ) -> None:
        super().__init__(func, inputs, outputs, **options)
        self._counts = dict(counts or {})
        self._data = tuple(data)

    def run(self, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what is planned for each output; nothing is computed."""
        from rep_kedro.datasets.table import opened

        given = dict(inputs or {})
        recipe = self._recipe(given)

        @cache
        def compute() -> dict[str, Any]:
            return super(RecipeNode, self).run({name: opened(value) for name, value in given.items()})

        return {
            name: Planned({**recipe, "output": name}, partial(_pick, compute, name)) for name in self.outputs
        }

    def _recipe(self, inputs: Mapping[str, Any]) -> dict[str, Json]:
        recipe: dict[str, Json] = {
            "code": code_revision(self.func.__module__),
            "function": self.func.__name__,
            "inputs": {
                name: reference_of(self._counts[name](value) if name in self._counts else value)
                for name, value in inputs.items()
            },
        }
        return recipe | ({"data": _content_digest(self._data)} if self._data else {})

    def _copy(self, **overwrite_params: Any) -> Node:
        """Copy the node, as Kedro does to add tags or a namespace."""
        copied = super()._copy(**overwrite_params)
        copied.__class__ = RecipeNode
        copied._counts, copied._data = self._counts, self._data  # type: ignore[attr-defined]
        return copied


def _pick(compute: Callable[[], Mapping[str, Any]], name: str) -> Any:
    return compute()[name]


def reference_of(value: Any) -> Json:
    """Return what the recipe of something made from a value holds of it.

    Args:
        value: Handles by key, a handle, what is planned, a table, a text, a model of parameters, or plain
            JSON data.

    Returns:
        Plain JSON data. Of handles by key their number and a digest of their references and of what is
        missing, so that what is made of some members is never taken for what is made of all.
    """
    from pydantic import BaseModel

    if isinstance(value, MemberHandle | Planned):
        return value.reference if isinstance(value, MemberHandle) else dict(value.recipe)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, str):
        return {"sha256": hashlib.sha256(value.encode()).hexdigest()}
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return {"rows": rows_digest(value), **value.attrs}
    if isinstance(value, Mapping) and _is_of_handles(value):
        return _reference_of_handles(value)
    return value


def _is_of_handles(value: Mapping[str, Any]) -> bool:
    return bool(missing_of(value)) or any(isinstance(handle, MemberHandle) for handle in value.values())


def _reference_of_handles(handles: Mapping[str, Any]) -> dict[str, Json]:
    gaps = {"missing": dict(missing_of(handles)), "partial": dict(partial_of(handles))}
    members = {key: handle.digest for key, handle in handles.items()}
    found = {"n_members": len(members), "digest": digest_of({"members": members, **gaps})}
    return found | {kind: sorted(keys) for kind, keys in gaps.items() if keys}


def only(include: Any) -> Callable[[Any], Json]:
    """Return a function that selects some fields of a parameter model.

    Args:
        include: Names of fields, nested as pydantic has it.
    """
    return partial(_dump, include=include)


def _dump(model: Any, include: Any) -> Json:
    return model.model_dump(mode="json", include=include)


def _content_digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in _files(paths):
        digest.update(f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()};".encode())
    return digest.hexdigest()


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from (sorted(path.iterdir()) if path.is_dir() else [path])
