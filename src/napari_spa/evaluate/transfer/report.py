"""What a transfer experiment says: differences with intervals, as tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.evaluate.report.writing import cells, markdown_table, spread, write_csv
from napari_spa.evaluate.statistics import Interval, bootstrap
from napari_spa.evaluate.transfer.files import Agreement, TransferRow
from napari_spa.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

DIFFERENT = 0.9
"""Two raters differ when the mean Dice between their masks is below this."""
PLAIN = ("none", "own", "other")
PAIRED = ("own - none", "other - none", "own - other")
EVERYBODY = ""
"""The user of a summary over all raters."""


@dataclass(frozen=True, slots=True)
class Effect:
    """First-round Dice, or a paired difference of it."""

    # Which profile: none, the user's own, or another's: the mean over all raters who differ from
    # the user.
    what: str
    images: int  # so many images taught the profiles
    user: str  # the rater, or empty for all
    value: Interval  # drawn over images


def agreement_between(agreements: Iterable[Agreement]) -> dict[tuple[str, str], float]:
    """Return the mean Dice of each pair of raters."""
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = defaultdict(dict)
    for pair in agreements:  # the same image may be tested in several orders
        found[pair.first, pair.second][pair.image, pair.target] = pair.dice
    return {pair: float(np.mean(list(values.values()))) for pair, values in found.items()}


def summarise_transfer(
    rows: Sequence[TransferRow], agreements: Sequence[Agreement], *, seed: int = 0
) -> list[Effect]:
    """Compare first rounds without a profile, with one's own, and with another's."""
    table = TransferTable(rows, agreements)
    users = list(dict.fromkeys(row.user for row in rows))
    found: list[Effect] = []
    for images in sorted({row.images for row in rows} - {0}):
        for user in (EVERYBODY, *users):
            for what in (*PLAIN, *PAIRED):
                values, names = table.values(what, images, user)
                if values:
                    interval = bootstrap(values, names, seed=seed)
                    found.append(Effect(what, images, user, interval))
    return found


_Key = tuple[str, int, int, str]  # image, target, order, user


class TransferTable:
    """Rows by what was compared; another's profile is the mean over those who differ."""

    def __init__(self, rows: Iterable[TransferRow], agreements: Iterable[Agreement]) -> None:
        between = agreement_between(agreements)
        differ = {pair for pair, value in between.items() if value < DIFFERENT}
        differ |= {(second, first) for first, second in differ}
        self._none: dict[_Key, float] = {}
        self._own: dict[tuple[_Key, int], float] = {}
        others: dict[tuple[_Key, int], list[float]] = defaultdict(list)
        for row in rows:
            key = row.image, row.target, row.order, row.user
            if not row.images:
                self._none[key] = row.dice
            elif row.teacher == row.user:
                self._own[key, row.images] = row.dice
            elif (row.teacher, row.user) in differ:
                others[key, row.images].append(row.dice)
        self._other = {key: float(np.mean(values)) for key, values in others.items()}

    def values(
        self, what: str, images: int, user: str = EVERYBODY
    ) -> tuple[list[float], list[str]]:
        """Return one value per image, target, order and user, and the images."""
        values, names = [], []
        for key, none in self._none.items():
            if user not in (EVERYBODY, key[3]) or (key, images) not in self._own:
                continue
            known = {"none": none, "own": self._own[key, images]}
            if (key, images) in self._other:
                known["other"] = self._other[key, images]
            first, _, second = what.partition(" - ")
            if first in known and second in (*known, ""):
                values.append(known[first] - (known[second] if second else 0.0))
                names.append(key[0])
        return values, names


def write_transfer(
    rows: Sequence[TransferRow],
    agreements: Sequence[Agreement],
    folder: Path,
    *,
    facts: Mapping[str, object] | None = None,
    seed: int = 0,
) -> list[Effect]:
    """Write ``transfer-rows.csv``, ``agreement.csv``, ``effects.csv`` and ``transfer.md``."""
    effects = summarise_transfer(rows, agreements, seed=seed)
    for name, kind, values in (
        ("transfer-rows.csv", TransferRow, rows),
        ("agreement.csv", Agreement, agreements),
    ):
        header = [field.name for field in fields(kind)]
        write_csv(folder / name, header, (cells(asdict(value)) for value in values))
    write_csv(
        folder / "effects.csv",
        ["what", "images", "user", *(field.name for field in fields(Interval))],
        ([e.what, e.images, e.user, *cells(asdict(e.value))] for e in effects),
    )
    with atomic_path(folder / "transfer.md") as path:
        path.write_text(transfer_markdown(effects, agreements, facts or {}), encoding="utf-8")
    return effects


def transfer_markdown(
    effects: Sequence[Effect], agreements: Sequence[Agreement], facts: Mapping[str, object]
) -> str:
    """Write the report as Markdown."""
    between = agreement_between(agreements)
    mean = float(np.mean(list(between.values()))) if between else float("nan")
    users = list(dict.fromkeys(effect.user for effect in effects if effect.user))
    lines = ["# Transfer of profiles between images", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines += [
        f"* mean Dice between two raters: {mean:.3f}",
        "",
        "First-round Dice on images that no profile has seen; differences in points. Another's:",
        f"the mean over the raters who differ from the user (mean Dice below {DIFFERENT}). In",
        "parentheses: bootstrap 95 % intervals, drawn over images.",
        "",
        *_effects_table(effects, EVERYBODY),
        "",
        "## Own minus none, by rater",
        "",
        *_raters_table(effects, users),
    ]
    return "\n".join(lines) + "\n"


def _effects_table(effects: Sequence[Effect], user: str) -> list[str]:
    by_images: dict[int, dict[str, Interval]] = defaultdict(dict)
    for effect in effects:
        if effect.user == user:
            by_images[effect.images][effect.what] = effect.value
    rows = [
        [
            str(images),
            *(spread(found.get(what)) for what in PLAIN),
            *(spread(found.get(what), points=True) for what in PAIRED),
        ]
        for images, found in by_images.items()
    ]
    return markdown_table(["images", *PLAIN, *PAIRED], rows)


def _raters_table(effects: Sequence[Effect], users: Sequence[str]) -> list[str]:
    found = {(e.images, e.user): e.value for e in effects if e.what == "own - none"}
    numbers = sorted({images for images, _ in found})
    rows = [[user, *(spread(found.get((n, user)), points=True) for n in numbers)] for user in users]
    return markdown_table(["rater", *(f"{n} images" for n in numbers)], rows)
