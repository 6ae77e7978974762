"""The acts of a user on an object, and what they said pixel by pixel."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_spa.core.obedience import Evidence
from napari_spa.core.types import BoolArray, Box, MixtureParameters, Prompts, Stroke

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.refine.engine.alternatives import Hypothesis
    from napari_spa.refine.engine.view import FieldOfView


Act = Literal["start", "pick", "click", "stroke", "box", "edit", "view", "resize", "look"]
FIRST_SEEN = ("start", "look")
"""Acts after which an object is computed from the image as it is seen, and no round before."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One act of the user, and what it led to."""

    act: Act  # "edit" moved or took back clicks, "look" is with other channels or contrast
    round: int  # number of the round that it led to, and the seed of that round
    seed: int
    pick: int | None  # index of the picked candidate
    prompts: Prompts  # all of them after the act
    # Of each candidate that was on offer: pixels added, removed, and its weight.
    offered: tuple[tuple[int, int, float], ...]
    mixture: MixtureParameters  # the preference distribution after the act
    view: FieldOfView  # after the act
    entropy: tuple[int, int]  # the session's seed and the object's number: later seeds follow
    time: float  # in seconds since 1970
    # What else the prompts may mean from now on; None when that stays as it was.
    hypotheses: tuple[Hypothesis, ...] | None = None
    # Where on the size axis, in [-1, 1], the recommendation is held from now on; None where the
    # mixture decides it.
    size: float | None = None

    @property
    def teaches(self) -> bool:
        """Whether it is a pick of an outline, and not of another object."""
        return self.act == "pick" and self.hypotheses is None

    @property
    def corrects(self) -> bool:
        """Whether it says where the boundary lies, other than by a pick."""
        return self.act in ("click", "stroke", "box", "edit", "resize")


def still_there(before: tuple[Any, ...], now: tuple[Any, ...]) -> list[bool]:
    """Tell which of some items are left, in their order; others may have come after them."""
    left, found = deque(now), []
    for item in before:
        found.append(bool(left) and left[0] == item)
        if found[-1]:
            left.popleft()
    return found


def settled(decisions: tuple[Decision, ...]) -> list[Decision]:
    """Return decisions as if what was taken back by an edit had never been said."""
    found: list[Decision] = []
    for decision in decisions:
        if decision.act == "edit":
            before, now = decisions[len(found) - 1].prompts, decision.prompts
            clicks = still_there(before.clicks, now.clicks)
            strokes = still_there(before.strokes, now.strokes)
            found = [_forgetful(earlier, clicks, strokes) for earlier in found]
        found.append(decision)
    return found


def _forgetful(decision: Decision, clicks: list[bool], strokes: list[bool]) -> Decision:
    """Return a decision with those of its clicks and strokes, the first of all, that are left."""
    prompts = replace(
        decision.prompts,
        clicks=tuple(compress(decision.prompts.clicks, clicks)),
        strokes=tuple(compress(decision.prompts.strokes, strokes)),
    )
    return replace(decision, prompts=prompts)


def own_places(decisions: tuple[Decision, ...]) -> list[int]:
    """Return which of the latest clicks the user made; the others are points of their picks."""
    own: list[int] = []
    known = 0
    for decision in settled(decisions):
        if decision.act != "pick":
            own += range(known, len(decision.prompts.clicks))
        known = len(decision.prompts.clicks)
    return own


@lru_cache(maxsize=8)
def evidence_of(decisions: tuple[Decision, ...]) -> Evidence:
    """Return what acts said pixel by pixel; of two that contradict, the later one counts."""
    places, labels = np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=bool)
    box: Box | None = None
    clicks = strokes = 0
    for decision in settled(decisions):
        prompts = decision.prompts
        if prompts.box is not None and decision.act in ("start", "box"):
            box = prompts.box
            kept = ~labels | _held(box, places)
            places, labels = places[kept], labels[kept]
        fresh: list[tuple[NDArray[np.int64], bool]] = []
        drawn = prompts.strokes[strokes:]
        # Points of a pick are the engine's, and so are those along a stroke, which may lie beside
        # its pixels; without the stroke, as in old logs, they are all that is known of it.
        if decision.act != "pick" and not drawn:
            for c in prompts.clicks[clicks:]:
                fresh.append((np.array([c.pixel], dtype=np.int64), c.label == 1))
        fresh += [(stroke_pixels(s), s.label == 1) for s in drawn]
        clicks, strokes = len(prompts.clicks), len(prompts.strokes)
        for pixels, label in fresh:
            places = np.concatenate([places, pixels])
            labels = np.concatenate([labels, np.full(len(pixels), label)])
            if label and box is not None:
                box = _grown(box, pixels)
        places, labels = _latest(places, labels)
    return Evidence(places, labels, box)


def _latest(places: NDArray[np.int64], labels: BoolArray) -> tuple[NDArray[np.int64], BoolArray]:
    """Name each place once, where it was first named, with what was said of it last."""
    if len(places) < 2:
        return places, labels
    low = places.min(axis=0)
    keys = np.ravel_multi_index(tuple((places - low).T), tuple(np.ptp(places, axis=0) + 1))
    _, first = np.unique(keys, return_index=True)
    _, last = np.unique(keys[::-1], return_index=True)
    order = np.argsort(first)
    return places[first[order]], labels[len(labels) - 1 - last[order]]


def _held(box: Box, places: NDArray[np.int64]) -> BoolArray:
    """Tell which pixels have their centre in a box."""
    centres = places + 0.5
    low, high = (box.row0, box.column0), (box.row1, box.column1)
    return np.asarray(((centres >= low) & (centres <= high)).all(axis=1))


def _grown(box: Box, places: NDArray[np.int64]) -> Box:
    """Let a box hold pixels, one after another."""
    for row, column in places[~_held(box, places)].tolist():
        if not (box.row0 <= row + 0.5 <= box.row1 and box.column0 <= column + 0.5 <= box.column1):
            box = Box(
                min(box.row0, row),
                min(box.column0, column),
                max(box.row1, row + 1.0),
                max(box.column1, column + 1.0),
            )
    return box


@lru_cache(maxsize=4)
def stroke_pixels(stroke: Stroke) -> NDArray[np.int64]:
    """Return the pixels, (N, 2), under a stroke, or in a lasso; kept, so not to be written to."""
    if len(stroke.path) == 1:
        return np.array(stroke.path, dtype=np.int64)
    from skimage.draw import line, polygon  # slow to import

    found = [polygon(*np.transpose(stroke.path))] if stroke.filled else []
    ends = (*stroke.path, stroke.path[0]) if stroke.filled else stroke.path
    found += [line(*start, *end) for start, end in pairwise(ends)]
    return np.concatenate([np.stack(pixels, axis=1) for pixels in found]).astype(np.int64)
