"""A study with people: what the docks wrote down, as rows of the same table.

A user's rounds are in the decision logs (``NAME.spa.jsonl``) that the docks and the
project folder keep.  Each round becomes a row: how long the user took over it, and what
they did then.  The mask of a round is not in a log, only what was accepted in the end, so
Dice is that of the last round alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.measures import dice, iou
from napari_spa.core.types import BoolArray, Region
from napari_spa.errors import DataError
from napari_spa.evaluate.measures import Row, bootstrap, boundary_distance
from napari_spa.evaluate.tables import Table, spread
from napari_spa.io.event_log import read_records
from napari_spa.refine.log.journal import accepted_mask, image_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_spa.datasets import CaseFolder
    from napari_spa.io.event_log import Record

ENDING = ".spa.jsonl"
_NOTHING = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """An object as someone accepted it."""

    participant: str  # the folder of the logs
    image: str  # name of the image's file, and of folders before it
    object: int  # its label
    model: str
    blind: bool  # whether masks were shown in random order without a recommendation
    times: tuple[float, ...]  # when each round began, and the object was accepted, in seconds
    acts: tuple[str, ...]  # what ended each round: pick, click, ..., accept
    mask: BoolArray  # (H, W)


def read_outlines(paths: Iterable[Path]) -> list[Outline]:
    """Read logs, and folders of logs."""
    found = dict[Path, Path]()  # each log once, and its participant's folder
    for path in (path.resolve() for path in paths):
        files = sorted(path.rglob(f"*{ENDING}")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no decision log (NAME{ENDING}).")
        for file in files:
            found.setdefault(file.resolve(), path if path.is_dir() else path.parent)
    names = _names(set(found.values()))
    return [outline for file, of in found.items() for outline in _read_log(file, names[of])]


def _names(folders: set[Path]) -> dict[Path, str]:
    """Call each folder by its last name, and by those before it until no other is called so."""
    names = {}
    for folder in folders:
        count, parts = 1, folder.parts
        while any(other.parts[-count:] == parts[-count:] for other in folders - {folder}):
            count += 1
        names[folder] = Path(*parts[-count:]).as_posix()
    return names


def _read_log(path: Path, participant: str) -> list[Outline]:
    records = read_records(path)
    facts, model = image_facts(records)
    found: list[Outline] = []
    rounds: list[Record] = []  # decisions on the active object
    blind = False
    try:
        for record in records:
            kind = record.get("kind")
            if kind == "decision":
                rounds = [record] if record["act"] == "start" else [*rounds, record]
            elif kind == "blind":
                blind = True
            elif kind in ("accept", "discard"):
                if kind == "accept" and rounds and not record["decisions"]:
                    height, width = facts.shape[-2:]
                    local = accepted_mask(record, (height, width))
                    times = [float(each["time"]) for each in rounds]
                    acts = [str(each["act"]) for each in rounds]
                    if acts[0] == "start":
                        del acts[0]
                    else:  # reopened, the log does not say when
                        times.insert(0, times[0])
                    found.append(
                        Outline(
                            participant,
                            facts.name,
                            int(record["object"]),
                            str(model.get("name", "")),
                            blind,
                            (*times, float(record.get("time", times[-1]))),
                            (*acts, "accept"),
                            local.within(Region(0, 0, height, width)),
                        )
                    )
                rounds, blind = [], False
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error!r}).") from error
    return found


def human_rows(outlines: Sequence[Outline], folder: CaseFolder | None = None) -> list[Row]:
    """Return the rows of a study."""
    wanted = _wanted(folder)
    rows = []
    done = Counter[tuple[str, ...]]()  # rounds of an object that was accepted before
    for outline in outlines:
        name, path = outline.image, PurePosixPath(outline.image)
        cases = name, str(path.parent / path.stem), path.stem  # as data sets name them
        target = next((wanted[case] for case in cases if case in wanted), None)
        method = f"{outline.model} blind" if outline.blind else outline.model
        key = outline.participant, method, name, str(outline.object)
        before = done[key]
        done[key] += len(outline.acts)
        for number, act in enumerate(outline.acts, start=1):
            last = number == len(outline.acts)
            scores = (_NOTHING,) * 3
            if last and target is not None and target.shape == outline.mask.shape:
                both = outline.mask, target
                scores = dice(*both), iou(*both), boundary_distance(*both)
            rows.append(
                Row(
                    image=name,
                    group=name,
                    object=outline.object,
                    target="accepted" if target is None else "majority",
                    method=method,
                    user=outline.participant,
                    clicks="human",
                    round=before + number,
                    dice=scores[0],
                    iou=scores[1],
                    boundary=scores[2],
                    best_dice=_NOTHING,
                    similarity=_NOTHING,
                    plausible=_NOTHING,
                    candidates=0,
                    uncertainty=_NOTHING,
                    seconds=max(0.0, outline.times[number] - outline.times[number - 1]),
                    act=act,
                )
            )
    return rows


def _wanted(folder: CaseFolder | None) -> dict[str, BoolArray]:
    """Return what at least half of those marked who marked anything, image by image."""
    if folder is None:
        return {}
    found = {}
    for name in folder.names():
        marked = [mask for mask in folder.read(name).masks if mask.any()]
        if marked:
            found[name] = np.asarray(np.mean(marked, axis=0) >= 0.5)
    return found


def human_table(rows: Sequence[Row], *, seed: int = 0) -> Table:
    """Return what each participant needed for an object (paper, section 12)."""
    objects: dict[tuple[str, str], dict[tuple[str, int], list[Row]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        objects[row.user, row.method][row.image, row.object].append(row)
    lines = []
    for (participant, method), found in objects.items():
        images = [image for image, _ in found]
        columns = (
            [sum(row.seconds for row in rounds) for rounds in found.values()],
            [float(len(rounds)) for rounds in found.values()],
            [float(sum(row.act == "pick" for row in rounds)) for rounds in found.values()],
            [float(sum(row.act == "click" for row in rounds)) for rounds in found.values()],
            [rounds[-1].dice for rounds in found.values()],
        )
        cells = [
            spread(bootstrap(column, images, seed=seed), digits=2 if index < 4 else 3)
            for index, column in enumerate(columns)
        ]
        lines.append((participant, method, str(len(found)), *cells))
    return Table(
        "people",
        "People: time and rounds for an object",
        "From the first prompt to the accepted outline, pauses included; Dice of what was "
        "accepted with what at least half of the raters marked.",
        ("participant", "model", "objects", "seconds", "rounds", "picks", "clicks", "Dice"),
        tuple(lines),
    )
