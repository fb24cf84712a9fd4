"""``kedro layers``: list every layer of a network, to choose those that an entry reads."""

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rep_kedro.commands.command import ProjectCommand
from rep_kedro.errors import close_names, suggest

if TYPE_CHECKING:
    from rep_kedro.features.listing import LayerRow
    from rep_kedro.features.params import FeaturesParams
    from rep_kedro.models.architecture import DefinedNetwork


_OWN = "own/"  # before the name of an architecture of this project that a library has, too


@click.command(name="layers", cls=ProjectCommand)
@click.argument("model")
@click.option("--env", "-e", default=None, help="Configuration environment.")
def command(model: str, env: str | None) -> None:
    """List every layer of a network in order of execution.

    MODEL is an entry of features.models or features.model_groups, a network trained here, an architecture of
    this project (cnn, own/resnet18) or its YAML file, or a network of a library (resnet26, timm/resnet18,
    torchvision/resnet18, open_clip/ViT-B-32), whose weights are not needed. Shown for each layer: output
    shape for one image, parameters with those of its parts, and the receptive field in pixels (more than the
    image where it reaches into the padding; `?`: not known, as behind attention in windows). Layers that are
    read have a star: those of the entry's `layers`, else those that the architecture keeps.
    """
    from rep_kedro.commands.session import open_context
    from rep_kedro.features.params import FeaturesParams

    context = open_context(env)
    params = FeaturesParams.model_validate(context.config_loader["parameters"]["features"])
    rows, read = _find(model, params, context.catalog)
    for line in _table(rows, set(read)):
        click.echo(line)
    click.echo(f"{len(rows)} layers, {len(read)} read (*)", err=True)


def _find(model: str, params: "FeaturesParams", catalog: Any) -> tuple[list["LayerRow"], tuple[str, ...]]:
    """Return the layers of a network and the names of those that are read.

    Raises:
        click.ClickException: If there is no such network; the message has close matches.
        UserError: If it is Python code that the study does not allow to run.
    """
    from rep_kedro.features.listing import list_entry_layers, list_trained_layers
    from rep_kedro.models.layers import select_layers
    from rep_kedro.models.outline import build_on_meta
    from rep_kedro.models.sources.array_specs import FileModel
    from rep_kedro.models.sources.specs import TrainedModel
    from rep_kedro.models.trained import layers_to_read

    entries = {name: entry for group in params.model_groups.values() for name, entry in group.items()}
    entries |= params.entries()
    networks = catalog.load("networks") if catalog.exists("networks") else {}
    entry = entries.get(model)
    if entry is None and model in networks:
        entry = TrainedModel(source="trained", network=model)
    if entry is None:
        return _find_unconfigured(model, {*entries, *networks})
    params.require_allowed({model: entry})  # of groups that are not chosen, nothing was checked
    if isinstance(entry, FileModel):
        raise click.ClickException(f"{model!r} is features from a file ({entry.title}); it has no network")
    if isinstance(entry, TrainedModel):
        if entry.network not in networks:
            raise click.ClickException(f"network {entry.network!r} is missing; run the training pipeline")
        handle = networks[entry.network]
        rows = list_trained_layers(handle)
        wanted = layers_to_read(handle, entry.layers, with_embedding=params.embeddings)
    else:
        rows = list_entry_layers(entry)
        wanted = entry.layers or tuple(getattr(build_on_meta(entry), "kept_layers", ()))
    return rows, select_layers([row.layer for row in rows], wanted) if wanted else ()


def _find_unconfigured(
    model: str, configured: "AbstractSet[str]"
) -> tuple[list["LayerRow"], tuple[str, ...]]:
    """Return the layers of a network that no configuration has, and those that an architecture keeps.

    Raises:
        click.ClickException: If there is none; the message has close matches.
    """
    from rep_kedro.features.listing import list_entry_layers
    from rep_kedro.models.architecture_files import list_architectures, load_definition, read_architecture
    from rep_kedro.models.sources.by_name import find_by_name, names_by_library

    own = list_architectures()
    if Path(model).suffix in {".yml", ".yaml"}:
        if not Path(model).is_file():
            raise click.ClickException(f"there is no file {model}")
        return _list_architecture(read_architecture(Path(model)))
    if model.startswith(_OWN):
        return _list_architecture(load_definition(model.removeprefix(_OWN)))
    if model in own:
        libraries = [library for library, names in names_by_library().items() if model in names]
        if libraries:
            raise click.ClickException(
                f"{model!r} is an architecture of this project and a network of {' and '.join(libraries)};"
                f" say {_OWN}{model} or {libraries[0]}/{model}"
            )
        return _list_architecture(load_definition(model))
    entry = find_by_name(model)
    if entry is not None:
        return list_entry_layers(entry), ()
    known = {*configured, *own, *(name for names in names_by_library().values() for name in names)}
    raise click.ClickException(
        f"no network {model!r}; {suggest(model, known if close_names(model, known) else configured | own)}"
    )


def _list_architecture(definition: "DefinedNetwork") -> tuple[list["LayerRow"], tuple[str, ...]]:
    from rep_kedro.features.listing import list_architecture_layers
    from rep_kedro.models.layers import select_layers

    rows = list_architecture_layers(definition)
    return rows, select_layers([row.layer for row in rows], getattr(definition, "keep", ()))


def _table(rows: list["LayerRow"], read: set[str]) -> list[str]:
    cells = [("", "layer", "kind", "output", "parameters", "field")]
    for row in rows:
        cells.append(
            (
                "*" if row.layer in read else "",
                row.layer,
                row.kind,
                " x ".join(map(str, row.shape)) if row.shape is not None else "no tensor",
                f"{row.n_parameters:,}",
                "?" if row.receptive_field_px is None else str(row.receptive_field_px),
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if position > 3 else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
