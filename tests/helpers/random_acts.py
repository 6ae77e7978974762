"""Acts on the objects of a small stack, for hypothesis to try in any order."""

import numpy as np
from hypothesis import strategies as st

from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.refine.annotation.objects import Part

SHAPE = (3, 9, 11)
PLANES = tuple(Plane((1, 2), (z, 0, 0)) for z in range(SHAPE[0]))


def part_on(plane, rounds=1, decisions=(), status="accepted", uncertainty=0.25):
    """A part whose pixels are not counted yet."""
    return Part(plane, status, rounds, uncertainty, decisions)


def blob(top, left, height, width, seed):
    """A ragged mask in a rectangle of a plane, empty at times."""
    region = Region(top, left, min(height, SHAPE[1] - top), min(width, SHAPE[2] - left))
    pixels = np.random.default_rng(seed).random((region.height, region.width)) < 0.7
    return LocalMask.crop(pixels, region)


blobs = st.builds(
    blob,
    st.integers(0, SHAPE[1] - 1),
    st.integers(0, SHAPE[2] - 1),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 99),
)
numbers = st.integers(1, 4)
planes = st.sampled_from(PLANES)
commits = st.tuples(
    st.just("commit"),
    numbers,
    planes,
    blobs,
    st.sampled_from(["protect", "replace"]),
    st.sampled_from([None, None, 7, 8]),
)
removals = st.tuples(st.just("remove"), numbers, st.none() | planes)
descriptions = st.tuples(st.just("describe"), numbers, st.sampled_from(["", "nucleus"]))
merges = st.tuples(st.just("merge"), numbers, st.lists(numbers, max_size=3))
divisions = st.tuples(st.just("divide"), numbers, planes, blobs)
keeps = st.tuples(st.just("keep"), numbers)
histories = st.tuples(st.sampled_from(["undo", "redo"]))
acts = st.lists(
    st.one_of(
        commits,
        commits,
        removals,
        descriptions,
        merges,
        divisions,
        st.tuples(st.sampled_from(["undo", "redo"])),
    ),
    max_size=40,
)


def do(annotation, act):
    """Do an act; whether it was possible."""
    kind, *rest = act
    try:
        if kind == "commit":
            number, plane, mask, overlap, group = rest
            annotation.commit(number, part_on(plane), mask, overlap=overlap, group=group)
        elif kind == "describe":
            annotation.describe(rest[0], class_name=rest[1])
        elif kind == "divide":
            number, plane, mask = rest
            annotation.divide(number, plane, {annotation.next_number: mask})
        elif kind in ("remove", "merge", "keep"):
            getattr(annotation, kind)(*rest)
        else:
            getattr(annotation, kind)()
    except InputError:
        return False
    return True


def areas(annotation):
    """The table: pixels of each object on each plane."""
    return {
        number: {part.plane: part.area for part in held.parts}
        for number, held in annotation.objects.items()
    }


def counted(array, foreign=()):
    """The same, from the labels themselves."""
    found = {}
    for plane in PLANES:
        labels, pixels = np.unique(array[plane.slices], return_counts=True)
        for number, area in zip(labels.tolist(), pixels.tolist(), strict=True):
            if number and number not in foreign:
                found.setdefault(number, {})[plane] = area
    return dict(sorted(found.items()))
