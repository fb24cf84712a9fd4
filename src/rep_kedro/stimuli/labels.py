"""Classes made of a source's own labels: superclasses, and choices of some classes.

Shipped maps (``label_maps/*.yml``) have names; any other is written out in the parameters.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from rep_kedro.stimuli.record import DamageLog, Stimulus, StimulusStream
from rep_kedro.stimuli.strict import StrictModel, suggest


class LabelMap(StrictModel):
    """Classes in the order of their labels.

    Attributes:
        classes: By name, the source's labels that make up a class; or those for each split, where splits
            differ. Stimuli with other labels are left out and counted.
    """

    classes: dict[str, list[int] | dict[str, list[int]]] = Field(min_length=1)

    @model_validator(mode="after")
    def _require_disjoint(self) -> "LabelMap":
        for split in self._splits() or {""}:
            used = Counter(label for labels in self.classes.values() for label in _labels_of(labels, split))
            twice = sorted(label for label, count in used.items() if count > 1)
            if twice:
                raise ValueError(
                    f"label_map puts the labels {twice} into several classes{split and f' of {split}'}"
                )
        return self

    def new_labels(self, split: str) -> dict[int, int]:
        """Return the class of each of the source's labels in a split.

        Raises:
            ValueError: If the map has splits, but not this one.
        """
        splits = self._splits()
        if splits and split not in splits:
            raise ValueError(f"label_map has no split {split!r}; {suggest(split, splits)}")
        return {
            old: new for new, labels in enumerate(self.classes.values()) for old in _labels_of(labels, split)
        }

    def _splits(self) -> set[str]:
        return {split for labels in self.classes.values() if isinstance(labels, dict) for split in labels}


def _labels_of(labels: list[int] | dict[str, list[int]], split: str) -> list[int]:
    return labels.get(split, []) if isinstance(labels, dict) else labels


def _load_shipped(entry: Any) -> Any:
    """Replace the name of a shipped map by its content."""
    if not isinstance(entry, str):
        return entry
    import yaml

    folder = files("rep_kedro.stimuli") / "label_maps"
    known = [place.name.removesuffix(".yml") for place in folder.iterdir() if place.name.endswith(".yml")]
    if entry not in known:
        raise ValueError(f"unknown label map {entry!r}; {suggest(entry, known)}")
    return yaml.safe_load((folder / f"{entry}.yml").read_text(encoding="utf-8"))


AnyLabelMap = Annotated[LabelMap, BeforeValidator(_load_shipped)]


def map_labels(
    stream: StimulusStream, label_map: LabelMap, log: DamageLog, left_out: Counter[str]
) -> StimulusStream:
    """Return a stream with the map's classes; other stimuli are counted by split in ``left_out``."""
    return replace(
        stream,
        class_names=list(label_map.classes),
        stimuli=_mapped(stream.stimuli, label_map, log, left_out),
    )


def _mapped(
    stimuli: Iterator[Stimulus], label_map: LabelMap, log: DamageLog, left_out: Counter[str]
) -> Iterator[Stimulus]:
    by_split: dict[str, dict[int, int]] = {}
    for stimulus in stimuli:
        if stimulus.split not in by_split:
            by_split[stimulus.split] = label_map.new_labels(stimulus.split)
        if stimulus.label is None:
            log.add(stimulus.stimulus_id, "no label to map")
        elif stimulus.label in by_split[stimulus.split]:
            yield stimulus._replace(label=by_split[stimulus.split][stimulus.label])
        else:
            left_out[stimulus.split] += 1
