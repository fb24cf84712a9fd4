"""Files of weights as people have them: any wrapper, prefix and suffix; and what is no file of weights."""

import argparse
import gzip
import io
import os
import pathlib
import pickle
import random
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from rep_kedro.errors import UserError
from rep_kedro.models.building import build_network
from rep_kedro.models.sources.checkpoint import identify_weights
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import build_model

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 46830571\n"


def checkpoint(path, **changes):
    content = {"source": "checkpoint", "architecture": "cnn", "n_classes": 3, "path": str(path), **changes}
    return TypeAdapter(ModelEntry).validate_python(content)


def draw(seed=0, n_classes=3):
    return build_network("cnn", n_classes=n_classes, seed=seed).state_dict()


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def assert_read(entry, state):
    read = build_model(entry).state_dict()
    assert all(torch.equal(read[name], value) for name, value in state.items())


def refusal(entry):
    """Return the message of the refusal: one line without control characters."""
    with pytest.raises(UserError) as caught:
        build_model(entry)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1200
    return message


class Exploit:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("suffix", ["pth", "pt", "ckpt", "bin", "th", "tar", "safetensors", "weights", ""])
@pytest.mark.parametrize("form", ["torch", "old torch", "safetensors"])
def test_a_file_is_recognised_by_its_content_whatever_its_name(form, suffix, tmp_path):
    state, path = draw(), tmp_path / f"net.{suffix}".removesuffix(".")
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "torch")
    assert_read(checkpoint(path), state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state},
        lambda state: {"state_dict": state, "epoch": 90, "best_acc1": torch.tensor(76.1)},
        lambda state: {"model_state_dict": state, "loss": 0.1},
        lambda state: {"net": state, "acc": 95.0},
        lambda state: {
            "state_dict": state,
            "args": argparse.Namespace(lr=1, where=pathlib.PurePosixPath("a")),
        },
        lambda state: {"state_dict": state, "best": np.float64(0.7), "history": np.arange(3)},
        lambda state: {"a": {"b": {"c": prefixed("_feature_blocks.", state)}}},
        lambda state: {"models": [state]},
        lambda state: prefixed("module.", state),
        lambda state: prefixed("_orig_mod.", state),
        lambda state: {"model": prefixed("module._orig_mod.", state)},
        lambda state: {"state_dict": prefixed("model.backbone.", state), "hyper_parameters": {"lr": 1}},
        lambda state: {"state_dict": {**prefixed("model.", state), "loss.weight": torch.ones(3)}},
        lambda state: {"model": prefixed("module.", state) | {"n_averaged": torch.tensor(3)}},
        lambda state: {"state_dict": state, "model": state},  # the same numbers twice
        lambda state: {
            "model": state,
            "optimizer": {"state": {i: {"exp_avg": torch.ones(2)} for i in range(9)}, "param_groups": []},
        },
    ],
)
def test_weights_are_found_below_wrappers_and_prefixes(wrap, tmp_path):
    state = draw()
    torch.save(wrap(state), tmp_path / "net.ckpt")
    assert_read(checkpoint(tmp_path / "net.ckpt"), state)


@pytest.mark.parametrize(
    ("wrap", "first", "second"),
    [
        (lambda a, b: {"model": a, "model_ema": b}, {"within": "model"}, {"within": "model_ema"}),
        (
            lambda a, b: {"state_dict": a, "state_dict_ema": b},
            {"within": "state_dict"},
            {"within": "state_dict_ema"},
        ),
        (lambda a, b: {"net": a, "ema": {"shadow": b}}, {"within": "net"}, {"within": "ema"}),
        (  # Lightning's callback of moving averages
            lambda a, b: {
                "state_dict": prefixed("model.", a),
                "averaging_state": {**prefixed("module.model.", b), "n_averaged": torch.tensor(4)},
                "hyper_parameters": argparse.Namespace(lr=1),
            },
            {"within": "state_dict"},
            {"within": "averaging_state"},
        ),
        (lambda a, b: {"student": a, "teacher": b}, {"within": "student"}, {"within": "teacher"}),
        (
            lambda a, b: prefixed("encoder_q.", a) | prefixed("encoder_k.", b) | {"queue": torch.ones(2, 2)},
            {"prefix": "encoder_q."},
            {"prefix": "encoder_k."},
        ),
        (lambda a, b: a | prefixed("ema.", b), {"prefix": ""}, {"prefix": "ema."}),
        (
            lambda a, b: {"state_dict": prefixed("model.", a) | prefixed("ema_model.module.", b)},
            {"prefix": "model."},
            {"prefix": "ema_model.module."},
        ),
    ],
)
def test_of_two_sets_of_weights_the_entry_must_choose_one(wrap, first, second, tmp_path):
    a, b = draw(0), draw(1)
    path = tmp_path / "net.pth"
    torch.save(wrap(a, b), path)
    message = refusal(checkpoint(path))
    assert "contains 2 sets of weights that fit; choose one: " in message
    for choice in (first, second):
        ((key, value),) = choice.items()
        assert f"{key}: {value!r}" in message or f"{key}: '{value}." in message
    assert_read(checkpoint(path, **first), a)
    assert_read(checkpoint(path, **second), b)


