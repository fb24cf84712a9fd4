"""A user's mistake costs a second and one clear line; a bug keeps its traceback; nothing is lost."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.project.conftest import BIN, ROOT, copy_project, run_in, run_shared

GRID = {"objective": "supervised", "architectures": ["cnn"], "seeds": [0]}
SCHEDULE = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01}


class Mistake(NamedTuple):
    """What a user does, and what must be in the one line that answers it."""

    says: str
    arguments: tuple[str, ...] = ()
    change: Mapping[str, Any] = {}
    text: str | None = None
    exit_code: int = 1


def grid(**change: Any) -> dict[str, Any]:
    return {"training": {"grids": [{**GRID, **change}]}}


def stimulus_set(**entry: Any) -> dict[str, Any]:
    return {"ingest": {"stimulus_sets": {"mine": entry}}}


def model(**entry: Any) -> dict[str, Any]:
    return {"features": {"models": {"mine": entry}}}


MISTAKES = {
    "unknown pipeline": Mistake(
        "unknown pipeline 'simlarity'; did you mean 'similarity' or", ("--pipeline=simlarity",)
    ),
    "one unknown of several pipelines": Mistake(
        "unknown pipeline 'a'; known: comparison, consistency", ("--pipelines=a,ingest",)
    ),
    "unknown node": Mistake("unknown node 'featurs' here; did you mean 'features'?", ("--nodes=featurs",)),
    "unknown tag": Mistake("unknown tag 'gpuu' here; did you mean 'gpu'?", ("--tags=gpuu",)),
    "unknown dataset": Mistake(
        "unknown dataset 'reprot' here; did you mean 'report'?", ("--to-outputs=reprot",)
    ),
    "unknown runner": Mistake("unknown runner 'FooRunner'; known: ParallelRunner", ("--runner=FooRunner",)),
    "unknown environment": Mistake("there is no environment 'tset'", ("--env=tset",)),
    "unknown option": Mistake("No such option '--pipline'", ("--pipline=ingest",), exit_code=2),
    "unknown parameter": Mistake(
        "unknown parameter 'similarty' in", change={"similarty": {"measures": ["cka_linear_debiased"]}}
    ),
    "unknown parameter on the command line": Mistake(
        "unknown parameter 'similarty' in --params; did you mean 'similarity'",
        ("--params=similarty.layer=x",),
    ),
    "unknown key": Mistake(
        "parameters.yml: unknown key; did you mean 'measures'?",
        ("--pipelines=similarity",),
        {"similarity": {"measure": []}},
    ),
    "unknown key in a list": Mistake(
        "parameter training.grids[0].schedule.epoch in",
        ("--pipelines=training",),
        grid(schedule={"epoch": 1, "batch_size": 64, "learning_rate": 0.01}),
    ),
    "unknown option of an objective": Mistake(
        "unknown key; did you mean 'temperature'?",
        ("--pipelines=training",),
        grid(objective="simclr", options={"temprature": 1}, schedule=SCHEDULE),
    ),
    "unknown key on the command line": Mistake(
        "parameter similarity.memory in --params: unknown key; did you mean 'memory_bytes'?",
        ("--pipelines=similarity", "--params=similarity.memory=5"),
    ),
    "wrong type": Mistake(
        "parameter similarity.memory_bytes in --params: should be a valid integer",
        ("--pipelines=similarity", "--params=similarity.memory_bytes=lots"),
    ),
    "out of range": Mistake(
        "parameter consistency.confidence in --params: should be less than 1, got 1.5",
        ("--pipelines=similarity", "--params=consistency.confidence=1.5"),
    ),
    "unknown measure": Mistake(
        "unknown similarity measure 'cka_liner'; did you mean",
        ("--pipelines=similarity",),
        {"similarity": {"measures": ["cka_liner"]}},
    ),
    "unknown architecture": Mistake(
        "unknown architecture 'cnnn'",
        ("--pipelines=training",),
        grid(architectures=["cnnn"], schedule=SCHEDULE),
    ),
    "unknown objective": Mistake(
        "unknown objective 'supervisd'",
        ("--pipelines=training",),
        grid(objective="supervisd", schedule=SCHEDULE),
    ),
    "unknown source of images": Mistake(
        "unknown source 'image_foldr'; did you mean 'image_folder'?",
        ("--pipelines=ingest",),
        stimulus_set(source="image_foldr", path="photos"),
    ),
    "unknown source of a network": Mistake(
        "unknown source 'tim'; did you mean 'timm'?",
        ("--pipelines=features",),
        model(source="tim", name="resnet18", layers=["layer4"]),
    ),
    "unknown network to compare": Mistake(
        "parameters.yml: 'cnn_supervised_s9' is not a network of this study; did you mean",
        ("--pipelines=similarity",),
        {"similarity": {"models": ["cnn_supervised_s9"]}},
    ),
    "missing checkpoint": Mistake(
        "checkpoint nowhere.pt does not exist",
        ("--pipelines=features",),
        model(source="checkpoint", architecture="cnn", path="nowhere.pt", n_classes=10),
    ),
    "name of a trained network": Mistake(
        "has the name of a network trained here",
        ("--pipelines=features",),
        {
            "features": {
                "models": {"cnn_supervised_s0": {"source": "timm", "name": "resnet18", "layers": ["fc"]}}
            }
        },
    ),
    "model name that leaves the folder": Mistake(
        "got '../evil'",
        ("--pipelines=features",),
        {"features": {"models": {"../evil": {"source": "timm", "name": "resnet18", "layers": ["fc"]}}}},
    ),
    "folder of images that is missing": Mistake(
        "stimulus set 'mine': no file or folder at",
        ("--pipelines=ingest",),
        stimulus_set(source="image_folder", path="nowhere/photos"),
    ),
    "folder of images that is empty": Mistake(
        "stimulus set 'mine': no files in conf/local",
        ("--pipelines=ingest",),
        stimulus_set(source="image_folder", path="conf/local"),
    ),
    **{
        f"name of a set {name!r}": Mistake(
            "must consist of letters, digits",
            ("--pipelines=ingest",),
            {"ingest": {"stimulus_sets": {name: {"source": "digits"}}}},
        )
        for name in ("my set", "..")
    },
    "threads": Mistake("parameter threads must be a positive integer", ("--params=threads=0",)),
    "device": Mistake(
        "parameter features.device: unknown device 'gpuu'",
        ("--pipelines=features", "--params=features.device=gpuu"),
    ),
    "shard beyond the count": Mistake("shard '5/4' is not of the form", ("--params=shard=5/4",)),
    "shard nought": Mistake("shard '0/2' is not of the form", ("--params=shard=0/2",)),
    "shard of nothing": Mistake(
        "nothing chosen makes a collection", ("--nodes=similarities", "--params=shard=1/2")
    ),
    "recompute of no collection": Mistake(
        "recompute: 'featurs' is not a collection; did you mean 'features'?",
        ("--params=recompute=featurs",),
    ),
    "recompute of what this run does not make": Mistake(
        "recompute 'features' has no effect", ("--pipelines=ingest", "--params=recompute=features")
    ),
    "comparison without history": Mistake(
        "compare_with 'v9' needs the project's git history", ("--params=compare_with=v9",)
    ),
    "report of a measure that is not compared": Mistake(
        "parameter reporting.measure in --params: 'rsa_correlation_pearson' is not among similarity.measures",
        ("--pipelines=reporting", "--params=reporting.measure=rsa_correlation_pearson"),
    ),
    "anchor that is no network": Mistake(
        "parameter consistency.anchors in --params: 'cnn_supervized_s0' is not a network of this study",
        ("--pipelines=similarity", "--params=consistency.anchors=[cnn_supervized_s0]"),
    ),
    "network to probe that is none": Mistake(
        "parameter probing.models in --params: 'cnn_simclr_s7' is not a network of this study",
        ("--dry-run", "--pipelines=probing", "--params=probing.models=[cnn_simclr_s7]"),
    ),
    "stimulus set to compare on that is none": Mistake(
        "parameter similarity.stimulus_sets in --params: 'digitz' is not a stimulus set of this study;",
        ("--workers=2", "--pipelines=similarity", "--params=similarity.stimulus_sets=[digitz]"),
    ),
    "measure without a null": Mistake(
        "similarity_inference.measures in --params: measure 'linear_regression_r2' has no permutation null",
        ("--params=similarity_inference.measures=[linear_regression_r2]",),
    ),
    "network to compare twice": Mistake(
        "models are listed twice: ['cnn_simclr_s0']",
        ("--pipelines=similarity",),
        {"similarity": {"models": ["cnn_simclr_s0", "cnn_simclr_s0"]}},
    ),
    "text for a list or a word": Mistake(
        "parameter similarity.models in --params: should be 'all' or a list, got 'cnn_simclr_s0'",
        ("--pipelines=similarity", "--params=similarity.models=cnn_simclr_s0"),
    ),
    "text for a list": Mistake(
        "parameter similarity.transform in --params: should be a list, got 'unit_length'",
        ("--pipelines=similarity", "--params=similarity.transform=unit_length"),
    ),
    "nothing for a group": Mistake(
        "parameters.yml: should be `key: value` lines, got null",
        ("--pipelines=similarity",),
        {"consistency": None},
    ),
    "broken YAML": Mistake(
        "parameters.yml, line 3, column 1: expected ',' or ']'", text="ingest:\n  stimulus_sets: {a: [b\n"
    ),
    "tab in YAML": Mistake(
        "parameters.yml, line 2, column 1: found character", text="ingest:\n\tthreads: 3\n"
    ),
    "list for a file": Mistake("must contain `key: value` lines, not a list", text="- a\n- b\n"),
    "key twice": Mistake("line 2, column 1: found duplicate key threads", text="threads: 1\nthreads: 2\n"),
    "number for a group": Mistake(
        "should be `key: value` lines, got 3", ("--pipelines=ingest",), text="ingest: 3\n"
    ),
}


@pytest.fixture(scope="module")
def answers(
    study: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, subprocess.CompletedProcess[str]]:
    """The answers to all mistakes; none of them may change the study."""
    before = _digest_of(study / "data")
    with ThreadPoolExecutor(2) as pool:
        folders = {name: tmp_path_factory.mktemp("mistake") for name in MISTAKES}
        given = list(pool.map(lambda name: _answer(study, folders[name], MISTAKES[name]), MISTAKES))
    assert _digest_of(study / "data") == before
    return dict(zip(MISTAKES, given, strict=True))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_one_line(
    name: str, answers: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    answer, mistake = answers[name], MISTAKES[name]
    shown = answer.stdout + answer.stderr
    assert mistake.says in shown
    assert answer.returncode == mistake.exit_code, shown
    assert "Traceback" not in shown
    if mistake.exit_code == 1:
        lines = [line for line in shown.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert mistake.says in shown[shown.index("error: ") :]
        assert "You can resume" not in shown


@pytest.mark.slow
def test_a_run_without_its_inputs_names_the_pipelines_that_make_them(tmp_path: Path) -> None:
    folder = copy_project(tmp_path)
    shown = _fail(folder, "--pipelines=similarity")
    assert "not made yet: dissimilarities, features, model_cards" in shown
    assert shown.splitlines()[-1].strip().startswith("make them first: kedro run --pipelines=ingest,features")
    (folder / "data").write_text("not a folder")
    assert "data is a file where a folder is expected; move it away" in _fail(folder, "--pipelines=ingest")
    shutil.rmtree(folder / "conf")
    assert "there is no configuration folder" in _fail(folder, "--pipelines=ingest")


@pytest.mark.slow
def test_damaged_results_are_named_with_what_to_do(own_study: Path) -> None:
    network = own_study / "data/test/06_models/networks/cnn_simclr_s0.safetensors"
    whole = network.read_bytes()
    network.write_bytes(whole[:-100])
    shown = _fail(own_study, "--pipelines=training")
    assert "cnn_simclr_s0.safetensors is truncated" in shown
    assert "rebuild it with kedro run --params recompute=networks/cnn_simclr_s0" in shown
    shown = _fail(own_study, "--pipelines=features")
    assert "cnn_simclr_s0.safetensors is truncated" in shown
    assert "kedro run --pipelines=training" in shown
    network.write_bytes(whole)
    table = own_study / "data/test/07_model_output/similarities.parquet"
    table.write_bytes(table.read_bytes()[:100])
    assert "similarities.parquet is damaged" in _fail(own_study, "--pipelines=reporting")
    plan = own_study / "data/test/04_feature/features/plan.json"
    plan.write_text("{broken")
    assert "is not a plan written by this project" in _fail(own_study, "--pipelines=similarity")
    # repairs the plan, keeps the rest
    run_shared(own_study, "kedro", "run", "--env=test", "--pipelines=features")
    assert plan.read_text().startswith("{\n")


def test_damaged_images_fail_their_set_alone(own_study: Path) -> None:
    from PIL import Image

    for name in ("cats", "dogs"):
        (own_study / "photos" / name).mkdir(parents=True)
        for index in range(4):
            picture = Image.new("RGB", (16, 16), (60 * index, 9, 9))
            picture.save(own_study / "photos" / name / f"{index}.png")
    (own_study / "photos" / "cats" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    entry = {"source": "image_folder", "path": "photos", "test_fraction": 0.5}
    _change(own_study / "conf/test/parameters.yml", {"ingest": {"stimulus_sets": {"mine": entry}}})
    shown = _fail(own_study, "--pipelines=ingest")
    assert "stimulus_sets: 1 of 4 members failed (the others are done and kept)" in shown
    assert "mine: 1 damaged item: cats/torn.png (truncated); repair them, or set on_damaged: skip" in shown


@pytest.mark.slow
def test_networks_that_give_no_numbers_or_hold_code_are_refused(own_study: Path) -> None:
    import pickle

    import torch
    from safetensors.torch import save_file

    from rep_kedro.models.architecture_files import load_architecture
    from rep_kedro.models.building import build_network

    state = build_network(load_architecture("cnn"), n_classes=10, seed=0).state_dict()
    name = next(name for name in state if name.endswith("weight"))
    save_file({**state, name: torch.full_like(state[name], torch.nan)}, own_study / "nan.safetensors")
    (own_study / "evil.pt").write_bytes(pickle.dumps(_Code()))
    (own_study / "torn.safetensors").write_bytes((own_study / "nan.safetensors").read_bytes()[:-100])
    entry = {"source": "checkpoint", "architecture": "cnn", "n_classes": 10}
    paths = {"nan": "nan.safetensors", "evil": "evil.pt", "torn": "torn.safetensors"}
    models = {name: {**entry, "path": path} for name, path in paths.items()}
    _change(own_study / "conf/test/parameters.yml", {"features": {"models": {"nan": models["nan"]}}})
    shown = _fail(own_study, "--pipelines=features")
    assert "3 of 15 members failed (the others are done and kept)" in shown
    assert "are NaN or infinite" in shown
    _change(own_study / "conf/test/parameters.yml", {"features": {"models": models}})
    shown = _fail(own_study, "--pipelines=features")
    assert "features.models.evil in conf/test/parameters.yml: checkpoint evil.pt is a pickle" in shown
    assert "features.models.torn in conf/test/parameters.yml: checkpoint torn.safetensors is damaged" in shown
    assert not (own_study / "was_here").exists()


class _Code:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch was_here",)


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["{}['key']", "int('x')", "raise RuntimeError('broken')"])
def test_a_bug_keeps_its_traceback_and_names_its_table(own_study: Path, bug: str) -> None:
    module = own_study / "src/rep_kedro/analyses/similarity/matrices.py"
    head, function, rest = module.read_text().partition("def tabulate_similarities(")
    first_line = '    cards = model_cards.set_index("model")\n'
    assert first_line in rest
    module.write_text(head + function + rest.replace(first_line, f"    {bug}\n{first_line}", 1))
    ended = run_in(own_study, "kedro", "run", "--env=test", "--nodes=similarities", check=False)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "Failed while saving" not in ended.stderr  # a table is computed as it is saved
    assert ended.stderr.splitlines()[-1] == "in similarities"


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = copy_project(tmp_path)
    process = subprocess.Popen(
        [str(BIN / "kedro"), "run", "--pipelines=ingest,training"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  may be ignored here
    )
    first = folder / "data/06_models/networks/cnn_supervised_s0.safetensors"
    while not first.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    shown = process.communicate()[1]
    assert process.returncode == 130
    assert shown.splitlines()[-1].startswith("error: interrupted; finished results are kept")
    assert "Traceback" not in shown
    assert not list((folder / "data").rglob("*.partial"))
    stamp = first.stat().st_mtime_ns
    grids = {"training": {"grids": [{**GRID, "schedule": {**SCHEDULE, "epochs": 12, "learning_rate": 0.02}}]}}
    (folder / "conf/local/parameters.yml").write_text(yaml.safe_dump(grids))
    again = run_shared(folder, "kedro", "run", "--pipelines=training").stderr
    assert "networks: 1 members: 0 computed, 1 kept" in again
    assert first.stat().st_mtime_ns == stamp


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to mount a file system")
def test_a_full_or_read_only_disk_is_reported_and_nothing_is_lost(own_study: Path) -> None:
    data = own_study / "data"
    shutil.move(data, own_study / "kept")
    data.mkdir()
    with _mounted(data, "-t", "tmpfs", "-o", "size=400k", "tmpfs"):
        assert re.search(r"No space left on device; [1-9] members are whole and kept", _fail(own_study))
    shutil.rmtree(own_study / "kept/test/08_reporting")
    with _mounted(data, "--bind", str(own_study / "kept")):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(data)], check=True)
        shown = _fail(own_study)
        assert "Read-only file system; fix this and run again (finished results are kept)" in shown
        assert "Traceback" not in shown


@contextmanager
def _mounted(folder: Path, *arguments: str) -> Iterator[None]:
    mounted = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this machine does not let tests mount: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _answer(study: Path, folder: Path, mistake: Mistake) -> subprocess.CompletedProcess[str]:
    """Run in the study with a configuration of the mistake's own."""
    conf = Path(shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local")))
    (conf / "local").mkdir()
    if mistake.text is not None:
        (conf / "test/parameters.yml").write_text(mistake.text)
    _change(conf / "test/parameters.yml", mistake.change)
    environment = () if any(a.startswith("--env") for a in mistake.arguments) else ("--env=test",)
    command = ("kedro", "run", *environment, f"--conf-source={conf}", *mistake.arguments)
    return run_shared(study, *command, check=False)


def _change(path: Path, change: Mapping[str, Any]) -> None:
    if change:
        path.write_text(yaml.safe_dump(_merged(yaml.safe_load(path.read_text()), change), sort_keys=False))


def _merged(old: Any, change: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(change, Mapping):
        return change
    return {**old, **{key: _merged(old.get(key), value) for key, value in change.items()}}


def _fail(folder: Path, *arguments: str) -> str:
    """Run, expect a mistake to be reported, and return the output."""
    ended = run_shared(folder, "kedro", "run", "--env=test", *arguments, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def _digest_of(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.stat()
        found[str(path)] = (state.st_size, state.st_mtime_ns) if path.is_file() else (0, 0)
    return found


def test_a_locale_without_the_letters_of_the_path_is_refused_and_utf_8_is_not(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "my stüdy")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = run_in(folder, "kedro", "measures", check=False, **ascii_only)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: the path of the project has letters that")
    assert "cka_linear_debiased" in run_in(folder, "kedro", "measures", LC_ALL="C").stdout


def test_outside_of_the_project_the_folder_is_named(tmp_path: Path) -> None:
    ended = run_in(tmp_path, "python", "-m", "rep_kedro", "run", check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"error: {tmp_path} is not in the project's folder; change to that and run again\n"
