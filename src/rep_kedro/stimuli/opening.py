"""Opens a source by its name, which is that of its reader: readers may open other sources."""

from importlib import import_module

from rep_kedro.stimuli.base import SourceSpec
from rep_kedro.stimuli.record import DamageLog, StimulusStream


def reader_module(spec: SourceSpec) -> str:
    """Return the dotted name of the module that reads a source."""
    return f"rep_kedro.stimuli.readers.{spec.source}"


def open_source(spec: SourceSpec, log: DamageLog) -> StimulusStream:
    """Open a source; its stimuli are read as they are asked for."""
    stream: StimulusStream = import_module(reader_module(spec)).read(spec, log)
    return stream
