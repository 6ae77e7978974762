"""What is known of each image of a folder, while a person or a batch works on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_spa.io.projects.items import ProjectItem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from napari_spa.batch.task import ImageResult

_BEGUN_AGAIN = ("to do", "skipped", "done")


class FolderItems(Mapping[str, ProjectItem]):
    """The images of one folder by name, in natural order.

    Parameters
    ----------
    changed : callable
        Called with the name of an image of which something else is known now.
    index : callable
        Writes what a person decided or did into the project's index: the name, and the
        new values by keyword.
    """

    def __init__(self, changed: Callable[[str], None], index: Callable[..., None]) -> None:
        self._changed, self._index = changed, index
        self._items: dict[str, ProjectItem] = {}
        self._unreadable: dict[str, str] = {}

    def __getitem__(self, name: str) -> ProjectItem:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def take(self, items: Sequence[ProjectItem]) -> None:
        """Take over what the project knows; what nobody could open stays unreadable."""
        self._items = {
            item.name: replace(item, problem=self._unreadable.get(item.name, item.problem))
            for item in items
        }

    # ------------------------------------------------------------------ whether it can be read

    def is_unreadable(self, name: str) -> bool:
        """Tell whether an image cannot be opened, as far as anybody tried."""
        return name in self._unreadable

    def note_unreadable(self, name: str, words: str) -> None:
        """List why an image cannot be opened."""
        self._unreadable[name] = words
        self._note_problem(name, words)

    def note_readable(self, name: str) -> None:
        """Forget what was wrong with an image: it is open."""
        self._unreadable.pop(name, None)
        self._note_problem(name, "")

    def _note_problem(self, name: str, words: str) -> None:
        item = self._items.get(name)
        if item is not None and item.problem != words:
            self._items[name] = replace(item, problem=words)
            self._changed(name)

    # ------------------------------------------------------------------ what became of it

    def set_status(self, name: str, status: str) -> None:
        """Say what became of an image."""
        self._update(name, status=status)

    def set_note(self, name: str, note: str) -> None:
        """Write something down about an image."""
        self._update(name, note=note)

    def toggle_flag(self, name: str) -> None:
        """Flag an image, or take the flag away."""
        item = self._items.get(name)
        if item is not None:
            self._update(name, flagged=not item.flagged)

    def begin(self, name: str) -> None:
        """Say that somebody works on an image, be it for the first time or again."""
        item = self._items.get(name)
        if item is not None and item.status in _BEGUN_AGAIN:
            self._update(name, status="in progress")

    def count(self, name: str, uncertainties: Collection[float]) -> None:
        """Say how many objects an image has now, by the uncertainty of each."""
        item = self._items.get(name)
        if item is None:
            return
        count, unsure = len(uncertainties), max(uncertainties, default=None)
        if count != (item.objects or 0) or (count and unsure != item.uncertainty):
            self._update(name, objects=count, uncertainty=unsure)

    def _update(self, name: str, **changes: Any) -> None:
        item = self._items.get(name)
        if item is None or all(getattr(item, key) == value for key, value in changes.items()):
            return
        self._items[name] = replace(item, **changes)
        self._index(name, **changes)
        self._changed(name)

    def take_result(self, result: ImageResult) -> None:
        """Show what a batch made of an image; its manifest keeps it."""
        item = self._items.get(result.name)
        if item is None:
            return
        if result.outcome == "failed":
            item = replace(item, problem=result.problem)
        else:
            good = [held for held in result.objects if not held.problem]
            unsure = max((held.uncertainty for held in good), default=None)
            item = replace(
                item,
                status="review" if result.doubtful else "done",
                objects=len({held.number for held in good}),
                uncertainty=unsure,
                problem="",
            )
        self._items[result.name] = item
        self._changed(result.name)
