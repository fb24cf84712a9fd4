"""Devices: none is asked for a precision that it does not have."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from rep_kedro.checks.options import require_devices, require_temporary_folder
from rep_kedro.errors import UserError
from rep_kedro.kernels.precision import accumulation_dtype
from rep_kedro.models.activation_form import Form
from rep_kedro.models.pooling import pool_activation
from rep_kedro.models.preprocessing import Preprocessing


class _NoDouble(TorchFunctionMode):
    """Refuses every tensor in double precision, as a device without it does."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert not (isinstance(result, torch.Tensor) and result.dtype == torch.float64), func
        return result


def test_sums_are_taken_in_the_widest_type_of_the_device():
    assert accumulation_dtype("cpu") == accumulation_dtype("cuda:1") == torch.float64
    assert accumulation_dtype("mps") == accumulation_dtype(torch.device("mps", 0)) == torch.float32


@pytest.mark.parametrize(
    ("shape", "pooling", "form"),
    [
        ((2, 3, 4, 4), "average", Form("map")),
        ((2, 5, 3), "cls_and_patch_average", Form("tokens", 0, 2, 1, has_class_token=True)),
        ((2, 5, 3), "average", Form("tokens", 0, 2)),
        ((2, 3), "average", Form("vector")),
    ],
)
def test_features_need_no_double_precision(shape, pooling, form, monkeypatch):
    monkeypatch.setattr("rep_kedro.models.pooling.accumulation_dtype", lambda _: accumulation_dtype("mps"))
    preprocessing = Preprocessing(size_px=4, resize_px=4, mean=(0.5,), std=(0.5,))
    with _NoDouble():
        pool_activation(torch.ones(shape), pooling, form)
        preprocessing.scale(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(AssertionError), _NoDouble():  # the watch itself works
        torch.ones(2).double()


@pytest.mark.parametrize("group", ["similarity", "stitching"])
def test_what_computes_in_double_precision_is_not_sent_to_a_device_without_it(group, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    require_devices({"features": {"device": "mps"}, "training": {"device": "mps"}, group: {"device": "cpu"}})
    with pytest.raises(
        UserError, match=rf"parameter {group}\.device: .* double precision, which 'mps' does not"
    ):
        require_devices({group: {"device": "mps"}})


def test_a_folder_for_temporary_files_must_be_there(tmp_path):
    for folder in (None, "", str(tmp_path)):
        require_temporary_folder(folder)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(UserError, match=r"TMPDIR names '[^\n]+', which is not a folder that"):
            require_temporary_folder(str(folder))
