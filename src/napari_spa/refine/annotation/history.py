"""What acts on objects changed, and which of them can be taken back or done again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_spa.core.types import LocalMask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Region
    from napari_spa.refine.annotation.objects import AnnotatedObject, Part


ChangeKind = Literal["accept", "delete", "describe", "keep", "merge", "split", "edit"]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels that changed in one region of one plane.

    Attributes
    ----------
    plane : Plane
        Which plane.
    pixels : LocalMask
        Those that changed.
    before, after : ndarray of shape (n,)
        Their labels, in row-major order.
    """

    plane: Plane
    pixels: LocalMask
    before: NDArray[np.integer]
    after: NDArray[np.integer]

    @classmethod
    def between(
        cls, plane: Plane, region: Region, before: NDArray[np.integer], after: NDArray[np.integer]
    ) -> Patch:
        """Find what changed in a region.

        Parameters
        ----------
        plane : Plane
            Which plane.
        region : Region
            Where on it.
        before, after : ndarray of shape (region.height, region.width)
            Its labels.

        Returns
        -------
        Patch
        """
        changed = before != after
        pixels = LocalMask.crop(changed, region)
        return cls(plane, pixels, before[changed], after[changed])

    @property
    def reverse(self) -> Patch:
        """What takes it back."""
        return Patch(self.plane, self.pixels, self.after, self.before)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One act on the objects: what it did to pixels and to the table."""

    kind: ChangeKind  # what was done
    number: int  # to which object
    patches: tuple[Patch, ...]  # in the order they were written
    before: Mapping[int, AnnotatedObject]  # the objects
    after: Mapping[int, AnnotatedObject]  # the objects
    group: int | None = None  # changes of one group, in a row, are taken back together

    @property
    def act(self) -> str:
        """In words, for a menu: "accept object 3"."""
        return f"{self.kind} object {self.number}"

    @property
    def accepted(self) -> Part | None:
        """The part of the object that was accepted; None where nothing was."""
        if self.kind != "accept" or not self.patches:
            return None
        held = self.after.get(self.number)
        return None if held is None else held.on(self.patches[0].plane)


class History:
    """The latest acts, and those that were taken back.

    An act is one change, or all changes of a group that follow each other.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._done: list[Change] = []
        self._undone: list[Change] = []

    @property
    def last(self) -> Change | None:
        """The change that :meth:`back` begins with."""
        return self._done[-1] if self._done else None

    @property
    def last_undone(self) -> Change | None:
        """The change that :meth:`forward` begins with."""
        return self._undone[-1] if self._undone else None

    def add(self, change: Change) -> None:
        """Take a change that was done; what was taken back before cannot be computed again."""
        self._done = self._latest_acts([*self._done, change])
        self._undone.clear()

    def back(self) -> Iterator[Change]:
        """Give the changes of the last act, of which there must be one, to be taken back."""
        return _move_act(self._done, self._undone)

    def forward(self) -> Iterator[Change]:
        """Give the changes of the act taken back last, of which there must be one."""
        return _move_act(self._undone, self._done)

    def _latest_acts(self, changes: list[Change]) -> list[Change]:
        """Return the changes of the latest acts, whole groups only."""
        acts, start = 0, len(changes)
        while start:
            group = changes[start - 1].group
            if start == len(changes) or group is None or group != changes[start].group:
                acts += 1
            if acts > self._kept:
                break
            start -= 1
        return changes[start:]


def _move_act(source: list[Change], target: list[Change]) -> Iterator[Change]:
    """Give the changes of the act at the end of a list; each goes to the other list after."""
    while True:
        change = source.pop()
        yield change
        target.append(change)
        if not source or change.group is None or source[-1].group != change.group:
            return
