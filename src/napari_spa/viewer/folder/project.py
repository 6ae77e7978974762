"""Open a folder of images as a project that one window holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.errors import InputError
from napari_spa.io.projects.paths import default_output, is_project, project_path

if TYPE_CHECKING:
    from napari_spa.io.projects.project import Project


def hold_project(folder: Path, out: Path | None = None) -> Project:
    """Open a folder's project, or make one, and keep other windows out; for the background.

    Parameters
    ----------
    folder : Path
        The images; or the output folder of a project, which knows where its images are.
    out : Path or None
        The output folder; by default the one beside the images.

    Returns
    -------
    Project
        Held until its ``close``.

    Raises
    ------
    InputError
        When the folder is not there, or holds results without images.
    DataError
        When another window has it, or it cannot be read or written.
    """
    from napari_spa.io.projects.project import Project

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    known = project_path(folder).exists()
    if is_project(folder) and not known:
        raise InputError(f"{folder.name} holds a batch's results; open the folder of its images.")
    target = folder if known else Path(out or default_output(folder))
    if project_path(target).exists():
        project = Project.open(target)
    else:
        project = Project.create(folder, target)
    project.hold()
    return project
