"""A member that fails is named with its reason, while the others go on."""

import gc
import logging
import weakref

import numpy as np
import pytest
from kedro.io import DatasetError

from rep_kedro.datasets import Batch, CollectionDataset, CollectionError, Planned, Tensors
from rep_kedro.datasets.work import describe_problem
from rep_kedro.errors import UserError

TENSORS = "rep_kedro.datasets.TensorsDataset"


@pytest.fixture
def save(tmp_path):
    """Save a plan; return the failures by key (empty if none)."""

    def run(plan, **options):
        collection = CollectionDataset(filepath=str(tmp_path / "c"), member=TENSORS, **options)
        try:
            collection.save(plan)
        except CollectionError as problem:
            head, *lines = str(problem).split("\n")
            assert head == (f"c: {len(lines)} of {len(plan)} members failed (the others are done and kept):")
            return dict(line.strip().split(": ", 1) for line in lines)
        return {}

    return run


@pytest.fixture
def made(tmp_path):
    """Return the keys of the files that are there."""
    return lambda: sorted(path.stem for path in (tmp_path / "c").rglob("*.safetensors"))


def good():
    return Tensors({"x": np.ones(2)})


def fail_with(problem):
    def compute():
        raise problem

    return compute


def plan_of(**computes):
    return {key: Planned({}, compute) for key, compute in computes.items()}


def test_a_failing_member_is_named_and_the_others_are_made(save, made, caplog):
    caplog.set_level(logging.INFO)
    failed = save(plan_of(a=good, b=fail_with(ValueError("too few stimuli:\n 3, need 4")), c=good))
    assert failed == {"b": "too few stimuli: 3, need 4"}
    assert made() == ["a", "c"]
    text = caplog.text
    assert "c [2/3] b failed: too few stimuli: 3, need 4" in text
    assert "c: 3 members: 2 computed, 0 kept, 1 failed in" in text
    assert save(plan_of(a=good, b=good, c=good)) == {}
    assert "c: 3 members: 1 computed, 2 kept, 0 failed in" in caplog.text


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (ValueError("bad"), "bad"),
        (ValueError(), "ValueError"),
        (KeyError("no 'x'; known: y"), "no 'x'; known: y"),
        (RuntimeError("a\n b"), "RuntimeError: a b"),
        (AssertionError(), "AssertionError"),
        (MemoryError(), "MemoryError"),
        (FileNotFoundError(2, "No such file", "f"), "[Errno 2] No such file: 'f'"),
        (PermissionError(13, "Permission denied", "f"), "PermissionError: [Errno 13] Permission denied: 'f'"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_reasons_are_one_line(save, problem, line):
    assert save(plan_of(a=fail_with(problem), b=good)) == {"a": line}


def test_a_compute_that_cannot_read_its_input_does_not_stop_the_others(save, made):
    failed = save(plan_of(a=fail_with(PermissionError(13, "Permission denied", "image.png")), b=good))
    assert list(failed) == ["a"]
    assert made() == ["b"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (None, "TypeError: its compute returned None where a value to store was expected"),
        (3, "TypeError: a: expected Tensors, received int"),
        (Tensors({"x": np.array(["t"])}), "TypeError: tensor 'x' has type <U1; allowed are"),
        (Tensors({"x": np.array([None])}), "TypeError: tensor 'x' has type object; allowed are"),
        (Tensors({"x": np.ones(2, complex)}), "TypeError: tensor 'x' has type complex128; allowed are"),
        (Tensors({"__metadata__": np.ones(2)}), "TypeError: tensor name '__metadata__' cannot be used"),
        (Tensors({3: np.ones(2)}), "TypeError: tensor name 3 cannot be used; use text"),
        (Tensors({}, {"rank": float("nan")}), "meta.rank is nan, which JSON cannot hold; use null"),
        (Tensors({}, {"h": [{"x": float("-inf")}]}), "meta.h[0].x is -inf, which JSON cannot hold"),
        (Tensors({}, {"x": np.float32(1)}), "TypeError: meta.x is of type float32, which JSON does not have"),
        (Tensors({}, {1: 2}), "TypeError: meta has the key 1 of type int; use text keys"),
        (Tensors({}, [1]), "TypeError: meta of 'a' must be a dict, received list"),
        (ValueError("given, not raised"), "given, not raised"),
    ],
)
def test_a_value_that_cannot_be_stored_is_refused(save, made, value, line):
    failed = save(plan_of(a=lambda: value, b=good))
    assert list(failed) == ["a"]
    assert failed["a"].startswith(line)
    assert made() == ["b"]


def test_a_batch_is_called_once_with_the_keys_still_to_do(save):
    calls = []

    def compute(keys):
        calls.append(list(keys))
        for key in keys:
            yield key, good()

    batch = Batch(compute)
    plan = {key: Planned({}, batch) for key in "ab"} | {"x": Planned({}, good)}
    assert save(plan) == {}
    assert save(plan | {key: Planned({}, batch) for key in "cd"}) == {}
    assert calls == [["a", "b"], ["c", "d"]]


def raising(keys):
    yield keys[0], good()
    yield keys[2], good()
    raise RuntimeError("no memory")


def ending(keys):
    yield keys[0], good()


def wrong_key(keys):
    yield keys[0], good()
    yield "z", good()
    raise AssertionError("not reached")


def twice(keys):
    yield keys[0], good()
    yield keys[0], good()


def no_pair(keys):
    yield keys[0], good()
    yield 7


