"""Networks that Python code of the user makes.

The code runs with all that Python may do, so an entry is accepted only where `features.allow_code` is true;
nothing of a stored recipe is ever run. What the recipe says of the code is the digest of its file and of
those that it imports from the same folder, or from the same package.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from sysconfig import get_path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from torch import OutOfMemoryError, nn

from rep_kedro.datasets.source_facts import read_facts
from rep_kedro.errors import UserError, suggest
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.code_specs import PythonModel
from rep_kedro.models.sources.files import identify_file, require_file
from rep_kedro.models.sources.fitting import load_file, require_fitting_file
from rep_kedro.models.sources.loaded import drawn_from
from rep_kedro.models.sources.places import FilePlace

_CODE = "Python file"
_WEIGHTS = "file of weights"
_SHOWN_CHARS = 200
_OTHERS = (
    Path(__file__).parents[2],
    *map(Path, {get_path("stdlib"), get_path("purelib"), get_path("platlib")}),
)


def resolve_preprocessing(spec: PythonModel) -> Preprocessing:
    """Return the preprocessing of the entry."""
    return spec.preprocessing


def identify_weights(spec: PythonModel) -> dict[str, Any]:
    """Return the digests of the code, by module, and of the file of weights; the code is not run.

    Raises:
        UserError: If a file or module is missing, or the code is no Python.
    """
    code = {name: sha256(path.read_bytes()).hexdigest() for name, path in sorted(_sources_of(spec).items())}
    return {"code": code, **(identify_file(spec.weights, _WEIGHTS) if spec.weights else {})}


def build(spec: PythonModel, *, with_weights: bool) -> nn.Module:
    """Run the code and return the network.

    Raises:
        UserError: If the code fails, has no such class or function, or returns something else than a module,
            or the file of weights is missing or does not fit.
    """
    with _running(spec) as module, drawn_from(spec.seed):
        make: Any = module
        for part in spec.maker.split("."):
            make = _attribute(make, part, spec)
        network = make(**spec.arguments)
        if isinstance(network, nn.Module):
            network.eval()  # may be the code's own, too
    if not isinstance(network, nn.Module):
        raise UserError(f"{spec.title} returns {type(network).__name__}, not a torch.nn.Module")
    if with_weights and spec.weights:
        load_file(spec.weights, network, _WEIGHTS)
    return network


def require_fitting_weights(spec: PythonModel, module: nn.Module) -> None:
    """Refuse a file of weights that does not fit the network, given on the meta device; no number is read."""
    if spec.weights:
        require_fitting_file(spec.weights, module, _WEIGHTS)


def _attribute(owner: Any, name: str, spec: PythonModel) -> Any:
    if not hasattr(owner, name):
        known = [key for key, value in vars(owner).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"{spec.title}: there is no {name!r} in it; {suggest(name, known)}")
    return getattr(owner, name)


@contextmanager
def _running(spec: PythonModel) -> Iterator[ModuleType]:
    """Yield the module, run; what is raised until it is done with becomes one line."""
    with _explained(spec):
        if spec.file is None:
            yield import_module(_module_of(spec))
        else:
            with _run_file(_path_of(spec)) as module:
                yield module


@contextmanager
def _explained(spec: PythonModel) -> Iterator[None]:
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as problem:  # code that ends the program with SystemExit fails like any other
        raise _failure(spec, problem) from problem


@contextmanager
def explained_forward(spec: PythonModel) -> Iterator[None]:
    """Turn what the user's code raises while the network runs into one line; other errors pass.

    Raises:
        UserError: With the file, the class and the line.
    """
    try:
        yield
    except (UserError, MemoryError, OutOfMemoryError):
        raise
    except Exception as problem:
        if not _line_of(problem):
            raise
        raise _failure(spec, problem) from problem


def _failure(spec: PythonModel, problem: BaseException) -> UserError:
    cause = " ".join(str(problem).split())[:_SHOWN_CHARS]
    return UserError(f"{spec.title} fails{_line_of(problem)}: {type(problem).__name__}: {cause}")


@contextmanager
def _run_file(path: Path) -> Iterator[ModuleType]:
    """Run a file as a module that may import its neighbours; those are forgotten afterwards.

    Two files may have neighbours of one name, and one that changed is run again.
    """
    name = f"rep_kedro_own_{sha256(str(path).encode()).hexdigest()[:12]}"
    found = spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UserError(f"{_CODE} {path} is not named as Python is; its name should end in .py")
    module, folder = module_from_spec(found), str(path.parent)
    known, writes_nothing = set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        sys.modules[name] = module
        found.loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = writes_nothing
        with suppress(ValueError):  # the code may have removed it
            sys.path.remove(folder)
        for other in set(sys.modules) - known - {name}:
            origin = getattr(sys.modules[other], "__file__", None)
            if origin is not None and Path(origin).is_relative_to(folder):
                del sys.modules[other]


def _line_of(problem: BaseException) -> str:
    """Return in which line of the user's code an error was raised."""
    if isinstance(problem, SyntaxError) and problem.lineno and problem.filename:
        return f" in line {problem.lineno} of {Path(problem.filename).name}"
    lines = [(Path(frame.filename), frame.lineno) for frame in extract_tb(problem.__traceback__)]
    own = [
        (file, line) for file, line in lines if file.is_file() and not any(map(file.is_relative_to, _OTHERS))
    ]
    return f" in line {own[-1][1]} of {own[-1][0].name}" if own else ""


def _path_of(spec: PythonModel) -> Path:
    return require_file(FilePlace(path=spec.file), _CODE).resolve()


def _sources_of(spec: PythonModel) -> dict[str, Path]:
    """Return the files of the code by module: the named one, and what these import from the same place."""
    if spec.file is not None:
        path = _path_of(spec)
        return _closure(path.stem, path, path.parent, "")
    name = _module_of(spec)
    with _explained(spec):  # the packages around a module are run to find it
        found = find_spec(name)
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise UserError(f"{spec.title}: there is no module {name!r} that can be imported here")
    path, package = Path(found.origin), name.partition(".")[0]
    inner = len(name.split(".")) - (path.name != "__init__.py")
    return _closure(name, path, path.parents[inner], package)


def _module_of(spec: PythonModel) -> str:
    return str(spec.module).partition(":")[0]


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
        raise UserError(f"{_CODE} {file} is no valid Python{_why_unparsed(file, problem)}") from problem
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
