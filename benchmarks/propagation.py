"""How well objects are followed through the sample stacks, from one click on the middle slice.

    python benchmarks/propagation.py
    python benchmarks/propagation.py --image img3d.tif --labels mask3d.tif --most 30

For each object: the click is its deepest point on its largest slice; the first round's mask
is followed both ways, with no correction.  Dice is the mean over all slices of the truth, a
missed slice counting 0; *beyond* counts slices taken where the object is not.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import dataclass, replace

import numpy as np
import tifffile

from napari_spa import RefinementSession, load_model
from napari_spa.core.metrics import dice
from napari_spa.core.types import LocalMask
from napari_spa.refine.annotation.propagation import propagate
from napari_spa.refine.engine.image_plane import ImagePlane
from napari_spa.refine.session.prompt_validation import interior_click
from napari_spa.viewer.samples import sample_stack


@dataclass
class Stack:
    """Planes, their truth, and the grey values at which a user looks at them."""

    name: str
    image: np.ndarray
    labels: np.ndarray
    limits: tuple[float, float] | None = None

    def at(self, position: int) -> ImagePlane:
        """Return a slice as the dock looks at it."""
        return replace(ImagePlane.of(self.image[position]), shown=self.limits)


def stacks(options: argparse.Namespace) -> list[Stack]:
    """Return the stacks to go through."""
    if options.image:
        image, labels = tifffile.imread(options.image), tifffile.imread(options.labels)
        return [Stack("given", image, labels)]
    ct, em = sample_stack("ct"), sample_stack("em")
    return [
        Stack("ct", ct.image, ct.labels, ct.contrast_limits),
        Stack("em", em.image, em.labels, em.contrast_limits),
    ]


def follow(session: RefinementSession, stack: Stack, number: int) -> tuple[float, ...]:
    """Follow one object; return Dice at the start, mean Dice, missed, beyond, ms a slice."""
    truth = stack.labels == number
    slices = np.flatnonzero(truth.any(axis=(1, 2)))
    middle = int(truth.sum(axis=(1, 2)).argmax())
    click = interior_click(LocalMask.crop(truth[middle]))
    session.set_image(stack.at(middle))
    shown = session.start([(click.row, click.column)])
    scores = {middle: float(dice(shown.mask, truth[middle]))}
    if not shown.area:
        return 0.0, 0.0, len(slices), 0, 0.0
    mask = LocalMask.crop(shown.local_mask, shown.region)
    beyond, taken, begun = 0, 0, time.perf_counter()
    for way in (range(middle + 1, len(stack.image)), range(middle - 1, -1, -1)):
        for found in propagate(session, stack.at, list(way), mask, start=middle):
            taken += 1
            if truth[found.position].any():
                scores[found.position] = float(dice(found.proposal.mask, truth[found.position]))
            else:
                beyond += 1
    each = (time.perf_counter() - begun) * 1000 / max(taken, 1)
    mean = float(np.mean([scores.get(int(position), 0.0) for position in slices]))
    missed = sum(int(position) not in scores for position in slices)
    return scores[middle], mean, missed, beyond, each


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--image", help="a stack (Z, Y, X) as TIFF, instead of the samples")
    parser.add_argument("--labels", help="its labels")
    parser.add_argument("--most", type=int, default=1000, help="objects at most")
    options = parser.parse_args()
    session = RefinementSession(load_model(options.model, device="cpu"))
    for stack in stacks(options):
        rows = []
        numbers, sizes = np.unique(stack.labels, return_counts=True)
        wanted = numbers[(numbers > 0) & (sizes >= 200)][: options.most]
        for number in wanted.tolist():
            rows.append(follow(session, stack, number))
            if len(wanted) < 15:
                start, mean, missed, beyond, each = rows[-1]
                print(
                    f"{stack.name:6} object {number:4}: start {start:.2f}, Dice {mean:.3f}, "
                    f"missed {missed:2}, beyond {beyond:2}, {each:4.0f} ms a slice",
                    flush=True,
                )
        table = np.array(rows)
        good = table[table[:, 0] >= 0.8]
        for name, part in (("all", table), ("start over 0.8", good)):
            if len(part):
                start, mean, missed, beyond, each = part.mean(axis=0)
                print(
                    f"{stack.name:6} {len(part):3} objects, {name}: start {start:.3f}, Dice "
                    f"{mean:.3f}, missed {missed:.1f}, beyond {beyond:.1f}, {each:.0f} ms a slice"
                )


if __name__ == "__main__":
    main()
