"""NumPy's own files, and pictures: PNG, JPEG and what Pillow reads besides."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.layout import Opened, guess_axes

if TYPE_CHECKING:
    from pathlib import Path

NUMPY_SUFFIXES = {".npy", ".npz"}
PICTURE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2"),
    *(".pgm", ".ppm", ".pnm", ".tga"),
}


def read_numpy(path: Path) -> Opened:
    """Open a ``.npy`` file, mapped, or the one array of a ``.npz`` file, read whole.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Opened

    Raises
    ------
    InputError
        When a ``.npz`` file holds several arrays.
    OSError, ValueError and others
        When the file is damaged or would need pickle.
    """
    if path.suffix.lower() == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return Opened((array,), guess_axes(array.shape))
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        if len(archive.files) != 1:
            raise InputError(f"{path} holds {len(archive.files)} arrays; an image is one array.")
        array = archive[archive.files[0]]
    return Opened((array,), guess_axes(array.shape))


def read_picture(path: Path) -> Opened:
    """Read a picture whole; one of several frames is a stack.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Opened

    Raises
    ------
    OSError, ValueError and others
        When it cannot be read.
    """
    import imageio.v3 as iio
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about size and damage; what matters is raised
        try:
            # The other plugins of imageio are deprecated or need more packages.
            array = np.asarray(iio.imread(path, plugin="pillow"))
        except Image.DecompressionBombError as error:
            raise ValueError("it is too large for this format; save it as TIFF") from error
    axes = guess_axes(array.shape)
    if axes.endswith("QYX") and array.shape[-1] <= 4:  # colours, however small the picture
        axes = axes[1:] + "S"
    return Opened((array,), axes)