def test_two_views_of_one_memory_with_other_strides_are_two_sets_of_weights(tmp_path):
    first = draw()
    second = dict(first)
    second["conv1.weight"] = first["conv1.weight"].transpose(2, 3)
    torch.save({"x": first, "y": second}, tmp_path / "a.pt")
    assert "contains 2 sets of weights that fit" in refusal(checkpoint(tmp_path / "a.pt"))
    assert_read(checkpoint(tmp_path / "a.pt", within="y"), second)


def test_equal_copies_are_one_set_of_weights(tmp_path):
    state = draw()
    copy = {name: value.clone() for name, value in state.items()}
    torch.save({"model": state, "ema": copy}, tmp_path / "a.pt")
    assert_read(checkpoint(tmp_path / "a.pt"), state)
    copy["conv1.weight"][0, 0, 0, 0] += 1
    torch.save({"model": state, "ema": copy}, tmp_path / "a.pt")
    assert "contains 2 sets of weights that fit" in refusal(checkpoint(tmp_path / "a.pt"))


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_refused(path):
    with pytest.raises(ValueError, match="path is empty; name a file"):
        checkpoint(path)


@pytest.mark.skipif(
    not pathlib.Path("/proc/self/mem").exists(), reason="needs a file that opens but cannot be read"
)
@pytest.mark.parametrize("read", [build_model, identify_weights])
def test_a_file_whose_reading_fails_is_named(read):
    with pytest.raises(UserError, match=r"/proc/self/mem .*cannot be read: Input/output error"):
        read(checkpoint("/proc/self/mem"))


def test_what_is_not_behind_the_prefix_is_left_out_with_a_line(tmp_path, caplog):
    torch.save(prefixed("model.", draw()) | {"queue": torch.ones(2)}, tmp_path / "net.pth")
    with caplog.at_level("INFO"):
        build_model(checkpoint(tmp_path / "net.pth"))
    assert "net.pth: left out what does not begin with 'model.': queue" in caplog.text


def _zip(content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return stream.getvalue()


def _tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def _torch(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _script():
    return _zip({f"net/{name}": "x" for name in ("data.pkl", "constants.pkl", "code/__torch__.py")})


def _compressed():
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_torch(draw()))) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return stream.getvalue()


