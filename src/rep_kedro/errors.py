"""Errors that are meant for users: one class, and kinds of it that are also errors of the library."""


class UserError(ValueError):
    """A mistake that the user can put right.

    Commands show it as one line (or one line per item) and exit with 1; every other exception shows its
    traceback. The message says what is wrong, where, and what to do. It is a ``ValueError`` so that pydantic
    validators may raise it.

    Kernels import torch and numpy alone and raise plain ``ValueError``. Who calls one with a user's choice
    checks it first, or turns the kernel's named error into this one.
    """


class MissingFileError(FileNotFoundError, UserError):
    """A file or folder that the configuration names is not there."""


class NotFiniteError(FloatingPointError, UserError):
    """Training or a network gave NaN or infinity."""
