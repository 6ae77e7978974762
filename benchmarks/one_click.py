"""What a click, a box and a few acts give on known objects, whatever model is asked.

    python benchmarks/one_click.py FOLDER/general/*/ FOLDER/lidc --json ROWS
    python benchmarks/one_click.py FOLDER/general/*/ --model MINE --json MORE --against ROWS

An object is asked for by one click at a random place of it and at its most interior one, by a loose
box and a tight one, and with the field of view set by hand to twice its box.  From the random click
three users go on: one picks what is nearest, one clicks into the largest error, one tries both and
keeps the better, so that theirs is an upper bound.  Sets are laid out as for `size_memory.py`; what
at least half of several raters marked counts.  An object that has a row is not played again; with
`--against` differences from other rows, of the same objects, are in points.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from size_memory import read_set  # sets OMP_WAIT_POLICY too
from transfer_sets import average

from napari_spa import RefinementSession, load_model
from napari_spa.core.measures import dice, pick_nearest
from napari_spa.core.types import Region
from napari_spa.evaluate.measures import bootstrap
from napari_spa.evaluate.tables import markdown_table, spread
from napari_spa.evaluate.users import corrective_click, place_click
from napari_spa.refine.engine.view import FieldOfView

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_spa.core.types import BoolArray, Click

ACTS, NEVER = 5, 10  # acts of each user, and what counts for a Dice that none of them reaches
HABITS = ("picks", "clicks", "both")
NESTED = 0.95  # share of the smaller mask that lies in the larger one
COLUMNS = (
    *("click", "interior", "loose_box", "tight_box", "by_hand", "best_of_five"),
    *("picks_3", "clicks_3", "both_3", "picks_5", "clicks_5", "both_5"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One object: Dice by column, and what else was seen."""

    model: str
    set: str
    image: str
    object: int
    dice: dict[str, float]
    # Expected and real Dice of each recommendation shown: to the click, then to each user in turn.
    quality: list[tuple[float, float]]
    obeyed: list[bool]  # of each corrective click, in each mask that followed it
    nested: bool  # whether of each two candidates one lies in the other

    @property
    def key(self) -> tuple[str, str, int]:
        """What it is of."""
        return self.set, self.image, self.object


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--split", default="val", help="or all (default: val)")
    parser.add_argument("--objects", type=int, default=6, help="of each set (default: 6)")
    parser.add_argument("--each", type=int, default=2, help="of an image at most (default: 2)")
    parser.add_argument("--json", type=Path, required=True, help="where rows are, a line each")
    parser.add_argument("--against", type=Path, help="rows of another model")
    options = parser.parse_args()
    session = RefinementSession(load_model(options.model, device="cpu"), seed=0)
    known = {row.key for row in read_rows(options.json)}
    for folder in options.sets:
        for name, number, image, mask in islice(chosen(folder, options), options.objects):
            if (folder.name, name, number) not in known:
                row = play(session, folder.name, name, number, image, mask)
                with options.json.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(asdict(row)) + "\n")
    rows = read_rows(options.json)
    print(*("\n".join(part(rows)) for part in (table, reaching, signs)), sep="\n\n")
    if options.against is not None:
        print("\n" + "\n".join(paired(rows, read_rows(options.against))))


def read_rows(path: Path) -> list[Row]:
    """Read rows; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def chosen(
    folder: Path, options: argparse.Namespace
) -> Iterator[tuple[str, int, np.ndarray, BoolArray]]:
    """Draw objects: image's name, number there, image ``(H, W[, C])`` and mask ``(H, W)``."""
    for name, image, masks in read_set(folder, options.split):
        order = np.random.default_rng([17, *name.encode()]).permutation(len(masks))
        for number in order[: options.each]:
            yield name, int(number), image, masks[number]


def play(
    session: RefinementSession, of: str, name: str, number: int, image: np.ndarray, mask: BoolArray
) -> Row:
    """Ask for one object in every way."""
    rng = np.random.default_rng([5, number, *name.encode()])
    random, interior = (place_click(mask, style, rng) for style in ("uniform", "central"))
    tight = Region.bounding(mask)
    (bottom, right), rows, columns = tight.ends, tight.height, tight.width
    edges = np.array([tight.row, tight.column, bottom - 1, right - 1], dtype=np.float64)
    loose = edges + 0.1 * np.array([-rows, -columns, rows, columns])
    limits = np.tile(np.array(mask.shape) - 1.0, 2)
    middle = (tight.row + bottom) / 2, (tight.column + right) / 2
    view = FieldOfView.around(*middle, 2.0 * max(rows, columns))
    session.set_image(image)
    found = {
        "interior": dice(session.start(points=[interior]).mask, mask),
        "loose_box": dice(session.start(box=tuple(np.clip(loose, 0, limits))).mask, mask),
        "tight_box": dice(session.start(box=tuple(edges)).mask, mask),
        "by_hand": dice(session.start(points=[random], labels=[1], view=view).mask, mask),
    }
    first = session.start(points=[random])
    masks = [candidate.mask for candidate in first.candidates]
    found["click"] = dice(first.mask, mask)
    found["best_of_five"] = max(found["click"], *(dice(each, mask) for each in masks))
    player = _Player(session, mask, rng)
    for habit in HABITS:
        after = list(islice(player.rounds(habit), ACTS))
        for act in (3, 5):  # who has nothing left to do keeps what there is
            found[f"{habit}_{act}"] = after[min(act, len(after)) - 1] if after else found["click"]
        while session.can_undo:
            session.undo()
    nested = bool(masks) and all(_inside(a, b) for a, b in itertools.combinations(masks, 2))
    shown = [(first.quality, found["click"]), *player.shown]
    return Row(session.model.identity, of, name, number, found, shown, player.obeyed, nested)


