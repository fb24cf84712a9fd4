"""Fuzzed sources of stimuli: images, shards, arrays, tables. What goes in comes out, or is counted."""

import gzip
import io
import json
import lzma
import tarfile
import zipfile
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, PngImagePlugin
from tests.fuzz.mutations import mutate, mutate_json, mutate_yaml, repair_png, repair_tar

from rep_kedro.stimuli.assembly import assemble_stimulus_set, meta_of
from rep_kedro.stimuli.decoding import check_images, decode_images
from rep_kedro.stimuli.opening import open_source
from rep_kedro.stimuli.pixels import UnreadableImageError
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.sources import parse_source

N_IMAGES = 6
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (N_IMAGES, 9, 7, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


class WrongResultError(AssertionError):
    """A result that must not be, though nothing was raised."""


def _encode(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _exif():
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x0131] = 6, 72.0, "a camera"
    return exif


def _all_images():
    """Return small files of every format and mode that is read."""
    colour = Image.fromarray(PIXELS[0])
    wide = Image.fromarray(PIXELS[0, ..., 0].astype(np.uint16) * 257)
    clear = Image.fromarray(np.dstack([PIXELS[0], PIXELS[1, ..., :1]]))
    frames = {"save_all": True, "append_images": [Image.fromarray(each) for each in PIXELS[1:3]]}
    remark = PngImagePlugin.PngInfo()
    remark.add_text("Comment", "x" * 99, zip=True)
    remark.add_itxt("XML:com.adobe.xmp", '<a tiff:Orientation="3"/>')
    return [
        *(_encode(colour, kind, exif=_exif()) for kind in ("JPEG", "WEBP", "TIFF")),
        *(_encode(colour, kind, **frames) for kind in ("PNG", "WEBP", "GIF", "TIFF")),
        *(_encode(colour.convert(mode), "PNG") for mode in ("LA", "1", "L")),
        *(_encode(colour, "TIFF", compression=how) for how in (None, "tiff_lzw", "tiff_deflate", "jpeg")),
        *(_encode(image, kind) for image in (colour, colour.quantize(4)) for kind in ("BMP", "TIFF")),
        *(_encode(wide, kind) for kind in ("PNG", "PPM", "TIFF")),
        _encode(colour, "PNG", exif=_exif(), pnginfo=remark),
        _encode(clear, "PNG"),
        _encode(colour.quantize(16), "PNG", transparency=bytes(range(16))),
        _encode(colour, "JPEG", progressive=True, icc_profile=bytes(99)),
        _encode(colour.convert("CMYK"), "JPEG"),
        _encode(colour.convert("L"), "JPEG", dpi=(72, 72)),
        _encode(clear, "WEBP", lossless=True),
        _encode(colour, "PPM"),
        _encode(colour.convert("CMYK"), "TIFF"),
        _encode(colour.convert("1"), "TIFF", compression="group4"),
        _encode(colour.convert("F"), "TIFF"),
        *(_encode(image, "AVIF", speed=10) for image in (colour, clear)),
        *(_encode(image, "JPEG2000") for image in (colour, wide, clear)),
        _encode(colour, "JPEG2000", no_jp2=True),
        *_heic(colour),
    ]


def _heic(image):
    """Return a HEIC file, where the extra that writes and reads it is installed."""
    if find_spec("pillow_heif") is None:
        return []
    import pillow_heif

    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream)
    return [stream.getvalue()]


IMAGES = _all_images()
PNGS = [_encode(Image.fromarray(each), "PNG") for each in PIXELS]


def make_image(rng, folder):
    content = mutate(rng.choice(IMAGES), rng)
    is_repaired = content[:4] == b"\x89PNG" and rng.random() < 0.7
    (folder / "image").write_bytes(repair_png(content) if is_repaired else content)


def run_image(folder):
    """A check accepts what is decoded, sees its size, and finds nothing it would have to allocate."""
    encoded = (folder / "image").read_bytes()
    [found] = check_images([encoded])
    try:
        decode_images([encoded], size_px=8)
    except UnreadableImageError as problem:
        if not isinstance(found, UnreadableImageError):
            raise WrongResultError(f"checked as {found}, but not decoded: {problem}") from problem
        require_memory_sufficed(problem)
        return "refused"
    if isinstance(found, UnreadableImageError):
        raise WrongResultError(f"decoded, but refused by the check: {found}")
    return "accepted"


