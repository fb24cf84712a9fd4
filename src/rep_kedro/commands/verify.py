"""``kedro verify``: is every artifact there, whole, as planned, and within its contract?"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from rep_kedro.commands.command import ProjectCommand


@click.command(name="verify", cls=ProjectCommand)
@click.option("--env", "-e", default=None, help="Configuration environment.")
def command(env: str | None) -> None:
    """Check every artifact: present, whole, of the planned recipe, contract kept.

    Every byte of every file is compared with the digest in it, so that one flipped bit is found. A run does
    this only for the files that it uses.
    """
    from rep_kedro.commands.project import catalog_config, open_catalog

    catalog, config, failed = open_catalog(env), catalog_config(env), []
    for name in sorted(_made_by_pipelines()):
        artifact, problems = examine(catalog, name, config[name])
        if problems:
            failed.append(name)
        for why in problems:
            click.echo(why if why.startswith(name) else f"{name}: {why}", err=True)
        if not problems:
            click.echo(f"{name}: {_describe(artifact)}{_unsealed(artifact)}{_mixed(artifact)}")
    if failed:
        click.secho(
            f"error: {len(failed)} of {len(_made_by_pipelines())} artifacts are not as they should be;"
            " kedro run makes what is missing, --params recompute=<collection>/<key> what is damaged",
            fg="red",
            err=True,
        )
        sys.exit(1)


def examine(catalog: Any, name: str, entry: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Load an artifact and read all of it.

    Returns:
        The artifact (None where it cannot be loaded), and what is wrong with it.
    """
    from rep_kedro.commands.explain import explain

    try:
        artifact = catalog.load(name)
    except Exception as problem:
        problems = [explain(problem) or repr(problem)]
        if "member" in entry:  # what is there is checked all the same
            files = catalog.get(name).load_files()
            named = {key: why for key, why in files.missing.items() if why not in problems[0]}
            problems += [*_broken_members(files, entry), *(f"{key}: {why}" for key, why in named.items())]
        return None, problems
    return artifact, list(_broken_members(artifact, entry))


def _made_by_pipelines() -> set[str]:
    from kedro.framework.project import pipelines

    return set(pipelines["__default__"].all_outputs())


def _broken_members(artifact: Any, entry: Mapping[str, Any]) -> Iterator[str]:
    """Check each member of a collection, first its bytes, then its contract; yield what is wrong, by key."""
    if "member" not in entry:
        return
    from kedro.utils import load_obj

    from rep_kedro.commands.explain import explain

    validate = load_obj(entry["member_validator"]) if "member_validator" in entry else None
    for key, handle in artifact.items():
        try:
            handle.verify()
            content = _content_of(handle)
            if validate is not None:
                validate(content)
        except Exception as problem:
            yield f"{key}: {explain(problem) or repr(problem)}"


def _content_of(handle: Any) -> Any:
    """Return everything a member holds, as its maker gave it."""
    from rep_kedro.datasets import Tensors

    if hasattr(handle, "tensor"):
        return Tensors({name: handle.tensor(name) for name in handle.names}, dict(handle.meta))
    for read in ("matrix", "svg", "pdf", "table"):
        if hasattr(handle, read):
            return getattr(handle, read)()
    raise TypeError(f"{handle!r} has nothing to read")  # pragma: no cover - every format has one of them


def _describe(artifact: Any) -> str:
    kind = "dict" if isinstance(artifact, dict) else type(artifact).__name__
    unit = {"dict": "members", "DataFrame": "rows", "str": "characters"}.get(kind, kind)
    return f"{len(artifact)} {unit}" if hasattr(artifact, "__len__") else kind


def _unsealed(artifact: Any) -> str:
    """Say how many members were written before files had a digest of all their bytes."""
    members = artifact.values() if isinstance(artifact, dict) else ()
    count = sum(not handle.is_sealed for handle in members)
    if not count:
        return ""
    return (
        f" ({count} of an earlier version without a digest of the whole file: not every flipped bit is found)"
    )


def _mixed(artifact: Any) -> str:
    """Say where members come from if they were computed on several platforms."""
    from rep_kedro.datasets.platform import describe_platforms

    platforms = describe_platforms(
        [handle.meta for handle in artifact.values()] if isinstance(artifact, dict) else []
    )
    return f" (of different platforms: {platforms})" if platforms else ""
