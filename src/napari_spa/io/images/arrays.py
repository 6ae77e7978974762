"""NumPy's own files, and pictures: PNG, JPEG and what Pillow reads besides."""

from __future__ import annotations

import re
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.faults import check_size, needs_extra
from napari_spa.io.images.layout import RawImage, guess_axes
from napari_spa.io.images.lazy import file_array, number_of_values

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

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
    kinds = {(page.shape, page.dtype) for page in pages}
    if len(kinds) > 1:
        pages = [_coloured(page) for page in pages]
        if len({page.shape for page in pages}) > 1:
            raise ValueError("its frames are of several sizes")
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


def _coloured(page: NDArray[Any]) -> NDArray[Any]:
    """Bring frames of several kinds, as a GIF has them, to one: colours without opacity."""
    if page.dtype != np.uint8:
        raise ValueError("its frames are of several kinds")
    if page.ndim == 2 or page.shape[-1] == 2:
        grey = page if page.ndim == 2 else page[..., 0]
        return np.stack([grey] * 3, axis=-1)
    return page[..., :3]


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
    try:
        import imagecodecs
    except ImportError as error:
        raise needs_extra(path, "imagecodecs") from error
    decode = {"PNG": "png_decode", "JPEG2000": "jpeg2k_decode"}.get(str(picture.format))
    if decode is None:
        raise ValueError("its colours have more than 8 bits; save it as TIFF")
    values = np.asarray(getattr(imagecodecs, decode)(content))
    if values.shape[:2] != (picture.height, picture.width):
        raise ValueError("it is damaged")
    return values
