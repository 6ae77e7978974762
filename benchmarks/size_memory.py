"""What remembering the size of accepted objects does for the first click on the next ones.

    python benchmarks/size_memory.py FOLDER/cfos FOLDER/general/tnbc_nuclei_he ... --json ROWS

In each image the sizes of three objects are remembered, as if they had been accepted as they are,
and others are clicked at a random place: once by a session that knows nothing, once by one that
remembers the three.  A set with
fewer than four objects an image lends the three from other images of the same session.  A set is
``images`` with label images in ``masks`` or ``labels``, or multi-rater data; of several raters
the masks of at least half of them count.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# Threads that spin while they wait slow everything else on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from typing import TYPE_CHECKING

import numpy as np
from transfer_sets import average

from napari_spa import RefinementSession, load_model
from napari_spa.core.measures import dice
from napari_spa.core.objects import split_objects
from napari_spa.datasets import open_folder
from napari_spa.evaluate.measures import bootstrap
from napari_spa.evaluate.tables import markdown_table, spread
from napari_spa.evaluate.users import place_click
from napari_spa.io.images import read_image
from napari_spa.io.profiles import AcceptedSize, PreferenceProfile
from napari_spa.refine.preference import remember

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


ACCEPTED, SMALLEST = 3, 60


@dataclass(frozen=True, slots=True)
class Row:
    """The first click on one object, Dice without and with memory."""

    set: str
    image: str
    area: int
    accepted: tuple[float, ...]  # areas of what was accepted before
    without: float
    remembering: float


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=3, help="of each set (default: 3)")
    parser.add_argument("--objects", type=int, default=5, help="of each image (default: 5)")
    parser.add_argument("--json", type=Path, help="where the rows go")
    options = parser.parse_args()
    session = RefinementSession(load_model(options.model, device="cpu"), seed=0)
    rows: list[Row] = []
    for folder in options.sets:
        here = play(session, folder, options)
        if not here:
            print(f"{folder.name}: no image of the split holds enough objects", flush=True)
            continue
        rows += here
        if options.json is not None:
            options.json.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
        print(table(here)[2], flush=True)
    print("\n".join(table(rows)))


def play(session: RefinementSession, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Play one set."""
    rows: list[Row] = []
    profile: PreferenceProfile | None = None
    images = 0
    for name, image, objects in read_set(folder, options.split):
        rng = np.random.default_rng([17, *name.encode()])
        order = [objects[k] for k in rng.permutation(len(objects))]
        crowded = len(order) > ACCEPTED
        profile = None if crowded else profile
        remembered = 0 if profile is None else len(profile.sizes)
        lent = order[: ACCEPTED - remembered]
        session.set_image(image)
        for number, mask in enumerate(lent):
            known = profile or PreferenceProfile.empty(session.model.identity)
            size = AcceptedSize(f"{name} {number}", session.sampler.fingerprint, float(mask.sum()))
            profile = replace(known, sizes=remember(known.sizes, size))
        tested = order[len(lent) :][: options.objects]
        for mask in tested:
            row, column = place_click(mask, "uniform", rng)
            scores = []
            for known in (None, profile):
                session.set_image(image)  # again: both draw from the same random numbers
                session.profile = known
                scores.append(dice(session.start(points=[(row, column)]).mask, mask))
            areas = () if profile is None else tuple(size.area for size in profile.sizes)
            rows.append(Row(_named(folder), name, int(mask.sum()), areas, *scores))
        images += bool(tested)
        if images == (options.images if crowded else options.images * options.objects):
            break
    return rows


def _named(folder: Path) -> str:
    """Name a set; two collections may hold sets of one name."""
    return f"{folder.parent.name}/{folder.name}"


def read_set(
    folder: Path, split: str
) -> Iterator[tuple[str, NDArray[np.generic], list[NDArray[np.bool_]]]]:
    """Read the images of a split, or all, in an order that a seed draws, each with its objects."""
    if (folder / "raters").is_dir():
        cases = open_folder(folder)
        for name in shuffled(cases.names(None if split == "all" else split)):
            case = cases.read(name)
            masks = [stack.mean(axis=0) >= 0.5 for stack in split_objects(case.masks)]
            yield name, case.image, [mask for mask in masks if mask.sum() >= SMALLEST]
        return
    labels_in = next(folder / kind for kind in ("masks", "labels") if (folder / kind).is_dir())
    images = {path.stem: path for path in (folder / "images").iterdir()}
    names = sorted(images)
    if split != "all" and (folder / "split.csv").is_file():
        with (folder / "split.csv").open(newline="", encoding="utf-8") as stream:
            names = [row["name"] for row in csv.DictReader(stream) if row["split"] == split]
    for name in shuffled(sorted(names)):
        labels = read_image(next(labels_in.glob(f"{name}.*")))[0]
        values, counts = np.unique(labels, return_counts=True)
        wanted = values[(values > 0) & (counts >= SMALLEST)]
        yield name, read_image(images[name])[0], [labels == value for value in wanted]


def shuffled(names: list[str]) -> list[str]:
    """Return names in an order that a seed draws."""
    return [names[k] for k in np.random.default_rng(17).permutation(len(names))]


def table(rows: list[Row]) -> list[str]:
    """Return a line for each set, and one for their mean."""
    sets: dict[str, list[Row]] = {}
    for row in rows:
        sets.setdefault(row.set, []).append(row)
    lines, gains = [], []
    for name, played in sets.items():
        gain = [r.remembering - r.without for r in played], [r.image for r in played]
        gains.append(gain)
        means = _means(played)
        lines.append([name, str(len(played)), *means, spread(bootstrap(*gain), points=True)])
    means = [f"{np.mean([float(line[k]) for line in lines]):.3f}" for k in (2, 3)]
    mean = spread(average(gains), points=True)
    lines.append(["mean over sets", str(len(rows)), *means, mean])
    return markdown_table(["set", "objects", "no memory", "memory", "gain"], lines)


def _means(rows: list[Row]) -> list[str]:
    return [f"{np.mean([getattr(row, k) for row in rows]):.3f}" for k in ("without", "remembering")]


if __name__ == "__main__":
    main()
