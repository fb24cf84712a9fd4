"""Networks on Hugging Face in the layout of timm or open_clip: `hf-hub:<owner>/<name>`."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from rep_kedro.downloads import require_modest_snapshot
from rep_kedro.errors import UserError
from rep_kedro.models.sources.loaded import explained
from rep_kedro.models.sources.published import digests_of_copy, hub_or_cache

PREFIX = "hf-hub:"
_NAME = re.compile(r"hf-hub:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_READ = ("*.json", "*.safetensors")  # never pickled weights


class HubFolder(NamedTuple):
    """A local copy of one commit of a repository.

    Attributes:
        path: The folder; it has the weights only if they were requested.
        repository: Owner and name.
        commit: Of the copy, 40 hexadecimal digits.
    """

    path: Path
    repository: str
    commit: str


def is_on_hub(name: str) -> bool:
    """Return whether a model's name is that of a repository."""
    return name.startswith(PREFIX)


def fetch_folder(name: str, config: str, *, with_weights: bool) -> HubFolder:
    """Return a local copy of a repository, fetched unless it is there.

    Args:
        name: As `hf-hub:timm/resnet18.a1_in1k`, with `@<branch, tag or commit>` for another than the newest.
        config: File name of the configuration, such as `config.json`.
        with_weights: Fetch the weights, too.

    Raises:
        ValueError: If the name is none, or the repository is unavailable or has no such files.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(
            f"name {name!r} is not of the form hf-hub:<owner>/<name> or hf-hub:<owner>/<name>@<revision>"
        )
    repository, revision = found["repository"], found["revision"]
    with explained(f"repository {repository!r}", config), hub_or_cache():
        folder = Path(hf_hub_download(repository, config, revision=revision)).parent
    commit = folder.name
    if with_weights:
        with hub_or_cache():
            require_modest_snapshot(repository, repo_type="model", revision=commit, patterns=_READ)
        with explained(f"repository {repository!r}", "*.safetensors"), hub_or_cache():
            folder = Path(snapshot_download(repository, revision=commit, allow_patterns=list(_READ)))
            if not any(folder.glob("*.safetensors")):
                raise FileNotFoundError("the repository has no safetensors file")
    return HubFolder(folder, repository, commit)


def identify_copy(folder: HubFolder, *, with_weights: bool) -> dict[str, Any]:
    """Return repository and commit of a copy, and the digests of weights in it that are not the commit's."""
    facts = {"repository": folder.repository, "commit": folder.commit}
    replaced = digests_of_copy(folder.path) if with_weights else {}
    return {**facts, "sha256": replaced} if replaced else facts


def read_config(folder: HubFolder, config: str, key: str) -> dict[str, Any]:
    """Return the configuration of a copy.

    Raises:
        ValueError: If it lacks a key that every configuration of this layout has.
    """
    content = json.loads((folder.path / config).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or key not in content:
        raise UserError(
            f"{config} of repository {folder.repository!r} has no {key!r}; is it of another library?"
        )
    return content
