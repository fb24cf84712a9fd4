"""Classes made of a source's own labels: superclasses, and choices of some classes.

Shipped maps (``label_maps/*.yml``) have names; any other is a file of the same form, or is written out in the
parameters.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from rep_kedro.errors import UserError, suggest
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import expand_path
from rep_kedro.stimuli.classes import is_number, numbers_of
from rep_kedro.stimuli.plain_yaml import load_plain_yaml
from rep_kedro.stimuli.record import DamageLog, Stimulus, StimulusStream


def _require_label(label: Any) -> Any:
    if isinstance(label, bool) or not isinstance(label, int | str):
        shown = str(label).lower() if isinstance(label, bool) else repr(label)
        raise UserError(f"should be a whole number or the name of a class in quotes, got {shown}")
    return label


def _form_of(labels: Any) -> str:
    return "by split" if isinstance(labels, Mapping) else "list"


Label = Annotated[int | str, BeforeValidator(_require_label)]
Labels = list[Label]
AnyLabels = Annotated[
    Annotated[Labels, Tag("list")] | Annotated[dict[str, Labels], Tag("by split")], Discriminator(_form_of)
]


class LabelMap(Parameters):
    """Classes in the order of their labels.

    Attributes:
        classes: By name, the source's labels that make up a class, as numbers or by the source's class names;
            or those for each split, where splits differ. Where all of the source's class names are numbers, a
            number is a name. Stimuli with other labels are left out and counted.
    """

    classes: dict[str, AnyLabels] = Field(min_length=1)

    @model_validator(mode="after")
    def _require_disjoint(self) -> "LabelMap":
        for split in self._splits() or {""}:
            used = Counter(label for labels in self.classes.values() for label in _labels_of(labels, split))
            twice = sorted((label for label, count in used.items() if count > 1), key=str)
            if twice:
                place = f" of {split}" if split else ""
                raise UserError(f"label_map puts the labels {twice} into several classes{place}")
        return self

    def new_labels(self, split: str, class_names: Sequence[str] | None = None) -> dict[int, int]:
        """Return the class of each of the source's labels in a split.

        Args:
            split: Of the stimuli.
            class_names: Of the source, by label; for maps that name classes.

        Raises:
            ValueError: If the map has splits, but not this one; if it names a class that the source lacks.
        """
        splits = self._splits()
        if splits and split not in splits:
            raise UserError(f"label_map has no split {split!r}; {suggest(split, splits)}")
        new_by_old: dict[int, int] = {}
        for new, labels in enumerate(self.classes.values()):
            for old in _labels_of(labels, split):
                number = _to_number(old, class_names)
                if number in new_by_old:
                    raise UserError(f"label_map puts label {number} into several classes")
                new_by_old[number] = new
        return new_by_old

    def _splits(self) -> set[str]:
        return {split for labels in self.classes.values() if isinstance(labels, dict) for split in labels}


def _labels_of(labels: Labels | dict[str, Labels], split: str) -> Labels:
    return labels.get(split, []) if isinstance(labels, dict) else labels


def _to_number(label: int | str, class_names: Sequence[str] | None) -> int:
    """Return the source's number of a class that a map names.

    Where all names of classes are numbers, a number is a name; where some are, it could be either.
    """
    names = list(class_names or [])
    if isinstance(label, int):
        numbers = numbers_of(names) or {name: int(name) for name in names if is_number(name)}
        named = [position for position, name in enumerate(names) if numbers.get(name) == label]
        if names and all(map(is_number, names)):
            return _only_one(named, label, names)
        if named and named != [label]:
            raise UserError(
                f"label_map: {label} could be the class named {names[named[0]]!r} or that with this number;"
                " write a name, as text"
            )
        if names and not 0 <= label < len(names):
            raise UserError(
                f"label_map names the class {label}, which the source of {len(names)} classes lacks"
            )
        return label
    if class_names is None and is_number(label):
        return int(label)
    return _only_one([position for position, name in enumerate(names) if name == label], label, names)


def _only_one(found: list[int], label: int | str, names: list[str]) -> int:
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"label_map: the source has several classes named {label!r}")
    raise UserError(f"label_map names the class {label!r}, which the source lacks; {suggest(label, names)}")


def _load_shipped(entry: Any) -> Any:
    """Replace the name of a shipped map, or of a file, by its content."""
    if not isinstance(entry, str):
        return entry
    if entry.endswith((".yml", ".yaml")):
        file = expand_path(entry, f"label_map {entry!r}")
        if not file.is_file():
            raise UserError(f"label_map: no file {entry}")
        return load_plain_yaml(file.read_text(encoding="utf-8", errors="replace"), str(file))
    folder = files("rep_kedro.stimuli") / "label_maps"
    known = [place.name.removesuffix(".yml") for place in folder.iterdir() if place.name.endswith(".yml")]
    if entry not in known:
        raise UserError(f"unknown label map {entry!r}; {suggest(entry, known)}")
    return load_plain_yaml((folder / f"{entry}.yml").read_text(encoding="utf-8"), entry)


AnyLabelMap = Annotated[LabelMap, BeforeValidator(_load_shipped)]


def map_labels(stream: StimulusStream, label_map: LabelMap, log: DamageLog) -> StimulusStream:
    """Return a stream with the map's classes; other stimuli are counted by split in the log."""
    return replace(stream, class_names=list(label_map.classes), stimuli=_mapped(stream, label_map, log))


def _mapped(stream: StimulusStream, label_map: LabelMap, log: DamageLog) -> Iterator[Stimulus]:
    by_split: dict[str, dict[int, int]] = {}
    for stimulus in stream.stimuli:
        if stimulus.split not in by_split:
            by_split[stimulus.split] = label_map.new_labels(stimulus.split, stream.class_names)
        if stimulus.label is None:
            log.add(stimulus.stimulus_id, "no label to map")
        elif stimulus.label in by_split[stimulus.split]:
            yield stimulus._replace(label=by_split[stimulus.split][stimulus.label])
        else:
            log.left_out[stimulus.split] += 1
