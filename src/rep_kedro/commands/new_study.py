"""``kedro new-study``: write a configuration for images and networks of one's own."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from rep_kedro.commands.command import ProjectCommand
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from rep_kedro.features.listing import LayerRow

CONF = Path("conf")
DEFAULT_NETWORKS = ("timm/resnet18", "timm/vit_tiny_patch16_224")
_LIBRARIES = ("timm", "torchvision")
_MOST_LAYERS = 4
_MOST_LETTERS = 64
_TAKEN = re.compile("all|local|con|prn|aux|nul|(com|lpt)[0-9]")  # by parameters, Kedro and Windows
_WHOLE = 0.8  # a part with this share of the parameters is the network itself: its own parts are read
_MOST_IMAGES = {"train": 1000, "test": 500}


def _absolute(_: click.Context, __: click.Parameter, path: str) -> str:
    """Return a path that means the same in the project's root folder; variables and ``~`` stay.

    Raises:
        UserError: If there is no path, or the configuration would take a part of it for a reference.
    """
    if not path.strip():
        raise UserError("--images is empty; give a folder with images, or with tar shards")
    if "${" in path:
        raise UserError(
            f"--images {path!r}: configuration takes '${{' for a reference to another value;"
            " write $NAME for an environment variable, or rename the folder"
        )
    return path if path.startswith(("~", "$")) else str(Path(path).absolute())


@click.command(name="new-study", cls=ProjectCommand)
@click.argument("name")
@click.option("--images", required=True, callback=_absolute, help="Folder with images, or with tar shards.")
@click.option(
    "--network",
    "networks",
    multiple=True,
    default=DEFAULT_NETWORKS,
    show_default=True,
    help="LIBRARY/NAME of timm or torchvision; may be repeated.",
)
@click.option("--random-weights", is_flag=True, help="Draw weights instead of fetching published ones.")
def command(name: str, images: str, networks: Sequence[str], random_weights: bool) -> None:
    """Write conf/NAME, a study of your own images and networks alone.

    Nothing of the default study takes part, and nothing is trained. `kedro run --env=NAME` runs it.
    """
    folder = _require_free(name)
    text = _write_study(name, images, networks, random_weights=random_weights)
    folder.mkdir()
    (folder / "parameters.yml").write_text(text, encoding="utf-8")
    (folder / "globals.yml").write_text(f"data: data/{name}\n", encoding="utf-8")
    click.echo(f"wrote {folder / 'parameters.yml'}; continue with: kedro run --env={name}")


def _require_free(name: str) -> Path:
    """Return the folder of a new study.

    Raises:
        UserError: If the name is taken or cannot be that of an environment.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UserError(f"study {name!r}: a name has small letters, digits, '_' and '-', a letter first")
    if len(name) > _MOST_LETTERS:
        raise UserError(f"study {name[:20]}...: a name has at most {_MOST_LETTERS} letters, got {len(name)}")
    if _TAKEN.fullmatch(name):
        raise UserError(f"study {name!r}: the name has a meaning of its own; choose another")
    folder = CONF / name
    if folder.exists():
        raise UserError(f"{folder} exists; choose another name, or remove it")
    if not CONF.is_dir():
        raise UserError("there is no folder conf here; call kedro new-study in the project")
    return folder


def _write_study(name: str, images: str, networks: Sequence[str], *, random_weights: bool) -> str:
    """Return the content of the study's parameters."""
    source, splits = _look_at(images)
    entry = [f"source: {source}", f"path: {_quoted(images)}"]
    if splits == {"train"}:
        entry.append("test_fraction: 0.3         # of each class, for probes; drawn once, by `seed`")
        splits = {"train", "test"}
    elif splits == {"test"}:
        entry += [
            "# Probes need training images, and all of these are called test. To draw some of them:",
            "# splits: none",
            "# test_fraction: 0.3",
        ]
    splits = {"test" if split == "val" and "test" not in splits else split for split in splits}
    total = ", ".join(f"{split}: {size}" for split, size in _MOST_IMAGES.items() if split in splits)
    template = Template((files("rep_kedro.commands") / "new_study.yml").read_text(encoding="utf-8"))
    return template.substitute(
        study=name,
        set_name="my_images",
        set_entry="\n".join(f"      {line}" for line in entry),
        total=f"{{{total}}}",
        models="\n".join(f"    {line}" for line in _network_lines(networks, random_weights=random_weights)),
    )


