"""Simulated users: they have a mask in mind, and see nothing but what is shown to them.

A user is asked what to do after each round and answers with an :class:`Action`.  A segmenter
never learns the mask in mind; a user never learns what a segmenter computes inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from scipy import ndimage

from napari_spa.core.measures import dice, pick_nearest
from napari_spa.core.types import BoolArray, Box, Click
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


ClickStyle = Literal["uniform", "central", "realistic"]
CLICK_STYLES: tuple[ClickStyle, ...] = get_args(ClickStyle)
Currency = Literal["pick", "click", "box"]

_UNSTEADY = 0.01  # deviation of a realistic click from where it was aimed, in sides of the image
_TRIES = 20
_LOOSE = 0.1
"""A drawn box is up to so much wider or narrower at each side, in extents of the object."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Take a candidate, by its index."""

    index: int


Action: TypeAlias = Pick | Click | Box


def action_name(act: Action | None) -> str:
    """Return the kind of an act: pick, click, box, or none."""
    return "none" if act is None else type(act).__name__.lower()


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What a user sees in one round."""

    mask: BoolArray  # (H, W), what is recommended
    candidates: tuple[BoolArray, ...] = ()  # (H, W) each; none from a segmenter that offers none
    uncertainty: float = float("nan")  # as the segmenter says; NaN when it says nothing
    seconds: float = 0.0  # how long the round took to compute


def place_click(area: BoolArray, style: ClickStyle, rng: np.random.Generator) -> tuple[int, int]:
    """Choose a pixel (row, column) of an area ``(H, W)``, not empty, to click on.

    By the style: ``uniform``, any pixel alike (the paper); ``central``, the pixel deepest inside;
    or ``realistic``, as people click (the idea of RClicks): aimed at with a probability that grows
    with the square of the depth, and hit with an unsteady hand, again until the area is hit.
    """
    places = np.argwhere(area)
    if style == "uniform":
        row, column = places[rng.integers(len(places))]
        return int(row), int(column)
    first, last = places.min(axis=0), places.max(axis=0)
    cut = np.pad(area[first[0] : last[0] + 1, first[1] : last[1] + 1], 1)
    depth = ndimage.distance_transform_edt(cut)[1:-1, 1:-1]
    if style == "central":
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        return int(row + first[0]), int(column + first[1])
    chances = (depth**2).ravel() / (depth**2).sum()
    aim = np.array(np.unravel_index(int(rng.choice(depth.size, p=chances)), depth.shape)) + first
    for _ in range(_TRIES):
        hit = np.rint(aim + rng.normal(0, _UNSTEADY * max(area.shape), 2)).astype(int)
        if (hit >= 0).all() and (hit < area.shape).all() and area[hit[0], hit[1]]:
            return int(hit[0]), int(hit[1])
    return int(aim[0]), int(aim[1])


def corrective_click(
    shown: BoolArray, wanted: BoolArray, style: ClickStyle, rng: np.random.Generator
) -> Click | None:
    """Click into the largest connected error of the mask shown; None when there is none.

    On the object where something is missing, on the background where too much is shown.
    """
    parts, count = ndimage.label(shown ^ wanted)
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())
    row, column = place_click(parts == 1 + int(sizes[1:].argmax()), style, rng)
    return Click(float(row), float(column), int(wanted[row, column]))


@dataclass(frozen=True, slots=True, eq=False)
class User:
    """Someone with a mask in mind."""

    wanted: BoolArray  # (H, W), not empty; what they have in mind
    rng: np.random.Generator  # for what they do at random
    habit: str = "picks"  # a name of :data:`HABITS`
    style: ClickStyle = "uniform"  # how they click

    @property
    def _habit(self) -> Habit:
        return HABITS[self.habit]

    def begin(self, currencies: frozenset[Currency]) -> Box | None:
        """Draw a box if they use boxes, or if the method takes nothing else."""
        boxes = "box" in self._habit.currencies & currencies or currencies == {"box"}
        return self.draw_box() if boxes else None

    def draw_box(self) -> Box:
        """Draw a box around what they have in mind, loosely as people do."""
        edges = _edges(self.wanted)
        extent = np.tile(edges[2:] - edges[:2], 2)
        # The middle of what people draw is a little wide, so the object lies inside mostly.
        outward = np.array([-1, -1, 1, 1]) * extent * self.rng.uniform(-0.3, 1.0, 4) * _LOOSE
        return _box(edges + outward, self.wanted.shape)

    def move_box(self, box: Box, shown: BoolArray) -> Box | None:
        """Draw the box again, each edge moved by what the mask lacks or has too much there.

        None when the mask reaches as far as it should on all sides.
        """
        if not shown.any():
            return self.draw_box()
        reached, wanted = _edges(shown), _edges(self.wanted)
        if (reached == wanted).all():
            return None
        edges = np.array(box.edges) + wanted - reached
        return _box(edges, self.wanted.shape)

    def act(
        self, shown: Observation, currencies: frozenset[Currency], box: Box | None
    ) -> Action | None:
        """Say what to do next; None to leave it as it is."""
        usable = self._habit.currencies & currencies
        picked = self._pick(shown) if "pick" in usable else None
        if picked is not None and self._habit.compares:
            offered = dice(shown.candidates[picked.index], self.wanted)
            if offered <= dice(shown.mask, self.wanted):
                picked = None
        if picked is not None or ("pick" in usable and "click" not in usable):
            return picked
        if "click" in usable:
            return corrective_click(shown.mask, self.wanted, self.style, self.rng)
        return self.move_box(box, shown.mask) if "box" in usable and box is not None else None

    def _pick(self, shown: Observation) -> Pick | None:
        count = len(shown.candidates)
        if count == 0:
            return None
        nearest = pick_nearest(shown.candidates, self.wanted)
        if self._habit.slips and self.rng.random() < self._habit.slips:
            if self._habit.slips == 1:  # blindly: any candidate, the nearest one too
                return Pick(int(self.rng.integers(count)))
            others = [index for index in range(count) if index != nearest]
            return Pick(int(self.rng.choice(others)) if others else nearest)
        return Pick(nearest)


_PICK: frozenset[Currency] = frozenset({"pick"})


@dataclass(frozen=True, slots=True)
class Habit:
    """What a simulated user does."""

    about: str  # one line for a user
    currencies: frozenset[Currency]  # the acts that they use
    # How often a pick is another than the nearest candidate; 1: they pick blindly.
    slips: float = 0.0
    compares: bool = False  # a candidate is picked only when it is nearer than the recommended mask


HABITS: Mapping[str, Habit] = {
    "picks": Habit("picks the candidate nearest to the mask in mind", _PICK),
    "approves": Habit(
        "picks as long as a candidate is nearer than the recommended mask, then keeps that",
        _PICK,
        compares=True,
    ),
    "boxed": Habit(
        "draws a box with the first click, then does what approves does",
        _PICK | {"box"},
        compares=True,
    ),
    "clicks": Habit("clicks into the largest error of the recommended mask", frozenset({"click"})),
    "both": Habit(
        "picks a candidate that is nearer than the recommended mask, else clicks",
        _PICK | {"click"},
        compares=True,
    ),
    "slips-5": Habit("picks, and 5 % of the picks are wrong", _PICK, slips=0.05),
    "slips-20": Habit("picks, and 20 % of the picks are wrong", _PICK, slips=0.2),
    "random": Habit("picks blindly", _PICK, slips=1.0),
    "boxes": Habit("draws a box, and its edges again where the mask is wrong", frozenset({"box"})),
    "looks": Habit("looks at the mask and does nothing", frozenset()),
}


def check_habits(names: Sequence[str]) -> None:
    """Raise ``InputError`` for a name that is no habit."""
    unknown = [name for name in names if name not in HABITS]
    if unknown:
        raise InputError(f"unknown user {', '.join(unknown)}; choose of {', '.join(HABITS)}.")


def _edges(mask: BoolArray) -> NDArray[np.float64]:
    """Return the edges (row0, column0, row1, column1) around a mask that is not empty."""
    rows, columns = np.nonzero(mask)
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], dtype=float)


def _box(edges: NDArray[np.float64], shape: tuple[int, ...]) -> Box:
    """Return a box within an image, of one pixel or more."""
    row0, column0, row1, column1 = np.clip(edges, 0, [*shape, *shape]).tolist()
    row1, column1 = max(row1, min(row0 + 1, shape[0])), max(column1, min(column0 + 1, shape[1]))
    return Box(min(row0, row1 - 1), min(column0, column1 - 1), row1, column1)
