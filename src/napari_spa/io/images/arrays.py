"""Arrays on disk: npy, npz, and Zarr folders."""

from __future__ import annotations

import math
import os
import re
import stat
import warnings
import zipfile
from functools import cache
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.files import read_object
from napari_spa.io.images.faults import check_size, import_extra
from napari_spa.io.images.layout import RawImage, both, guess_axes, length, several
from napari_spa.io.images.lazy import file_array, number_of_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

NUMPY_SUFFIXES = {".npy", ".npz"}
PICTURE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2", ".j2k"),
    *(".pgm", ".ppm", ".pnm", ".tga"),
}
_LOSSY = {"JPEG", "MPO", "WEBP", "JPEG2000"}
_PNM = re.compile(rb"P[36]" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s")
_PNG = b"\x89PNG\r\n\x1a\n"


def read_numpy(path: Path) -> RawImage:
    """Open a ``.npy`` file, or the one array of a ``.npz`` file."""
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    with path.open("rb") as stream:
        shape, fortran, dtype = _header(stream)
        offset = stream.tell()
    if not shape:
        raise ValueError("it holds one number")
    axes = guess_axes(shape)
    if fortran:  # as it lies in the file: last axis first
        shape, axes = shape[::-1], axes[::-1]
    return RawImage((file_array(path, offset, shape, dtype),), axes)


def _read_npz(path: Path) -> RawImage:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise InputError(f"{path} holds {len(names)} arrays; an image is one array.")
        with archive.open(names[0]) as stream:
            shape, _, dtype = _header(stream)
        check_size(number_of_values(shape) * dtype.itemsize)
        with archive.open(names[0]) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return RawImage((array.astype(array.dtype.newbyteorder("="), copy=False),), guess_axes(shape))


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read what stands before the values of a ``.npy`` file."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if not dtype.itemsize or any(n < 0 for n in shape):
        raise ValueError("it holds no values")
    return shape, fortran, dtype


def read_picture(path: Path, *, as_labels: bool = False) -> RawImage:
    """Read a picture whole, upright; one of several frames is a stack."""
    from PIL import Image, ImageSequence

    deep = _deep_colours(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about size and damage; what matters is raised
        # A stream, because Pillow maps files that it knows by name.
        with path.open("rb") as stream:
            try:
                picture: Image.Image = Image.open(stream)
            except Image.DecompressionBombError as error:
                raise ValueError("it is too large for this format; save it as TIFF") from error
            frames = int(getattr(picture, "n_frames", 1))
            check_size(picture.width * picture.height * frames * max(4, len(picture.getbands())))
            lossy = picture.format in _LOSSY
            if deep:
                return RawImage((_decode_deep(path, picture),), "YXS", lossy=lossy)
            pages = [_values(frame, as_labels) for frame in ImageSequence.Iterator(picture)]
            if len({(page.ndim, page.shape[2:]) for page in pages}) > 1:  # as a GIF has them
                coloured = (frame.convert("RGB") for frame in ImageSequence.Iterator(picture))
                pages = [_values(frame, as_labels) for frame in coloured]
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        raise ValueError("its frames are of several sizes or kinds")
    array = np.stack(pages) if len(pages) > 1 else pages[0]
    axes = ("Q" if len(pages) > 1 else "") + ("YXS" if pages[0].ndim > 2 else "YX")
    return RawImage((array,), axes, lossy=lossy)


def _values(frame: Image, as_labels: bool) -> NDArray[Any]:
    """Return the pixels of a frame: grey, grey and opacity, or colours."""
    from PIL import ImageOps

    frame = ImageOps.exif_transpose(frame)
    if frame.mode in ("P", "PA") and not as_labels:
        frame = frame.convert("RGBA" if frame.has_transparency_data else "RGB")
    elif frame.mode == "PA":
        frame = frame.getchannel(0)
    elif frame.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "F") and frame.mode[0] != "I":
        frame = frame.convert("RGB")  # CMYK, YCbCr, LAB, RGBX and others
    array = np.asarray(frame)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _deep_colours(path: Path) -> bool:
    """Tell whether a picture has colours of more than 8 bits, which Pillow would cut."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(_PNG) and len(head) > 25:
        return head[24] == 16 and head[25] in (2, 4, 6)
    if head.startswith((b"P3", b"P6")):
        return _pnm_header(head)[2] > 0xFF
    marker = head.find(b"\xff\x4f\xff\x51")  # the code stream of JPEG 2000
    if marker >= 0 and len(head) > marker + 43:
        return (head[marker + 42] & 0x7F) + 1 > 8 and head[marker + 41] > 1
    return False


def _pnm_header(head: bytes) -> tuple[int, int, int, int]:
    """Return width, height, highest value and where the pixels begin."""
    found = _PNM.match(head)
    if found is None:
        return 0, 0, 0, 0
    width, height, highest = (int(part) for part in found.groups())
    return width, height, highest, found.end()


def _decode_deep(path: Path, picture: Image) -> NDArray[Any]:
    """Decode colours of 16 bits: a raw PPM at once, others with imagecodecs."""
    content = path.read_bytes()
    if content.startswith(b"P6"):
        width, height, _, begin = _pnm_header(content[:512])
        values = np.frombuffer(content, ">u2", width * height * 3, begin)
        return values.reshape(height, width, 3).astype(np.uint16)
    imagecodecs = import_extra(path, "imagecodecs")
    decode = {"PNG": "png_decode", "JPEG2000": "jpeg2k_decode"}.get(str(picture.format))
    if decode is None:
        raise ValueError("its colours have more than 8 bits; save it as TIFF")
    values = np.asarray(getattr(imagecodecs, decode)(content))
    if values.shape[:2] != (picture.height, picture.width):
        raise ValueError("it is damaged")
    return values


_MARKS = (".zgroup", ".zarray", "zarr.json")
_METADATA = {*_MARKS, ".zattrs", ".zmetadata"}
_LARGEST_FACTS = 2**24

# Decoders of numbers; everything else, known or not, is refused.
_CODECS = {
    *("bytes", "endian", "transpose", "sharding_indexed", "crc32c"),  # of Zarr 3
    *("blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "zfpy", "pcodec"),
    *("shuffle", "delta", "bitround", "fixedscaleoffset", "quantize", "packbits", "astype"),
    *("crc32", "adler32", "fletcher32", "jenkins_lookup3"),
    *("imagecodecs_jpeg2k", "imagecodecs_jpegls", "imagecodecs_jpegxl", "imagecodecs_jpegxr"),
    *("imagecodecs_png", "imagecodecs_deflate", "imagecodecs_zlib", "imagecodecs_zstd"),
    *("imagecodecs_lz4", "imagecodecs_lzw", "imagecodecs_delta", "imagecodecs_floatpred"),
}


def is_zarr(folder: Path) -> bool:
    """Tell whether a folder is a Zarr array or group, or is called so."""
    return folder.suffix.lower() == ".zarr" or any(os.path.exists(folder / mark) for mark in _MARKS)


def images_in(folder: Path) -> list[Path]:
    """Return the images of a Zarr folder: the fields of a plate, else the folder itself."""
    fields = []
    for well in _list(_facts(folder).get("plate"), "wells"):
        place = folder / str(well["path"])
        named = _list(_facts(place).get("well"), "images")
        fields += [place / str(field["path"]) for field in named] or _folders(place)
    inside = [path for path in fields if ".." not in path.parts and folder in path.parents]
    return [path for path in inside if is_zarr(path)] or [folder]


def _folders(place: Path) -> list[Path]:
    """Return the folders in a folder in the order of their numbers."""
    try:
        names = sorted(os.listdir(place), key=_number)
    except OSError:
        return []
    return [place / name for name in names if os.path.isdir(place / name)]


def read_zarr(path: Path) -> RawImage:
    """Open a Zarr folder; pixels are read as they are asked for."""
    zarr = import_extra(path, "zarr")
    fields = images_in(path)
    if fields != [path]:
        if len(fields) > 1:
            example = fields[0].relative_to(path).as_posix()
            raise InputError(
                f"{path} is a plate of {len(fields)} fields; open one of them, for "
                f"example {path.name}/{example}."
            )
        path = fields[0]
    try:
        opened = zarr.open(_ordinary_files()(path, read_only=True), mode="r")
    except (OSError, LookupError, ValueError) as error:
        raise ValueError("it is a folder, and no Zarr array") from error
    if not isinstance(opened, zarr.Group):
        return _levels([opened])
    found = _image(opened)
    if found is not None:
        return found
    # A wrapper, as bioformats2raw writes it: its groups are the images.
    names = sorted(set(opened.group_keys()) - {"labels", "OME"}, key=_number)
    images = [image for name in names if (image := _image(opened[name])) is not None]
    if not images:
        raise ValueError("it holds no array")
    return several(path, images)


@cache
def _ordinary_files() -> Any:  # noqa: ANN401  a class of zarr's
    """Return a store that reads no device or pipe, which may have no end, nor huge metadata."""
    from zarr.storage import LocalStore

    class OrdinaryFiles(LocalStore):
        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:  # noqa: ANN401
            try:
                status = (self.root / key).stat()
            except OSError:
                return None
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise ValueError(f"{key} in it is no file")
            if key.rpartition("/")[2] in _METADATA and status.st_size > _LARGEST_FACTS:
                raise ValueError(f"{key} in it is too large")
            if byte_range is None:
                check_size(status.st_size)
            return await super().get(key, prototype, byte_range)

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:  # noqa: ANN401
            return [await self.get(key, prototype, part) for key, part in key_ranges]

    return OrdinaryFiles


def _image(group: Any) -> RawImage | None:  # noqa: ANN401  a zarr group
    facts = _multiscale(group)
    if facts is not None:
        return _ngff(group, facts)
    names = sorted(group.array_keys(), key=_number)
    return _levels([group[name] for name in names]) if names else None


def _levels(arrays: list[Any]) -> RawImage:
    for array in arrays:
        _check(array)
    first = arrays[0]
    return RawImage(tuple(arrays), _dimension_names(first) or guess_axes(first.shape))


def _check(array: Any) -> None:  # noqa: ANN401  a zarr array
    """Refuse an array whose chunks are not safe to decode, before one is read."""
    for name in _codecs(array.metadata):
        if name.removeprefix("numcodecs.") not in _CODECS:
            raise ValueError(f"its codec {name[:40]} is not allowed")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"it holds {str(array.dtype)[:40]} values; an image holds real numbers")
    check_size(number_of_values(array.chunks) * array.dtype.itemsize)


def _codecs(metadata: Any) -> Iterator[str]:  # noqa: ANN401  zarr's ArrayV2Metadata or V3
    """Name the codecs that an array goes through, from what zarr has understood."""
    if metadata.zarr_format == 2:
        used = [metadata.compressor, *(metadata.filters or ())]
        yield from (str(getattr(codec, "codec_id", type(codec))) for codec in used if codec)
    else:
        yield from _names_in([codec.to_dict() for codec in metadata.codecs])


def _names_in(codecs: Any) -> Iterator[str]:  # noqa: ANN401  JSON
    """Name codecs and those inside them, as a shard has them."""
    for codec in codecs:
        codec = codec if isinstance(codec, dict) else getattr(codec, "to_dict", dict)()
        yield str(codec.get("name"))
        inner = codec.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            yield from _names_in(inner.get(key) or ())


def _number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isascii() and name.isdigit() else (-1, name)


def _facts(folder: Path) -> Mapping[str, Any]:
    """Return the attributes of a Zarr group, without zarr; nothing where they are damaged."""
    for name in ("zarr.json", ".zattrs"):
        content = read_object(folder / name, largest=_LARGEST_FACTS)
        if content:
            facts = content if name == ".zattrs" else _dict(content.get("attributes"))
            return _dict(facts.get("ome", facts))
    return {}


def _list(facts: object, key: str) -> list[dict[str, Any]]:
    """Return the things with a path that a list of the facts holds, whatever it holds."""
    found = _dict(facts).get(key)
    listed = found if isinstance(found, list) else []
    return [item for item in listed if isinstance(item, dict) and "path" in item]


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _multiscale(group: Any) -> Mapping[str, Any] | None:  # noqa: ANN401  a zarr group
    attributes = dict(group.attrs)
    facts = attributes.get("ome", attributes)
    found = facts.get("multiscales") if isinstance(facts, dict) else None
    first = found[0] if isinstance(found, list) and found else None
    return first if isinstance(first, dict) and _list(first, "datasets") else None


def _ngff(group: Any, facts: Mapping[str, Any]) -> RawImage:  # noqa: ANN401  a zarr group
    datasets = _list(facts, "datasets")
    levels = tuple(group[str(dataset["path"])] for dataset in datasets)
    for level in levels:
        _check(level)
    count = len(levels[0].shape)
    named = facts.get("axes") or list("tczyx")[-count:]
    axes = [axis if isinstance(axis, dict) else {"name": str(axis)} for axis in named]
    letters = "".join(_letter(axis) for axis in axes)
    if len(letters) != count:
        raise ValueError(f"it names {len(letters)} axes and has {count}")
    steps = _scale(datasets[0], facts, count)
    sizes = {
        letter: length(step, axis.get("unit"))
        for letter, axis, step in zip(letters, axes, steps, strict=True)
    }
    return RawImage(levels, letters, both(sizes.get("Y"), sizes.get("X")), sizes.get("Z"))


def _letter(axis: Mapping[str, Any]) -> str:
    name, kind = str(axis.get("name", "")).lower(), str(axis.get("type", ""))
    if name in set("tczyx"):
        return name.upper()
    return {"channel": "C", "time": "T"}.get(kind, "Q")


def _scale(dataset: Mapping[str, Any], facts: Mapping[str, Any], count: int) -> list[float]:
    """Return how far neighbours are apart along each axis; the transforms multiply."""
    scale = [1.0] * count
    for holder in (dataset, facts):
        given = holder.get("coordinateTransformations")
        for transform in given if isinstance(given, list) else ():
            steps = transform.get("scale") if isinstance(transform, dict) else None
            if isinstance(steps, list) and len(steps) == count:
                scale = [a * _factor(b) for a, b in zip(scale, steps, strict=True)]
    return scale


def _factor(step: object) -> float:
    return float(step) if isinstance(step, int | float) else math.nan


def _dimension_names(array: Any) -> str:  # noqa: ANN401  a zarr array
    """Return the axes that a Zarr 3 array names by single letters, if it does."""
    names = getattr(getattr(array, "metadata", None), "dimension_names", None) or ()
    letters = "".join(str(name).upper() for name in names if name)
    fits = len(letters) == len(array.shape) and set(letters) <= set("TZCYX")
    return letters if fits and {"Y", "X"} <= set(letters) else ""
