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
    """An image of a project.

    Attributes
    ----------
    name : str
        In its folder: relative, POSIX, with its extension.
    path : Path
        The file, or the folder of a series.
    status : {"to do", "in progress", "done", "skipped", "review"}
        What a person decided; else what a batch made of it.
    flagged : bool
        Marked by a person.
    note : str
        By a person.
    uncertainty : float or None
        Of its least certain object, in [0, 1]; None where nobody knows.
    objects : int or None
        How many it has; None where nobody knows.
    problem : str
        Why it cannot be worked on, in a sentence; empty when it can.
    """

    name: str
    path: Path
    status: Status = "to do"
    flagged: bool = False
    note: str = ""
    uncertainty: float | None = None
    objects: int | None = None
    problem: str = ""


@dataclass(slots=True)
class Known:
    """What is kept of an image in ``project.json``; what is None nobody decided.

    Attributes
    ----------
    status, flagged, note, uncertainty, objects
        As in :class:`ProjectItem`.
    rest : dict
        What the file says besides, kept as it is.
    """

    status: Status | None = None
    flagged: bool = False
    note: str = ""
    uncertainty: float | None = None
    objects: int | None = None
    rest: dict[str, Any] = field(default_factory=dict)

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
    """What a batch says of an image.

    Attributes
    ----------
    done : bool
        Whether it has results.
    doubtful : bool
        Whether a person should look at them.
    problem : str
        Why it has none.
    uncertainty : float or None
        The largest of its objects.
    objects : int or None
        How many it found.
    """

    done: bool
    doubtful: bool = False
    problem: str = ""
    uncertainty: float | None = None
    objects: int | None = None

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
    """Join what a person decided with what a batch found; the person wins.

    Parameters
    ----------
    name, path
        Of the image.
    known : Known
        From the project.
    found : BatchFinding or None
        From a manifest.

    Returns
    -------
    ProjectItem
    """
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
    """Sort images.

    Parameters
    ----------
    items : iterable of ProjectItem
        In any order.
    order : {"name", "uncertainty", "status"}
        Natural order; the most doubtful first and those of which nothing is known last; or
        by status, with what needs a person first.  Equal ones are in natural order.

    Returns
    -------
    list of ProjectItem

    Raises
    ------
    InputError
        When there is no such order.
    """
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
    """Choose images; what is not given does not matter.

    Parameters
    ----------
    items : iterable of ProjectItem
        In any order, which is kept.
    status : iterable of str or None
        One of these.
    flagged : bool or None
        Marked or not.
    text : str
        In the name or the note, in any case.
    problem : bool or None
        With or without one.

    Returns
    -------
    list of ProjectItem
    """
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
    """Name files by their names alone, for those who know which folder is meant.

    Parameters
    ----------
    sentence : str
        What it says of a file, or of others in its folder.
    path : Path
        The file.

    Returns
    -------
    str
    """
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
