"""The revision of code follows what the code does, through everything it imports."""

import os
import subprocess
import sys
import textwrap

import pytest

from rep_kedro.datasets import code_revision, revision

SOURCES = {
    "__init__": "",
    "kernels/__init__": "",
    "kernels/cka": """
        \"\"\"Doc.\"\"\"
        import rep_kedro.kernels.gram as gram
        SCALE = 2.0

        def compare(x, *, debiased=True):
            \"\"\"Doc.\"\"\"
            # a comment
            return gram.product(x) * SCALE if debiased else f"{x!r:>3} and"
    """,
    "kernels/gram": "def product(x):\n    from rep_kedro.kernels import tiles\n    return tiles.sum(x)\n",
    "kernels/tiles": "from .deep.inner import sum\n",
    "kernels/deep/__init__": "from . import inner\nfrom .. import distant\n",
    "kernels/deep/inner": "from ..star import *\nfrom ...datasets.plan import Planned\n",
    "kernels/star": "sum = max\n",
    "kernels/distant": "import os\n",
    "kernels/unrelated": "import rep_kedro.kernels.cka\n",
    "kernels/circle": "from rep_kedro.kernels import circle\n",
    "datasets/__init__": "",
    "datasets/plan": "Planned = 1\n",
    "datasets_more": "x = 1\n",
    "kernels/near": "import rep_kedro.datasets_more\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own: ``project(path=source)`` changes modules and returns the revision of cka."""
    root = tmp_path / "rep_kedro"
    monkeypatch.setattr(revision, "_ROOT", root)

    def write(changes):
        for name, source in changes.items():
            path = root / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source), encoding="utf-8")

    def change(changes=None, module="rep_kedro.kernels.cka"):
        write(changes or {})
        clear()
        return code_revision(module)

    def clear():
        for cached in (revision.code_revision, revision._facts_of, revision._imports):
            cached.cache_clear()

    write(SOURCES)
    yield change
    clear()


CKA = textwrap.dedent(SOURCES["kernels/cka"])


@pytest.mark.parametrize(
    "source",
    [
        CKA.replace("# a comment", "# another\n    # comment"),
        CKA.replace('"""Doc."""', '"""Other\n\n    words."""'),
        CKA.replace('    """Doc."""\n', ""),
        CKA.replace("SCALE = 2.0", 'SCALE   =   2.0  # why\n\n\n"""About SCALE."""'),
        CKA.replace("x, *, debiased=True", "\n    x,\n    *,\n    debiased=True,\n"),
        CKA.replace("2.0", "2.00").replace('f"{x!r:>3} and"', "f'{x!r:>3} and'"),
        CKA.replace("\n", "\r\n"),
        CKA.replace("return", "pass\n    return"),
        "# -*- coding: utf-8 -*-\n" + CKA,
    ],
)
def test_comments_docstrings_and_layout_do_not_matter(project, source):
    before = project()
    assert project({"kernels/cka": source}) == before


@pytest.mark.parametrize(
    "source",
    [
        CKA.replace("2.0", "2.5"),
        CKA.replace("2.0", "2"),
        CKA.replace("True", "False"),
        CKA.replace("debiased=True", "debiased"),
        CKA.replace("* SCALE", "/ SCALE"),
        CKA.replace("gram.product(x)", "gram.other(x)"),
        CKA.replace(">3", ">4"),
        CKA.replace("!r", "!s"),
        CKA.replace(" and", " or"),
        CKA.replace("*, ", ""),
        CKA.replace("SCALE", "SKALE"),
        CKA.replace("2.0", "'2.0'"),
        CKA.replace("2.0", "b'2.0'"),
        CKA + "compare = None\n",
    ],
)
def test_what_the_code_does_matters(project, source):
    before = project()
    assert source != CKA
    assert project({"kernels/cka": source}) != before


@pytest.mark.parametrize("module", ["gram", "tiles", "deep/inner", "deep/__init__", "star", "distant"])
def test_a_change_in_any_imported_module_matters(project, module):
    """Imports inside functions, relative ones, of packages and with a star are followed."""
    before = project()
    name = f"kernels/{module}"
    if module == "deep/__init__":  # imported by nothing but its inner module's path
        assert "rep_kedro.kernels.deep.inner" in revision.module_closure("rep_kedro.kernels.tiles")
        return
    if module == "distant":
        before = project(module="rep_kedro.kernels.deep")
        assert project({name: "import sys\n"}, module="rep_kedro.kernels.deep") != before
        return
    assert project({name: SOURCES[name] + "extra = 1\n"}) != before


def test_a_change_in_other_modules_or_in_file_formats_does_not_matter(project):
    before = project()
    assert project({"kernels/unrelated": "x = 2\n", "datasets/plan": "Planned = 2\n"}) == before
    near = project(module="rep_kedro.kernels.near")
    assert project({"datasets_more": "x = 2\n"}, module="rep_kedro.kernels.near") != near


def test_modules_that_import_each_other_have_a_revision(project):
    assert len(project(module="rep_kedro.kernels.circle")) == 16


def test_moving_code_to_another_module_matters(project):
    before = project()
    assert project({"kernels/cka": CKA.replace("gram as gram", "tiles as gram")}) != before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("rep_kedro.kernels.nothing",),
            r"no module 'rep_kedro\.kernels\.nothing' to take the revision of: there",
        ),
        (("rep_kedro.nothing.deep",), r"no module 'rep_kedro\.nothing\.deep'"),
        (("numpy",), "'numpy' is not a module of rep_kedro"),
        (("rep_kedro_more.x",), "'rep_kedro_more.x' is not a module of rep_kedro"),
        ((), "code_revision needs at least one module name"),
    ],
)
def test_unknown_modules_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        code_revision(*names)


def test_the_order_of_names_does_not_matter():
    names = ("rep_kedro.kernels.similarity.cka", "rep_kedro.kernels.layers.streaming")
    assert code_revision(*names) == code_revision(*names[::-1])
    assert code_revision(*names) != code_revision(names[1])


def test_no_module_is_imported_for_its_revision():
    code = (
        "import sys; from rep_kedro.datasets.revision import code_revision;"
        "code_revision('rep_kedro.kernels.similarity.cka');"
        "sys.exit('torch' in sys.modules)"
    )
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONHASHSEED": seed})


def test_the_revision_is_pinned_so_that_other_pythons_and_releases_agree(project):
    assert project() == "57c021c5db48e6ae"
