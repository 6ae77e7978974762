"""Write what was annotated where a user wants it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.presentation import counted
from napari_spa.errors import SpaError
from napari_spa.io.export.volumes import Labelled
from napari_spa.io.files import check_there
from napari_spa.io.images import ImageFile, ImageInfo, open_image
from napari_spa.viewer.layers.mask import mask_colours
from napari_spa.viewer.layers.planes import (
    axis_kind,
    channel_axis,
    micrometres,
    steps_of,
    unit_ratios,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.io.export import ExportReport, ExportRequest
    from napari_spa.io.projects.classes import ObjectClass
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.annotation.image import AnnotatedImage

_FEW = 4  # files that are named
_AXES = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}
_LETTERS = {"frame": "T", "slice": "Z", "channel": "C"}


def export_work(
    annotated: AnnotatedImage,
    request: ExportRequest,
    log: Path | None,
    classes: Sequence[ObjectClass],
    name: str = "",
) -> Callable[[Progress], ExportReport]:
    """Return a job that writes the objects of the image on show.

    Everything the job needs of the viewer is looked up here, in the main thread.
    """
    image, store = annotated.image, annotated.mask.store
    order, axes = rows_last(image), axes_of(image)
    unit = image.units[order[-1]]
    scales = steps_of(image) * unit_ratios(image.units, [unit] * image.ndim)
    scale = tuple(float(scales[axis]) for axis in order)
    pixels = _in_order(image.data[0] if image.multiscale else image.data, order)
    finest = _in_order(store.data[0] if store.multiscale else store.data, order)
    channels = channel_axis(image)
    if channels is not None:  # objects are of all of them
        channels = order.index(channels)
        finest = finest[tuple(0 if at == channels else slice(None) for at in range(store.ndim))]
        axes = _without(axes, channels)
        scale = tuple(s for at, s in enumerate(scale) if at != channels)
        lazy = hasattr(pixels, "__array_function__")  # NumPy or dask
        pixels = np.moveaxis(pixels, channels, -1) if lazy else None
    finest = finest.astype(finest.dtype)  # as it is now: a user may go on painting
    info = _info(axes, finest.shape, scale, str(unit))
    path, colours = image.source.path, colour_of(image)
    out = None if annotated.classes_file is None else annotated.classes_file.parent
    unnamed = str(unit) == "pixel" and scale[-2:] != (1.0, 1.0)  # its lengths are no pixels
    called = Labelled(
        name or file_name(image),
        ImageFile(Path(), (finest,), info),
        dict(annotated.annotation.notes),
        None,
        pixels,
        log,
        scale,
        "unnamed" if unnamed else str(unit),
        Path(path).name if path else "",
    )

    def job(progress: Progress) -> ExportReport:
        from dataclasses import replace

        from napari_spa.io.export import export_image

        if out is not None and out in request.folder.parents:
            check_there(out)
        known = path and channels is None and _same_voxels(Path(path), pixels)
        source = Path(path) if path and known else None
        labelled = replace(called, source=source)
        return export_image(labelled, request, progress, classes=classes, colour=colours)

    return job


def in_words(report: ExportReport, folder: Path) -> str:
    """Say what an export of one image wrote, and what it did not."""
    few = len(report.names) <= _FEW
    words = ", ".join(report.names) if few else counted(report.files, "file")
    sentence = f"Saved {words} in {folder}." if report.files else "Nothing was saved."
    missed = [f"Not written: {why}" for _, why in report.problems]
    return " ".join(filter(None, [sentence, report.left_out, *missed]))


def axes_of(image: Any) -> str:
    """Return what the axes of `rows_last` are: as they are named or measured, else as is usual."""
    usual = _AXES.get(image.ndim, "YX")
    known = [_LETTERS.get(axis_kind(image, axis), "") for axis in rows_last(image)[:-2]]
    if not any(known) or len(usual) != image.ndim:
        return usual
    free = [letter for letter in "ZTC" if letter not in known]
    for axis in reversed(range(len(known))):
        known[axis] = known[axis] or free.pop(0)
    return "".join(known) + "YX" if len({*known}) == len(known) else usual


def rows_last(image: Any) -> list[int]:
    """Return the axes of a layer in the order of a file: rows and columns, by name, come last."""
    names = [str(label).strip().lower() for label in image.axis_labels]
    last = [names.index(name) for name in "yx"] if names.count("y") == names.count("x") == 1 else []
    return [*(axis for axis in range(image.ndim) if axis not in last), *last]


def _in_order(array: Any, order: list[int]) -> Any:
    """Return an array with its axes in another order; one of colours keeps them last."""
    order = [*order, *range(len(order), array.ndim)]
    if order == sorted(order):
        return array
    return np.moveaxis(
        array if hasattr(array, "__array_function__") else np.asarray(array),
        order,
        range(array.ndim),
    )


def _without(axes: str, at: int) -> str:
    return axes[:at] + axes[at + 1 :] if "C" in axes else _AXES.get(len(axes) - 1, "YX")


def colour_of(image: Any = None) -> Callable[[int], tuple[int, int, int, int]]:
    """Return what gives the colour of an object by its number: red, green, blue, opacity."""
    colours = mask_colours(image)

    def colour(number: int) -> tuple[int, int, int, int]:
        red, green, blue, alpha = (round(255 * float(share)) for share in colours.map(number))
        return red, green, blue, alpha

    return colour


def file_name(image: Any) -> str:
    """Return a layer's name as a file's: letters that no file system minds."""
    kept = "".join(c if c.isalnum() or c in "-_. " else "_" for c in str(image.name)).strip(" .")
    return kept or "image"


def _same_voxels(path: Path, pixels: Any) -> bool:
    """Tell whether a layer has the voxels of its file in their request; plugins may turn them."""
    try:
        stack = open_image(path).levels[0]
    except SpaError:
        return False
    if tuple(stack.shape) != tuple(pixels.shape):
        return False
    middle = tuple(n // 2 for n in stack.shape[:-2])
    return np.array_equal(np.asarray(stack[middle]), np.asarray(pixels[middle]))


def _info(axes: str, shape: tuple[int, ...], scale: tuple[float, ...], unit: str) -> ImageInfo:
    """Describe the labels; a scale in a unit of length becomes micrometres."""
    factor = micrometres(unit)
    if factor is None:
        return ImageInfo(axes, (shape[-2], shape[-1]))
    distance = scale[-3] * factor if "Z" in axes and axes[-3] == "Z" else None
    size = (scale[-2] * factor, scale[-1] * factor)
    return ImageInfo(axes, (shape[-2], shape[-1]), size, plane_distance=distance)
