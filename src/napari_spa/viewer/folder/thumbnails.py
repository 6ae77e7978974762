"""Small pictures of the images of a folder, made in a background thread."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.errors import SpaError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.io.images import ImageFile

SIDE = 96
_KEPT = 1500
_AT_ONCE = 60
"""More than a list shows; what was scrolled past is not read."""
_FINER = 4


class Thumbnails(QObject):
    """Make thumbnails of what is looked at first, then of the others; the latest are kept."""

    ready = Signal(str)  # the thumbnail of an image can be had now
    failed = Signal(str, str)  # an image cannot be read, and why in one sentence
    _made = Signal(int, str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="napari-spa-folder-thumbnails")
        self._lock = threading.Lock()
        self._wanted: deque[tuple[str, Path]] = deque(maxlen=_AT_ONCE)
        self._others: deque[tuple[str, Path]] = deque()
        self._kept: OrderedDict[str, NDArray[np.uint8] | None] = OrderedDict()
        self._folder = 0
        self._closed = False
        self._made.connect(self._on_made)

    def begin(self, images: Iterable[tuple[str, Path]]) -> None:
        """Take another folder: forget all thumbnails, and look through some images of it."""
        with self._lock:
            self._folder += 1
            self._wanted.clear()
            self._others = deque(images)
            count = len(self._others)
        self._kept.clear()
        for _ in range(count):
            self._submit()

    def get(self, name: str, path: Path) -> NDArray[np.uint8] | None:
        """Return a thumbnail, (h, w, 3) uint8; None for now asks for it."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        with self._lock:
            asked = any(name == wanted for wanted, _ in self._wanted)
            if not asked:
                self._wanted.append((name, path))
        if not asked:
            self._submit()
        return None

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        with self._lock:
            self._wanted.clear()
            self._others.clear()
        self._maker.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        if not self._closed:
            self._maker.submit(self._make_next)

    def _make_next(self) -> None:
        """Make the one that was asked for last."""
        with self._lock:
            folder = self._folder
            if self._wanted:
                name, path = self._wanted.pop()
            elif self._others:
                name, path = self._others.popleft()
            else:
                return
        found: object
        try:
            from napari_spa.io.images import open_image

            found = make_thumbnail(open_image(path))
        except SpaError as error:
            found = str(error)
        except Exception as error:  # noqa: BLE001  a decoder's; said where it is listed
            found = f"{path} cannot be read as an image: {error}."
        if not self._closed:
            self._made.emit(folder, name, found)

    def _on_made(self, folder: int, name: str, found: Any) -> None:
        if folder != self._folder or self._closed:
            return
        picture = None if isinstance(found, str) else found
        self._kept[name] = picture
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        if picture is None:
            self.failed.emit(name, found)
        else:
            self.ready.emit(name)


def make_thumbnail(file: ImageFile, side: int = SIDE) -> NDArray[np.uint8]:
    """Make a small picture, (h, w, 3) uint8, of an image or of the middle of a stack."""
    from skimage.transform import resize

    plane = _middle(file, side)
    grey = plane.astype(np.float32) if plane.ndim == 3 else plane.astype(np.float32)[..., None]
    if grey.shape[2] == 2:
        grey = grey[..., :1]
    colours = grey[..., :3]
    finite = colours[np.isfinite(colours)]
    if plane.ndim == 3 and plane.dtype == np.uint8:
        low, high = 0.0, 255.0
    elif finite.size:
        low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    else:
        low, high = 0.0, 1.0
    scaled = (np.nan_to_num(colours, nan=low, posinf=high, neginf=low) - low) / max(
        high - low, 1e-12
    )
    ratio = side / max(scaled.shape[:2])
    shape = tuple(max(1, round(n * ratio)) for n in scaled.shape[:2])
    small = resize(np.clip(scaled, 0, 1), shape, order=1, anti_aliasing=ratio < 1)
    picture = np.round(255 * np.clip(small, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(picture, (*shape, 3)))


def _middle(file: ImageFile, side: int) -> NDArray[np.generic]:
    """Read the middle plane, not much finer than it is needed."""
    count = len(file.info.axes)
    fine = [d for d in file.levels if max(d.shape[count - 2 : count]) >= side] or file.levels[:1]
    data = fine[-1]
    height, width = data.shape[count - 2 : count]
    step = max(1, max(height, width) // (_FINER * side))
    stack = tuple(n // 2 for n in data.shape[: count - 2])
    return np.asarray(data[(*stack, slice(None, None, step), slice(None, None, step))])
