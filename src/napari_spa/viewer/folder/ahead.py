"""Have the next images of a folder ready before they are wanted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.folder.reader import FolderReader, ReadImage
    from napari_spa.viewer.folder.stage import OpenItem

_LOOK_SECONDS = 0.05


class ReadAhead(QObject):
    """Read the neighbours of the image on show, and encode them while nobody waits.

    Parameters
    ----------
    reader : FolderReader
        Reads and keeps images.
    parent : QObject or None
        Qt's parent.
    """

    def __init__(self, reader: FolderReader, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._reader = reader
        self._stopped = False

    def begin(self, current: OpenItem, near: Sequence[tuple[str, Path]]) -> None:
        """Get some images ready, the likeliest first.

        Parameters
        ----------
        current : OpenItem
            The image on show, whose own embedding comes first.
        near : sequence of (str, Path)
            Name and file of each that may be wanted next.
        """
        images = [self._reader.image(name, path) for name, path in near]
        refiner = current.desk.refiner
        session = refiner.session
        if session is None:  # the model is loaded with the first click
            return
        shown = current.image

        def job(progress: Progress) -> None:
            session.prefetch(shown.picture(shown.middle()))
            for future in images:
                image = self._wait(future, progress)
                if image is not None:
                    session.prefetch(image.picture(image.middle()))

        refiner.worker.submit_idle(job)

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopped = True

    def _wait(self, future: Future[ReadImage], progress: Progress) -> ReadImage | None:
        """Return an image once it is read; None for one that cannot be."""
        while not future.done():
            progress(0.0, "")  # raises when somebody wants the worker
            if self._stopped:
                return None
            time.sleep(_LOOK_SECONDS)
        progress(0.0, "")
        return None if future.cancelled() or future.exception() else future.result()