class _Player:
    """A user with a mask in mind, who goes on from what is shown."""

    def __init__(
        self, session: RefinementSession, mask: BoolArray, rng: np.random.Generator
    ) -> None:
        self.session, self.mask, self.rng = session, mask, rng
        self.shown: list[tuple[float, float]] = []
        self.obeyed: list[bool] = []

    def rounds(self, habit: str) -> Iterator[float]:
        """Yield the Dice after each act."""
        while (reached := self._act(habit)) is not None:
            self.shown.append((self.session.proposal.quality, reached))
            yield reached

    def _act(self, habit: str) -> float | None:
        """Do what the habit says; None where there is nothing to do."""
        click = None if habit == "picks" else self._click_at()
        pick = None if habit == "clicks" else self._nearest()
        if pick is None:
            return None if click is None else self._click(click)
        if click is None:
            return self._pick(pick)
        clicked = self._click(click)
        self.session.undo()
        picked = self._pick(pick)
        if picked >= clicked:
            return picked
        self.session.undo()
        return self._click(click)

    def _click_at(self) -> Click | None:
        return corrective_click(self.session.proposal.mask, self.mask, "central", self.rng)

    def _nearest(self) -> int | None:
        masks = [candidate.mask for candidate in self.session.proposal.candidates]
        return pick_nearest(masks, self.mask) if masks else None

    def _pick(self, index: int) -> float:
        return dice(self.session.pick(index).mask, self.mask)

    def _click(self, click: Click) -> float:
        proposal = self.session.click((click.row, click.column), label=click.label)
        place = int(click.row), int(click.column)
        for each in (proposal, *proposal.candidates):
            self.obeyed.append(bool(each.mask[place]) == bool(click.label))
        return dice(proposal.mask, self.mask)


def _inside(a: BoolArray, b: BoolArray) -> bool:
    smaller = min(np.count_nonzero(a), np.count_nonzero(b))
    return not smaller or np.count_nonzero(a & b) / smaller > NESTED


def by_set(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each set."""
    sets = defaultdict(list)
    for row in rows:
        sets[row.set].append(row)
    return sets


def table(rows: Sequence[Row]) -> list[str]:
    """Return a line of means for each set and one for the mean over sets, with its intervals."""
    sets = by_set(rows)
    lines = [
        [name, str(len(found)), *(f"{np.mean([r.dice[c] for r in found]):.2f}" for c in COLUMNS)]
        for name, found in sets.items()
    ]
    means = [
        average([([r.dice[c] for r in found], [r.image for r in found]) for found in sets.values()])
        for c in COLUMNS
    ]
    lines.append(["mean over sets", str(len(rows)), *(spread(mean) for mean in means)])
    return markdown_table(["set", "objects", *COLUMNS], lines)


def reaching(rows: Sequence[Row]) -> list[str]:
    """Return how many acts, the first click being one, each user needs to reach a Dice."""
    levels, lines = (0.80, 0.85, 0.90), []
    played = [
        row for row in rows if len(row.quality) == 1 + ACTS * len(HABITS)
    ]  # nothing cut short
    for number, habit in enumerate(HABITS):
        cells = [habit]
        for level in levels:
            means = []
            for found in by_set(played).values():
                games = [[r.quality[0], *r.quality[1 + ACTS * number :][:ACTS]] for r in found]
                acts = [
                    next((act for act, (_, real) in enumerate(game, 1) if real >= level), NEVER)
                    for game in games
                ]
                means.append((np.mean(acts), np.mean([act < NEVER for act in acts])))
            needed, reached = np.mean(means, axis=0)
            cells.append(f"{needed:.1f}, {reached:.0%}")
        lines.append(cells)
    return markdown_table(["user", *(f"to {level:.2f}" for level in levels)], lines)


def signs(rows: Sequence[Row]) -> list[str]:
    """Return what is measured over all objects."""
    expected, real = np.array([pair for row in rows for pair in row.quality]).T
    first = np.array([row.quality[0] for row in rows])
    ranks = [np.argsort(np.argsort(values)) for values in (expected, real)]
    obeyed = [each for row in rows for each in row.obeyed]
    return [
        f"clicked pixels with their label, in all masks: {np.mean(obeyed):.4f} of {len(obeyed)}",
        f"objects whose candidates are nested: {np.mean([row.nested for row in rows]):.3f}",
        f"error of the expected Dice: {np.abs(expected - real).mean():.3f}, after the first click "
        f"{np.abs(first[:, 0] - first[:, 1]).mean():.3f}; rank correlation "
        f"{np.corrcoef(*ranks)[0, 1]:.2f}",
    ]


def paired(rows: Sequence[Row], others: Sequence[Row]) -> list[str]:
    """Return the differences from other rows, in points."""
    before = {row.key: row for row in others}
    sets = by_set([row for row in rows if row.key in before])
    lines = []
    for column in COLUMNS:
        gains = [
            ([r.dice[column] - before[r.key].dice[column] for r in found], [r.image for r in found])
            for found in sets.values()
        ]
        every = [gain for values, _ in gains for gain in values]
        images = [f"{n} {image}" for n, (_, names) in enumerate(gains) for image in names]
        mean, pooled = average(gains), bootstrap(every, images)
        lines.append([column, spread(mean, points=True), spread(pooled, points=True)])
    return markdown_table(["", "mean over sets", "mean over objects"], lines)


if __name__ == "__main__":
    main()
