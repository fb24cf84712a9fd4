"""Parameter files of any content: one line, in bounded time and memory."""

import re
from pathlib import Path
from typing import Any

import pytest

from rep_kedro.checks.config_loader import BoundedConfigLoader
from rep_kedro.checks.plain_values import require_plain_values
from rep_kedro.checks.yaml_files import MAX_BYTES
from rep_kedro.commands.run import command
from rep_kedro.errors import UserError

BASE = "ingest: {threads: 1, stimulus_sets: {digits: {source: digits}}}\n"


def unfolding_aliases(n_levels: int) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, n_levels)]
    return "\n".join(lines)


def unfolding_references(n_levels: int) -> str:
    return "\n".join(["x0: abcdefgh", *(f"x{i}: ${{x{i - 1}}}${{x{i - 1}}}" for i in range(1, n_levels))])


def load(folder: Path, content: str | bytes) -> dict[str, Any]:
    """Load parameters from a file with this content, and check their values."""
    for name in ("base", "local"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "base/parameters.yml").write_text(
        "ingest: {threads: 1, stimulus_sets: {digits: {source: digits}}}\n"
    )
    path = folder / "local/parameters.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    loader = BoundedConfigLoader(
        str(folder), base_env="base", default_run_env="local", merge_strategy={"parameters": "soft"}
    )
    parameters = loader["parameters"]
    require_plain_values(parameters, loader)
    return parameters


MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "null as a key": (
        "ingest: {stimulus_sets: {null: {source: digits}}}",
        r"parameters.yml, line 1: a key in ingest.stimulus_sets is null; name it, or quote it",
    ),
    "null as the only key": ("a: 1\nnull: 1", "parameters.yml, line 2: a key is null; name it, or quote it"),
    "list as a key": ("? [a, b]\n: 1", "unhashable key"),
    "an alias of itself": (
        "ingest: &a {stimulus_sets: *a}",
        "line 1: refers to itself: \\*a is inside &a",
    ),
    "an alias of itself in a list": ("x:\n  &a [1, [*a]]", "line 2: refers to itself"),
    "5,001 digits": (
        f"threads: {'1' * 5001}",
        "line 1: has a number of 5,001 digits; at most 100 are allowed",
    ),
    "5,001 hexadecimal digits": (f"threads: 0x{'f' * 5001}", "has a number of 5,003 digits"),
    "more than 64 bits": (f"threads: {'9' * 90}", "parameter threads in .*: should be at most"),
    "3,000 levels of lists": (f"a: {'[' * 3000}{']' * 3000}", "line 1: is nested more than 40 levels deep"),
    "3,000 levels of mappings": (f"a: {'{a: ' * 3000}1{'}' * 3000}", "is nested more than 40 levels deep"),
    "300 indented levels": ("".join(f"{' ' * i}a:\n" for i in range(300)), "line 41: is nested"),
    "aliases that unfold": (unfolding_aliases(12), "expands to more than 200,000 values"),
    "references that unfold": (unfolding_references(60), "expands to more than 1,000,000 characters"),
    "references in a circle": ("a: ${b}\nb: ${a}", "Recursive interpolation"),
    "a reference to itself": ("a: ${a}", "Recursive interpolation"),
    "a reference within a reference": ("a: ${b.${c}}\nc: d", "a reference within a reference"),
    "half a reference": (
        "a:\n  b: [x, '${']",
        r"parameters.yml, line 2, key a.b.1: '\$\{' is not a reference; write \$\{name of a key\}",
    ),
    "a reference without an end": ("a: '${x:y'", r"line 1, key a: '\$\{x:y' is not a reference"),
    "an environment variable in braces": (
        "a: ${DATA_2}/b",
        r"'DATA_2' not found; an environment variable is written \$DATA_2, without braces",
    ),
    "a reference to nothing": ("a: ${nothing}", "key a: Interpolation key 'nothing' not found"),
    "NaN": ("a: {b: [1, .nan]}", r"parameter a.b.1 in .*: should be a finite number, got nan"),
    "infinity": ("a: -.inf", "parameter a in .*: should be a finite number, got -inf"),
    "a key twice": ("a: {b: 1, b: 2}", "line 1, column 11: found duplicate key b"),
    "a tab": ("a:\n\tb: 1", "line 2, column 1: found character"),
    "Latin-1": (b"a: \xff\xe4", "is not UTF-8 text"),
    "UTF-16": ("a: 1".encode("utf-16"), "is not UTF-8 text"),
    "a zero byte": (b"a: \x00", "unacceptable character"),
    "an escaped zero": (
        'a: "b\\0c"',
        r"parameter a in .*: 'b\\x00c' has characters that are not valid Unicode text",
    ),
    "half a character": ('a: "\\uD800"', "has characters that are not valid Unicode text"),
    "a list": ("[1]", "must contain `key: value` lines, not a list"),
    "a number": ("3", "must contain `key: value` lines, not a single value"),
    "a list where a mapping is in base": (
        "ingest: {stimulus_sets: [a]}",
        r"local/parameters.yml, key ingest.stimulus_sets: holds a list, but .*base/parameters.yml has `key",
    ),
    "two documents": ("a: 1\n---\na: 2", "another document"),
    "code": ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "an object": (
        "a: !!python/object/apply:pathlib.Path [b]",
        "should be text, a number, true",
    ),
    "a set": ("a:\n  b: !!set {b, c}", r"line 2: has a value of the type !!set; write text, a list or"),
    "pairs": ("a: !!pairs [b: c]", r"line 1: has a value of the type !!pairs"),
    "bytes": ("a: !!binary aGVsbG8=", r"line 1: has a value of the type !!binary"),
    "a time": (
        "a: 1\nb: [1:30]",
        "line 2: YAML reads 1:30 as a number to the base 60; write decimals, or quote it",
    ),
    "a time with a fraction": ("a: 1:30.5", "YAML reads 1:30.5 as a number to the base 60"),
    "a leading zero": ("a: {b: 010}", "line 1: YAML reads 010 as a number to the base 8"),
    "a key that is true": (
        "a: 1\nb: {c: {d: [on], on: 1}}",
        "line 2: YAML reads the key on as true; quote it, or rename it",
    ),
    "a key that is false": ("No: {a: 1}", "line 1: YAML reads the key No as false; quote it"),
    "a key with a leading zero": ("a: {010: b}", "line 1: YAML reads 010 as a number to the base 8"),
    "a misspelt reference": (
        "a:\n  b: ${c.threds}\nc: {threads: 1}",
        r"local/parameters.yml, key a.b: .*'c.threds' not found; did you mean 'c.threads'",
    ),
    "a misspelt reference in a list": (
        "a: [{b: '${ingets}'}]\ningest: {}",
        r"local/parameters.yml, key a\[0\].b: .*'ingest'",
    ),
    "a resolver that is off": (
        "a: ${oc.env:HOME}",
        "local/parameters.yml, key a: .* type oc.env; an environment variable is written",
    ),
    "too large": (b"#" * (MAX_BYTES + 1), "has 4,000,001 bytes; configuration files may have 4,000,000"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_file_that_cannot_be_right_is_answered_in_one_line(name: str, tmp_path: Path) -> None:
    content, why = MISTAKES[name]
    with pytest.raises(UserError, match=why) as shown:
        load(tmp_path, content)
    assert len(str(shown.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "key", "value"),
    [
        ("", "ingest", {"threads": 1, "stimulus_sets": {"digits": {"source": "digits"}}}),
        ("# nothing", "ingest", {"threads": 1, "stimulus_sets": {"digits": {"source": "digits"}}}),
        ("\ufeffthreads: 2", "threads", 2),
        ("a: &x [1, 2]\nb: [*x, *x]", "b", [[1, 2], [1, 2]]),
        ("a: {b: 3}\nc: ${a.b}", "c", 3),
        ("a: '${.b} and ${.b}'\nb: 1", "a", None),
        (f"a: '{'1' * 5001}'", "a", "1" * 5001),
        ("a: 2020-01-01", "a", "2020-01-01"),
        ("a: {'on': 1, b: [x, on], oN: no}", "a", {"on": 1, "b": ["x", True], "oN": False}),
        (
            "a: ['1:30', \"010\", 0.5, 0, -3, 1_000, 0x10, 1e-3]",
            "a",
            ["1:30", "010", 0.5, 0, -3, 1000, 16, 1e-3],
        ),
    ],
)
def test_what_is_sound_is_read(content: str, key: str, value: Any, tmp_path: Path) -> None:
    if value is None:
        assert load(tmp_path, content)[key] == "1 and 1"
    else:
        assert load(tmp_path, content)[key] == value


def test_a_folder_with_the_name_of_a_file_is_reported(tmp_path: Path) -> None:
    load(tmp_path, "")
    (tmp_path / "local/parameters.yml").unlink()
    (tmp_path / "local/parameters.yml").mkdir()
    with pytest.raises(UserError, match=r"parameters.yml is a folder where a file is expected"):
        BoundedConfigLoader(str(tmp_path), base_env="base", default_run_env="local")


@pytest.mark.parametrize(
    "name",
    ["an alias of itself", "5,001 digits", "3,000 levels of lists", "aliases that unfold", "too large"],
)
def test_the_file_of_the_option_config_is_bounded_too(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, why = MISTAKES[name]
    path = tmp_path / "options.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit):
        command.main([f"--config={path}", "--dry-run"], prog_name="run")
    shown = capsys.readouterr().err
    assert re.search(why, shown)
    assert len(shown.splitlines()) == 1
