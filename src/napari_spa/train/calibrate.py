"""Measure what a model's rounds look like on known objects, and fit its calibration to them.

``python -m napari_spa.train.calibrate MODEL DATA`` plays objects that the network did not
learn from: images set aside, and all images of data sets that its recipe does not name.  They
fit the few numbers that are written beside the weights, as ``NAME.calibration.json``.  The
errors that go into the same file are those on each data set of numbers fitted without it.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.core.measures import dice, pick_nearest
from napari_spa.core.objects import split_objects
from napari_spa.core.quality import Calibration, fit_calibration
from napari_spa.core.types import LocalMask
from napari_spa.datasets import by_stem, open_folder, read_splits
from napari_spa.errors import DataError, SpaError
from napari_spa.io.images import read_image
from napari_spa.io.models.formats import calibration_path, save_calibration
from napari_spa.io.models.load import load_model
from napari_spa.refine.session.prompt_validation import interior_click
from napari_spa.refine.session.session import RefinementSession
from napari_spa.train.data import MIN_AREA, numbers_of
from napari_spa.train.recipe import read_recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray, Proposal

RIDGE = 0.002  # pull of the weights towards zero; hardly anything depends on it
_FEWEST_SETS = 3
_ACTS = 3
_BOXES = 0.15  # share of the objects that are started with a box instead of a click


@dataclass(frozen=True, slots=True)
class PlayedRound:
    """One round of one object."""

    weights: str  # digest of the model's
    set: str
    image: str
    object: int
    round: int
    signs: dict[str, float]
    dice: float  # of the recommendation with what was meant


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """An object whose mask is known."""

    set: str
    image: str
    number: int
    pixels: NDArray[np.generic]
    mask: BoolArray


_RESIZES = 0.15  # share of the acts that move the slider of the size, where that helps


def known_objects(folder: Path, *, seen: bool, per: int) -> Iterator[_Known]:
    """Return objects of one data set that the network did not learn from."""
    rows = read_splits(folder / "split.csv")
    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
    if rows is None:
        names = sorted(by_stem(folder / "images"))
    else:
        names = sorted(row["name"] for row in rows if row["split"] == "val" or not seen)
    left = per
    for index in rng.permutation(len(names)):
        pixels, masks = _masks(folder, names[index], rng)
        few = min(max(2, per // 4), left)
        for number in rng.permutation(len(masks))[:few].tolist():
            left -= 1
            yield _Known(folder.name, names[index], number, pixels, masks[number])
        if left <= 0:
            return


def play(session: RefinementSession, known: _Known) -> list[PlayedRound]:
    """Start on an object as people do, pick or click a few times, and note each round."""
    rng = np.random.default_rng([known.number, zlib.crc32(known.image.encode())])
    wanted, weights = known.mask, session.model.identity.sha256
    if rng.random() < _BOXES:
        proposal = session.start(box=_box(wanted, rng))
    else:
        places = np.argwhere(wanted)
        row, column = places[rng.integers(len(places))].tolist()
        proposal = session.start(points=[(row, column)])
    rounds = [_note(weights, known, proposal)]
    for _ in range(_ACTS):
        following = _act(session, proposal, wanted, rng)
        if following is None:
            break
        proposal = following
        rounds.append(_note(weights, known, proposal))
    return rounds


def _act(
    session: RefinementSession, shown: Proposal, wanted: BoolArray, rng: np.random.Generator
) -> Proposal | None:
    """Pick what is nearer, or click into the largest error; by chance the other, or resize."""
    if rng.random() < _RESIZES:
        sizes = np.clip(shown.size + np.array([-0.4, -0.2, 0.2, 0.4]), -1, 1)
        near = [dice(session.at_size(float(size)).mask, wanted) for size in sizes]
        if max(near) > dice(shown.mask, wanted):
            return session.resize(float(sizes[int(np.argmax(near))]))
    masks = [candidate.mask for candidate in shown.candidates]
    best = pick_nearest(masks, wanted) if masks else None
    nearer = best is not None and dice(masks[best], wanted) > dice(shown.mask, wanted)
    if best is not None and nearer != (rng.random() < 0.2):
        return session.pick(best)
    parts, count = ndimage.label(shown.mask ^ wanted)
    if not count:
        return None
    largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    click = interior_click(LocalMask.crop(largest))
    place = click.row, click.column
    return session.click(place, label=int(wanted[int(click.row), int(click.column)]))


def _note(weights: str, known: _Known, shown: Proposal) -> PlayedRound:
    signs = {name: round(float(value), 6) for name, value in shown.signs.items()}
    real = round(dice(shown.mask, known.mask), 6)
    return PlayedRound(weights, known.set, known.image, known.number, shown.round, signs, real)


def _box(wanted: BoolArray, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw a box as loosely as people do."""
    rows, columns = np.nonzero(wanted)
    edges = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], dtype=float)
    extent = np.tile(edges[2:] - edges[:2], 2)
    loose = edges + np.array([-1, -1, 1, 1]) * extent * rng.uniform(-0.03, 0.1, 4)
    top, left, bottom, right = np.clip(loose, 0, [*wanted.shape, *wanted.shape]).tolist()
    return top, left, max(bottom, top + 1), max(right, left + 1)


