"""How well objects are followed through stacks and movies, from one click on one slice.

    python benchmarks/propagation.py
    python benchmarks/propagation.py --folder FOLDER --begin largest 0.25 0.75 random --most 8
    python benchmarks/propagation.py --image img3d.tif --labels mask3d.tif --spacing 2 --most 30
    python benchmarks/propagation.py --image cells.tif --labels cells-mask.tif --drift 2 3

For each object: the click is its deepest point on the slice to ``--begin`` on, by default its
largest one (a movie's first); a number is a share of the way through it, and ``random`` one of its
slices.  The first round's mask is followed both ways, with no correction.  With ``--drift`` the
image is flat and becomes a movie of eight frames that moves by so many rows and columns a frame.

*3D* is the Dice with the whole object; *beyond* counts slices taken where the object is not,
*missed* those of its own that were not taken; *bad* ones are taken with a Dice under 0.7, and of
them, and of the others, it says how many are marked *review*.
``benchmarks/propagation_fit.py`` fits the rule itself.

A folder has ``NAME.tif`` and ``NAME-labels.tif``, (slices, rows, columns), and ``stacks.csv`` with
the columns ``name``, ``kind``, ``source`` (what comes from the same place has the same) and
``spacing``, the pixels from slice to slice: 0 for a movie.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import zlib

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tifffile

from napari_spa import RefinementSession, load_model
from napari_spa.core.measures import dice
from napari_spa.core.types import LocalMask
from napari_spa.refine.annotation.propagation import PropagationConfig, propagate
from napari_spa.refine.engine.image_plane import ImagePlane
from napari_spa.refine.session.prompt_validation import interior_click
from napari_spa.viewer.samples import sample_stack

_FRAMES, _BAD, _SOUND = 8, 0.7, 0.8
_DEFAULT = PropagationConfig()


@dataclass
class Stack:
    """Planes, their truth, and the grey values at which a user looks at them."""

    name: str
    image: np.ndarray
    labels: np.ndarray
    limits: tuple[float, float] | None = None
    movie: bool = False  # followed from its first frame on
    spacing: float | None = None  # pixels from slice to slice, see ``PropagationConfig``
    kind: str = ""
    source: str = ""

    def at(self, position: int) -> ImagePlane:
        """Return a slice as the dock looks at it."""
        return replace(ImagePlane.of(self.image[position]), shown=self.limits)


@dataclass
class Course:
    """What came of one object."""

    start: float  # Dice of the first round
    volume: float = 0.0  # Dice in 3D
    missed: int = 0
    milliseconds: float = 0.0  # a slice
    slices: list[tuple[float, bool]] = field(default_factory=list)  # Dice, and whether marked
    signs: list[dict[str, float]] = field(default_factory=list)  # what each Dice was told from
    beyond: int = 0


def stacks(options: argparse.Namespace) -> list[Stack]:
    """Return the stacks to go through."""
    if options.folder:
        return in_folder(options.folder)
    if options.image:
        image, labels = tifffile.imread(options.image), tifffile.imread(options.labels)
        limits = (float(image.min()), float(image.max()))
        if options.drift:
            image, labels = drifting(image, options.drift), drifting(labels, options.drift)
        spacing = 0.0 if options.drift else options.spacing
        return [Stack("given", image, labels, limits, bool(options.drift), spacing)]
    return [sample(name) for name in ("ct", "em")]


def in_folder(folder: Path) -> list[Stack]:
    """Return the stacks that a folder's table names."""
    found = []
    with (folder / "stacks.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            image, labels = (
                tifffile.imread(folder / f"{row['name']}{end}.tif") for end in ("", "-labels")
            )
            spacing, limits = float(row["spacing"]), (float(image.min()), float(image.max()))
            known = row["kind"], row["source"]
            found.append(Stack(row["name"], image, labels, limits, spacing == 0, spacing, *known))
    return found


def sample(name: str) -> Stack:
    """Return a sample stack."""
    it = sample_stack(name)
    spacing = it.scale[0] / it.scale[1]
    return Stack(
        name, it.image, it.labels, it.contrast_limits, spacing=spacing, kind="stack", source=name
    )


def drifting(plane: np.ndarray, drift: list[int]) -> np.ndarray:
    """Return a movie of a plane that moves, without what comes in or leaves."""
    reach = [abs(step) * (_FRAMES - 1) for step in drift]
    size = [side - far for side, far in zip(plane.shape, reach, strict=True)]
    first = [far if step > 0 else 0 for step, far in zip(drift, reach, strict=True)]
    corners = [[a - s * t for a, s in zip(first, drift, strict=True)] for t in range(_FRAMES)]
    return np.stack([plane[r : r + size[0], c : c + size[1]] for r, c in corners])


