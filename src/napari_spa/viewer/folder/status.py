"""What is said of the image on show: how far a person is on it, until something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.viewer.folder.stage import OpenItem


class FolderStatus:
    """Say how far an image is, once for each change; trouble stays on show.

    Parameters
    ----------
    say : callable
        Takes the sentence.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: str | None = ""  # of this image; None: trouble is on show

    def begin(self) -> None:
        """Say everything anew: another image comes."""
        self._said = ""

    def hush(self, _: str = "") -> None:
        """Say no more of this image, so that trouble stays on show."""
        self._said = None

    def show(self, item: OpenItem) -> None:
        """Say how far an image is, or what to do on it, when that changed."""
        if self._said is None:
            return
        count = len(item.work.annotation.objects)
        words = "click on an object."
        if count:
            words = f"{counted(count, 'object')} so far."
        elif item.work.at_hand is not None:
            words = "the first object is at hand."
        sentence = f"{item.name}: {words}"
        if sentence != self._said:
            self._said = sentence
            self._say(sentence)
