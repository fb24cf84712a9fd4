"""The ingest pipeline plans what is needed and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from rep_kedro.datasets import ArrowDataset
from rep_kedro.errors import UserError
from rep_kedro.pipelines.ingest import create_pipeline
from rep_kedro.pipelines.ingest.nodes import plan_stimulus_sets, plan_stimulus_subsets
from rep_kedro.stimuli.params import IngestParams

CONF = Path(__file__).parents[2] / "conf" / "base" / "parameters_ingest.yml"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("REP_KEDRO_CACHE", str(tmp_path_factory.mktemp("cache")))


def store(plan, folder):
    """Compute and write all members of a plan; return their handles."""
    handles = {}
    for key, planned in plan.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        dataset = ArrowDataset(filepath=f"{folder / key}.parquet", key=key, recipe=planned.recipe)
        dataset.save(planned.compute())
        handles[key] = dataset.load()
    return handles


def default_params():
    return IngestParams(**yaml.safe_load(CONF.read_text(encoding="utf-8"))["ingest"])


def test_the_default_study_is_ingested_with_the_promised_counts(tmp_path):
    sets = store(plan_stimulus_sets(default_params()), tmp_path / "sets")
    subsets = store(plan_stimulus_subsets(sets, default_params()), tmp_path / "subsets")
    assert {key: handle.meta["counts"] for key, handle in subsets.items()} == {
        "digits/analysis": {"train": 160, "test": 80},
        "photograph_patches/analysis": {"train": 48, "test": 30},
        "shapes/analysis": {"train": 48, "test": 30},
    }
    assert sum(handle.path.stat().st_size for handle in sets.values()) < 700_000
    for key, handle in subsets.items():
        table = handle.table()
        assert table.column_names == ["stimulus_id", "label", "split"]
        assert set(table["stimulus_id"].to_pylist()) < set(
            sets[key.split("/")[0]].table()["stimulus_id"].to_pylist()
        )


def test_recipes_are_plain_data_without_machine_paths(tmp_path):
    (tmp_path / "cat").mkdir()
    patch = (
        store(plan_stimulus_sets(default_params()), tmp_path / "sets")["digits"].table()["image"][0].as_py()
    )
    (tmp_path / "cat" / "1.png").write_bytes(patch)
    params = IngestParams(stimulus_sets={"mine": {"source": "image_folder", "path": tmp_path / "cat"}})
    plan = plan_stimulus_sets(params)
    recipe = json.dumps(dict(plan["mine"].recipe))
    assert str(tmp_path) not in recipe
    assert len(plan["mine"].recipe["files_sha256"]) == 64
    handles = store(plan, tmp_path / "mine")
    assert str(tmp_path) not in json.dumps(handles["mine"].meta)
    (tmp_path / "cat" / "2.png").write_bytes(patch)
    assert plan_stimulus_sets(params)["mine"].recipe != plan["mine"].recipe


def test_a_set_without_subsets_gets_one_with_all_its_stimuli(tmp_path):
    params = IngestParams(
        stimulus_sets={
            "shapes": {"source": "shapes", "n_train": 6, "n_test": 0},
            "digits": {"source": "digits"},
        },
        stimulus_subsets={"digits": {}},
    )
    sets = store(plan_stimulus_sets(params), tmp_path / "sets")
    subsets = store(plan_stimulus_subsets(sets, params), tmp_path / "subsets")
    assert list(subsets) == ["shapes/analysis"]
    assert subsets["shapes/analysis"].meta["n_stimuli"] == 6


def test_repeated_draws_are_subsets_of_their_own(tmp_path):
    params = IngestParams(
        stimulus_sets={"shapes": {"source": "shapes", "n_train": 60}},
        stimulus_subsets={
            "shapes": {"boot": {"rule": "published_bootstrap", "per_class": 5, "repeats": 3, "seed": 4}}
        },
    )
    sets = store(plan_stimulus_sets(params), tmp_path / "sets")
    subsets = store(plan_stimulus_subsets(sets, params), tmp_path / "subsets")
    assert list(subsets) == ["shapes/boot_s4", "shapes/boot_s5", "shapes/boot_s6"]
    assert subsets["shapes/boot_s4"].table() != subsets["shapes/boot_s5"].table()


def test_a_subset_that_follows_other_sets_depends_on_them(tmp_path):
    cap = {"rule": "published_class_cap", "limit": 30, "after": ["digits"]}
    params = IngestParams(
        stimulus_sets={"digits": {"source": "digits"}, "shapes": {"source": "shapes"}},
        stimulus_subsets={"shapes": {"alone": cap | {"after": []}, "after": cap}, "digits": {}},
    )
    sets = store(plan_stimulus_sets(params), tmp_path / "sets")
    plan = plan_stimulus_subsets(sets, params)
    assert plan["shapes/after"].recipe["earlier_sets"] == [sets["digits"].reference]
    subsets = store(plan, tmp_path / "subsets")
    assert subsets["shapes/after"].table() != subsets["shapes/alone"].table()
    with pytest.raises(UserError, match="no stimulus set 'shapes'; known: digits"):
        plan_stimulus_subsets({"digits": sets["digits"]}, params)


def test_a_change_of_one_set_changes_only_its_recipe():
    before = plan_stimulus_sets(default_params())
    entries = yaml.safe_load(CONF.read_text(encoding="utf-8"))["ingest"]
    entries["stimulus_sets"]["shapes"]["seed"] = 5
    after = plan_stimulus_sets(IngestParams(**entries))
    assert [name for name in before if before[name].recipe != after[name].recipe] == ["shapes"]


def test_a_source_that_cannot_be_read_is_named_with_its_set(tmp_path):
    params = IngestParams(stimulus_sets={"mine": {"source": "idx", "path": tmp_path / "nowhere"}})
    plan = plan_stimulus_sets(params)
    assert plan == {}
    assert plan.left_out["mine"].startswith("stimulus set 'mine': no file or folder at")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"stimulus_sets": {}, "stimulus_sts": {}},
            "stimulus_sts\n  Extra inputs are not permitted",
        ),
        ({"stimulus_sets": {"a b": {"source": "digits"}}}, "name 'a b' must consist of letters"),
        (
            {"stimulus_sets": {"digits": {"source": "digits"}}, "stimulus_subsets": {"digit": {}}},
            "stimulus_subsets.digit: no stimulus set 'digit'; did you mean 'digits'",
        ),
        (
            {
                "stimulus_sets": {"digits": {"source": "digits"}},
                "stimulus_subsets": {"digits": {"x": {"rule": "published_class_cap", "after": ["birds"]}}},
            },
            "stimulus_subsets.digits.x.after: no stimulus set 'birds'",
        ),
    ],
)
def test_wrong_parameters_are_refused(entry, message):
    with pytest.raises(ValidationError, match=message):
        IngestParams(**entry)


def test_nodes_are_named_after_the_entries_they_make():
    assert {node.name: node.outputs for node in create_pipeline().nodes} == {
        "stimulus_sets": ["stimulus_sets"],
        "stimulus_subsets": ["stimulus_subsets"],
        "stimulus_cards": ["stimulus_cards"],
    }


def test_listing_the_pipeline_imports_nothing_heavy():
    code = (
        "import sys, rep_kedro.pipelines.ingest; "
        "print([m for m in ('torch', 'pyarrow', 'pandas', 'numpy', 'PIL', 'sklearn') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
