"""Facts of sources are noted for later processes; a note that is not whole, or of other code, is none."""

import pytest

from rep_kedro.datasets import source_facts

SOURCE = (
    b"import os\nfrom . import cka\n\ndef f(x):\n    from rep_kedro.kernels import gram\n    return gram(x)\n"
)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.setattr(source_facts, "_NOTES", tmp_path / "cache" / "facts.json")
    monkeypatch.setattr(source_facts.atexit, "register", lambda *_: None)
    source_facts._known.cache_clear()
    source_facts.read_facts(SOURCE)
    source_facts._note(source_facts._known(), 0)
    source_facts._known.cache_clear()
    yield source_facts._NOTES
    source_facts._known.cache_clear()


def test_imports_are_found_on_every_level_as_written():
    facts = source_facts._parse(SOURCE)
    assert sorted(facts.imports) == [("", 1, "cka"), ("os", 0, ""), ("rep_kedro.kernels", 0, "gram")]


def test_noted_facts_are_those_of_the_source_and_are_not_parsed_again(notes, monkeypatch):
    parsed = source_facts._parse(SOURCE)
    monkeypatch.setattr(source_facts, "_parse", lambda _: pytest.fail("parsed again"))
    assert source_facts.read_facts(SOURCE) == parsed


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other code"])
def test_damaged_notes_are_as_good_as_none(notes, damage, monkeypatch):
    content = notes.read_bytes()
    if damage == "gone":
        notes.unlink()
    elif damage == "other code":
        monkeypatch.setattr(source_facts, "_maker", lambda: "other")
    else:
        place = content.index(b'"facts"') + 20
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        notes.write_bytes(flipped if damage == "flip" else content[:-9])
    assert source_facts._known() == {}
