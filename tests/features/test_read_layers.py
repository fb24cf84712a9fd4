"""kedro layers: the stars mark what an entry really reads."""

from types import SimpleNamespace

import pytest

from rep_kedro.commands.layers import _find
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.sources.specs import CheckpointModel
from rep_kedro.models.study import FeaturesParams


@pytest.mark.parametrize("wanted", [(), ("relu1",)])
def test_an_entry_without_layers_reads_those_that_its_architecture_keeps(wanted):
    entry = CheckpointModel.model_validate(
        {"source": "checkpoint", "architecture": "resnet20", "path": "a.pt", "objective": "supervised"}
        | ({"layers": wanted} if wanted else {})
    )
    params = FeaturesParams(models={"mine": entry})
    rows, read = _find("mine", params, SimpleNamespace(exists=lambda name: False))
    assert read == (wanted or tuple(load_architecture("resnet20").keep))
    assert set(read) < {row.layer for row in rows}