def objects(stack: Stack) -> list[int]:
    """Return the numbers of a stack's objects that are not tiny, a movie's if in all of it."""
    numbers, sizes = np.unique(stack.labels, return_counts=True)
    wanted = numbers[(numbers > 0) & (sizes >= 200)].tolist()
    if stack.movie:
        wanted = [n for n in wanted if (stack.labels == n).any(axis=(1, 2)).all()]
    return wanted


def follow(
    session: RefinementSession,
    stack: Stack,
    number: int,
    config: PropagationConfig = _DEFAULT,
    beyond: int = 10**6,
    begin: str = "largest",
) -> Course:
    """Follow one object, at most so many slices beyond its ends."""
    config = replace(config, spacing=stack.spacing)
    truth = stack.labels == number
    areas = truth.sum(axis=(1, 2))
    own = np.flatnonzero(areas)
    if begin == "largest":
        first = 0 if stack.movie else int(areas.argmax())
    elif begin == "random":
        seed = zlib.crc32(f"{stack.name} {number}".encode())
        first = int(np.random.default_rng(seed).choice(own))
    else:
        first = round(own[0] + float(begin) * (own[-1] - own[0]))
    click = interior_click(LocalMask.crop(truth[first]))
    session.set_image(stack.at(first))
    shown = session.start([(click.row, click.column)])
    course = Course(float(dice(shown.mask, truth[first])))
    shared, taken = int((shown.mask & truth[first]).sum()), shown.area
    known, begun = {first}, time.perf_counter()
    mask = LocalMask.crop(shown.local_mask, shown.region)
    top = max(0, int(own[0]) - beyond)
    bottom = min(len(stack.image), int(own[-1]) + beyond + 1)
    for way in (range(first + 1, bottom), range(first - 1, top - 1, -1)):
        if not mask.area:
            break
        for found in propagate(session, stack.at, list(way), mask, start=first, config=config):
            there, mine = truth[found.position], found.proposal.mask
            known.add(found.position)
            shared, taken = shared + int((mine & there).sum()), taken + int(mine.sum())
            fits = float(dice(mine, there)) if there.any() else 0.0
            course.slices.append((fits, found.doubtful))
            course.signs.append(dict(found.signs))
            course.beyond += not there.any()
    course.milliseconds = (time.perf_counter() - begun) * 1000 / max(len(course.slices), 1)
    course.volume = 2 * shared / (taken + int(areas.sum()))
    course.missed = int((areas > 0).sum()) - sum(bool(areas[position]) for position in known)
    return course


def report(name: str, courses: list[Course]) -> str:
    """Say what came of some objects."""
    taken = [one for course in courses for one in course.slices]
    bad, good = [m for d, m in taken if d < _BAD], [m for d, m in taken if d >= _BAD]

    def mean(what: str) -> float:
        return float(np.nanmean([getattr(course, what) for course in courses]))

    return (
        f"{name}: start {mean('start'):.3f}, 3D {mean('volume'):.3f}, missed {mean('missed'):.2f}, "
        f"beyond {mean('beyond'):.2f}, marked {sum(bad)} of {len(bad)} bad slices and "
        f"{sum(good)} of {len(good)} others, {mean('milliseconds'):.0f} ms a slice"
    )


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--folder", type=Path, help="stacks, instead of the samples")
    parser.add_argument("--image", help="a stack (Z, Y, X) as TIFF, instead of the samples")
    parser.add_argument("--labels", help="its labels")
    parser.add_argument("--spacing", type=float, help="pixels from slice to slice, where known")
    parser.add_argument("--drift", type=int, nargs=2, help="rows and columns a frame, of a plane")
    parser.add_argument("--most", type=int, default=1000, help="objects of a stack at most")
    parser.add_argument("--begin", nargs="+", default=["largest"], help="where to begin")
    options = parser.parse_args()
    session = RefinementSession(load_model(options.model, device="cpu"))
    chosen = stacks(options)
    for begin in options.begin:
        kinds: dict[str, list[Course]] = {}
        for stack in chosen:
            courses = kinds.setdefault(stack.kind or stack.name, [])
            for number in objects(stack)[: options.most]:
                courses.append(follow(session, stack, number, begin=begin))
                name = f"{stack.name} object {number}, begun at {begin}"
                print(report(name, courses[-1:]), flush=True)
        for kind, courses in kinds.items():
            good = [course for course in courses if course.start >= _SOUND]
            for name, part in (("all", courses), (f"first mask over {_SOUND}", good)):
                if part:
                    print(report(f"{kind} begun at {begin}, {len(part)} objects, {name}", part))


if __name__ == "__main__":
    main()
