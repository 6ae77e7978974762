"""How good and how quick a batch is on images with known objects.

    python benchmarks/batch_objects.py FOLDER            # images/NAME.*, labels/NAME.tif
    python benchmarks/batch_objects.py FOLDER --only overhead --most 5

*overhead*: one click on each object through ``segment_image``, against ``session.start`` in
a plain loop on the same images.  *masks*: each object's mask, dilated, eroded, shifted and
made wobbly, refined.  *auto*: objects found without prompts, at an IoU of 0.5.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy import ndimage

from napari_spa.batch.auto import generate_plane_masks
from napari_spa.batch.engine import BatchEngine
from napari_spa.batch.segment import objects_on, refine_mask, segment_image
from napari_spa.batch.task import AutoConfig, BatchRecipe, BatchTask, ObjectPrompt
from napari_spa.core.measures import dice
from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask
from napari_spa.io.images import open_image
from napari_spa.refine.session.prompt_validation import interior_click

FLAT = Plane((0, 1), (0, 0))


def pairs(folder: Path, most: int) -> list[tuple[Path, np.ndarray]]:
    """Return images and their labels."""
    found = []
    for path in sorted((folder / "images").iterdir()):
        labels = folder / "labels" / f"{path.stem}.tif"
        if labels.exists():
            found.append((path, tifffile.imread(labels)))
    return found[:: max(1, len(found) // most)][:most]


def overhead(cases: list[tuple[Path, np.ndarray]]) -> None:
    """Compare a batch with a plain loop over the same clicks, in turns."""
    engine, plain, batch, count = BatchEngine(BatchRecipe(device="cpu")), 0.0, 0.0, 0
    for path, labels in cases:
        clicks = {n: interior_click(mask) for n, mask in objects_on(labels)[:12]}
        prompts = tuple(ObjectPrompt(n, ((c.row, c.column),), (1,)) for n, c in clicks.items())
        count += len(prompts)
        begun = time.perf_counter()
        engine.session.set_image(np.asarray(open_image(path).levels[0])[..., :3])
        for prompt in prompts:
            engine.session.start(prompt.points)
        plain += time.perf_counter() - begun
        with tempfile.TemporaryDirectory() as out:
            begun = time.perf_counter()
            segment_image(BatchTask(path.name, path, prompts), engine.recipe, engine, Path(out))
            batch += time.perf_counter() - begun
    print(
        f"overhead: {count} objects, {1000 * plain / count:.0f} ms each in a plain loop, "
        f"{1000 * batch / count:.0f} ms in a batch: {100 * (batch / plain - 1):+.1f} %"
    )


def degraded(mask: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return rough versions of a mask; none of them empty."""
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    radius = float(np.sqrt(mask.sum() / np.pi))
    by, angle = max(1.0, 0.2 * radius), rng.uniform(0, 2 * np.pi)
    move = 0.35 * radius * np.array([np.sin(angle), np.cos(angle)])
    noise = ndimage.gaussian_filter(rng.standard_normal(mask.shape), max(1.5, 0.3 * radius))
    wobbly = depth + noise / noise.std() * 0.25 * radius > 0
    parts, _ = ndimage.label(wobbly)
    rough = {
        "dilated": depth > -by,
        "eroded": depth > by,
        "shifted": ndimage.shift(mask.astype(np.uint8), move, order=0) > 0,
        "wobbly": parts == max(parts[np.unravel_index(depth.argmax(), mask.shape)], 1),
    }
    return {name: one if one.any() else mask for name, one in rough.items()}


def masks(cases: list[tuple[Path, np.ndarray]], each: int = 3) -> None:
    """Refine rough masks."""
    engine, rng = BatchEngine(BatchRecipe(device="cpu")), np.random.default_rng(0)
    scores: dict[str, list[tuple[float, float, bool]]] = {}
    for path, labels in cases:
        source = engine.show(open_image(path).levels, FLAT)
        large = [n for n, mask in objects_on(labels) if mask.area >= 40]
        for number in rng.permutation(large)[:each].tolist():
            truth = labels == number
            for kind, rough in degraded(truth, rng).items():
                found = refine_mask(1, LocalMask.crop(rough), engine, FLAT, source)
                refined = found.mask.region.paste(found.mask.pixels, labels.shape) > 0
                scores.setdefault(kind, []).append(
                    (dice(rough, truth), dice(refined, truth), bool(found.decisions))
                )
    for kind, rows in scores.items():
        rough, refined, changed = np.array(rows).T
        worse = (refined < rough - 0.1).mean()
        print(
            f"masks: {kind:8} {len(rows)} of Dice {rough.mean():.3f} become {refined.mean():.3f}; "
            f"{changed.mean():.0%} changed, {worse:.1%} worse by more than 0.1"
        )


def automatic(cases: list[tuple[Path, np.ndarray]]) -> None:
    """Find objects without prompts."""
    engine, table = BatchEngine(BatchRecipe(device="cpu")), []
    for path, labels in cases:
        begun = time.perf_counter()
        source = engine.show(open_image(path).levels, FLAT)
        found = generate_plane_masks(AutoConfig(), engine, FLAT, source)
        seconds = time.perf_counter() - begun
        areas, hit = np.bincount(labels.ravel()), set()
        for one in found:
            below = np.bincount(labels[one.mask.region.slices][one.mask.pixels], minlength=2)
            below[0] = 0
            best = int(below.argmax())
            union = one.mask.area + areas[best] - below[best]
            if best and below[best] > 0.5 * union:
                hit.add(best)
        table.append((len(hit), len(found), int((areas[1:] > 0).sum()), seconds))
        print(f"auto: {path.name} {labels.shape} right, found, there, seconds: {table[-1]}")
    right, found_, there, seconds = np.array(table).sum(axis=0)
    print(
        f"auto: precision {right / found_:.3f}, recall {right / there:.3f}, "
        f"AP50 {right / (found_ + there - right):.3f}, {seconds / len(table):.1f} s an image"
    )


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=("overhead", "masks", "auto"))
    parser.add_argument("--most", type=int, default=1000, help="images at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = pairs(options.folder, options.most)
    for name, part in (("overhead", overhead), ("masks", masks), ("auto", automatic)):
        if options.only in (None, name):
            part(cases)


if __name__ == "__main__":
    main()
