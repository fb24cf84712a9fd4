"""Fuzzed files of the project: members of collections, parameters, architectures."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from tests.fuzz.mutations import mutate, mutate_yaml

import rep_kedro

CONF = Path(rep_kedro.__file__).parents[2] / "conf" / "base"
ARCHITECTURES = Path(rep_kedro.__file__).parent / "models" / "architectures"


def _member_kinds():
    from matplotlib.figure import Figure

    from rep_kedro.datasets import ArrowDataset, LabelledMatrix, MatrixDataset, Tensors, TensorsDataset
    from rep_kedro.datasets.drawing import DrawingDataset

    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2, 3])
    tensors = {"a": np.arange(12.0).reshape(3, 4), "b": np.arange(3, dtype=np.int32)}
    table = pa.table({"stimulus_id": ["a", "b"], "image": [b"x" * 99, b"y"], "label": [0, 1]})
    labels = ("a", "b", "c")
    return {
        "safetensors": (TensorsDataset, Tensors(tensors, {"layers": ["a", "b"]})),
        "parquet": (ArrowDataset, table.replace_schema_metadata({b"meta": b'{"a": 1}'})),
        "matrix": (MatrixDataset, LabelledMatrix(np.eye(3), labels)),
        "svg": (DrawingDataset, figure),
    }


def _dataset(kind, folder):
    made_by, value = _member_kinds()[kind]
    suffix = {"safetensors": "safetensors", "svg": "svg"}.get(kind, "parquet")
    return made_by(filepath=str(folder / f"{kind}.{suffix}"), key="a", recipe={"of": [1, "x"]}), value


def make_member(rng, folder):
    kind = rng.choice(("safetensors", "parquet", "matrix", "svg"))
    dataset, value = _dataset(kind, folder)
    dataset.save(value)
    dataset.path.write_bytes(mutate(dataset.path.read_bytes(), rng))


def run_member(folder):
    """Do what ``kedro verify`` does with one member."""
    from rep_kedro.commands.verify import _content_of

    [file] = folder.iterdir()
    dataset, _ = _dataset(file.stem, folder)
    handle = dataset.load()
    _content_of(handle)
    handle.verify()
    return "accepted"


def make_parameters(rng, folder):
    (folder / "base").mkdir()
    (folder / "local").mkdir()
    file = rng.choice(sorted(CONF.glob("parameters*.yml")))
    text = mutate_yaml(file.read_text(encoding="utf-8"), rng)
    (folder / "base" / file.name).write_text(text, encoding="utf-8", errors="replace")


def run_parameters(folder):
    """Read the configuration as a session does, and check each group of parameters."""
    from rep_kedro.checks.plain_values import require_plain_values
    from rep_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

    loader = CONFIG_LOADER_CLASS(str(folder), **CONFIG_LOADER_ARGS)
    found = loader["parameters"]
    require_plain_values(found, loader)
    for name, model in _parameter_models().items():
        if name in found:
            model.model_validate(found[name])
    return "accepted"


def _parameter_models():
    from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
    from rep_kedro.analyses.probing.params import ProbingParams
    from rep_kedro.analyses.similarity.params import SimilarityParams
    from rep_kedro.analyses.stitching.params import StitchingParams
    from rep_kedro.features.params import FeaturesParams
    from rep_kedro.pipelines.reporting.params import ReportingParams
    from rep_kedro.stimuli.params import IngestParams
    from rep_kedro.training.params import TrainingParams

    return {
        "diagnostics": DiagnosticsParams, "features": FeaturesParams, "ingest": IngestParams,
        "probing": ProbingParams, "reporting": ReportingParams, "similarity": SimilarityParams,
        "stitching": StitchingParams, "training": TrainingParams,
    }  # fmt: skip


def make_architecture(rng, folder):
    text = rng.choice(sorted(ARCHITECTURES.glob("*.yml"))).read_text(encoding="utf-8")
    name = folder.name.replace("-", "_")  # one that was not read before: definitions are remembered by name
    (folder / f"{name}.yml").write_text(mutate_yaml(text, rng), encoding="utf-8", errors="replace")


def run_architecture(folder):
    """Read an architecture and build its network."""
    from rep_kedro.models.architecture_files import read_architecture
    from rep_kedro.models.building import build_network

    [file] = folder.iterdir()
    build_network(read_architecture(file), n_classes=3, seed=0)
    return "accepted"


KINDS = {
    "member": (make_member, run_member),
    "parameters": (make_parameters, run_parameters),
    "architecture": (make_architecture, run_architecture),
}
