"""What a model of one's own, tuned on twenty accepted objects, does on the user's other images.

    python benchmarks/own_model.py FOLDER/general/bus_bra ... --json ROWS

Of each set objects of some images are taken as accepted, until there are twenty; the model is
tuned on them as `napari-spa train --from` does, and both are asked with one click, at a random
place, for objects of the set's other images.  *Kept* is what a user ends with: the tuned model
only where it was better on the objects that tuning set aside.  Sets are laid out as for
`size_memory.py`; they should have taken no part in the model's training.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from size_memory import read_set  # sets OMP_WAIT_POLICY too
from transfer_sets import average

from napari_spa import RefinementSession, load_model
from napari_spa.core.measures import dice
from napari_spa.core.types import LocalMask, Region
from napari_spa.evaluate.measures import bootstrap
from napari_spa.evaluate.tables import markdown_table, spread
from napari_spa.evaluate.users import place_click
from napari_spa.train.personal import AcceptedObject, PersonalConfig, tune


@dataclass(frozen=True, slots=True)
class Row:
    """The first click on one object, Dice of the model as it is, tuned, and of what is kept."""

    set: str
    image: str
    before: float
    tuned: float
    kept: float


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--model", default="spa-tiny")
    parser.add_argument("--accepted", type=int, default=20, help="objects (default: 20)")
    parser.add_argument("--objects", type=int, default=30, help="tested of a set (default: 30)")
    parser.add_argument("--each", type=int, default=3, help="of an image at most (default: 3)")
    parser.add_argument("--steps", type=int, default=PersonalConfig().steps)
    parser.add_argument("--rate", type=float, default=PersonalConfig().learning_rate)
    parser.add_argument("--json", type=Path, help="where the rows go")
    options = parser.parse_args()
    rows: list[Row] = []
    for folder in options.sets:
        rows += play(folder, options)
        if options.json is not None:
            options.json.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
        print("\n".join(table(rows)), flush=True)


def play(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Tune on some images of a set, and click in the others."""
    learnt: list[AcceptedObject] = []
    tested: list[AcceptedObject] = []
    for name, image, objects in chain(read_set(folder, "train"), read_set(folder, "val")):
        rng = np.random.default_rng([17, *name.encode()])
        some = [objects[k] for k in rng.permutation(len(objects))[: options.each]]
        here = [AcceptedObject(name, image, LocalMask.crop(mask)) for mask in some]
        if len(learnt) < options.accepted:
            learnt += here[: options.accepted - len(learnt)]
        elif len(tested) < options.objects:
            tested += here
    model = load_model(options.model, device="cpu")
    config = PersonalConfig(steps=options.steps, learning_rate=options.rate)
    own = tune(model, learnt, config)
    before = click_each(RefinementSession(model, seed=0), tested)
    tuned = click_each(RefinementSession(replace(model, spa=own.spa), seed=0), tested)
    return [
        Row(folder.name, item.name, b, t, t if own.better else b)
        for item, b, t in zip(tested, before, tuned, strict=True)
    ]


def click_each(session: RefinementSession, objects: list[AcceptedObject]) -> list[float]:
    """Return the Dice after one click on each object, the same clicks every time."""
    found = []
    for number, item in enumerate(objects):
        rng = np.random.default_rng([17, number, *item.name.encode()])
        session.set_image(item.image)
        whole = item.mask.within(Region(0, 0, *item.image.shape[:2]))
        place = place_click(whole, "uniform", rng)
        found.append(dice(session.start(points=[place]).mask, whole))
    return found


def table(rows: list[Row]) -> list[str]:
    """Return a line for each set, and one for their mean."""
    sets: dict[str, list[Row]] = {}
    for row in rows:
        sets.setdefault(row.set, []).append(row)
    lines, gains = [], []
    for name, played in sets.items():
        images = [row.image for row in played]
        both = [([getattr(r, k) - r.before for r in played], images) for k in ("tuned", "kept")]
        gains.append(both)
        means = [f"{np.mean([getattr(r, k) for r in played]):.3f}" for k in ("before", "tuned")]
        ends = [spread(bootstrap(*gain), points=True) for gain in both]
        lines.append([name, str(len(played)), *means, *ends])
    means = [f"{np.mean([float(line[k]) for line in lines]):.3f}" for k in (2, 3)]
    ends = [spread(average([both[k] for both in gains]), points=True) for k in (0, 1)]
    lines.append(["mean over sets", str(len(rows)), *means, *ends])
    head = ["set", "objects", "as it is", "tuned", "gain", "gain of what is kept"]
    return markdown_table(head, lines)


if __name__ == "__main__":
    main()
