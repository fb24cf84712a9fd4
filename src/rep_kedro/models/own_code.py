"""Python code of the user that makes networks: where it is, its digests, and its failures in one line.

The code runs with all that Python may do, so an entry is accepted only where `features.allow_code` is true;
nothing of a stored recipe is ever run. What a recipe says of the code is the digest of its file and of those
that it imports from the same folder, or from the same package.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path
from traceback import extract_tb
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from rep_kedro.datasets.source_facts import read_facts
from rep_kedro.errors import UserError
from rep_kedro.models.files import require_file
from rep_kedro.models.places import FilePlace
from rep_kedro.parameter_model import Parameters

CODE = "Python file"
_SHOWN_CHARS = 200
_OTHERS = (
    Path(__file__).parents[1],
    *map(Path, {get_path("stdlib"), get_path("purelib"), get_path("platlib")}),
)


class CodePlace(Parameters):
    """A class, or a function, of the user that makes a network.

    Attributes:
        file: A Python file; `~` and environment variables are filled in. It may import modules of its folder.
        module: `<module>:<class or function>` of an installed or importable module, instead of `file`.
        class_: In YAML `class`: the class, or a function that returns the network, in `file`.
    """

    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True)

    file: str | None = None
    module: str | None = Field(default=None, pattern=r"^\w+(\.\w+)*:\w+(\.\w+)*$")
    class_: str | None = Field(default=None, alias="class", pattern=r"^\w+(\.\w+)*$")

    @model_validator(mode="after")
    def _require_one_place(self) -> Self:
        if (self.file is None) == (self.module is None):
            raise UserError("set either file or module")
        if (self.file is None) != (self.class_ is None):
            raise UserError(
                "file needs class: the class, or function, that makes the network"
                if self.file is not None
                else f"module names the class, as in module: {self.module}; leave out class"
            )
        return self

    @property
    def maker(self) -> str:
        """The class or function that makes the network."""
        return self.class_ or str(self.module).partition(":")[2]

    @property
    def title(self) -> str:
        """What messages call the network."""
        return f"{self.file}:{self.class_}" if self.file is not None else str(self.module)


def digest_code(spec: CodePlace) -> dict[str, str]:
    """Return the digests of the code, by module; the code is not run.

    Raises:
        UserError: If a file or module is missing, or the code is no Python.
    """
    sources = sorted(_sources_of(spec).items())
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in sources}


def path_of(spec: CodePlace) -> Path:
    """Return the file of the code.

    Raises:
        UserError: If it is missing.
    """
    return require_file(FilePlace(path=spec.file), CODE).resolve()


def module_of(spec: CodePlace) -> str:
    """Return the dotted name of the installed module."""
    return str(spec.module).partition(":")[0]


@contextmanager
def explained(spec: CodePlace) -> Iterator[None]:
    """Turn whatever the user's code raises into one line, with the class and the line.

    Raises:
        UserError: With that line.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as problem:  # code that ends the program with SystemExit fails like any other
        raise failure_of(spec, problem) from problem


def failure_of(spec: CodePlace, problem: BaseException) -> UserError:
    """Return an error that says in one line where the user's code failed, and how."""
    cause = " ".join(str(problem).split())[:_SHOWN_CHARS]
    return UserError(f"{spec.title} fails{line_of(problem)}: {type(problem).__name__}: {cause}")


def line_of(problem: BaseException) -> str:
    """Return in which line of the user's code an error was raised."""
    if isinstance(problem, SyntaxError) and problem.lineno and problem.filename:
        return f" in line {problem.lineno} of {Path(problem.filename).name}"
    lines = [(Path(frame.filename), frame.lineno) for frame in extract_tb(problem.__traceback__)]
    own = [
        (file, line) for file, line in lines if file.is_file() and not any(map(file.is_relative_to, _OTHERS))
    ]
    return f" in line {own[-1][1]} of {own[-1][0].name}" if own else ""


def _sources_of(spec: CodePlace) -> dict[str, Path]:
    """Return the files of the code by module: the named one, and what these import from the same place."""
    if spec.file is not None:
        path = path_of(spec)
        return _closure(path.stem, path, path.parent, "")
    name = module_of(spec)
    with explained(spec):  # the packages around a module are run to find it
        found = find_spec(name)
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise UserError(f"{spec.title}: there is no module {name!r} that can be imported here")
    path, package = Path(found.origin), name.partition(".")[0]
    inner = len(name.split(".")) - (path.name != "__init__.py")
    return _closure(name, path, path.parents[inner], package)


def _closure(name: str, path: Path, root: Path, package: str) -> dict[str, Path]:
    """Return a module and those below a folder that it imports, over any number of steps.

    Args:
        name: Dotted name of the module.
        path: Its file.
        root: The folder that absolute names begin at.
        package: Only modules of this package count; any below the folder if it is empty.
    """
    todo, found = [(name, path)], dict[str, Path]()
    while todo:
        own, file = todo.pop()
        if own in found:
            continue
        found[own] = file
        for imported in _imports_of(own, file):
            if not package or f"{imported}.".startswith(f"{package}."):
                todo += [(imported, source) for source in _file_of(imported, root)]
    return found


def _imports_of(name: str, file: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, and the packages around them."""
    try:
        imports = read_facts(file).imports
    except (SyntaxError, ValueError) as problem:
        raise UserError(f"{CODE} {file} is no valid Python{_why_unparsed(file, problem)}") from problem
    own = name.split(".")
    for module, level, attribute in imports:
        around = own[: len(own) - level + (file.name == "__init__.py")] if level else []
        parts = [*around, *module.split("."), attribute] if module else [*around, attribute]
        yield from (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _why_unparsed(file: Path, problem: SyntaxError | ValueError) -> str:
    """Return in which line a file cannot be parsed, and why."""
    why = getattr(problem, "msg", None) or str(problem)
    line = getattr(problem, "lineno", None)
    content = file.read_bytes()
    if line is None and b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
    return f" in line {line}: {why}" if line else f": {why}"


def _file_of(name: str, root: Path) -> list[Path]:
    inner = root.joinpath(*filter(None, name.split(".")))
    return [path for path in (inner / "__init__.py", inner.with_suffix(".py")) if path.is_file()][:1]
