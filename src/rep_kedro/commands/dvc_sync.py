"""``kedro dvc-sync``: write dvc.yaml from the registered pipelines, which keeps the two in sync."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from rep_kedro.commands.command import ProjectCommand

_HEADER = (
    "# Written by `kedro dvc-sync` from the registered pipelines; a test keeps it in sync. Do not edit.\n"
)
_ENV = "base"
_FORMATS = "src/rep_kedro/datasets"


@click.command(name="dvc-sync", cls=ProjectCommand)
@click.option("--check", is_flag=True, help="Change nothing; fail if dvc.yaml is not in sync.")
def command(check: bool) -> None:
    """Write dvc.yaml from the registered pipelines: one stage for each, of the same name."""
    path = Path("dvc.yaml")
    wanted = render_dvc_yaml()
    current = path.read_text(encoding="utf-8") if path.exists() else ""
    if wanted == current:
        click.echo("dvc.yaml is in sync with the pipelines")
    elif check:
        click.echo("error: dvc.yaml is not in sync with the pipelines; run `kedro dvc-sync`", err=True)
        sys.exit(1)
    else:
        path.write_text(wanted, encoding="utf-8")
        click.echo("wrote dvc.yaml")


def render_dvc_yaml() -> str:
    """Return the text that dvc.yaml shall have."""
    import yaml
    from kedro.framework.project import pipelines

    from rep_kedro.commands.project import catalog_config
    from rep_kedro.pipelines import PIPELINES

    config = catalog_config(_ENV)
    files = _parameter_files()
    stages = {name: _stage(name, pipelines[name], config, files) for name in PIPELINES}
    return _HEADER + yaml.safe_dump({"stages": stages}, sort_keys=False, width=110)


def _stage(name: str, pipeline: Any, config: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    inputs = sorted(pipeline.inputs())
    parameters: dict[str, list[str]] = {}
    for entry in inputs:
        if entry.startswith("params:"):
            key = entry.removeprefix("params:")
            parameters.setdefault(files[key.split(".")[0]], []).append(key)
    stage: dict[str, Any] = {
        "cmd": f"kedro run --env={_ENV} --pipelines={name}",
        "deps": [*_data_of(inputs, config, with_journal=name == "reporting"), *_code_of(name)],
    }
    if parameters:
        stage["params"] = [{file: sorted(keys)} for file, keys in sorted(parameters.items())]
    made = _data_of(sorted(pipeline.all_outputs()), config, with_journal=True)
    stage["outs"] = [{path: {"persist": True}} for path in made]  # a run keeps what is up to date
    return stage


def _data_of(entries: list[str], config: dict[str, Any], *, with_journal: bool) -> list[str]:
    paths = []
    for entry in entries:
        path = config.get(entry, {}).get("filepath", "")
        if not path or "://" in path:
            continue  # parameters, and results of earlier revisions
        paths.append(path)
        if with_journal and "member" in config[entry]:
            paths.append(f"{path}.journal.jsonl")
    return paths


def _code_of(name: str) -> list[str]:
    """Return the source files of a pipeline, the data folders next to them, and the formats' folder."""
    from rep_kedro.datasets.revision import module_closure

    root = Path.cwd()
    pipeline = f"rep_kedro.pipelines.{name}.pipeline"
    closure = module_closure(pipeline, *getattr(import_module(pipeline), "NAMED_MODULES", ()))
    files = {path.resolve().relative_to(root.resolve()).as_posix() for path in closure.values()}
    rooms = {Path(*Path(file).parts[:3]) for file in files}
    data = {folder.as_posix() for room in rooms for folder in _data_folders(room)}
    return [_FORMATS, *sorted(file for file in files | data if not file.startswith(f"{_FORMATS}/"))]


def _data_folders(room: Path) -> list[Path]:
    """Return the folders of a room with data and no code: architectures, label maps, templates."""
    folders = [path for path in room.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    return [folder for folder in folders if not any(folder.glob("*.py")) and any(folder.glob("*.*"))]


def _parameter_files() -> dict[str, str]:
    """Return which file of the base configuration defines each top-level parameter."""
    import yaml

    found: dict[str, str] = {}
    for path in sorted(Path("conf", _ENV).glob("**/parameters*.yml")):
        for key in yaml.safe_load(path.read_text(encoding="utf-8")) or {}:
            found[key] = path.as_posix()
    return found
