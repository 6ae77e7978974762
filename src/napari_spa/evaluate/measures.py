"""What is asked of a method, what is measured in each round, and means of it with intervals.

Rows of one image are not independent (several users, several objects), nor are images of
one patient, so patients are what is drawn again in the bootstrap where the data set knows
them, and images where it does not.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from scipy import ndimage

from napari_spa.core.measures import dice, iou, pairwise_dice
from napari_spa.core.objects import split_objects
from napari_spa.core.presentation import outline
from napari_spa.errors import DataError, InputError
from napari_spa.evaluate.users import Action, Observation, action_name
from napari_spa.refine.engine.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray
    from napari_spa.datasets import Case, CaseFolder
    from napari_spa.evaluate.users import ClickStyle


T = TypeVar("T")
Combinations = int | Literal["all", "raters"]


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What is played."""

    split: str | None = "val"  # which cases; None for all
    objects: bool = False  # each connected object of the masks is a target of its own
    # Users of an object: every combination of its raters, at most so many of them, drawn by the
    # seed, or single raters only.
    combinations: Combinations = 15
    rounds: int = 6  # J, masks that a user sees
    # Names of :data:`napari_spa.evaluate.methods.METHODS`.
    methods: tuple[str, ...] = ("spa", "spa-both", "spa-frozen", "spa-random-pick")
    # Names of :data:`napari_spa.evaluate.users.HABITS`, each played with the methods that take
    # what it does; by default each method has its own user, in its own currency.
    users: tuple[str, ...] | None = None
    clicks: tuple[ClickStyle, ...] = ("central", "realistic")  # how users click
    limit: int | None = None  # play only so many cases, drawn by the seed
    targets: int | None = None  # at most so many objects of one image, drawn by the seed
    seed: int = 0  # decides clicks, subsets, and what users do at random
    # Numbers of samples and candidates, and what a pick carries on.
    engine: EngineConfig = field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        for name in ("combinations", "rounds", "limit", "targets"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise InputError(f"{name} must be at least 1, but is {value}.")


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One object of an image as some of its raters see it."""

    # Whose masks are fused: what each of them marked is averaged, and what at least half of them
    # marked is the target (paper, section 8).
    raters: tuple[str, ...]
    mask: BoolArray  # (H, W), not empty

    @property
    def name(self) -> str:
        """The raters' names with plus signs between them."""
        return "+".join(self.raters)


@dataclass(frozen=True, slots=True, eq=False)
class RatedMasks:
    """One object of an image as each of its raters marked it."""

    object: int  # number of the object in its image
    raters: tuple[str, ...]  # R names of those who marked it
    masks: BoolArray  # (R, H, W), none empty


def choose_names(folder: CaseFolder, config: EvaluateConfig) -> list[str]:
    """Return the names of the cases that are played."""
    names = folder.names(config.split)
    if not names:
        raise DataError(f"there is no image of the split {config.split!r}; check split.csv.")
    if config.limit is not None and config.limit < len(names):
        names = _some(names, config.limit, np.random.default_rng(config.seed))
    return names


def _some(items: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    """Draw so many of the items, in their order."""
    return [items[index] for index in sorted(rng.permutation(len(items))[:count])]


def choose_objects(case: Case, config: EvaluateConfig) -> list[RatedMasks]:
    """Return the objects of an image that someone marked."""
    stacks = split_objects(case.masks) if config.objects else [case.masks]
    numbered = [(number, masks) for number, masks in enumerate(stacks) if masks.any()]
    if config.targets is not None and config.targets < len(numbered):
        numbered = _some(numbered, config.targets, seeded(config, case.name))
    found = []
    for number, masks in numbered:
        marked = np.flatnonzero(masks.any(axis=(1, 2)))
        raters = tuple(case.raters[index] for index in marked)
        found.append(RatedMasks(number, raters, masks[marked]))
    return found


def combine_raters(name: str, rated: RatedMasks, config: EvaluateConfig) -> list[Target]:
    """Return a target for every combination of raters, or for as many as are asked for."""
    indices = range(len(rated.raters))
    sizes = [1] if config.combinations == "raters" else range(1, len(indices) + 1)
    chosen = [group for size in sizes for group in combinations(indices, size)]
    most = config.combinations
    if isinstance(most, int) and most < len(chosen):
        chosen = _some(chosen, most, seeded(config, name, rated.object, "combinations"))
    targets = []
    for group in chosen:
        mask = rated.masks[list(group)].mean(axis=0) >= 0.5
        if mask.any():
            raters = tuple(rated.raters[index] for index in group)
            targets.append(Target(raters, np.asarray(mask)))
    return targets


def seeded(config: EvaluateConfig, *parts: str | int) -> np.random.Generator:
    """Return the generator of one image, target or user, whatever else is played."""
    key = [zlib.crc32(str(part).encode()) for part in parts]
    return np.random.default_rng([config.seed, *key])


PLAUSIBLE = 0.5  # a candidate is plausible when its Dice with some rater is above this


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """A method, the user who plays with it, and how that user clicks."""

    method: str
    user: str
    clicks: str


Key = tuple[str, int, str]  # what names a target: image, object, and raters


@dataclass(frozen=True, slots=True)
class Game:
    """What names a game: everything in a row before its round."""

    image: str  # the case, and its patient where the data set knows patients
    group: str
    object: int  # number of the object in its image
    target: str  # the raters whose fused mask the user has in mind, as ``reader1+reader3``
    method: str  # who segmented, what the user did, and how the user clicked
    user: str
    clicks: str

    @property
    def seat(self) -> Seat:
        """Who plays."""
        return Seat(self.method, self.user, self.clicks)

    @property
    def key(self) -> Key:
        """What is played."""
        return self.image, self.object, self.target


@dataclass(frozen=True, slots=True)
class Row(Game):
    """One round of one game."""

    round: int  # 1, 2, ...
    dice: float  # of the recommended mask with the target
    iou: float
    # Mean distance between the two outlines, both ways, in pixels; NaN when the recommended mask
    # is empty.
    boundary: float
    # Of the candidate nearest to the target; of the recommended mask without candidates.
    best_dice: float
    similarity: float  # median Dice between candidates; NaN with fewer than two
    plausible: float  # share of candidates whose Dice with some rater is above 0.5; NaN without any
    candidates: int  # number on offer
    uncertainty: float  # as the method says; NaN when it says nothing
    # To compute the round; 0 for a round that was not played because the user or the method had
    # nothing more to do.
    seconds: float
    act: str  # what the user did after seeing this round: pick, click, box or none


@dataclass(frozen=True, slots=True)
class RaterRow(Game):
    """How one round agrees with one rater, who may be among the target's or not (Table 2)."""

    round: int  # 1, 2, ...
    rater: str  # with whom it is compared
    included: bool  # whether the rater is among those whose masks were fused into the target
    dice: float  # of the recommended mask with the rater's own


Turn = tuple["Observation", "Action | None"]


def measure_game(
    game: Game, turns: Sequence[Turn], target: Target, rated: RatedMasks, rounds: int
) -> tuple[list[Row], list[RaterRow]]:
    """Measure a game; one that ended early keeps its last mask."""
    names = asdict(game)
    rows, agreement = [], []
    values: dict[str, float | int] = {}
    raters: list[float] = []
    for number in range(1, rounds + 1):
        played = number <= len(turns)
        shown, act = turns[number - 1] if played else (turns[-1][0], None)
        if played:
            values = _measure(shown, target, rated)
            raters = [dice(shown.mask, mask) for mask in rated.masks]
        rows.append(
            Row(
                **names,
                round=number,
                **values,  # type: ignore[arg-type]
                seconds=shown.seconds if played else 0.0,
                act=action_name(act),
            )
        )
        agreement += [
            RaterRow(
                **names, round=number, rater=rater, included=rater in target.raters, dice=value
            )
            for rater, value in zip(rated.raters, raters, strict=True)
        ]
    return rows, agreement


def _measure(shown: Observation, target: Target, rated: RatedMasks) -> dict[str, float | int]:
    mask, offered = shown.mask, shown.candidates
    between = pairwise_dice(offered)
    found = dice(mask, target.mask)
    seen = [max(dice(each, rater) for rater in rated.masks) > PLAUSIBLE for each in offered]
    return {
        "dice": found,
        "iou": iou(mask, target.mask),
        "boundary": boundary_distance(mask, target.mask),
        "best_dice": max((dice(each, target.mask) for each in offered), default=found),
        "similarity": float(np.median(between)) if between else float("nan"),
        "plausible": float(np.mean(seen)) if seen else float("nan"),
        "candidates": len(offered),
        "uncertainty": shown.uncertainty,
    }


def boundary_distance(first: BoolArray, second: BoolArray) -> float:
    """Return the mean distance of two outlines, both ways, in pixels; NaN if one is empty."""
    if not first.any() or not second.any():
        return float("nan")
    rows, columns = np.nonzero(first | second)
    cut = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    outlines = [outline(np.pad(mask[cut], 1)) for mask in (first, second)]
    distances = [ndimage.distance_transform_edt(~edge) for edge in outlines]
    there, back = distances[1][outlines[0]], distances[0][outlines[1]]
    return float((there.sum() + back.sum()) / (there.size + back.size))


METRICS = (
    "dice",
    "iou",
    "boundary",
    "best_dice",
    "similarity",
    "plausible",
    "uncertainty",
    "seconds",
)
DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its bootstrap interval."""

    mean: float  # the mean over rows and its 95 % interval; the latter NaN for a single image
    low: float
    high: float
    median: float  # over rows
    rows: int  # how many went in
    images: int


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric of one seat in one round."""

    seat: Seat
    round: int
    metric: str
    value: Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of Dice: the same image, object, target, clicks and round."""

    name: str  # what is compared, as ``"spa - spa-frozen"``
    clicks: str  # how users clicked
    round: int  # of the first of both
    value: Interval  # of the difference


def bootstrap(values: Sequence[float], images: Sequence[str], *, seed: int = 0) -> Interval:
    """Mean over rows with an interval from drawing images again."""
    array = np.asarray(values, dtype=np.float64)
    known = np.isfinite(array)
    array = array[known]
    if not array.size:
        return Interval(*(float("nan"),) * 4, rows=0, images=0)
    names, index = np.unique(np.asarray(images)[known], return_inverse=True)
    counts = np.bincount(index)
    totals = np.bincount(index, weights=array)
    mean, median, n = float(array.mean()), float(np.median(array)), len(names)
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), median, array.size, n)
    means = drawn_means(counts, totals, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high), median, array.size, n)


def drawn_means(
    counts: NDArray[np.intp], totals: NDArray[np.integer | np.floating], seed: int | Sequence[int]
) -> NDArray[np.float64]:
    """Return the mean over rows in each draw of images, (DRAWS,)."""
    n = len(counts)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)  # (DRAWS, n), times each is drawn
    means: NDArray[np.float64] = (drawn @ totals) / (drawn @ counts)
    return means


def by_seat(rows: Iterable[Row]) -> dict[Seat, list[Row]]:
    """Return each seat's rows, in the order in which seats first appear."""
    seats: dict[Seat, list[Row]] = defaultdict(list)
    for row in rows:
        seats[row.seat].append(row)
    return dict(seats)


def summarise(
    rows: Iterable[Row], *, seed: int = 0, metrics: Sequence[str] = METRICS
) -> list[Summary]:
    """Summarise metrics per seat and round."""
    found = []
    for seat, played in by_seat(rows).items():
        rounds: dict[int, list[Row]] = defaultdict(list)
        for row in played:
            rounds[row.round].append(row)
        for number, group in rounds.items():
            for metric in metrics:
                values = [float(getattr(row, metric)) for row in group]
                interval = bootstrap(values, [row.group for row in group], seed=seed)
                found.append(Summary(seat, number, metric, interval))
    return found


def differences(rows: Sequence[Row], *, seed: int = 0) -> list[Difference]:
    """Compare methods and rounds, paired over image, object and target."""
    groups = {row.image: row.group for row in rows}
    dice: dict[tuple[Seat, int], dict[Key, float]] = defaultdict(dict)
    for row in rows:
        dice[row.seat, row.round][row.key] = row.dice
    seats = list(by_seat(rows))
    found: list[Difference] = []
    for clicks in dict.fromkeys(seat.clicks for seat in seats):
        first, *others = (seat for seat in seats if seat.clicks == clicks)
        names = short_names([first, *others])
        rounds = sorted(number for seat, number in dice if seat == first)
        later = [number for number in rounds if number > 1]
        pairs = [(f"{names[first]} - {names[o]}", n, (o, n)) for o in others for n in rounds]
        pairs += [(f"{names[first]}: round - first", n, (first, 1)) for n in later]
        pairs += [(f"{names[first]}: round - before", n, (first, n - 1)) for n in later]
        for name, number, baseline in pairs:
            if baseline not in dice:
                continue
            mine, theirs = dice[first, number], dice[baseline]
            shared = [key for key in mine if key in theirs]
            values = [mine[key] - theirs[key] for key in shared]
            interval = bootstrap(values, [groups[image] for image, _, _ in shared], seed=seed)
            found.append(Difference(name, clicks, number, interval))
    return found


def short_names(seats: Sequence[Seat]) -> dict[Seat, str]:
    """Name seats by their method, and by their user where a method has several."""
    methods = [seat.method for seat in seats]
    return {
        seat: seat.method if methods.count(seat.method) == 1 else f"{seat.method} ({seat.user})"
        for seat in seats
    }
