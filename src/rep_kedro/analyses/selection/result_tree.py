"""The results of pretraining as files: for each network its weights, measures, probes and accuracies.

<method>/<settings>/PRETRAINED_MODEL/model.safetensors, card.json
<method>/<settings>/RANKME_EVAL.json
<method>/<settings>/<stimulus set>/FINETUNED_MODEL/model.safetensors, card.json
<method>/<settings>/<stimulus set>/ACCURACY.json
<method>/<settings>/<stimulus set>/LOGITS.safetensors     if probing.keep_logits is on
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.fitting import LOGITS
from rep_kedro.datasets import MemberKey

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import TensorsHandle

_MONITORS = "monitor/"  # tensors that are stored with a network and are not weights
_NO_PART_OF_THE_HEAD = ("predictions", "probabilities", LOGITS)
_FOREIGN = re.compile(r"[^\w.+=@,-]+", re.ASCII)
_MOST_CHARS = 150


def build_result_tree(
    networks: Mapping[str, "TensorsHandle"],
    probes: Mapping[str, "TensorsHandle"],
    network_settings: "DataFrame",
    label_free_measures: "DataFrame",
) -> Iterator[tuple[str, bytes]]:
    """Yield every file of the tree: its path below the root, with ``/``, and its content.

    Args:
        networks: Trained networks.
        probes: Of each stimulus set and network; other networks are left out.
        network_settings: Settings of the trained networks; the objective is the method.
        label_free_measures: Measures of the networks.

    Equal results give equal bytes. The name of a settings folder has the settings in which the networks of
    the method differ, and the seed.
    """
    settings = {
        str(model): dict(zip(rows["setting"], rows["value"], strict=True))
        for model, rows in network_settings.groupby("model", sort=True)
    }
    probes_of: dict[str, dict[str, TensorsHandle]] = defaultdict(dict)
    for key, handle in sorted(probes.items()):
        stimulus_set, model = MemberKey.parse(key)
        probes_of[model][stimulus_set] = handle
    for model, folder in name_folders(settings).items():
        yield from _pretrained(f"{folder}/PRETRAINED_MODEL", networks[model], settings[model])
        measures = label_free_measures[label_free_measures["model"] == model]
        yield f"{folder}/RANKME_EVAL.json", _json(_measured(measures, settings[model]))
        for stimulus_set, handle in probes_of[model].items():
            yield from _finetuned(f"{folder}/{stimulus_set}", handle)


def name_folders(settings: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the folder ``<method>/<settings>`` of each network; no two are equal, in any case of letters."""
    of_method: dict[str, list[str]] = defaultdict(list)
    for model, own in settings.items():
        of_method[_safe(own.get("objective", "unknown"))].append(model)
    folders = {}
    for method, models in sorted(of_method.items()):
        varying = [
            name
            for name in sorted({name for model in models for name in settings[model]} - {"objective"})
            if name == "seed" or len({settings[model].get(name) for model in models}) > 1
        ]
        named = {
            model: _safe(",".join(f"{name}={settings[model].get(name, 'none')}" for name in varying))
            for model in models
        }
        taken = [name.lower() for name in named.values()]
        for model, name in named.items():
            is_clear = 0 < len(name) <= _MOST_CHARS and taken.count(name.lower()) == 1
            folders[model] = f"{method}/{name if is_clear else f'network={_safe(model)}'}"
    return folders


def _safe(name: str) -> str:
    """Return a name that is one part of a path on every system, and never `.` or `..`."""
    return _FOREIGN.sub("_", name).lstrip(".") or "unknown"


def _pretrained(
    folder: str, handle: "TensorsHandle", settings: Mapping[str, str]
) -> Iterator[tuple[str, bytes]]:
    names = [name for name in handle.names if not name.startswith(_MONITORS)]
    yield f"{folder}/model.safetensors", _safetensors({name: handle.tensor(name) for name in names})
    yield (
        f"{folder}/card.json",
        _json({"network": handle.key, "settings": settings, "recipe": handle.recipe} | dict(handle.meta)),
    )


def _measured(measures: "DataFrame", settings: Mapping[str, str]) -> dict[str, Any]:
    rows = measures.drop(columns="model").sort_values(["stimulus_set", "space", "measure"])
    return {
        "pretraining_set": settings.get("stimulus_set"),
        "measures": [
            {**row, "settings": json.loads(row["settings"])}
            for row in rows.astype(object).where(rows.notna(), None).to_dict("records")
        ],
    }


def _finetuned(folder: str, handle: "TensorsHandle") -> Iterator[tuple[str, bytes]]:
    final = next(row for row in handle.meta["layers"] if row["is_final"])
    prefix = f"{final['layer']}/"
    parts = {name.removeprefix(prefix): name for name in handle.names if name.startswith(prefix)}
    head = {part: handle.tensor(name) for part, name in parts.items() if part not in _NO_PART_OF_THE_HEAD}
    yield f"{folder}/FINETUNED_MODEL/model.safetensors", _safetensors(head)
    card = {
        "reads": f"features of layer {final['layer']} of PRETRAINED_MODEL, which is frozen",
        "label": handle.meta["label"],
        "classes": handle.meta["classes"],
        "recipe": handle.recipe,
    }
    if head.keys() == {"weight", "bias"}:
        card["logits"] = "features @ weight + bias"
    yield f"{folder}/FINETUNED_MODEL/card.json", _json(card)
    yield f"{folder}/ACCURACY.json", _json(final)
    if LOGITS in parts:
        shown = {part: handle.tensor(parts[part]) for part in (LOGITS, "predictions")}
        yield f"{folder}/LOGITS.safetensors", _safetensors(shown)


def _safetensors(tensors: Mapping[str, Any]) -> bytes:
    from safetensors.numpy import save

    return save({name: tensors[name].copy() for name in sorted(tensors)})


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
