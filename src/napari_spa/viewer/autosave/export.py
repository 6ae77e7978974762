"""Write what was annotated where a user wants it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.viewer.layers.mask import space_of
from napari_spa.viewer.layers.planes import micrometres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.io.images import ImageInfo
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.annotation.image import AnnotatedImage

_AXES = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}


def export_work(
    annotated: AnnotatedImage, folder: Path, log: Path | None
) -> Callable[[Progress], list[str]]:
    """Return a job that writes labels, measures and the decision log into a folder.

    Everything the job needs of the viewer is looked up here, in the main thread.
    """
    image, space = annotated.image, space_of(annotated.image)
    axes = _AXES.get(image.ndim, "YX")
    store, name = annotated.mask.store, _file_name(str(image.name))
    scale = tuple(float(s) for s in space["scale"])
    unit = str(image.units[-1])
    pixels: Any = image.data[0] if image.multiscale else image.data
    highest, notes = max(annotated.annotation.objects, default=0), annotated.annotation.notes

    def job(progress: Progress) -> list[str]:
        from napari_spa.core.measures import measure_objects
        from napari_spa.io.files import write_table
        from napari_spa.io.images import write_labels
        from napari_spa.io.projects.classes import noted

        names = [f"{name}-labels.tif", f"{name}-objects.csv"]
        finest = store.data[0] if store.multiscale else store.data
        info = _info(axes, finest.shape, scale, unit)
        labels = np.asarray(finest) if len(finest.shape) == 2 else finest
        write_labels(folder / names[0], labels, info, highest=highest)
        progress(0.4, "measuring objects")
        measures = measure_objects(
            finest,
            axes=axes,
            spacing=scale,
            unit=unit,
            intensity=pixels,
            progress=lambda share, message: progress(0.4 + 0.5 * share, message),
        )
        rows = [noted(row, notes) for row in measures.rows]
        said = ("class", "name") if notes else ()
        write_table(folder / names[1], rows, columns=(*said, *measures.columns))
        if log is not None and os.path.exists(log):
            names.append(f"{name}.spa.jsonl")
            shutil.copyfile(log, folder / names[2])
        return names

    return job


def _info(axes: str, shape: tuple[int, ...], scale: tuple[float, ...], unit: str) -> ImageInfo:
    """Describe the labels; a scale in a unit of length becomes micrometres."""
    from napari_spa.io.images import ImageInfo

    factor = micrometres(unit)
    if factor is None:
        return ImageInfo(axes, (shape[-2], shape[-1]))
    distance = scale[-3] * factor if "Z" in axes and axes[-3] == "Z" else None
    size = (scale[-2] * factor, scale[-1] * factor)
    return ImageInfo(axes, (shape[-2], shape[-1]), size, plane_distance=distance)


def _file_name(name: str) -> str:
    """Return a layer's name as a file's: letters that no file system minds."""
    kept = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).strip(" .")
    return kept or "image"
