"""What is said about objects in the table, and in which order they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_spa.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

_ORDER = ("in progress", "review", "propagated", "edited", "accepted")
# A slice or a range of slices, after the position along further stack axes and a dot.
_RANGE = re.compile(r"((?:\d+\.)*)(\d+)(?:\s*[–-]\s*(\d+))?")  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """What the table shows of one object.

    Attributes
    ----------
    number : int
        The object's number in the labels, at least 1.
    slices : str
        ``"12"``, ``"12–19"`` or ``"12–14, 17"``; ``"3.12–19"`` where there are two stack
        axes; empty without a stack.  (An en dash; a hyphen is read too.)
    area : int
        In pixels, over all slices.
    rounds : int
        Rounds it took.
    uncertainty : float
        In [0, 1].
    status : str
        ``"accepted"``, ``"in progress"``, ``"propagated"``, ``"review"`` or ``"edited"``.
    """  # noqa: RUF002

    number: int
    slices: str
    area: int
    rounds: int
    uncertainty: float
    status: str

    def texts(self) -> tuple[str, ...]:
        """Return the texts of its cells, in the order of the columns."""
        unsure = f"{self.uncertainty:.2f}"
        return (
            str(self.number),
            self.slices,
            f"{self.area:,}",
            str(self.rounds),
            unsure,
            self.status,
        )

    def sort_keys(self) -> tuple[float, ...]:
        """Return the numbers that its cells are sorted by, in the order of the columns."""
        status = _ORDER.index(self.status) if self.status in _ORDER else -1
        slices = _slice_order(self.slices)
        return self.number, slices, self.area, self.rounds, self.uncertainty, status

    def words(self) -> str:
        """Say everything about it in one line."""
        where = f", slice {self.slices}" if self.slices else ""
        rounds = counted(self.rounds, "round")
        return (
            f"Object {self.number}{where}: {self.area:,} px, {rounds}, "
            f"uncertainty {self.uncertainty:.2f}, {self.status}"
        )


def summary(rows: Sequence[ObjectRow]) -> str:
    """Say how many objects there are, on how many slices, and how many to look at again.

    Parameters
    ----------
    rows : sequence of ObjectRow
        All objects.

    Returns
    -------
    str
        ``"12 objects on 5 slices, 2 to review"``.
    """
    words = counted(len(rows), "object")
    slices = len({place for row in rows for place in _places(row.slices)})
    if slices:
        words += f" on {counted(slices, 'slice')}"
    review = sum(row.status == "review" for row in rows)
    return f"{words}, {review} to review" if review else words


@lru_cache(maxsize=4096)
def _places(slices: str) -> frozenset[tuple[str, int]]:
    """Every slice that a text names: its positions before the last, and the last."""
    return frozenset(
        (before, place)
        for before, first, last in _RANGE.findall(slices)
        for place in range(int(first), int(last or first) + 1)
    )


def _slice_order(slices: str) -> float:
    """Give a number to sort by: the first slice, then the last."""
    found = _RANGE.findall(slices)
    if not found:
        return -1.0
    (before, first, _), (_, start, end) = found[0], found[-1]
    order = 0.0
    for number in [*before.split(".")[:-1], first]:
        order = order * 1e5 + int(number)
    return order + int(end or start) / 1e6
