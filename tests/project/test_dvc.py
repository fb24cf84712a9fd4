"""DVC: stages in sync with the pipelines, the shipped store, other remotes, earlier revisions."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.project.conftest import BIN, ROOT, run_in

SECRETS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
STORE_LIMIT_BYTES = 8_000_000


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone in which ``dvc pull`` brought what the repository's own store holds."""
    folder = tmp_path_factory.mktemp("clones") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    for name, value in (("user.name", "test"), ("user.email", "test@example.org")):
        subprocess.run(["git", "config", name, value], cwd=folder, check=True)
    run_in(folder, "dvc", "pull")
    return folder


@pytest.fixture
def clone(pulled: Path, tmp_path: Path) -> Path:
    """A copy of the clone that a test may change."""
    return Path(shutil.copytree(pulled, tmp_path / "clone", symlinks=True))


@pytest.fixture
def s3_endpoint() -> Iterator[str]:
    """A local S3 server with the bucket ``results``."""
    import boto3

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        endpoint = f"http://127.0.0.1:{port}"
        session = boto3.Session(*SECRETS.values())
        client = session.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="results")
        yield endpoint
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.mark.slow
def test_a_pipeline_that_changed_is_noticed(clone: Path) -> None:
    wiring = clone / "src" / "rep_kedro" / "pipelines" / "consistency" / "pipeline.py"
    text = wiring.read_text(encoding="utf-8")
    changed = text.replace(
        '"similarities", "model_cards", "params:', '"similarities", "networks", "params:', 1
    )
    wiring.write_text(changed, encoding="utf-8")
    assert wiring.read_text(encoding="utf-8") != text
    ended = run_in(clone, "kedro", "dvc-sync", "--check", check=False)
    assert ended.returncode == 1
    assert "not in sync" in ended.stderr


@pytest.mark.slow
def test_the_shipped_store_is_small_and_makes_everything_up_to_date(pulled: Path) -> None:
    store = sum(path.stat().st_size for path in (pulled / "store").rglob("*") if path.is_file())
    assert 1_000_000 < store < STORE_LIMIT_BYTES
    assert "up to date" in run_in(pulled, "dvc", "status").stdout
    repro = run_in(pulled, "dvc", "repro").stdout
    assert "Running stage" not in repro
    assert repro.count("didn't change, skipping") == 9


@pytest.mark.slow
def test_the_report_is_made_from_pulled_results_at_once(clone: Path) -> None:
    report = clone / "data" / "08_reporting" / "report.html"
    shipped = report.read_bytes()
    report.unlink()
    run_in(clone, "kedro", "run", "--pipelines=reporting")
    assert report.read_bytes() == shipped


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_results_survive_push_wipe_and_pull(
    kind: str, clone: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "folder":
        run_in(clone, "dvc", "remote", "add", "other", str(tmp_path / "shared"))
    else:
        run_in(clone, "dvc", "remote", "add", "other", "s3://results/rep")
        run_in(
            clone, "dvc", "remote", "modify", "other", "endpointurl", request.getfixturevalue("s3_endpoint")
        )
    before = _bytes_below(clone / "data")
    run_in(clone, "dvc", "push", "-r", "other", **SECRETS)
    shutil.rmtree(clone / "data")
    shutil.rmtree(clone / ".dvc" / "cache")
    shutil.rmtree(clone / "store")
    run_in(clone, "dvc", "pull", "-r", "other", **SECRETS)
    assert _bytes_below(clone / "data") == before
    assert "up to date" in run_in(clone, "dvc", "status").stdout


@pytest.mark.slow
def test_an_earlier_version_is_loaded_by_its_tag_and_shown_beside_this_run(clone: Path) -> None:
    subprocess.run(["git", "tag", "v1"], cwd=clone, check=True)
    parameters = clone / "conf" / "base" / "parameters_similarity.yml"
    text = parameters.read_text(encoding="utf-8")
    parameters.write_text(text.replace("    - cka_linear_biased\n", "", 1), encoding="utf-8")
    repro = run_in(clone, "dvc", "repro", "similarity").stdout
    assert repro.count("Running stage") == 1
    loaded = _python(
        clone,
        "from kedro.framework.session import KedroSession\n"
        "from kedro.framework.startup import bootstrap_project\n"
        "from pathlib import Path\n"
        "bootstrap_project(Path.cwd())\n"
        "catalog = KedroSession.create(Path.cwd()).load_context().catalog\n"
        "print(sorted(catalog.load('similarities')['measure'].unique()))\n"
        "print(sorted(catalog.load('similarities@v1')['measure'].unique()))\n"
        "print(len(catalog.load('similarity_matrices@v1')))\n",
    ).splitlines()
    assert "cka_linear_biased" not in loaded[-3]
    assert "cka_linear_biased" in loaded[-2]
    assert int(loaded[-1]) % 3 == 0
    run_in(clone, "kedro", "run", "--pipelines=reporting", "--params=compare_with=v1")
    report = (clone / "data" / "08_reporting" / "report.html").read_text(encoding="utf-8")
    assert "v1" in report
    assert "This run was given no earlier version" not in report


@pytest.mark.slow
def test_an_unknown_revision_is_named_in_one_line(clone: Path) -> None:
    ended = run_in(
        clone, "kedro", "run", "--pipelines=reporting", "--params=compare_with=nosuch", check=False
    )
    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "'nosuch'" in errors[0]


def _python(folder: Path, code: str) -> str:
    return run_in(folder, "python", "-c", code).stdout


def _bytes_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".gitkeep"
    }


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the S3 server did not start")
