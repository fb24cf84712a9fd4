"""Recognise a file by its first bytes: names are unreliable, and downloads may return something else."""

import zipfile
from pathlib import Path
from typing import Literal, NamedTuple

from rep_kedro.errors import shorten

Readable = Literal["safetensors", "torch", "old torch"]

_HEAD_BYTES = 4096
_SHOWN_CHARS = 40
_N_NAMES = 3
_LONGEST_NAME = 80
_LONGEST_HEADER = 100_000_000  # that safetensors allows
_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_PROTOCOLS = tuple(bytes([0x80, version]) for version in range(2, 6))
_BINARY = {
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (as Keras writes); save its weights as .safetensors",
    b"\x93NUMPY": "a numpy array; weights need names, save them as .safetensors",
    b"GGUF": "a GGUF file of quantised weights; fetch the network's .safetensors file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}


class FileKind(NamedTuple):
    """What a file is.

    Attributes:
        readable: How weights can be read from it; None if it contains none that can be read.
        described: What it is and what to do, as the end of a sentence that begins with "is".
    """

    readable: Readable | None
    described: str = ""


def recognise_file(path: Path) -> FileKind:
    """Return what a file is, whatever its name says."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as problem:
        return FileKind(None, f"a file that cannot be read: {problem.strerror or problem}")
    if not head:
        return FileKind(None, "empty; copy or fetch it again")
    if head.startswith(_ZIP):
        return _recognise_zip(path)
    if head.startswith(_OLD_TORCH):
        return FileKind("old torch")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return FileKind("safetensors")
    return FileKind(
        None, _describe_binary(head) or _describe_text(head) or f"of an unknown format ({_begin(head)})"
    )


def _describe_binary(head: bytes) -> str:
    """Return what a file of a known format is, or nothing if it is none."""
    if head[257:262] == b"ustar":
        return (
            "a tar archive: unpack it first, or, if torch 0.1 wrote it,"
            " load it with that version and save its state dict"
        )
    if head.startswith(_PROTOCOLS):
        return (
            "a pickle that torch.save did not write, and reading it could run code;"
            " save the weights as .safetensors"
        )
    return next((described for magic, described in _BINARY.items() if head.startswith(magic)), "")


def show_name(name: object) -> str:
    """Return a name from a file for messages: printable, and not long."""
    text = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(name)[: _LONGEST_NAME + 1]
    )
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def _recognise_zip(path: Path) -> FileKind:
    """Distinguish torch files from other zip files; torch does not compress, so nothing is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception:  # what the damage makes of the list of entries may be anything
        return FileKind(None, f"a truncated or damaged zip file, the format of torch.save ({_size(path)})")
    names = [entry.filename for entry in entries]
    parts = {name.partition("/")[2] for name in names}
    if "constants.pkl" in parts:
        return FileKind(None, "a TorchScript program, not its weights; save its state dict")
    if "data.pkl" in parts:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            return FileKind(None, "a torch file that was compressed again; save its state dict again")
        return FileKind("torch")
    if names and all(name.endswith(".npy") for name in names):
        return FileKind(None, "an archive of numpy arrays (.npz); save them as .safetensors")
    shown = shorten([show_name(name) for name in names], _N_NAMES) or "nothing"
    return FileKind(None, f"a zip archive of other files ({shown}); unpack it first")


def _describe_text(head: bytes) -> str:
    """Return what a file of text is, or nothing if it is none."""
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < _HEAD_BYTES else "ignore").lstrip(
            "\ufeff \r\n\t"
        )
    except UnicodeDecodeError:
        return ""
    start = text[:200].lower()
    if start.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`"
    if start.startswith(("<!doctype", "<html", "<?xml", "<head")):
        return "a web page (HTML or XML), as a failed download often leaves; fetch the file again"
    if '"weight_map"' in text:
        return "the index of weights in several files; join them into one .safetensors file"
    shown = " ".join(text.split())[:_SHOWN_CHARS]
    return f"a text file ({shown!r}), not weights; fetch it again" if shown.isprintable() else ""


def _begin(head: bytes) -> str:
    return f"it begins with {head[:8].hex(' ')}"


def _size(path: Path) -> str:
    return f"{path.stat().st_size} bytes"
