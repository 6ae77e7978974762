"""Write a project's results for other programs; for the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.core.words import counted
from napari_spa.io.projects.items import in_brief
from napari_spa.io.projects.paths import labels_path
from napari_spa.viewer.layers.mask import mask_colours

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_spa.io.projects.project import Project
    from napari_spa.refine.engine.config import Progress


def do_export(project: Project, kinds: Sequence[str], folder: Path, progress: Progress) -> str:
    """Export a project, and say what came of it.

    Parameters
    ----------
    project : Project
        With results on disk.
    kinds : sequence of str
        What to write.
    folder : Path
        Where to.
    progress : callable
        Called with the share done and a message; may raise ``Cancelled``.

    Returns
    -------
    str
        A sentence.

    Raises
    ------
    SpaError
        When it cannot be written.
    """
    from napari_spa.io.projects.export import export_project

    colours = mask_colours()

    def colour(number: int) -> tuple[int, int, int, int]:
        red, green, blue, alpha = (round(255 * float(share)) for share in colours.map(number))
        return red, green, blue, alpha

    report = export_project(project, kinds, folder, progress, colour=colour)
    images = counted(report.images, "image")
    files = counted(report.files, "file")
    words = f"Exported {images} into {folder}: {files}."
    if report.problems:
        name, why = report.problems[0]
        more = len(report.problems) - 1
        also = f" (and {more} more)" if more else ""
        words += f" Left out: {name}{also}: {in_brief(why, labels_path(project.out, name))}"
    return words
