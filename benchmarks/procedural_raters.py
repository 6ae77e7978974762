"""Write procedural images that the same raters, of stable styles, outlined.

python benchmarks/procedural_raters.py FOLDER --seed 202
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from napari_spa.train.synthetic import generate, random_style


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=202)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--raters", type=int, default=5)
    parser.add_argument("--size", type=int, default=192)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    styles = [random_style(rng) for _ in range(options.raters)]
    for style in styles:
        print(style)
    for number in range(options.images):
        sample = generate(rng, size=options.size, raters=styles)
        name = f"{number:03}.png"
        write(options.folder / "images" / name, sample.image * 255)
        for rater, mask in enumerate(sample.masks, start=1):
            write(options.folder / "raters" / f"rater_{rater}" / name, mask * 255.0)


def write(path: Path, values: np.ndarray) -> None:
    """Write an 8-bit image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, values.round().clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
