"""What inference stores is checked before it is written; each broken promise is named."""

import numpy as np
import pytest

from rep_kedro.datasets import CollectionDataset, Planned, Tensors
from rep_kedro.datasets.inference_validators import require_sample_size_curve, require_similarity_null

NAMES = ("similarity", "null_mean", "threshold", "similarity_low", "similarity_high")
NAMES += ("standard_error", "p_value", "p_maximum", "calibrated")


def _null(**changes):
    matrices = {name: np.full((3, 3), 0.5) for name in NAMES}
    matrices["similarity_low"], matrices["similarity_high"] = np.full((3, 3), 0.4), np.full((3, 3), 0.6)
    for name, change in changes.items():
        change(matrices[name])
    return Tensors(matrices, {"labels": ["a", "b", "c"]})


def _set(value, *places):
    def change(matrix):
        for place in places:
            matrix[place] = value

    return change


BOTH = ((0, 1), (1, 0))


def test_sound_members_pass_also_with_numbers_missing_on_purpose():
    require_similarity_null(_null())
    everything = {name: _set(np.nan, *BOTH) for name in NAMES}
    require_similarity_null(_null(**everything))
    require_similarity_null(_null(similarity_low=_set(np.nan, *BOTH), standard_error=_set(np.nan, (0, 0))))
    require_similarity_null(_null(similarity=_set(-0.2, *BOTH), null_mean=_set(-0.1, *BOTH)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"p_value": _set(1.2, *BOTH)}, r"p_value has 2 values outside \[0, 1\], e.g. 1.2"),
        ({"p_maximum": _set(-0.1, *BOTH)}, "p_maximum has 2 values outside"),
        ({"calibrated": _set(1.1, *BOTH)}, "calibrated has 2 values outside"),
        ({"similarity": _set(1.01, *BOTH)}, "similarity has 2 values outside"),
        ({"similarity": _set(-np.inf, *BOTH)}, "similarity has 2 values outside"),
        ({"standard_error": _set(np.inf, *BOTH)}, "standard_error has 2 values outside"),
        ({"threshold": _set(0.3, (0, 1))}, "matrix threshold is not symmetric"),
        ({"similarity": _set(np.nan, *BOTH)}, "null_mean is a number in 2 pairs without similarity"),
        ({"similarity_low": _set(0.7, *BOTH)}, "2 intervals end below their start"),
    ],
)
def test_broken_nulls_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        require_similarity_null(_null(**changes))


def test_nulls_of_another_form_are_refused():
    whole = _null()
    without = Tensors({k: v for k, v in whole.tensors.items() if k != "p_value"}, whole.meta)
    with pytest.raises(ValueError, match="p_value is missing; there are: calibrated, "):
        require_similarity_null(without)
    with pytest.raises(ValueError, match=r"similarity has shape \(3, 3\).*; expected \(2, 2\) in float64"):
        require_similarity_null(Tensors(whole.tensors, {"labels": ["a", "b"]}))
    single = {name: matrix.astype(np.float32) for name, matrix in whole.tensors.items()}
    with pytest.raises(ValueError, match="type float32; expected"):
        require_similarity_null(Tensors(single, whole.meta))
    with pytest.raises(ValueError, match=r"networks are named twice: \['a'\]"):
        require_similarity_null(Tensors(whole.tensors, {"labels": ["a", "b", "a"]}))
    with pytest.raises(ValueError, match="no network is named"):
        require_similarity_null(Tensors(whole.tensors, {"labels": []}))


def test_curves_have_rising_sizes_and_one_value_for_each_pair():
    values, meta = np.zeros((2, 3, 1)), {"labels": ["a", "b"], "sizes": [10, 20, 30]}
    require_sample_size_curve(Tensors({"similarity": values}, meta))
    require_sample_size_curve(Tensors({"similarity": np.full((2, 3, 1), np.nan)}, meta))
    lone = {"labels": ["a"], "sizes": [10]}
    require_sample_size_curve(Tensors({"similarity": np.zeros((2, 1, 0))}, lone))
    for sizes in ([], [20, 10, 30], [10, 10, 30], [0, 10, 30]):
        with pytest.raises(ValueError, match="numbers of stimuli must be positive and rise"):
            require_sample_size_curve(Tensors({"similarity": values}, {**meta, "sizes": sizes}))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 1\).*; expected \(any, 3, 3\)"):
        require_sample_size_curve(Tensors({"similarity": values}, {**meta, "labels": ["a", "b", "c"]}))
    with pytest.raises(ValueError, match="similarity has 6 values outside"):
        require_sample_size_curve(Tensors({"similarity": values + 2}, meta))


def test_a_refused_member_is_named_by_its_key_and_not_written(tmp_path):
    collection = CollectionDataset(
        filepath=str(tmp_path / "similarity_nulls"),
        member="rep_kedro.datasets.TensorsDataset",
        member_validator="rep_kedro.datasets.inference_validators.require_similarity_null",
    )
    bad = _null(p_value=_set(2.0, *BOTH))
    with pytest.raises(Exception, match=r"digits/cka.*p_value has 2 values outside.*kedro verify"):
        collection.save({"digits/cka": Planned({"of": "cka"}, lambda: bad)})
    assert not list((tmp_path / "similarity_nulls").rglob("*.safetensors"))
