"""How long the GUI thread takes to show a round in a 2048-pixel image.

    python benchmarks/layers.py                  # needs a display: xvfb-run -a python ...
    python benchmarks/layers.py --rounds 30 --plain

A round is the mask, written into a Labels layer of 2048 x 2048 uint16, and the four Shapes
layers of the candidates.  The polygons are found in the worker and are not part of the
GUI thread's time, nor is the painting of the canvas that follows, which depends on the
graphics card; both are printed too.  Dice is between a candidate's difference and what
napari itself rasterises from its layer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

# Threads that spin while they wait slow everything else on the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from typing import TYPE_CHECKING

import numpy as np
from napari import Viewer
from napari.settings import get_settings
from napari.utils.triangulation_backend import get_backend
from qtpy.QtWidgets import QApplication
from skimage import data, transform

from napari_spa import RefinementSession, load_model
from napari_spa.core.measures import dice
from napari_spa.core.plane import Plane
from napari_spa.core.presentation import ADDED_COLOUR
from napari_spa.viewer.layers.candidates import CandidateShapes, draw_candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels, Shapes

    from napari_spa.core.types import Candidate, Proposal

SIZE, BAR_MS, LEAST_DICE = 2048, 100.0, 0.99
PLANE = Plane((0, 1), (0, 0))
DISC = (650 / 1411, 215 / 1411)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="per image (default: 12)")
    parser.add_argument(
        "--plain", action="store_true", help="napari's triangulation in Python, not compiled"
    )
    options = parser.parse_args()
    if options.plain:
        get_settings().experimental.triangulation_backend = "Pure python"
    viewer = Viewer(show=True)
    print(f"triangulation: {get_backend().name}")
    model = load_model("spa-tiny", device="cpu")
    for name, image, point in (
        ("retina", data.retina(), DISC),
        ("tissue", data.immunohistochemistry(), (0.5, 0.5)),
        ("cell", data.cell(), (0.5, 0.5)),
    ):
        image = (transform.resize(image, (SIZE, SIZE), order=1) * 255).astype(np.uint8)
        session = RefinementSession(model)
        session.set_image(image)
        proposals = [session.start(points=[(point[0] * SIZE, point[1] * SIZE)])]
        while len(proposals) < options.rounds and proposals[-1].candidates:
            number = len(proposals) % len(proposals[-1].candidates)
            proposals.append(session.pick(number))
        viewer.layers.clear()
        viewer.add_image(image, rgb=image.ndim == 3)
        show_rounds(viewer, name, proposals)
    viewer.close()


def show_rounds(viewer: Viewer, name: str, proposals: list[Proposal]) -> None:
    """Show rounds one after the other and print how long each part took."""
    labels = viewer.add_labels(np.zeros((SIZE, SIZE), np.uint16), name="SPA mask", opacity=0.45)
    shapes = CandidateShapes(viewer, viewer.layers[0])
    making = [milliseconds(lambda maker=maker: next(maker)) for maker in [shapes.make()] * 4]
    settle()
    print(f"\n{name}, {SIZE} x {SIZE} px, {len(proposals)} rounds; median (worst) ms")
    report("make a layer, once", making)
    drawing, vertices, polygons, worst = [], [], [], 1.0
    drawn = []
    for proposal in proposals:
        begun = time.process_time()
        drawn.append([draw_candidate(candidate) for candidate in proposal.candidates])
        drawing.append((time.process_time() - begun) * 1e3)
        vertices += [sum(len(p) for p in one.polygons) for one in drawn[-1]]
        polygons += [len(one.polygons) for one in drawn[-1]]
    report("find polygons, in the worker", drawing)
    for visible in (False, True):
        for index in range(4):
            shapes.set_visible(index, visible)
        settle()
        masks, layers, both, busy, painting = [], [], [], [], []
        for proposal, candidates in zip(proposals, drawn, strict=True):
            begun = time.thread_time()
            masks.append(milliseconds(lambda p=proposal: show_mask(labels, p)))
            layers.append(milliseconds(lambda c=candidates: list(shapes.steps(PLANE, c))))
            both.append(masks[-1] + layers[-1])
            busy.append((time.thread_time() - begun) * 1e3)
            painting.append(milliseconds(settle))
            if visible:
                for layer, candidate in zip(shapes.layers, proposal.candidates, strict=False):
                    worst = min(worst, worst_dice(layer, candidate))
        state = "visible" if visible else "hidden"
        report(f"mask, candidates {state}", masks)
        report(f"four layers, {state}", layers)
        report(f"both, {state}", both, BAR_MS)
        report("of which the processor's", busy)
        report("painting after it", painting)
    print(
        f"  a candidate has {statistics.median(polygons):.0f} ({max(polygons)}) polygons and "
        f"{statistics.median(vertices):.0f} ({max(vertices)}) vertices"
    )
    verdict = "met" if worst >= LEAST_DICE else "NOT met"
    print(f"  worst Dice {worst:.4f} (bar {LEAST_DICE}: {verdict})")


def show_mask(labels: Labels, proposal: Proposal) -> None:
    """Write a mask in place and show it."""
    labels.data[...] = 0
    labels.data[proposal.region.slices][proposal.local_mask] = 1
    labels.refresh(extent=False, thumbnail=False, highlight=False)


def worst_dice(layer: Shapes, candidate: Candidate) -> float:
    """Return the lower Dice of both differences with what napari rasterises."""
    blue = np.isclose(layer.face_color[:, :3], np.array(ADDED_COLOUR) / 255, atol=1e-3).all(axis=1)
    number = layer.to_labels(labels_shape=candidate.shape)
    there = np.concatenate([[False], blue])[number], np.concatenate([[False], ~blue])[number]
    return min(dice(there[0], candidate.added), dice(there[1], candidate.removed))


def settle() -> None:
    """Let Qt do all that is waiting, painting included."""
    QApplication.processEvents()


def milliseconds(annotated: Callable[[], object]) -> float:
    """Return how long some work takes."""
    begun = time.perf_counter()
    annotated()
    return (time.perf_counter() - begun) * 1e3


def report(name: str, times: list[float], bar: float | None = None) -> None:
    """Print a figure, beside its bar where it has one."""
    line = f"  {name:<30}{statistics.median(times):7.1f} ({max(times):.1f})"
    if bar is not None:
        line += f"   (bar {bar:.0f}: {'met' if max(times) <= bar else 'NOT met'} by the worst)"
    print(line)


if __name__ == "__main__":
    main()