def _masks(
    folder: Path, name: str, rng: np.random.Generator
) -> tuple[NDArray[np.generic], list[BoolArray]]:
    """Return an image and its objects; of several raters the mask of one, drawn for each."""
    if (folder / "raters").is_dir():
        case = open_folder(folder).read(name)
        stacks = split_objects(case.masks, min_area=MIN_AREA) or [case.masks]
        found = []
        for stack in stacks:
            marked = stack[stack.sum(axis=(1, 2)) >= MIN_AREA]
            if len(marked):
                found.append(marked[rng.integers(len(marked))])
        return case.image, found
    masks = folder / "masks" if (folder / "masks").is_dir() else folder / "labels"
    found = []
    for place in (folder / "images", masks):
        if (path := by_stem(place).get(name)) is None:
            raise DataError(f"{place} holds no file named {name}.")
        found.append(read_image(path)[0])
    pixels, labels = found
    return pixels, [labels == number for number in numbers_of(labels)]


def data_sets(places: Sequence[Path]) -> list[Path]:
    """Return the data sets in folders, or in folders of these."""
    found = []
    for place in places:
        if not place.is_dir():
            raise DataError(f"{place} is not a folder; name a data set, or a folder of them.")
        inside = [path.parent for path in sorted(place.glob("**/images")) if path.is_dir()]
        marks = ("raters", "masks", "labels")
        found += [path for path in inside if any((path / part).is_dir() for part in marks)]
    if not found:
        raise DataError(f"{places[0]} holds no data set: images with raters, masks or labels.")
    return found


def measure(rounds: Iterable[PlayedRound], expected: DoubleArray) -> dict[str, object]:
    """Say how far expected and real Dice lie apart; each data set counts the same.

    ``error`` is the mean absolute one, ``error_of_bins`` that of the means of ten bins of equal
    number.
    """
    from scipy.stats import spearmanr

    played = list(rounds)
    real = np.array([one.dice for one in played])
    share = even_shares(played)
    vary = np.ptp(expected) > 0 and np.ptp(real) > 0
    bins = np.array_split(np.argsort(expected, kind="stable"), min(10, len(played)))
    of_bins = [abs(float(share[part] @ (expected - real)[part])) for part in bins]
    return {
        "rounds": len(played),
        "objects": len({(one.set, one.image, one.object) for one in played}),
        "error": round(float(share @ np.abs(expected - real)), 4),
        "error_of_bins": round(sum(of_bins), 4),
        "rank_correlation": round(float(spearmanr(expected, real).statistic), 4) if vary else 0.0,
    }