def _safetensors():
    from safetensors.torch import save

    return save(draw())


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (
            lambda: LFS_POINTER,
            "is a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`",
        ),
        (lambda: b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>", "is a web page"),
        (lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
        (lambda: b"", "is empty; copy or fetch it again"),
        (lambda: b"404: Not Found", "is a text file ('404: Not Found'), not weights"),
        (
            lambda: b'{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}',
            "index of weights in several",
        ),
        (lambda: _torch(draw())[:-100], "is a truncated or damaged zip file, the format of torch.save"),
        (
            lambda: _torch(draw())[:50],
            "is a truncated or damaged zip file, the format of torch.save (50 bytes)",
        ),
        (lambda: _torch(draw(), _use_new_zipfile_serialization=False)[:5000], "is a damaged torch file"),
        (lambda: _zip({"a.txt": "x", "b.txt": "y"}), "is a zip archive of other files (a.txt, b.txt)"),
        (lambda: _zip({"arr_0.npy": "x"}), "is an archive of numpy arrays"),
        (_compressed, "is a torch file that was compressed again"),
        (_script, "is a TorchScript program"),
        (_tar, "is a tar archive"),
        (lambda: gzip.compress(b"x"), "is compressed with gzip"),
        (lambda: pickle.dumps({"conv1.weight": [1.0]}), "is a pickle that torch.save did not write"),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(50), "is an HDF5 file"),
        (lambda: bytes(range(200, 256)), "is of an unknown format (it begins with c8 c9"),
        (lambda: _safetensors()[:-9], "is damaged or not a safetensors file"),
        (lambda: _safetensors()[:20], "is damaged or not a safetensors file"),
        (lambda: _torch([torch.zeros(1)]), "is not a state dict of tensors: it contains a list"),
        (lambda: _torch({"epoch": 3, "args": {}}), "it contains epoch (int), args (dict)"),
        (lambda: _torch(torch.zeros(3)), "it contains a Tensor"),
        (lambda: _torch(torch.nn.ReLU()), "contains a whole network (torch.nn.modules.activation.ReLU)"),
        (lambda: _torch({"fn": print}), "contains more than tensors (print), and reading it could run code"),
        (lambda: _torch({"a": draw()["conv1.weight"]}), "the file contains tensors (a)"),
    ],
)
def test_what_is_no_file_of_weights_is_named_in_one_line(content, shown, tmp_path):
    (tmp_path / "net.pth").write_bytes(content())
    message = refusal(checkpoint(tmp_path / "net.pth"))
    assert f"checkpoint {tmp_path}/net.pth" in message
    assert shown in message


@pytest.mark.parametrize("is_new", [True, False])
def test_no_code_of_a_file_is_run(is_new, tmp_path):
    state = {"state_dict": draw(), "args": argparse.Namespace(evil=Exploit(tmp_path / "ran"))}
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=is_new)
    assert "contains more than tensors (posix.system)" in refusal(checkpoint(tmp_path / "net.pth"))
    assert not (tmp_path / "ran").exists()


def test_a_folder_is_named_with_its_files(tmp_path):
    (tmp_path / "last.ckpt").touch()
    assert "is a folder; name a file (last.ckpt)" in refusal(checkpoint(tmp_path))


