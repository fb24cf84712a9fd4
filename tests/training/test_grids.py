"""Grids: which networks they give, under which names, and what is refused before anything runs."""

import pytest
from pydantic import ValidationError

from rep_kedro.training.params import TrainingParams

SCHEDULE = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
GRID = {"architectures": ["cnn"], "objective": "supervised", "seeds": [0], "schedule": SCHEDULE}


def _networks(*grids, **params):
    return TrainingParams.model_validate({"stimulus_set": "bars", "grids": list(grids), **params}).networks()


def test_axes_of_a_product_are_combined_and_named_where_they_vary():
    found = _networks(
        {
            **GRID,
            "label": "f4",
            "product": {"input_px": [32, 64], "batch_size": [8], "optimizer": ["sgd", "adam"]},
        }
    )
    assert list(found) == [
        f"cnn_supervised_f4_px{px}_{optimizer}_s0" for px in (32, 64) for optimizer in ("sgd", "adam")
    ]
    spec = found["cnn_supervised_f4_px64_adam_s0"]
    assert (spec.input_px, spec.schedule.optimizer, spec.schedule.batch_size) == (64, "adam", 8)
    assert spec.load_definition().input.size_px == 64
    assert spec.stimulus_set == "bars"


def test_paired_axes_go_together():
    found = _networks({**GRID, "paired": {"stimulus_set": ["bars", "dots"], "input_px": [16, 32]}})
    assert {name: (spec.stimulus_set, spec.input_px) for name, spec in found.items()} == {
        "cnn_supervised_bars_px16_s0": ("bars", 16),
        "cnn_supervised_dots_px32_s0": ("dots", 32),
    }


def test_excluded_combinations_are_left_out():
    grid = {**GRID, "architectures": ["cnn", "small_resnet"], "product": {"input_px": [32, 64]}}
    found = _networks({**grid, "exclude": [{"architecture": "cnn", "input_px": 64}]})
    assert list(found) == [
        "cnn_supervised_px32_s0",
        "small_resnet_supervised_px32_s0",
        "small_resnet_supervised_px64_s0",
    ]


def test_seeds_of_weights_and_order_are_apart():
    found = _networks({**GRID, "seeds": [0, 1], "order_seeds": [3, 4]})
    assert list(found) == [f"cnn_supervised_s{s}_o{o}" for s in (0, 1) for o in (3, 4)]
    assert (found["cnn_supervised_s1_o3"].seed, found["cnn_supervised_s1_o3"].order_seed) == (1, 3)
    assert list(_networks({**GRID, "order_seeds": [3]})) == ["cnn_supervised_s0"]


def test_settings_of_objectives_and_sets_of_settings_are_axes():
    product = {
        "options.views.flip_probability": [0.0, 0.5],
        "schedule": {"short": {"epochs": 1}, "lrs": {"preset": "lrs", "learning_rate": 0.2}},
    }
    found = _networks({**GRID, "product": product})
    assert list(found)[1] == "cnn_supervised_flip-probability0.0_lrs_s0"
    spec = found["cnn_supervised_flip-probability0.5_lrs_s0"]
    assert spec.options == {"views": {"flip_probability": 0.5}}
    assert (spec.schedule.learning_rate, spec.schedule.curve, spec.schedule.epochs) == (0.2, "step", 2)


def test_architectures_and_objectives_may_be_axes_too():
    grid = {"seeds": [0], "schedule": SCHEDULE, "product": {"objective": ["simclr", "vicreg"]}}
    found = _networks({**grid, "paired": {"architecture": ["cnn", "small_resnet"], "batch_size": [8, 16]}})
    assert list(found) == [
        "cnn_simclr_bs8_s0",
        "small_resnet_simclr_bs16_s0",
        "cnn_vicreg_bs8_s0",
        "small_resnet_vicreg_bs16_s0",
    ]


