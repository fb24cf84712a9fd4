"""The one class of errors that are meant for users."""


class UserError(ValueError):
    """A mistake that the user can put right.

    Commands show it as one line (or one line per item) and exit with 1; every other exception shows its
    traceback. The message says what is wrong, where, and what to do. It is a ``ValueError`` so that pydantic
    validators may raise it. Kernels import torch and numpy alone and raise plain ``ValueError``.
    """
