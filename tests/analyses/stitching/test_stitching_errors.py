"""What cannot be stitched is refused while planning, in one line that says what to do."""

import pytest
from pydantic import ValidationError
from tests.small_collections import make_network, store_networks

from rep_kedro.analyses.stitching import maps
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.datasets.partial import Handles
from rep_kedro.errors import UserError
from rep_kedro.kernels.stitching.masks import FEWEST_STEPS_OF_VARIANCE, MASKS
from rep_kedro.kernels.stitching.recipes import StitchRecipe
from rep_kedro.kernels.stitching.starts import LOW_RANK_STARTS, SQUARE_STARTS, STARTS
from rep_kedro.kernels.stitching.targets import TARGETS
from rep_kedro.models.study import FeaturesParams
from rep_kedro.pipelines.stitching.nodes import plan_stitches

SETS = Handles({}, {name: "missing" for name in ("noise", "other")}, {})


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    def network(architecture, seed=0, n_classes=3, stimulus_set="noise", **given):
        return make_network(architecture, seed=seed, n_classes=n_classes, stimulus_set=stimulus_set, **given)

    return store_networks(
        tmp_path_factory.mktemp("networks"),
        {
            "cnn_s0": network("cnn"),
            "cnn_s1": network("cnn", 1),
            "resnet_s0": network("small_resnet"),
            "elsewhere": network("cnn", stimulus_set="other"),
            "four": network("cnn", n_classes=4),
            "headless": network("cnn", n_classes=None, objective="simclr"),
        },
    )


def _joint(**changes):
    return {"fronts": ["cnn_s0"], "ends": ["cnn_s1"], **changes}


