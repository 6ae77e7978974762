"""How well objects are followed through stacks and movies, from one click on the middle slice.

    python benchmarks/propagation.py
    python benchmarks/propagation.py --image img3d.tif --labels mask3d.tif --spacing 2 --most 30
    python benchmarks/propagation.py --image cells.tif --labels cells-mask.tif --drift 2 3

For each object: the click is its deepest point on its largest slice; the first round's mask
is followed both ways, with no correction.  With ``--drift`` the image is flat and becomes a
movie of eight frames that moves by so many rows and columns a frame.  *3D* is the Dice with
the whole object; *beyond* counts slices taken where the object is not, *missed* those of its
own that were not taken; *bad* ones are taken with a Dice under 0.7, *flagged* says how many of
them, and how many others, are marked *review*; *area* is the last slice's over the truth's.
``benchmarks/propagation_fit.py`` fits the rule itself.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import dataclass, field, replace

import numpy as np
import tifffile

from napari_spa import RefinementSession, load_model
from napari_spa.core.metrics import dice
from napari_spa.core.types import LocalMask
from napari_spa.refine.annotation.propagation import PropagationConfig, propagate
from napari_spa.refine.engine.image_plane import ImagePlane
from napari_spa.refine.session.prompt_validation import interior_click
from napari_spa.viewer.samples import sample_stack

_FRAMES, _BAD = 8, 0.7
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
    area: float = float("nan")


def stacks(options: argparse.Namespace) -> list[Stack]:
    """Return the stacks to go through."""
    if options.image:
        image, labels = tifffile.imread(options.image), tifffile.imread(options.labels)
        limits = (float(image.min()), float(image.max()))
        if options.drift:
            image, labels = drifting(image, options.drift), drifting(labels, options.drift)
        spacing = 0.0 if options.drift else options.spacing
        return [Stack("given", image, labels, limits, bool(options.drift), spacing)]
    return [sample(name) for name in ("ct", "em")]


def sample(name: str) -> Stack:
    """Return a sample stack."""
    it = sample_stack(name)
    spacing = it.scale[0] / it.scale[1]
    return Stack(name, it.image, it.labels, it.contrast_limits, spacing=spacing)


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
) -> Course:
    """Follow one object, at most so many slices beyond its ends."""
    config = replace(config, spacing=stack.spacing)
    truth = stack.labels == number
    areas = truth.sum(axis=(1, 2))
    middle = 0 if stack.movie else int(areas.argmax())
    click = interior_click(LocalMask.crop(truth[middle]))
    session.set_image(stack.at(middle))
    shown = session.start([(click.row, click.column)])
    course = Course(float(dice(shown.mask, truth[middle])))
    shared, taken = int((shown.mask & truth[middle]).sum()), shown.area
    known, begun = {middle}, time.perf_counter()
    mask = LocalMask.crop(shown.local_mask, shown.region)
    own = np.flatnonzero(areas)
    top = max(0, int(own[0]) - beyond)
    bottom = min(len(stack.image), int(own[-1]) + beyond + 1)
    for way in (range(middle + 1, bottom), range(middle - 1, top - 1, -1)):
        if not mask.area:
            break
        for found in propagate(session, stack.at, list(way), mask, start=middle, config=config):
            there, mine = truth[found.position], found.proposal.mask
            known.add(found.position)
            shared, taken = shared + int((mine & there).sum()), taken + int(mine.sum())
            fits = float(dice(mine, there)) if there.any() else 0.0
            course.slices.append((fits, found.doubtful))
            course.signs.append(dict(found.signs))
            course.beyond += not there.any()
            course.area = float(mine.sum() / there.sum()) if there.any() else course.area
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
        f"beyond {mean('beyond'):.2f}, bad {len(bad)} of {len(taken)}, flagged {sum(bad)} of them "
        f"and {sum(good)} others, area {mean('area'):.2f}, {mean('milliseconds'):.0f} ms a slice"
    )


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--image", help="a stack (Z, Y, X) as TIFF, instead of the samples")
    parser.add_argument("--labels", help="its labels")
    parser.add_argument("--spacing", type=float, help="pixels from slice to slice, where known")
    parser.add_argument("--drift", type=int, nargs=2, help="rows and columns a frame, of a plane")
    parser.add_argument("--most", type=int, default=1000, help="objects at most")
    options = parser.parse_args()
    session = RefinementSession(load_model(options.model, device="cpu"))
    for stack in stacks(options):
        wanted, courses = objects(stack), []
        for number in wanted[: options.most]:
            courses.append(follow(session, stack, number))
            if len(wanted) < 15:
                print(report(f"{stack.name} object {number}", courses[-1:]), flush=True)
        good = [course for course in courses if course.start >= 0.8]
        for name, part in (("all", courses), ("start over 0.8", good)):
            if part:
                print(report(f"{stack.name} {len(part)} objects, {name}", part))


if __name__ == "__main__":
    main()