def fit(rounds: Sequence[PlayedRound]) -> Calibration:
    """Fit a calibration; each data set counts the same."""
    real = np.array([one.dice for one in rounds])
    signs = [one.signs for one in rounds]
    return fit_calibration(signs, real, weights=even_shares(rounds), ridge=RIDGE)


def expected_apart(rounds: Sequence[PlayedRound]) -> DoubleArray:
    """Return what numbers fitted without its data set, or image if these are few, expect."""
    by_set = len({one.set for one in rounds}) >= _FEWEST_SETS
    groups = np.array([one.set if by_set else f"{one.set}/{one.image}" for one in rounds])
    if len(set(groups)) < _FEWEST_SETS:
        raise DataError("too few images to calibrate on; name more data sets, or raise --per.")
    expected = np.zeros(len(rounds))
    for group in set(groups):
        others = fit([one for one, mine in zip(rounds, groups, strict=True) if mine != group])
        for index in np.flatnonzero(groups == group).tolist():
            expected[index] = others.expect(rounds[index].signs)
    return expected


def even_shares(rounds: Sequence[PlayedRound]) -> DoubleArray:
    """Return what each round counts for so that each data set counts the same, sum 1."""
    sets = [one.set for one in rounds]
    names, counts = np.unique(sets, return_counts=True)
    size = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return np.array([1.0 / (len(names) * size[name]) for name in sets])


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, fit, write and report."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_spa.train.calibrate", description=__doc__
    )
    parser.add_argument("model", metavar="MODEL", help="a model's name, or its weights file")
    parser.add_argument(
        "data", nargs="+", type=Path, metavar="DATA", help="data sets, or folders of them"
    )
    parser.add_argument("--per", type=int, default=8, help="objects of a set, at most (default: 8)")
    parser.add_argument(
        "--rounds", type=Path, metavar="JSONL", help="keep what was played here, and go on from it"
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="TOML",
        help="names the data sets that the network learnt from; that of spa-tiny by default",
    )
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except SpaError as error:
        _say(f"error: {error}")
        return 2


def _run(options: argparse.Namespace) -> int:
    model = load_model(options.model)
    recipe = options.recipe or Path(__file__).parent / "recipes" / "spa-tiny.toml"
    sources = read_recipe(recipe).sources
    seen = {name for key, source in sources.items() for name in (source.sets or (key,))}
    played = _kept(options.rounds, model.identity.sha256)
    done = {(one.set, one.image, one.object) for one in played}
    session = RefinementSession(model)
    for folder in data_sets(options.data):
        fresh = list[PlayedRound]()
        for known in known_objects(folder, seen=folder.name in seen, per=options.per):
            if (known.set, known.image, known.number) in done:
                continue
            session.set_image(known.pixels)
            rounds = play(session, known)
            fresh += rounds
            if options.rounds is not None:
                with options.rounds.open("a", encoding="utf-8") as stream:
                    stream.writelines(json.dumps(asdict(one)) + "\n" for one in rounds)
        played += fresh
        mean = np.mean([one.dice for one in fresh]) if fresh else float("nan")
        _say(f"{folder.name}: {len(fresh)} rounds, mean Dice {mean:.3f}")
    figures = measure(played, expected_apart(played))
    path = calibration_path(model.path or Path(options.model))
    save_calibration(path, fit(played), model.identity.sha256, figures)
    sys.stdout.write(json.dumps({"calibration": str(path), **figures}, indent=1) + "\n")
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _kept(path: Path | None, sha256: str) -> list[PlayedRound]:
    """Read what was played with these weights before."""
    if path is None or not path.is_file():
        return []
    with path.open(encoding="utf-8") as stream:
        rounds = [PlayedRound(**json.loads(line)) for line in stream]
    return [one for one in rounds if one.weights == sha256]


if __name__ == "__main__":
    sys.exit(main())