def test_snapshots_are_members_behind_their_network():
    found = _networks({**GRID, "snapshots": {"epochs": [0, 1], "steps": [3]}})
    assert list(found) == [
        "cnn_supervised_s0",
        *(f"cnn_supervised_s0@{m}" for m in ("epoch0", "epoch1", "step3")),
    ]
    assert found["cnn_supervised_s0@step3"].moment == "step3"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"product": {"input_side": [1]}}, "unknown axis 'input_side' of a grid; did you mean 'input_px'"),
        ({"product": {"batchsize": [8]}}, "unknown axis 'batchsize' of a grid; did you mean 'batch_size'"),
        (
            {"product": {"schedule.epoch": [1]}},
            "unknown key 'epoch' of the schedule of 'cnn_supervised_s0'; did you mean 'epochs'",
        ),
        (
            {"product": {"schedule": {"slow": {"lerning_rate": 1}}}},
            "unknown key 'lerning_rate' of the schedule of 'cnn_supervised_s0'; did you mean 'learning_rate'",
        ),
        ({"monitors": {"collapse": {"n_row": 9}}}, "unknown key 'n_row' of monitor 'collapse'; did you mean"),
        (
            {"architectures": ["cnn", "cnn"]},
            r"values of axis 'architecture' of a grid are listed twice: \['cnn'\]",
        ),
        ({"product": {"input_px": [32, "32"]}}, r"values of axis 'input_px' of a grid are listed twice"),
        (
            {"product": {"input_px": [32, 32.0]}},
            r"values of axis 'input_px' of a grid are equal: 32 and 32.0;",
        ),
        (
            {"paired": {"input_px": [16, 16.0], "batch_size": [8, 8]}},
            r"values of the paired axes input_px, batch_size of a grid are equal: 16, 8 and 16\.0, 8;",
        ),
        ({"product": {"input_px": [None, None]}}, r"'input_px' of a grid are listed twice: \['None'\]"),
        ({"product": {"stimulus_set": [None, "a"]}}, "axis 'stimulus_set' of a grid needs names, got null"),
        ({"architectures": [], "product": {"architecture": [None]}}, "'architecture' of a grid needs names"),
        ({"seeds": [0, 0]}, r"seeds of a grid are listed twice: \['0'\]"),
        (
            {"paired": {"input_px": [16, 16], "batch_size": [8, "8"]}},
            r"values of the paired axes input_px, batch_size of a grid are listed twice: \['16, 8'\]",
        ),
        ({"product": {"options.smoothing": [1]}}, "smoothing"),
        ({"product": {"precision": ["half"]}}, "float32"),
        ({"product": {"input_px": []}}, "the grid is empty: axis 'input_px' has no value"),
        ({"product": {"architecture": ["cnn"]}}, "axis 'architecture' of a grid is given twice"),
        ({"product": {"batch_size": [8]}, "paired": {"schedule.batch_size": [8]}}, "given twice"),
        (
            {"paired": {"input_px": [16, 32], "batch_size": [8]}},
            "paired axes of a grid need equal numbers of values, got input_px 2, schedule.batch_size 1",
        ),
        ({"exclude": [{"architecture": "cnn"}]}, "the grid is empty: exclude leaves no combination"),
        (
            {"exclude": [{"architecture": "cn"}]},
            "exclude {'architecture': 'cn'} of a grid fits no combination",
        ),
        ({"exclude": [{"architectures": "cnn"}]}, "unknown axis 'architectures' of exclude; did you mean"),
        ({"architectures": []}, "the grid is empty: it names no architecture"),
        (
            {"product": {"schedule": [{"epochs": 1}]}},
            "axis 'schedule' of a grid has sets of settings: give each",
        ),
        ({"product": {"schedule.preset": ["lrz"]}}, "unknown preset 'lrz' of a schedule; did you mean 'lrs'"),
        (
            {"product": {"options.views.zoom": {"a": [1, 1], "b": [1, 2]}}, "metrics": ["top5_acuracy"]},
            "top5_acc",
        ),
        (
            {"schedule": {**SCHEDULE, "optimizer": "radam"}},
            "radam takes roots that differ between processors",
        ),
        ({"precision": "bfloat16"}, "portable in float32 only, but precision is 'bfloat16'"),
        ({"snapshots": {"epochs": [3]}}, r"snapshot epoch3 is after the last epoch \(2\)"),
    ],
)
def test_grids_that_cannot_be_meant_are_refused_in_one_line(changes, message):
    with pytest.raises(ValidationError, match=message):
        _networks({**GRID, **changes})


def _refusal_of(**changes):
    grid = {
        "objective": "simclr",
        "architectures": ["cnn"],
        "seeds": [0],
        "schedule": {"epochs": 1, "batch_size": 8, "learning_rate": 0.1},
    }
    with pytest.raises(ValidationError) as refused:
        TrainingParams.model_validate({"stimulus_set": "bars", "grids": [{**grid, **changes}]})
    return str(refused.value)


@pytest.mark.parametrize("preset", [["lrs60"], {"a": 1}, 60])
def test_a_preset_that_is_no_name_is_refused(preset):
    message = _refusal_of(schedule={"preset": preset, "epochs": 1, "batch_size": 8})
    assert "preset of a schedule should be a name" in message


def test_an_axis_below_a_setting_that_is_no_mapping_is_refused():
    message = _refusal_of(options={"views": 3}, product={"options.views.flip_probability": [0.3]})
    assert "'views' should be `key: value` lines, got 3" in message


def test_a_grid_of_too_many_networks_is_refused_before_it_is_expanded():
    rates = [0.1] * 200
    message = _refusal_of(product={"schedule.learning_rate": rates, "schedule.weight_decay": rates})
    assert "the grid has 40,000 networks" in message
