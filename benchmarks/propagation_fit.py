"""Fit what tells that a mask is not the object's any more (``expected_dice`` of propagation).

    python benchmarks/propagation_fit.py
    python benchmarks/propagation_fit.py FOLDER --most 12

Objects are followed from one click on their largest slice, past their ends, without any end of
propagation's own; the Dice of each slice is regressed on its signs.  Without a folder: on the two
sample stacks and a movie of drifting coins, to see it work.  ``propagation.py`` says what
a folder has.

Each kind counts the same, movies half.  What is said of a source is told by a fit on all others.

The constants in ``refine/annotation/propagation.py`` come from 1,704 slices of 139 objects with a
first mask of 0.6 or better: 884 of nuclei in 3D (StarDist's example as it is and four times finer
in XY, two made volumes), 547 of organs, neurites and lesions (the sample stacks, the same made
with another seed, nodules of LIDC-IDRI, brain, lung and breast lesions of PyRadiomics' test data)
and 273 of drifting movies made of still images of eight sets and ``skimage.data.coins()``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from propagation import Stack, drifting, follow, in_folder, objects, sample
from scipy.optimize import minimize
from scipy.special import expit

from napari_spa import RefinementSession, load_model
from napari_spa.refine.annotation.propagation import PropagationConfig

# Without an end, and always compared with the first slice.
_ENDLESS = PropagationConfig(
    uncertainty=1.0, growth=float("inf"), overlap=0.0, max_area_ratio=float("inf")
)
_BEYOND, _START, _RIDGE = 5, 0.6, 0.5


@dataclass
class Slices:
    """What was seen on the slices of some stacks: one row each."""

    signs: np.ndarray
    dice: np.ndarray
    kinds: np.ndarray
    sources: np.ndarray

    def part(self, rows: np.ndarray) -> Slices:
        """Return some of them."""
        return Slices(self.signs[rows], self.dice[rows], self.kinds[rows], self.sources[rows])

    def fit(self) -> tuple[float, np.ndarray]:
        """Return the constant and the weights, none of which may speak for an object."""
        weight = np.zeros(len(self.dice))
        for kind in np.unique(self.kinds):
            rows = self.kinds == kind
            weight[rows] = (0.5 if kind == "movie" else 1.0) / rows.sum()
        weight *= len(weight) / weight.sum()
        centre, scale = self.signs.mean(axis=0), self.signs.std(axis=0) + 1e-9
        signs = (self.signs - centre) / scale

        def loss(known: np.ndarray) -> tuple[float, np.ndarray]:
            told = expit(known[0] + signs @ known[1:])
            off = weight * (told - self.dice)
            fits = self.dice * np.log(told + 1e-9) + (1 - self.dice) * np.log(1 - told + 1e-9)
            ridge = _RIDGE * (known[1:] ** 2).sum()
            slope = np.r_[off.sum(), signs.T @ off + 2 * _RIDGE * known[1:]]
            return float(ridge - (weight * fits).sum()), slope

        bounds = [(None, None)] + [(None, 0)] * signs.shape[1]
        found = minimize(loss, np.zeros(signs.shape[1] + 1), jac=True, bounds=bounds).x
        weights = found[1:] / scale
        return float(found[0] - (weights * centre).sum()), weights


def stacks(folder: Path | None) -> list[Stack]:
    """Return the stacks to fit on."""
    if folder is not None:
        return in_folder(folder)
    from skimage import data, measure, morphology

    coins = data.coins()
    sure = morphology.opening(coins > 110, morphology.disk(4))
    labels = measure.label(morphology.closing(sure, morphology.disk(4)))
    image, labels = drifting(coins, [2, 3]), drifting(labels, [2, 3])
    movie = Stack("coins", image, labels, (0.0, 255.0), True, 0.0, "movie", "coins")
    return [sample("ct"), sample("em"), movie]


def look(options: argparse.Namespace) -> tuple[list[str], Slices]:
    """Follow all objects; return the signs' names, and what was seen."""
    session = RefinementSession(load_model(options.model, device="cpu"))
    names: list[str] = []
    rows: list[tuple[list[float], float, str, str]] = []
    for stack in stacks(options.folder):
        for number in objects(stack)[: options.most]:
            course = follow(session, stack, number, _ENDLESS, beyond=_BEYOND)
            if course.start < _START:
                continue
            for (dice, _), signs in zip(course.slices, course.signs, strict=True):
                names = list(signs)
                rows.append((list(signs.values()), dice, stack.kind, stack.source))
    return names, Slices(*(np.array(column) for column in zip(*rows, strict=True)))


def main() -> None:
    """Fit, and say how well each source is told by the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="stacks; the samples by default")
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--most", type=int, default=12, help="objects of a stack at most")
    names, seen = look(parser.parse_args())
    config = PropagationConfig()
    for source in np.unique(seen.sources):
        rows = seen.sources == source
        constant, weights = seen.part(~rows).fit()
        told, dice = expit(constant + seen.signs[rows] @ weights), seen.dice[rows]
        taken = told >= 1 - config.uncertainty
        print(
            f"{source}: {rows.sum()} slices, off by {np.abs(told - dice).mean():.2f}; taken: "
            f"{taken[dice >= 0.7].mean():.0%} of the good ones, "
            f"{taken[dice == 0].mean() if (dice == 0).any() else 0:.0%} of those beyond"
        )
    constant, weights = seen.fit()
    print(f"constant {constant:.3f}", dict(zip(names, weights.round(3).tolist(), strict=True)))


if __name__ == "__main__":
    main()
