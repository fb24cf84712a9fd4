"""Optimisers, curves of the learning rate and metrics that Python code of the user makes.

The code runs with all that Python may do, so it is accepted only where `features.allow_code` is true. A
recipe has the digest of the file, never its path.
"""

import inspect
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from rep_kedro.errors import MissingFileError, UserError, contained, suggest
from rep_kedro.parameter_model import Parameters
from rep_kedro.parameter_rules import expand_path

_MODULE = "rep_kedro_own_training_code"


class OwnCode(Parameters):
    """A function or class of a Python file.

    Attributes:
        file: The file; variables of the environment and `~` are replaced.
        name: Of the function or class.
        options: Its keyword arguments.
    """

    file: str
    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    _loaded: Any = PrivateAttr(default=None)

    def as_json(self) -> dict[str, Any]:
        """Return what the bytes of a training depend on.

        Raises:
            MissingFileError: If there is no such file.
        """
        return {"sha256": sha256(self._content()).hexdigest(), "name": self.name, "options": self.options}

    def load(self) -> Any:
        """Run the file, once, and return the function or class.

        Raises:
            UserError: If the file is missing, fails, or has no such name.
        """
        if self._loaded is None:
            self._loaded = self._run()
        return self._loaded

    def require_callable(self, *arguments: str, **named: str) -> None:
        """Run the file, and refuse what cannot be called with some arguments and the options; call nothing.

        Args:
            arguments: Names of what it is given in order.
            named: Of what it is given by name; the values do not count.

        Raises:
            UserError: As `load`, or says which argument is wrong.
        """
        found = self.load()
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):  # some built-in ones have none
            return
        given = ", ".join(
            (*arguments, *named, *(f"{name}={value!r}" for name, value in self.options.items()))
        )
        try:
            if twice := named.keys() & self.options.keys():
                raise TypeError(f"option {min(twice)!r} is given by the training")
            signature.bind(*arguments, **named, **self.options)
        except TypeError as problem:
            raise UserError(f"{self.file}: {self.name}({given}) cannot be called: {problem}") from problem

    def call(self, *arguments: Any, **named: Any) -> Any:
        """Return what the code gives.

        Raises:
            UserError: If it fails, or would end the program.
        """
        found = self.load()
        try:
            with contained():
                return found(*arguments, **named, **self.options)
        except UserError:
            raise
        except Exception as problem:
            raise UserError(f"{self.file}: {self.name} fails: {_in_one_line(problem)}") from problem

    def _run(self) -> Any:
        self._content()
        spec = spec_from_file_location(_MODULE, self._path())
        if spec is None or spec.loader is None:
            raise UserError(f"{self.file} is no Python file: its name must end with .py")
        module = module_from_spec(spec)
        try:
            with contained():
                spec.loader.exec_module(module)
        except Exception as problem:
            raise UserError(f"{self.file} fails: {_in_one_line(problem)}") from problem
        if not callable(found := getattr(module, self.name, None)):
            known = [name for name, value in vars(module).items() if callable(value)]
            raise UserError(
                f"{self.file} has no function or class {self.name!r}; {suggest(self.name, known)}"
            )
        return found

    def _path(self) -> Path:
        return expand_path(self.file, "code of a training")

    def _content(self) -> bytes:
        try:
            return self._path().read_bytes()
        except OSError as problem:
            raise MissingFileError(f"{self.file}: {problem.strerror or problem}") from problem


def _in_one_line(problem: Exception) -> str:
    return f"{type(problem).__name__}: {' '.join(str(problem).split())}"
