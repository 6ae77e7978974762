"""What work costs against its size: samples, image, objects, slices and images of a folder.

    python benchmarks/costs.py --plot costs.png     # about three minutes on two cores

Medians of seconds by the clock.  Beside each curve stands the slope of its upper half in a
log-log plot: 0 is free, 1 is in proportion.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rounds import DISC, median_of  # sets OMP_WAIT_POLICY too
from skimage import data

from napari_spa import RefinementSession, load_model
from napari_spa.batch.plan import make_plan
from napari_spa.batch.task import BatchRecipe
from napari_spa.core.types import LocalMask
from napari_spa.refine.annotation.propagation import propagate
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.image_plane import ImagePlane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_spa.io.models.load import LoadedModel

NUCLEI = ((360, 345), (372, 318), (330, 370), (345, 310), (390, 352), (318, 335))


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds of some work at several sizes."""

    what: str
    against: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def slope(self) -> float:
        """Of the upper half, in a log-log plot."""
        half = len(self.sizes) // 2
        x, y = np.log(self.sizes[half:]), np.log(self.seconds[half:])
        return float(np.polyfit(x, y, 1)[0])

    def __str__(self) -> str:
        points = ", ".join(
            f"{size}: {took:.3f}" for size, took in zip(self.sizes, self.seconds, strict=True)
        )
        return f"{self.what}, s, by {self.against}: {points}; slope {self.slope:.2f}"


def main() -> None:
    """Run the benchmark, print its figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="of each figure (default: 5)")
    parser.add_argument("--plot", type=Path, help="a picture to draw")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, repeats, curves = load_model(options.model, device="cpu"), options.repeats, []
    for measure in (by_samples, by_image_size, by_objects, by_slices, by_folder):
        curves.append(measure(model, repeats))
        print(curves[-1], flush=True)
    if options.plot is not None:
        draw(curves, options.plot)


def timed(
    what: str,
    against: str,
    sizes: Sequence[int],
    repeats: int,
    make: Callable[[int], Callable[[], object]],
) -> Curve:
    """Time what is made for each size, after one run to warm up."""
    medians = []
    for size in sizes:
        medians.append(median_of(repeats, make(size)))
    return Curve(what, against, tuple(sizes), tuple(medians))


def by_samples(model: LoadedModel, repeats: int) -> Curve:
    """Time a later round."""

    def make(samples: int) -> Callable[[], object]:
        session = RefinementSession(model, config=EngineConfig(samples=samples))
        session.set_image(data.retina()[:1024, :1024])
        session.start(points=[DISC])

        def act() -> None:
            session.pick(0)
            session.undo()

        return act

    return timed("a later round", "samples", (12, 24, 48, 96, 192), repeats, make)


def by_image_size(model: LoadedModel, repeats: int) -> Curve:
    """Time taking an image and its first mask."""
    whole = np.tile(data.retina()[200:1224, :1024], (8, 8, 1))
    session = RefinementSession(model)

    def make(side: int) -> Callable[[], object]:
        def act() -> None:
            session.set_image(whole[:side, :side])
            session.start(points=[(side / 2, side / 2)])

        return act

    sides = (256, 512, 1024, 2048, 4096, 8192)
    return timed("an image and its first mask", "side in pixels", sides, repeats, make)


def by_objects(model: LoadedModel, repeats: int) -> Curve:
    """Time the object with this number in an image, those before it accepted."""
    taken: list[list[float]] = []
    for seed in range(repeats):
        session = RefinementSession(model, seed=seed)
        session.set_image(data.immunohistochemistry())
        taken.append([])
        for click in NUCLEI:
            begun = time.perf_counter()
            session.start(points=[click])
            taken[-1].append(time.perf_counter() - begun)
            session.accept()
    numbers = tuple(range(1, len(NUCLEI) + 1))
    return Curve("an object", "its number", numbers, tuple(np.median(taken, axis=0).tolist()))


def by_slices(model: LoadedModel, repeats: int) -> Curve:
    """Time following an object through slices."""
    session, side = RefinementSession(model), 256
    rows, columns = np.ogrid[:side, :side]
    noise = np.random.default_rng(0).integers(0, 40, (side, side))
    disc = np.hypot(rows - side / 2, columns - side / 2) < side / 6
    plane = ImagePlane.of((noise + 180 * disc).astype(np.uint8))

    def make(slices: int) -> Callable[[], object]:
        def act() -> None:
            session.set_image(plane)
            first = session.start([(side / 2, side / 2)])
            mask = LocalMask.crop(first.local_mask, first.region)
            way = list(range(1, slices + 1))
            found = list(propagate(session, lambda _: plane, way, mask, start=0))
            assert len(found) == slices

        return act

    return timed("following an object", "slices", (4, 8, 16, 32, 64), max(1, repeats // 2), make)


def by_folder(_: LoadedModel, repeats: int) -> Curve:
    """Time listing a folder and planning a batch of all of it."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "images"
        source.mkdir()
        recipe, written = BatchRecipe(source="auto"), 0

        def make(images: int) -> Callable[[], object]:
            nonlocal written
            for number in range(written, images):
                iio.imwrite(source / f"{number}.png", np.full((8, 8), number % 256, np.uint8))
            written = images
            return lambda: make_plan(source, Path(place) / "out", recipe)

        sizes = (100, 300, 1_000, 3_000, 10_000)
        return timed("listing and planning a folder", "images", sizes, repeats, make)


def draw(curves: Iterable[Curve], path: Path) -> None:
    """Draw the curves beside each other, on logarithmic axes."""
    curves = list(curves)
    figure = Figure(figsize=(3 * len(curves), 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, curve in zip(figure.subplots(1, len(curves)), curves, strict=True):
        axes.loglog(curve.sizes, curve.seconds, "o-", color="#0072b2", markersize=4)
        axes.set_title(f"{curve.what}\nslope {curve.slope:.2f}", fontsize=9)
        axes.set_xlabel(curve.against)
        axes.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes], fontsize=7)
        axes.minorticks_off()
        axes.set_ylim(min(curve.seconds) / 3, max(curve.seconds) * 3)
        axes.grid(visible=True, alpha=0.3)
    figure.axes[0].set_ylabel("seconds")
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