def require_memory_sufficed(problem):
    if "enough memory" in str(problem):
        raise WrongResultError(f"memory was asked for: {problem}")


def _read_set(entry, n_images=N_IMAGES):
    """Return the meta of a source whose damage is left out; check that no stimulus is lost without count."""
    spec, log = parse_source({"on_damaged": "skip", **entry}), DamageLog()
    table = assemble_stimulus_set(open_source(spec, log), spec, log)
    meta = meta_of(table)
    for _, reason in log.damaged:
        require_memory_sufficed(reason)
    n_counted = table.num_rows + len(meta["damaged"]) + len(meta["ignored"]) + sum(meta["left_out"].values())
    if n_counted < n_images and not _says_that_the_rest_is_lost(meta):
        raise WrongResultError(f"{table.num_rows} of {n_images} stimuli came out, {n_counted} counted")
    decode_images(table["image"], size_px=8)
    return "accepted"


def _says_that_the_rest_is_lost(meta):
    return any("truncated or damaged archive" in entry["reason"] for entry in meta["damaged"])


# ---------------------------------------------------------------- shards


def _tar(**options):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for number, (png, label) in enumerate(zip(PNGS, LABELS, strict=True)):
            stem = f"{'long' * 40 if options and number == 2 else ''}s{number:03d}"
            for ending, content in (("png", png), ("cls", b"%d" % label)):
                member = tarfile.TarInfo(f"{stem}.{ending}")
                member.size = len(content)
                if options.get("format") == tarfile.PAX_FORMAT:
                    member.pax_headers = {"comment": "a remark", "mtime": "1.5"}
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


TARS = [_tar(), _tar(format=tarfile.PAX_FORMAT), _tar(format=tarfile.GNU_FORMAT)]


def make_tar(rng, folder):
    content = mutate(rng.choice(TARS), rng)
    # a sound archive may hold other things than before; any other says by its headers what it held
    is_repaired = rng.random() < 0.5
    n_images = 0 if is_repaired else sum(b"s%03d.png\0" % number in content for number in range(N_IMAGES))
    content = repair_tar(content) if is_repaired else content
    packing = rng.choice((None, None, gzip, lzma))
    name = {None: "0.tar", gzip: "0.tar.gz", lzma: "0.tar.xz"}[packing]
    packed = packing.compress(content) if packing else content
    is_spoiled = packing is not None and rng.random() < 0.3
    (folder / name).write_bytes(mutate(packed, rng) if is_spoiled else packed)
    (folder / "n_images.txt").write_text(str(n_images))


def run_tar(folder):
    [file] = folder.glob("*.tar*")
    n_images = int((folder / "n_images.txt").read_text())
    return _read_set({"source": "webdataset", "path": file}, n_images=n_images)


# ---------------------------------------------------------------- arrays


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def make_npz(rng, folder):
    images = np.asfortranarray(PIXELS) if rng.random() < 0.2 else PIXELS
    members = {"x.npy": _npy(images), "y.npy": _npy(np.array(LABELS))}
    if rng.random() < 0.7:
        name = rng.choice(list(members))
        members[name] = mutate(members[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = stream.getvalue()
    (folder / "a.npz").write_bytes(mutate(content, rng) if rng.random() < 0.5 else content)


def run_npz(folder):
    return _read_set({"source": "npz", "path": folder / "a.npz"})


def make_idx(rng, folder):
    images = (
        b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (N_IMAGES, 9, 7)) + PIXELS[..., 0].tobytes()
    )
    labels = b"\0\0\x08\x01" + N_IMAGES.to_bytes(4, "big") + bytes(LABELS)
    for name, content in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        changed = mutate(content, rng) if rng.random() < 0.6 else content
        packed = gzip.compress(changed) if rng.random() < 0.5 else changed
        (folder / name).write_bytes(mutate(packed, rng) if rng.random() < 0.2 else packed)


def run_idx(folder):
    return _read_set({"source": "idx", "path": folder})


# ---------------------------------------------------------------- tables


def _tables():
    names = pa.array(["cat", "dog", "cow", "cat", "dog", "cow"])
    structs = pa.array([{"bytes": png, "path": None} for png in PNGS])
    return [
        pa.table({"image": PNGS, "label": LABELS}),
        pa.table({"image": structs, "label": names, "rest": [[1.5]] * N_IMAGES}),
        pa.table({"image": pa.array(PNGS, pa.large_binary()), "label": names.dictionary_encode()}),
    ]


TABLES = _tables()


def make_parquet(rng, folder):
    stream = io.BytesIO()
    pq.write_table(
        rng.choice(TABLES), stream,
        compression=rng.choice(("none", "snappy", "zstd", "gzip", "lz4")), use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(("1.0", "2.0")), write_page_checksum=rng.random() < 0.3,
        row_group_size=rng.choice((2, 6)), data_page_size=rng.choice((100, 1 << 20)),
    )  # fmt: skip
    (folder / "a.parquet").write_bytes(mutate(stream.getvalue(), rng))


def run_parquet(folder):
    return _read_set({"source": "parquet", "path": folder})


def make_arrow(rng, folder):
    stream = io.BytesIO()
    table = rng.choice(TABLES)
    options = pa.ipc.IpcWriteOptions(compression=rng.choice((None, None, "zstd", "lz4")))
    with pa.ipc.new_stream(stream, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rng.choice((2, 6)))
    (folder / "a.arrow").write_bytes(mutate(stream.getvalue(), rng))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "a.arrow"}]}))