def _quoted(path: str) -> str:
    """Return a path as YAML on one line, with escapes for what ends a line or cannot be printed."""
    import yaml

    return str(yaml.safe_dump(path, default_style='"', allow_unicode=True, width=float("inf"))).strip()


def _look_at(images: str) -> tuple[str, set[str]]:
    """Return the source that reads a folder, and the splits that its names say.

    Raises:
        UserError: If there is no such folder, nothing in it is read, or names can be read in several ways.
    """
    from rep_kedro.stimuli.base import require_path
    from rep_kedro.stimuli.readers import image_folder, webdataset
    from rep_kedro.stimuli.tar_members import tar_stem

    shards = webdataset.WebdatasetSpec(path=images)  # type: ignore[arg-type]  # the model expands it
    [place] = shards.roots()[""]
    if any(tar_stem(file.name) for file in require_path(place).rglob("*")):
        return "webdataset", webdataset.find_splits(shards)
    return "image_folder", image_folder.find_splits(image_folder.ImageFolderSpec(path=place))


def _network_lines(networks: Sequence[str], *, random_weights: bool) -> list[str]:
    names = [network.partition("/")[2] for network in networks]
    lines = dict[str, str]()
    for network, name in zip(networks, names, strict=True):
        own = name if names.count(name) == 1 else network.replace("/", "_")
        if own in lines:
            raise UserError(f"--network {network} is given twice")
        lines[own] = f"{own}: {{{_describe_network(network, random_weights=random_weights)}}}"
    return list(lines.values())


def _describe_network(network: str, *, random_weights: bool) -> str:
    """Return the entry of a network, with layers from all of its depth.

    Raises:
        UserError: If the library or the name is unknown.
    """
    from rep_kedro.features.listing import list_entry_layers
    from rep_kedro.models.sources.specs import TimmModel, TorchvisionModel

    library, _, name = network.partition("/")
    if library not in _LIBRARIES or not name:
        raise UserError(
            f"--network {network}: write LIBRARY/NAME with one of {', '.join(_LIBRARIES)}, such as"
            f" {DEFAULT_NETWORKS[0]}; other networks are added by hand (docs/networks.md)"
        )
    entry: TimmModel | TorchvisionModel
    if library == "timm":
        weights = "pretrained: false, " if random_weights else ""
        entry = TimmModel(source="timm", name=name, layers=("*",), pretrained=False)
    else:
        weights = "weights: null, " if random_weights else ""
        entry = TorchvisionModel(source="torchvision", name=name, layers=("*",), weights=None)
    layers = choose_layers(list_entry_layers(entry))
    return f"source: {library}, name: {name}, {weights}layers: [{', '.join(layers)}]"


def choose_layers(rows: "Sequence[LayerRow]") -> list[str]:
    """Return the names of a few layers from all of a network's depth: its stages, or some of its blocks.

    Args:
        rows: All layers in order of execution.
    """
    parts = {row.layer: row for row in rows if row.n_parameters and row.shape and len(row.shape) > 1}
    inside: dict[str, list[str]] = {}
    for name in parts:
        inside.setdefault(name.rpartition(".")[0], []).append(name)
    found = inside.get("", [])
    while (whole := _only_block(found, parts, inside)) is not None:
        found = [part for name in found for part in (inside[name] if name == whole else [name])]
    blocks = [name for name in found if name in inside]
    found = (blocks if len(blocks) > 1 else found) or [rows[-1].layer]
    count = min(_MOST_LAYERS, len(found))
    return [found[(number + 1) * len(found) // count - 1] for number in range(count)]


def _only_block(
    found: Sequence[str], parts: "Mapping[str, LayerRow]", inside: Mapping[str, Sequence[str]]
) -> str | None:
    """Return the part that is nearly the network, so that its own parts are its stages."""
    blocks = [name for name in found if name in inside]
    total = sum(parts[name].n_parameters for name in found)
    large = [name for name in blocks if parts[name].n_parameters > _WHOLE * total]
    return next(iter(large or (blocks if len(blocks) == 1 else [])), None)
