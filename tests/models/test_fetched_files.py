"""Files of weights behind an address: fetched once, checked, and never another than the one that is meant."""

import hashlib
import http.server
import socket
import threading

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from rep_kedro.models import files
from rep_kedro.models.building import build_network
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model, describe_model

ENTRY = {"source": "checkpoint", "architecture": "lenet", "n_classes": 10, "layers": ["fc1"]}
DIGEST = "ab" * 32


def _entry(**content):
    return TypeAdapter(ModelEntry).validate_python({**ENTRY, **content})


class Server:
    """A server of one file, which counts its answers and may fail."""

    def __init__(self, content):
        self.content, self.status, self.n_answers, self.cut = content, 200, 0, 0
        self.tells_size = True
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.n_answers += 1
                self.send_response(owner.status)
                if owner.tells_size:
                    self.send_header("Content-Length", str(len(owner.content)))
                self.end_headers()
                self.wfile.write(owner.content[: len(owner.content) - owner.cut])

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/released/net.pth"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save(build_network("lenet", n_classes=10, seed=3).state_dict(), path)
    return path


@pytest.fixture
def server(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("REP_KEDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    server = Server(weights.read_bytes())
    yield server
    server.close()


@pytest.fixture
def entry(server):
    return _entry(url=server.url, sha256=hashlib.sha256(server.content).hexdigest())


def _kept(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_file_is_fetched_once_and_is_the_same_as_a_local_one(server, entry, weights, tmp_path):
    first, again, local = build_model(entry), build_model(entry), build_model(_entry(path=str(weights)))
    assert server.n_answers == 1
    assert [path.name for path in _kept(tmp_path)] == ["net.pth"]
    for name, value in local.state_dict().items():
        assert torch.equal(first.state_dict()[name], value)
        assert torch.equal(again.state_dict()[name], value)
    assert describe_model(entry) == describe_model(_entry(path=str(weights)))


def test_planning_fetches_nothing(server, entry):
    assert describe_model(entry)["weights"]["sha256"] == entry.sha256
    assert server.n_answers == 0


def test_a_file_of_another_digest_is_not_read_and_not_kept(server, entry, tmp_path):
    server.content = server.content[:-1] + b"x"
    with pytest.raises(
        ValueError, match=r"checkpoint http\S+ has sha256 \w{12}\.\.\., but the entry gives"
    ) as caught:
        build_model(entry)
    assert "\n" not in str(caught.value)
    assert _kept(tmp_path) == []


def test_a_file_that_breaks_off_is_not_kept(server, entry, tmp_path):
    server.cut = 100
    with pytest.raises(ValueError, match=r", but the entry gives|cannot be fetched"):
        build_model(entry)
    assert _kept(tmp_path) == []


def test_a_kept_file_that_changed_is_fetched_again(server, entry, tmp_path, caplog):
    build_model(entry)
    (kept,) = _kept(tmp_path)
    kept.write_bytes(b"something else")
    build_model(entry)
    assert server.n_answers == 2
    assert "differs from the file that was fetched before; fetching it again" in caplog.text


def test_an_address_without_the_file_is_reported_in_one_line(server, entry, tmp_path):
    server.status = 404
    with pytest.raises(
        ValueError, match=r"cannot be fetched: HTTP Error 404.*; try again .* set path"
    ) as caught:
        build_model(entry)
    assert "\n" not in str(caught.value)
    assert _kept(tmp_path) == []


def test_nobody_at_the_address_is_reported_in_one_line(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/net.pth"
    with pytest.raises(ValueError, match=r"cannot be fetched: .*refused"):
        build_model(_entry(url=url, sha256=DIGEST))


def test_offline_only_what_was_fetched_before_is_read(server, entry, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="is not in the local cache, and HF_HUB_OFFLINE is set") as caught:
        build_model(entry)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    build_model(entry)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    build_model(entry)
    assert server.n_answers == 1


def test_weights_files_are_fetched_alike(server, tmp_path, monkeypatch):
    from rep_kedro.models.sources.zoo import load_model

    plain = {"source": "torchvision", "name": "resnet18", "weights": None, "layers": ["avgpool"], "seed": 4}
    torch.save(build_model(TypeAdapter(ModelEntry).validate_python(plain)).state_dict(), tmp_path / "a.pth")
    server.content = (tmp_path / "a.pth").read_bytes()
    content = {"source": "weights_file", "architecture": "torchvision/resnet18", "layers": ["avgpool"]}
    spec = TypeAdapter(ModelEntry).validate_python(
        {**content, "url": server.url, "sha256": hashlib.sha256(server.content).hexdigest()}
    )
    assert load_model(spec).layers == ("avgpool",)


def test_a_local_file_is_held_against_its_digest_too(weights):
    right = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert describe_model(_entry(path=str(weights), sha256=right)) == describe_model(
        _entry(path=str(weights))
    )
    for ask in (describe_model, build_model):
        with pytest.raises(ValueError, match=r"net\.pth has sha256 .*, but the entry gives abababababab"):
            ask(_entry(path=str(weights), sha256=DIGEST))


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("REP_KEDRO_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path / "weights"
    monkeypatch.delenv("REP_KEDRO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "rep_kedro" / "weights"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "either path or url"),
        ({"path": "a.pth", "url": "https://x.org/a.pth", "sha256": DIGEST}, "either path or url"),
        ({"url": "https://x.org/a.pth"}, r"url https://x\.org/a\.pth needs sha256 to identify the file"),
        ({"url": "file:///etc/a.pth", "sha256": DIGEST}, "url"),
        ({"url": "https://x.org/", "sha256": DIGEST}, "url"),
        ({"url": "https://x.org/a.pth", "sha256": "AB" * 32}, "sha256"),
    ],
)
def test_entries_that_do_not_say_which_file_are_refused(content, message):
    with pytest.raises(ValidationError, match=message):
        _entry(**content)


@pytest.mark.parametrize("tells_its_size", [True, False])
def test_a_file_that_is_too_large_is_not_fetched(server, tmp_path, monkeypatch, tells_its_size):
    monkeypatch.setattr(files, "MOST_BYTES", len(server.content) - 1)
    server.tells_size = tells_its_size
    with pytest.raises(ValueError, match=r"net.pth is larger than \d+ bytes and is not fetched; if it is"):
        files.fetch_file(server.url, hashlib.sha256(server.content).hexdigest(), "checkpoint")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
