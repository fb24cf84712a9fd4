"""`kedro export-results`: the whole tree or nothing, the same bytes again, nothing of others touched."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tests.project.conftest import run_shared

from rep_kedro.commands.export_results import CONTENTS, require_replaceable, write_tree
from rep_kedro.errors import UserError

FILES = [("simclr/seed=0/RANKME_EVAL.json", b"{}\n"), ("simclr/seed=0/digits/ACCURACY.json", b"1\n")]


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_of_a_study_are_a_tree_of_plain_files(own_study: Path) -> None:
    shown = run_shared(own_study, "kedro", "export-results", "out", "--env=test")
    tree = own_study / "out"
    before = _bytes_of(tree)
    assert shown.stdout.strip() == f"{len(before)} files in {tree}"
    folders = sorted(path.parent for path in tree.rglob("RANKME_EVAL.json"))
    assert {folder.parent.name for folder in folders} == {"supervised", "simclr", "untrained"}
    for folder in folders:
        card = json.loads((folder / "PRETRAINED_MODEL/card.json").read_text())
        weights = load_file(folder / "PRETRAINED_MODEL/model.safetensors")
        assert "conv1.weight" in weights
        measures = json.loads((folder / "RANKME_EVAL.json").read_text())["measures"]
        ranks = {row["stimulus_set"]: row["value"] for row in measures if row["measure"] == "rankme"}
        for stimulus_set in ranks:
            accuracy = json.loads((folder / stimulus_set / "ACCURACY.json").read_text())
            head = load_file(folder / stimulus_set / "FINETUNED_MODEL/model.safetensors")
            assert head["weight"].shape[1] == len(head["bias"])
            assert 0 < accuracy["test_accuracy"] <= 1, card["network"]
    run_shared(own_study, "kedro", "export-results", "out", "--env=test")
    assert _bytes_of(tree) == before
    (tree / "note.txt").write_text("mine")
    shown = run_shared(own_study, "kedro", "export-results", "out", "--env=test", check=False)
    assert shown.returncode == 1
    assert shown.stderr.startswith("error: out has other content, such as note.txt; give a folder that is")


def test_what_an_interrupted_export_wrote_is_not_seen(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_tree(folder, FILES)
    before = _bytes_of(folder)

    def broken():
        yield "simclr/other.json", b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tree(folder, broken())
    assert _bytes_of(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    require_replaceable(folder)
    write_tree(folder, FILES[:1])
    assert set(_bytes_of(folder)) == {FILES[0][0], CONTENTS}


@pytest.mark.parametrize("name", ["../out.json", "simclr/../../out.json", "/etc/out.json"])
def test_no_file_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of"):
        write_tree(tmp_path / "out", [(name, b"")])
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / CONTENTS).write_text('{"files": []}')
    write_tree(tmp_path / "linked", FILES)
    (tmp_path / "linked" / "simclr" / "away").symlink_to(tmp_path)
    for name in ("file", "link", "full", "linked"):
        with pytest.raises(UserError, match="absent or empty"):
            require_replaceable(tmp_path / name)
    (tmp_path / "empty").mkdir()
    require_replaceable(tmp_path / "empty")
    assert write_tree(tmp_path / "empty", FILES) == 3
