"""Where the work on one image of a folder is kept: in the project's output folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.io.projects.paths import log_path
from napari_spa.viewer.folder.log import FolderLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.io.event_log import Record, RecordLog
    from napari_spa.io.images.open import ImageInfo
    from napari_spa.viewer.annotation.image import AnnotatedImage

PROFILE_NAME = "profile.json"


class FolderPlace:
    """A place for `WorkKeeper`, held by the whole project.

    Parameters
    ----------
    out : Path
        The project's output folder.
    name : str
        Of the image.
    left : callable
        Called in the main thread, with this place, when the work on the image ends.
    known : FolderLog or None
        A log that is open still, because a part of it could not be written.
    tell : callable or None
        Says what cannot be written, once for the whole project; by default who opens the
        log does.

    Attributes
    ----------
    before : tuple of dict
        Records that belong before the first one of a new log.
    work : AnnotatedImage or None
        Whose work it is, once the image is shown.
    info : ImageInfo or None
        Axes and pixel size of the image, once it is shown.
    """

    def __init__(
        self,
        out: Path,
        name: str,
        left: Callable[[FolderPlace], None],
        known: FolderLog | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.name, self.out = name, out
        self.log = log_path(out, name)
        self.profile = out / PROFILE_NAME
        self.open_log = known
        self.before: tuple[Record, ...] = ()
        self.work: AnnotatedImage | None = None
        self.info: ImageInfo | None = None
        self._left, self._tell = left, tell

    def open(self, failed: Callable[[str], None]) -> RecordLog:
        """Return the log to append to."""
        if self.open_log is None:
            self.open_log = FolderLog(self.log, self._tell or failed, self.before)
        return self.open_log

    def close(self, log: RecordLog) -> None:
        """Say that the work ended; whoever saves it closes the log in the background."""
        self._left(self)
