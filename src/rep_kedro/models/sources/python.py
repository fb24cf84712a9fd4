"""Networks that Python code of the user makes; `own_code` says where it is, here it is run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import OutOfMemoryError, nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.files import identify_file
from rep_kedro.models.own_code import CODE, digest_code, explained, failure_of, line_of, module_of, path_of
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.code_specs import PythonModel
from rep_kedro.models.sources.fitting import load_file, require_fitting_file
from rep_kedro.models.sources.loaded import drawn_from

_WEIGHTS = "file of weights"


def resolve_preprocessing(spec: PythonModel) -> Preprocessing:
    """Return the preprocessing of the entry."""
    return spec.preprocessing


def identify_weights(spec: PythonModel) -> dict[str, Any]:
    """Return the digests of the code, by module, and of the file of weights; the code is not run.

    Raises:
        UserError: If a file or module is missing, or the code is no Python.
    """
    return {"code": digest_code(spec), **(identify_file(spec.weights, _WEIGHTS) if spec.weights else {})}


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
    with explained(spec):
        if spec.file is None:
            yield import_module(module_of(spec))
        else:
            with _run_file(path_of(spec)) as module:
                yield module


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
        if not line_of(problem):
            raise
        raise failure_of(spec, problem) from problem


@contextmanager
def _run_file(path: Path) -> Iterator[ModuleType]:
    """Run a file as a module that may import its neighbours; those are forgotten afterwards.

    Two files may have neighbours of one name, and one that changed is run again.
    """
    name = f"rep_kedro_own_{sha256(str(path).encode()).hexdigest()[:12]}"
    found = spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UserError(f"{CODE} {path} is not named as Python is; its name should end in .py")
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
