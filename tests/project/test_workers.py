"""kedro run --workers: processes with a shard each; their results are those of one process."""

import os
import shutil
from pathlib import Path

import click
import pytest
from kedro.pipeline import Pipeline, node
from tests.project.conftest import run_in

from rep_kedro.commands import workers
from rep_kedro.commands.workers import choose_devices, find_stages

pytestmark = pytest.mark.slow

FEATURES = "data/test/04_feature/features"
PARAMETERS = {"features": {"device": "cpu"}, "similarity": {"device": "auto"}, "training": {"device": "cuda"}}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_workers_make_what_one_process_makes(study: Path, own_study: Path) -> None:
    shutil.rmtree(own_study / FEATURES)
    (own_study / "data/test/04_feature/model_cards.parquet").unlink()
    shown = run_in(
        own_study, "kedro", "run", "--env=test", "--pipelines=features", "--workers=cpu,cpu"
    ).stderr
    assert _files(own_study / FEATURES) == _files(study / FEATURES)
    assert "[1/2] " in shown
    assert "[2/2] " in shown
    assert "features 6 computed" in shown
    assert (own_study / "data/test/04_feature/model_cards.parquet").exists()
    again = run_in(own_study, "kedro", "run", "--env=test", "--nodes=features", "--workers=2").stderr
    assert "nothing computed" in again


def test_parameters_reach_the_workers_and_recompute_only_its_stage(own_study: Path) -> None:
    before = _files(own_study / FEATURES)
    shown = run_in(
        own_study, "kedro", "run", "--env=test", "--pipelines=features", "--workers=2",
        "--params=recompute=features/digits/*,features.batch_size=9",
    ).stderr  # fmt: skip
    assert shown.count("2 computed") >= 2
    assert before.keys() == _files(own_study / FEATURES).keys()


def test_a_worker_that_fails_is_named_and_the_others_finish(own_study: Path) -> None:
    shutil.rmtree(own_study / FEATURES)
    network = own_study / "data/test/06_models/networks/cnn_simclr_s0.safetensors"
    content = bytearray(network.read_bytes())
    content[-4000:] = b"\xff" * 4000  # not a number, anywhere
    network.write_bytes(content)
    ended = run_in(
        own_study, "kedro", "run", "--env=test", "--pipelines=features", "--workers=4", check=False
    )
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: 1 of 4 processes failed while making dissimilarities, features (")
    assert "the same command goes on from there" in last
    assert "Traceback" not in ended.stderr
    assert len(_files(own_study / FEATURES)) == 9
    assert not (own_study / "data/test/04_feature/model_cards.parquet.partial").exists()


def test_workers_tell_at_the_end_what_is_now_stale(own_study: Path) -> None:
    (own_study / FEATURES / "digits/cnn_simclr_s0.safetensors").unlink()
    asked = ("kedro", "run", "--env=test", "--pipelines=features", "--workers=2")
    shown = run_in(own_study, *asked).stderr
    assert shown.count("what changed here") == 1
    assert shown.splitlines()[-1].endswith(
        "diagnostics, similarity, layer_similarity, probing and reporting read what changed here; update them"
        " with: kedro run --env=test --pipelines=diagnostics,similarity,layer_similarity,probing,reporting"
    )
    assert "what changed here" not in run_in(own_study, *asked).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers=0",), "--workers needs at least one worker, got '0'"),
        (("--workers=gpu",), "--workers takes a number, auto, or devices such as cuda:0,cuda:1 or cpu,cpu"),
        (("--workers=cuda:0", "--pipelines=features"), "nothing here would use it (features.device=cpu)"),
        (("--workers=2", "--params=shard=1/2"), "give --workers or the parameter shard, not both"),
    ],
)
def test_workers_that_make_no_sense_are_refused(study: Path, options: tuple[str, ...], message: str) -> None:
    ended = run_in(study, "kedro", "run", "--env=test", *options, check=False)
    assert ended.returncode in {1, 2}
    assert message in ended.stderr.replace("\n", " ")
    assert "Traceback" not in ended.stderr


def test_a_device_is_chosen_for_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_count_gpus", lambda: 2)
    monkeypatch.setattr(workers, "count_cores", lambda: 8)
    features, both = {"params:features"}, {"params:features", "params:training"}
    assert choose_devices("auto", PARAMETERS, features) == [None] * 8
    assert choose_devices("auto", PARAMETERS, both) == ["cuda:0", "cuda:1"]
    assert choose_devices("auto", PARAMETERS, {"params:similarity"}) == ["cuda:0", "cuda:1"]
    assert choose_devices("3", PARAMETERS, both) == ["cuda:0", "cuda:1", "cuda:0"]
    assert choose_devices("3", PARAMETERS, features) == [None] * 3
    assert choose_devices("cuda:1, cpu", PARAMETERS, both) == ["cuda:1", "cpu"]
    with pytest.raises(click.ClickException, match="takes a number"):
        choose_devices("cuda", PARAMETERS, both)


def test_a_worker_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = "CUDA_VISIBLE_DEVICES"
    monkeypatch.delenv(seen, raising=False)
    assert workers._environment("cuda:1", None)[seen] == "1"
    assert workers._environment("cpu", None)[seen] == ""
    assert seen not in workers._environment(None, None)
    monkeypatch.setenv(seen, "4,6")
    assert workers._environment("cuda:1", None)[seen] == "6"
    with pytest.raises(click.ClickException, match=r"names cuda:2, but CUDA_VISIBLE_DEVICES is '4,6'"):
        workers._environment("cuda:2", None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert workers._environment(None, 3)["OMP_NUM_THREADS"] == "3"
    assert os.environ.get("OMP_NUM_THREADS") is None


def _copy(x: object) -> object:
    return x


def test_stages_wait_for_what_they_need_and_tables_wait_for_the_end() -> None:
    edges = {
        "sets": None,
        "networks": "sets",
        "history": "networks",
        "features": "networks",
        "cards": "features",
    }
    nodes = [node(_copy, source, name, name=name) for name, source in edges.items() if source]
    nodes.append(node(lambda: 1, None, "sets", name="sets"))
    nodes.append(node(_copy, "cards", "figures", name="figures"))
    stages = find_stages(Pipeline(nodes), {"sets", "networks", "features", "figures"})
    assert [(sorted(stage.nodes), stage.is_shared) for stage in stages] == [
        (["sets"], True),
        (["networks"], True),
        (["features"], True),
        (["cards", "history"], False),
        (["figures"], True),
    ]
