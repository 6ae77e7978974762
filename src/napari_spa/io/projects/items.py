"""What a project knows of an image, and how images are ordered and chosen by it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_spa.errors import InputError
from napari_spa.io.images import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Status = Literal["to do", "in progress", "done", "skipped", "review"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class ProjectItem:
    """An image of a project."""

    name: str  # in its folder: relative, POSIX, with its extension
    path: Path  # the file, or the folder of a series
    status: Status = "to do"  # what a user decided; else what a batch made of it
    flagged: bool = False  # marked by a user
    note: str = ""  # by a user
    # Of its least certain object, in [0, 1]; None where no one knows.
    uncertainty: float | None = None
    objects: int | None = None  # how many it has; None where no one knows
    problem: str = ""  # why it cannot be worked on, in a sentence; empty when it can


@dataclass(slots=True)
class Known:
    """What is kept of an image in ``project.json``; what is None no one decided."""

    status: Status | None = None  # as in :class:`ProjectItem`
    flagged: bool = False
    note: str = ""
    uncertainty: float | None = None
    objects: int | None = None
    rest: dict[str, Any] = field(default_factory=dict)  # what the file says besides, kept as it is

    @classmethod
    def of(cls, record: object) -> Known:
        """Read a record of the file; what makes no sense counts as not said."""
        if not isinstance(record, dict):
            return cls()
        status, note = record.get("status"), record.get("note")
        names = {"status", "flagged", "note", "uncertainty", "objects"}
        return cls(
            status=status if status in STATUSES else None,
            flagged=record.get("flagged") is True,
            note=note if isinstance(note, str) else "",
            uncertainty=share_of(record.get("uncertainty")),
            objects=count_of(record.get("objects")),
            rest={str(name): value for name, value in record.items() if name not in names},
        )

    def record(self) -> dict[str, Any]:
        """Return what is written; empty when nothing is known."""
        said = {
            "status": self.status,
            "flagged": self.flagged or None,
            "note": self.note or None,
            "uncertainty": self.uncertainty,
            "objects": self.objects,
        }
        return self.rest | {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class BatchFinding:
    """What a batch says of an image."""

    done: bool  # whether it has results
    doubtful: bool = False  # whether a user should look at them
    problem: str = ""  # why it has none
    uncertainty: float | None = None  # the largest of its objects
    objects: int | None = None  # how many it found

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> BatchFinding:
        """Read an image's record of a manifest, leniently."""
        done = record.get("outcome") == "done"
        listed = record.get("objects")
        objects = [o for o in listed if isinstance(o, dict)] if isinstance(listed, list) else []
        shares = [share_of(record.get("uncertainty"))]
        shares += [share_of(o.get("uncertainty")) for o in objects if not o.get("problem")]
        numbers = {count_of(o.get("number")) for o in objects if not o.get("problem")}
        return cls(
            done,
            doubtful=record.get("doubtful") is True,
            problem="" if done else str(record.get("problem") or "the batch failed on it."),
            uncertainty=max((share for share in shares if share is not None), default=None),
            objects=len(numbers) if done and isinstance(listed, list) else None,
        )


def make_item(name: str, path: Path, known: Known, found: BatchFinding | None) -> ProjectItem:
    """Join what a user decided with what a batch found; the user wins."""
    status, problem = known.status, ""
    uncertainty, objects = known.uncertainty, known.objects
    if found is not None:
        uncertainty = found.uncertainty if uncertainty is None else uncertainty
        objects = found.objects if objects is None else objects
        if status is None and found.done:
            status = "review" if found.doubtful else "done"
        if status is None:
            problem = found.problem
    return ProjectItem(
        name, path, status or "to do", known.flagged, known.note, uncertainty, objects, problem
    )


def in_order(
    items: Iterable[ProjectItem], order: Literal["name", "uncertainty", "status"] = "name"
) -> list[ProjectItem]:
    """Sort images."""
    by_name = sorted(items, key=lambda item: natural_key(item.name))
    if order == "name":
        return by_name
    if order == "uncertainty":
        return sorted(by_name, key=lambda i: 1.0 if i.uncertainty is None else -i.uncertainty)
    if order == "status":
        urgent = ("review", "in progress", "to do", "done", "skipped")
        return sorted(by_name, key=lambda item: urgent.index(item.status))
    raise InputError(f"images are ordered by name, uncertainty or status, not by {order}.")


def matching(
    items: Iterable[ProjectItem],
    *,
    status: Iterable[Status] | None = None,
    flagged: bool | None = None,
    text: str = "",
    problem: bool | None = None,
) -> list[ProjectItem]:
    """Choose images; what is not given does not matter."""
    wanted = None if status is None else set(status)
    part = text.strip().casefold()
    return [
        item
        for item in items
        if (wanted is None or item.status in wanted)
        and (flagged is None or item.flagged == flagged)
        and (problem is None or bool(item.problem) == problem)
        and (part in item.name.casefold() or part in item.note.casefold())
    ]


def in_brief(sentence: str, path: Path) -> str:
    """Name files by their names alone, for those who know which folder is meant."""
    for folder in (path.parent, path.parent.resolve()):
        sentence = sentence.replace(f"{folder}{os.sep}", "")
    return sentence


def share_of(value: object) -> float | None:
    """Return a finite number as float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def count_of(value: object) -> int | None:
    """Return a whole number that is not negative; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value
