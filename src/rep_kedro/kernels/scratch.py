"""Files for numbers that exceed the memory allowed."""

import os
import tempfile
from io import BufferedRandom


def scratch_file(n_bytes: int) -> BufferedRandom:
    """Open a file with room for so many bytes in the folder for temporary files (``TMPDIR``).

    It has no name, so that nothing of it is left, not even after a kill. The room is taken at once: a mapped
    write to a full disk would kill the process.

    Raises:
        OSError: If the disk has no room for it; nothing has been written then.
    """
    stream = tempfile.TemporaryFile(prefix="rep_kedro-")  # noqa: SIM115 it is the caller's
    try:
        os.posix_fallocate(stream.fileno(), 0, max(n_bytes, 1))
    except OSError as error:
        stream.close()
        folder = tempfile.gettempdir()
        raise OSError(
            error.errno,
            f"no room for a scratch file of {n_bytes} bytes in {folder} ({error.strerror}): allow more"
            " memory_bytes, or set TMPDIR to a folder with more room",
        ) from None
    return stream