PLANNED = {
    "unknown layer": (_joint(layers={"relu2": "relu33"}), {}, "unknown layer 'relu33'; did you mean 'relu3'"),
    "unknown front": (_joint(layers=["rellu2"]), {}, "unknown layer 'rellu2'; did you mean 'relu2'"),
    "jumped over": (
        _joint(ends=["resnet_s0"], layers={"relu2": "block1.bn1"}), {},
        "a connection jumps over layer 'block1.bn1'.*nearest cut points: relu1",
    ),
    "square start": (
        _joint(layers={"relu1": "relu3"}), {"e": {"fit": "start", "init": "eye"}},
        r"maps\.e \(eye\) needs layers of equal width.*'relu1' of cnn_s0 has 8 .* has 16",
    ),
    "trained square start": (
        _joint(layers={"relu1": "relu3"}), {"e": {"init": "perm"}}, r"maps\.e \(perm\) needs layers of",
    ),
    "orthogonal": (
        _joint(layers={"relu1": "relu3"}), {"o": {"fit": "orthogonal"}},
        r"maps\.o \(orthogonal\) needs layers of",
    ),
    "high rank": (_joint(layers=["relu1"]), {"r": {"rank": 99}}, r"maps\.r\.rank 99 is above the largest"),
    "other images": (
        _joint(ends=["elsewhere"]), {}, r"\(3 classes of noise\) and elsewhere \(3.*of other\) have other",
    ),
    "other classes": (_joint(ends=["four"]), {}, "have other label sets; join"),
    "no labels": (_joint(ends=["headless"]), {}, r"'headless' has no head \(simclr\); stitching needs"),
    "unknown network": (_joint(fronts=["cnn_s9"]), {}, "unknown network 'cnn_s9'; did you mean 'cnn_s"),
    "no positions": (_joint(layers={"relu5": "mean"}), {}, "no positions in common; flatten: true"),
    "too wide": (
        _joint(layers={"relu1": "relu2"}, flatten=True), {},
        "a map from 2,048 channels .* to 768 .* needs 63.4 MB",
    ),
    "nothing follows": (_joint(layers=["fc"]), {}, "nothing follows layer 'fc', so .* cut points: mean"),
    "nothing": (_joint(ends=["cnn_s0"]), {}, "joins no networks; name others, or set incl"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANNED)
def test_joints_that_cannot_be_are_refused_while_planning(networks, case):
    joint, given, message = PLANNED[case]
    params = {"joints": [joint], "memory_bytes": 50_000_000, **({"maps": given} if given else {})}
    params = StitchingParams.model_validate(params)
    with pytest.raises(UserError, match=message) as refused:
        plan_stitches(SETS, {}, networks, FeaturesParams(), params)
    assert "\n" not in str(refused.value)


def test_networks_of_other_sets_than_those_chosen_are_refused(networks):
    params = StitchingParams.model_validate({"joints": [_joint()], "stimulus_sets": ["other"]})
    with pytest.raises(UserError, match=r"cnn_s1 was trained on 'noise', which stitching\.stimulus"):
        plan_stitches(SETS, {}, networks, FeaturesParams(), params)


def test_a_missing_network_that_a_joint_names_is_left_out(networks):
    there = Handles({"cnn_s1": networks["cnn_s1"]}, {"cnn_s0": "missing"}, {})
    for models in ("all", ["cnn_s1"]):
        params = StitchingParams.model_validate({"joints": [_joint()], "models": models})
        plan = plan_stitches(SETS, {}, there, FeaturesParams(), params)
        assert not plan
        assert plan.left_out == {"cnn_s0": "networks/cnn_s0 is missing"}


def test_comparisons_that_need_more_memory_than_there_may_be_are_refused():
    given = {"measures": ["cka"], "memory_bytes": 1_000_000}
    message = r"on 500 images need 25.0 MB, more .* set stitching\.n_compare to at most 100 or raise it"
    with pytest.raises(UserError, match=message):
        StitchingParams.model_validate(given).require_room_to_compare(500)
    StitchingParams.model_validate({**given, "n_compare": 100}).require_room_to_compare(500)


VALIDATED = {
    "temperature with hard": ({"target": "hard", "temperature": 2}, "temperature 2 belongs to soft targets"),
    "start without rank": ({"init": "orthogonal"}, "'orthogonal' is a start of low rank; give a rank"),
    "start and rank": ({"init": "eye", "rank": 3}, "init 'eye' has no rank 3; known: orthogonal, ps_inv"),
    "rank and mask": ({"rank": 3, "mask": "semi-match"}, "a map has a rank or a mask"),
    "unknown target": ({"target": "soft2"}, "unknown target 'soft2'; did you mean 'soft_2'"),
    "unknown mask": ({"mask": "semimatch"}, "unknown mask 'semimatch'; did you mean 'semi-match'"),
    "unknown start": ({"init": "psinv"}, "unknown init 'psinv'; did you mean 'ps_inv'"),
    "unknown rule": ({"fit": "matching", "rule": "semi"}, "unknown rule 'semi'; with 'semi' in the name"),
    "unknown option": ({"epoch": 3}, "Extra inputs"),
    "no penalty": ({"fit": "least_squares", "ridge": [-1.0]}, "ridge needs penalties of 0 or more"),
    "seeds twice": ({"fit": "start", "init": "random", "seeds": [1, 1]}, r"seeds are listed twice: \['1'\]"),
    "steps twice": ({"history": [1, 1]}, "steps of history are listed twice"),
    "a step too late": ({"epochs": 2, "history": [79]}, "maps.frank: history names step 79, beyond .* 78 at"),
    "short epoch": ({"mask": "variance", "batch_size": 2501}, "at least 2 steps in an epoch, got 1 of 5000"),
    "too many epochs": ({"epochs": 10**9}, "less than or equal to 100000"),
    "lonely images": ({"loss": "cka", "batch_size": 1}, "CKA compares images of a batch; set batch_size"),
    "path from nowhere": ({"path_from": "psinv"}, r"unknown map in maps\.frank\.path_from 'psinv'; did you"),
}  # fmt: skip


@pytest.mark.parametrize("case", VALIDATED)
def test_maps_that_cannot_be_are_refused(case):
    given, message = VALIDATED[case]
    with pytest.raises(ValidationError, match=message):
        StitchingParams.model_validate({"maps": {"ps_inv": {"fit": "least_squares"}, "frank": given}})


def test_names_that_are_chosen_elsewhere_are_refused_with_close_matches():
    for given, message in (
        ({"reports": ["psinv"]}, "unknown map 'psinv'; did you mean 'ps_inv'"),
        ({"measures": ["ckaa"]}, "unknown measure 'ckaa'; did you mean 'cka'"),
        ({"joints": [{"control": "noise"}], "maps": {"f": {"target": "soft_1"}}}, "noise predicts nothing"),
        ({"joints": [{"fronts": []}]}, "fronts names nothing"),
    ):
        with pytest.raises(ValidationError, match=message):
            StitchingParams.model_validate(given)


def test_names_are_those_of_the_kernels():
    assert set(maps.STARTS) == set(STARTS)
    assert maps.SQUARE_STARTS == SQUARE_STARTS
    assert set(maps.LOW_RANK_STARTS) == set(LOW_RANK_STARTS)
    assert set(maps.MASKS) == set(MASKS)
    assert set(maps.RULES) < set(MASKS)
    assert set(maps.TARGETS) == set(TARGETS)
    assert maps.FEWEST_STEPS_OF_VARIANCE == FEWEST_STEPS_OF_VARIANCE
    given, kernel = maps.TaskMap(), StitchRecipe()
    for name in ("rank", "mask", "mask_percentile", "loss", "target", "temperature", "l1", "cka_penalty"):
        assert getattr(given, name) == getattr(kernel, name), name