def run_arrow(folder):
    return _read_set({"source": "hugging_face", "path": folder})


README = """---
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names: {'0': cat, '1': dog, '2': cow}
configs:
- config_name: default
  data_files: [{split: train, path: data/train-*}]
---
"""
DESCRIPTIONS = {
    "state.json": {"_data_files": [{"filename": "a.arrow"}]},
    "dataset_info.json": {"features": {"label": {"names": ["cat", "dog", "cow"]}}},
}


def make_descriptions(rng, folder):
    """Make a folder as of the hub, or as saved to disk, with sound tables and spoiled descriptions."""
    if rng.random() < 0.5:
        (folder / "data").mkdir()
        pq.write_table(TABLES[0], folder / "data" / "train-00000-of-00001.parquet")
        (folder / "README.md").write_text(mutate_yaml(README, rng), encoding="utf-8", errors="replace")
        return
    with pa.ipc.new_stream(folder / "a.arrow", TABLES[0].schema) as writer:
        writer.write_table(TABLES[0])
    for name, content in DESCRIPTIONS.items():
        (folder / name).write_text(mutate_json(json.dumps(content), rng), encoding="utf-8", errors="replace")


ROWS = [
    (f"{number:03}.png", "cat dog"[4 * (number % 2) :][:3], "ab"[number % 2], "train")
    for number in range(N_IMAGES)
]


def make_labels(rng, folder):
    """Make a folder of sound images with a spoiled table of labels."""
    for number, png in enumerate(PNGS):
        (folder / f"{number:03}.png").write_bytes(png)
    names = ["id", "breed", "tags", "fold"]
    ending = rng.choice(("csv", "tsv", "jsonl", "parquet"))
    stream = io.BytesIO()
    if ending == "parquet":
        pq.write_table(
            pa.table(dict(zip(names, zip(*ROWS, strict=True), strict=True))), stream, compression="none"
        )
    elif ending == "jsonl":
        stream.write("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in ROWS).encode())
    else:
        mark = "," if ending == "csv" else "\t"
        stream.write("\n".join(mark.join(row) for row in [names, *ROWS]).encode())
    (folder / f"labels.{ending}").write_bytes(mutate(stream.getvalue(), rng))


def run_labels(folder):
    [file] = folder.glob("labels.*")
    labels = {"file": file, "id": "id", "label": "breed", "split": "fold", "multi_label": {"tags": ";"}}
    entry = {"source": "image_folder", "path": folder, "labels": {**labels, "unmatched": "leave_out"}}
    return _read_set(entry)


KINDS = {
    "labels": (make_labels, run_labels),
    "description": (make_descriptions, run_arrow),
    "image": (make_image, run_image),
    "tar": (make_tar, run_tar),
    "npz": (make_npz, run_npz),
    "idx": (make_idx, run_idx),
    "parquet": (make_parquet, run_parquet),
    "arrow": (make_arrow, run_arrow),
}