def test_a_flipped_bit_in_a_file_of_torch_is_found(tmp_path):
    content = bytearray(_torch(draw()))
    content[len(content) // 2] ^= 1
    (tmp_path / "net.pth").write_bytes(content)
    assert "is a damaged torch file" in refusal(checkpoint(tmp_path / "net.pth"))


def test_a_file_that_was_written_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(compute_crc32=False)
    try:
        torch.save(draw(), tmp_path / "net.pth")
    finally:
        torch.serialization.set_crc32_options(compute_crc32=True)
    assert_read(checkpoint(tmp_path / "net.pth"), draw())


def test_a_part_that_a_file_does_not_have_is_answered_with_those_it_has(tmp_path):
    torch.save({"model": draw(), "epoch": 3}, tmp_path / "net.pth")
    message = refusal(checkpoint(tmp_path / "net.pth", within="modle"))
    assert "has no part 'modle' with tensors; it contains model (conv1.weight, " in message


@pytest.mark.parametrize("source", ["checkpoint", "weights_file"])
def test_rules_that_give_two_tensors_one_name_are_refused_with_both(source, tmp_path):
    torch.save(prefixed("encoder_q.", draw(0)) | prefixed("encoder_k.", draw(1)), tmp_path / "net.pth")
    place = {} if source == "checkpoint" else {"source": source, "architecture": "timm/test_resnet"}
    entry = checkpoint(tmp_path / "net.pth", rename={r"^encoder_[qk]\.": ""}, layers=["x"], **place)
    if source == "weights_file":
        content = entry.model_dump(exclude={"n_classes"})
        entry = TypeAdapter(ModelEntry).validate_python(content)
    n_more = len(draw()) - 1
    assert (
        "rename gives one name, 'conv1.weight', to 'encoder_q.conv1.weight' and 'encoder_k.conv1.weight'"
        f" (and {n_more} more clashes)" in refusal(entry)
    )


def test_rules_of_one_encoder_are_followed(tmp_path):
    torch.save(prefixed("encoder_q.", draw(0)) | prefixed("encoder_k.", draw(1)), tmp_path / "net.pth")
    chosen = checkpoint(tmp_path / "net.pth", rename={r"^encoder_q\.": ""}, ignored=["encoder_k"])
    assert_read(chosen, draw(0))


def test_a_rule_that_is_no_regular_expression_is_refused(tmp_path):
    torch.save(draw(), tmp_path / "net.pth")
    assert "rename '(' to ''" in refusal(checkpoint(tmp_path / "net.pth", rename={"(": ""}))
    assert "rename 'conv' to" in refusal(checkpoint(tmp_path / "net.pth", rename={"conv": r"\3"}))


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_numbers_that_are_no_floats_are_refused_where_floats_are_needed(kind, tmp_path):
    state = draw()
    torch.save({**state, "conv1.weight": state["conv1.weight"].to(kind)}, tmp_path / "net.pth")
    message = refusal(checkpoint(tmp_path / "net.pth"))
    name = str(kind).removeprefix("torch.")
    assert f"has values of type {name} where the network has float32 (conv1.weight)" in message


def test_quantised_and_sparse_tensors_are_refused(tmp_path):
    state = draw()
    weight = state["fc.weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors will leave torch; their files will not
        quantised = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    for odd in (quantised, weight.to_sparse()):
        torch.save({**state, "fc.weight": odd}, tmp_path / "net.pth")
        assert "where the network has float32 (fc.weight)" in refusal(checkpoint(tmp_path / "net.pth"))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted_with_a_line(kind, tmp_path, caplog):
    state = {k: v.to(kind) if v.is_floating_point() else v for k, v in draw().items()}
    save_file(state, tmp_path / "net.safetensors")
    with caplog.at_level("INFO"):
        read = build_model(checkpoint(tmp_path / "net.safetensors")).state_dict()
    assert torch.equal(read["conv1.weight"], state["conv1.weight"].float())
    assert f"{str(kind).removeprefix('torch.')} converted to float32" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    state = draw()
    broken = state["conv2.weight"].double()
    broken.view(-1)[5] = value
    torch.save({**state, "conv2.weight": broken}, tmp_path / "net.pth")
    assert "1 of 864 values of conv2.weight are NaN or infinite" in refusal(checkpoint(tmp_path / "net.pth"))


def test_a_head_of_another_size_is_answered_with_the_settings_that_help(tmp_path):
    state = draw(n_classes=10)
    torch.save(state, tmp_path / "net.pth")
    message = refusal(checkpoint(tmp_path / "net.pth"))
    assert (
        "fc.weight is 10x24, not 3x24, fc.bias is 10, not 3; set n_classes: 10, or left_out: [fc]" in message
    )
    assert_read(checkpoint(tmp_path / "net.pth", n_classes=10), state)
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    assert_read(checkpoint(tmp_path / "net.pth", left_out=["fc"]), body)


@pytest.mark.parametrize("base", ["torch", "old torch", "safetensors"])
def test_files_with_changed_bytes_are_read_or_refused_in_one_line(base, tmp_path):
    content = {"model": draw(), "args": argparse.Namespace(lr=1)}
    whole = (
        _safetensors()
        if base == "safetensors"
        else _torch(content, _use_new_zipfile_serialization=base == "torch")
    )
    draws, path = random.Random(0), tmp_path / "net.pth"  # noqa: S311 - no secret
    entry = checkpoint(path)
    messages = []
    for _ in range(60):
        changed = bytearray(whole)
        for _ in range(draws.randint(1, 4)):
            place = draws.choice(
                [draws.randrange(3000), draws.randrange(len(whole)), -1 - draws.randrange(3000)]
            )
            changed[place] = draws.randrange(256)
        path.write_bytes(changed[: draws.randrange(len(whole))] if draws.random() < 0.1 else changed)
        try:
            build_model(entry)
        except UserError as refused:
            messages.append(str(refused))
    assert len(messages) > 10
    assert all(message.isprintable() for message in messages)


def test_control_characters_in_names_do_not_reach_the_message(tmp_path):
    state = draw()
    state["\x1b[31mred\n" + "x" * 10_000] = torch.ones(1)
    torch.save(state, tmp_path / "net.pth")
    assert "it also has \ufffd[31mred\ufffdxxx" in refusal(checkpoint(tmp_path / "net.pth"))
