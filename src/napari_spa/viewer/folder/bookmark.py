"""Where one was in a folder of images: the image to begin with, and its slice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_spa.core.plane import Plane
from napari_spa.viewer.folder.recent import RecentFolder, place_in, remember_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_spa.io.projects.project import Project, ProjectItem
    from napari_spa.viewer.folder.reader import ReadImage


class FolderBookmark:
    """Go on where one was in a project the last time, and keep where one is now.

    Parameters
    ----------
    project : Project
        The project that is open.
    run : callable
        Does something in the background.
    """

    def __init__(self, project: Project, run: Callable[[Callable[[], None]], Any]) -> None:
        self._project, self._run = project, run
        self._was: RecentFolder | None = place_in(project.out)

    def first(self, items: Mapping[str, ProjectItem]) -> str | None:
        """Return where to begin: where one was, else what was begun, else what is to do."""
        if self._was is not None and self._was.name in items:
            return self._was.name
        for status in ("in progress", "to do", "review"):
            for name, item in items.items():
                if item.status == status and not item.problem:
                    return name
        return next(iter(items), None)

    def plane(self, image: ReadImage) -> Plane:
        """Return the slice to show: of the first image where one was, else the middle."""
        was, self._was = self._was, None
        middle = image.middle()
        if was is None or was.name != image.name or len(was.index) != len(image.shape):
            return middle
        inside = (min(max(i, 0), n - 1) for i, n in zip(was.index, image.shape, strict=True))
        return Plane(middle.axes, tuple(inside))

    def keep(self, name: str | None, plane: Plane | None) -> None:
        """Remember the image and slice on show; None for none."""
        folder = RecentFolder(
            str(self._project.source),
            str(self._project.out),
            name or "",
            () if plane is None else plane.index,
        )
        self._run(partial(remember_folder, folder))
