"""Small sources on disk, and a way to ingest them."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from rep_kedro.stimuli.assembly import assemble_stimulus_set
from rep_kedro.stimuli.opening import open_source
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.sources import parse_source


@pytest.fixture
def make_set():
    """Return a function from a source's parameters to its table and meta."""

    def make(**entry):
        spec, log = parse_source(entry), DamageLog()
        table = assemble_stimulus_set(open_source(spec, log), spec, log)
        return table, json.loads(table.schema.metadata[b"meta"])

    return make


@pytest.fixture
def jpeg():
    """Return a function from a number to the bytes of a JPEG image of 12 x 10 pixels."""

    def encode(number):
        pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG")
        return stream.getvalue()

    return encode


@pytest.fixture
def write_tar():
    """Return a function that writes (name, content) members to a tar file."""

    def write(path, members):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as archive:
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    return write
