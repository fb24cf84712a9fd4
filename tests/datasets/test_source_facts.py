"""Facts of sources are noted for later processes; a note that is not whole, or of other code, is none."""

import pytest

from rep_kedro.datasets import source_facts

SOURCE = (
    b"import os\nfrom . import cka\n\ndef f(x):\n    from rep_kedro.kernels import gram\n    return gram(x)\n"
)


@pytest.fixture
def cka(tmp_path, monkeypatch):
    """A file of a small package whose facts are noted."""
    file = tmp_path / "package" / "kernels" / "cka.py"
    file.parent.mkdir(parents=True)
    file.write_bytes(SOURCE)
    monkeypatch.setattr(source_facts, "_PACKAGE", tmp_path / "package")
    monkeypatch.setattr(source_facts, "_NOTES", tmp_path / "cache" / "facts.json")
    monkeypatch.setattr(source_facts.atexit, "register", lambda *_: None)
    source_facts._known.cache_clear()
    _end_a_process_that_reads(file)
    yield file
    source_facts._known.cache_clear()


def _end_a_process_that_reads(*files):
    before = dict(source_facts._known())
    for file in files:
        source_facts.read_facts(file)
    source_facts._write(source_facts._known(), before)
    source_facts._known.cache_clear()


def test_imports_are_found_on_every_level_as_written():
    facts = source_facts._parse(SOURCE)
    assert sorted(facts.imports) == [("", 1, "cka"), ("os", 0, ""), ("rep_kedro.kernels", 0, "gram")]


def test_noted_facts_are_those_of_the_source_and_are_not_parsed_again(cka, monkeypatch):
    parsed = source_facts._parse(SOURCE)
    monkeypatch.setattr(source_facts, "_parse", lambda _: pytest.fail("parsed again"))
    assert source_facts.read_facts(cka) == parsed


def test_a_changed_source_replaces_its_note(cka):
    cka.write_bytes(b"import sys\n")
    _end_a_process_that_reads(cka)
    (note,) = source_facts._known().values()
    assert note.facts.imports == (("sys", 0, ""),)


def test_notes_of_removed_files_are_dropped(cka):
    cka.unlink()
    other = cka.with_name("rsa.py")
    other.write_bytes(SOURCE)
    _end_a_process_that_reads(other)
    assert list(source_facts._known()) == ["kernels/rsa.py"]


def test_files_outside_the_package_leave_no_note(cka, tmp_path):
    (tmp_path / "mine.py").write_bytes(SOURCE)
    assert source_facts.read_facts(tmp_path / "mine.py") == source_facts._parse(SOURCE)
    assert list(source_facts._known()) == ["kernels/cka.py"]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other code"])
def test_damaged_notes_are_not_used(cka, damage, monkeypatch):
    file = source_facts._NOTES
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "other code":
        monkeypatch.setattr(source_facts, "_maker", lambda: "other")
    else:
        place = content.index(b'"notes"') + 20
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        file.write_bytes(flipped if damage == "flip" else content[:-9])
    assert source_facts._known() == {}