def too_many(keys):
    yield keys[0], good()
    yield keys[1], good(), good()


def not_lazy(keys):
    raise RuntimeError(f"no network for {len(keys)}")


def no_iterator(keys):
    return None


def partly_failing(keys):
    yield keys[0], good()
    yield keys[1], ValueError("degenerate")
    yield keys[2], good()
    yield keys[3], good()


@pytest.mark.parametrize(
    ("batch", "there", "reason"),
    [
        (raising, "ac", "RuntimeError: no memory"),
        (ending, "a", "RuntimeError: its batch ended without a value for it"),
        (
            wrong_key,
            "a",
            "RuntimeError: its batch gave 'z' where one of its waiting keys and a value were exp",
        ),
        (twice, "a", "RuntimeError: its batch gave 'a' where one of its waiting keys and a value were exp"),
        (no_pair, "a", "TypeError: "),
        (
            too_many,
            "a",
            "RuntimeError: its batch gave 'b' where one of its waiting keys and a value were exp",
        ),
        (not_lazy, "", "RuntimeError: no network for 4"),
        (no_iterator, "", "TypeError: 'NoneType' object is not iterable"),
        (partly_failing, "acd", "degenerate"),
    ],
)
def test_a_failing_batch_fails_only_what_it_did_not_give(save, made, batch, there, reason):
    shared = Batch(batch)
    plan = {key: Planned({}, shared) for key in "abcd"} | {"other": Planned({}, good)}
    failed = save(plan)
    assert sorted(failed) == sorted(set("abcd") - set(there))
    assert all(why.startswith(reason) for why in failed.values())
    assert made() == sorted([*there, "other"])


def test_a_batch_may_give_its_members_in_any_order(save):
    shared = Batch(lambda keys: iter([(key, good()) for key in reversed(keys)]))
    assert save({key: Planned({}, shared) for key in "abcd"}) == {}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_passes_and_keeps_what_is_done(save, made, stop):
    with pytest.raises(stop):
        save(plan_of(a=good, b=fail_with(stop()), c=good))
    assert made() == ["a"]

    def batch(keys):
        yield keys[0], good()
        raise stop

    shared = Batch(batch)
    with pytest.raises(stop):
        save({"a": Planned({}, good)} | {key: Planned({}, shared) for key in "de"})
    assert made() == ["a", "d"]


def require_ones(value):
    """Refuse values other than one."""
    if not (value.tensors["x"] == 1).all():
        raise ValueError(f"tensor x must be 1, received {value.tensors['x'][0]}")


def test_a_validator_refuses_before_anything_is_written(tmp_path, made, monkeypatch):
    monkeypatch.setattr("rep_kedro.datasets.collection.load_obj", lambda name: name)
    from rep_kedro.datasets import TensorsDataset

    collection = CollectionDataset(
        filepath=str(tmp_path / "c"), member=TensorsDataset, member_validator=require_ones
    )
    with pytest.raises(CollectionError, match=r"\n  b: tensor x must be 1, received 0\.0$"):
        collection.save(plan_of(a=good, b=lambda: Tensors({"x": np.zeros(2)}), c=good))
    assert made() == ["a", "c"]


def test_all_failures_and_refusals_are_listed_together(save, tmp_path):
    assert save(plan_of(a=good, b=good)) == {}
    (tmp_path / "c" / "a.safetensors").write_bytes(b"")
    failed = save(plan_of(a=good, b=good, c=fail_with(ValueError("no"))))
    assert set(failed) == {"a", "c"}


def test_each_value_is_freed_before_the_next_is_computed(save):
    gc.freeze()  # what earlier tests left is not looked through again for each value
    alive, at_most = weakref.WeakSet(), []

    class Watched(Tensors):
        pass

    def make():
        gc.collect()
        at_most.append(len(alive))
        value = Watched({"x": np.zeros(1000)})
        alive.add(value)
        return value

    def batch(keys):
        for key in keys:
            yield key, make()

    shared = Batch(batch)
    plan = {f"a{i}": Planned({}, make) for i in range(4)} | {f"b{i}": Planned({}, shared) for i in range(4)}
    Watched.__hash__ = object.__hash__
    Watched.__eq__ = object.__eq__
    assert save(plan) == {}
    assert at_most == [0] * 8


def test_a_failed_value_does_not_stay_in_memory(save):
    gone = []

    def compute():
        large = np.zeros(10)
        gone.append(weakref.ref(large))
        raise UserError("failed with a large array at hand")

    def check():
        gc.collect()
        assert gone[0]() is None
        return good()

    assert set(save(plan_of(a=compute, b=check))) == {"a"}


def test_errors_of_kedro_are_shown_by_their_cause():
    cause = ValueError("three\nlines")
    wrapped = DatasetError("Failed while loading data from dataset X.\nthree")
    wrapped.__cause__ = cause
    assert describe_problem(wrapped) == "three lines"


def test_a_programming_error_is_logged_with_its_traceback_and_a_user_s_mistake_is_not(save, caplog):
    def bug():
        raise ValueError("subset sizes must be 4 to 8 stimuli, got 9")

    def mistake():
        raise UserError("no labels; name another set")

    assert set(save(plan_of(a=bug, b=mistake, c=good))) == {"a", "b"}
    shown = [record for record in caplog.records if record.exc_info and record.levelno >= logging.ERROR]
    assert [record.getMessage().split()[1:] for record in shown] == [["a", "failed"]]
