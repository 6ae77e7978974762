"""Tests of what is written into a log: it comes back bit for bit, or as one sentence."""

import base64
import json
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from napari_spa.core.plane import Plane
from napari_spa.core.types import Box, Click, LocalMask, MixtureParameters, Prompts, Region
from napari_spa.errors import DataError
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.log.serialization import (
    decision_from_record,
    decision_to_record,
    mask_from_record,
    mask_to_record,
    pack,
    plane_from_record,
    plane_to_record,
    unpack,
)
from napari_spa.refine.session.acts import Decision

finite = st.floats(allow_nan=False, allow_infinity=False)
places = st.floats(-(2.0**31), 2.0**31, exclude_min=True, exclude_max=True)
sides = st.floats(0, 2.0**31, exclude_min=True, exclude_max=True)
clicks = st.builds(Click, finite, finite, st.integers(0, 1))
masks = st.builds(
    lambda row, column, pixels: LocalMask(Region(row, column, *pixels.shape), pixels),
    st.integers(0, 99),
    st.integers(0, 99),
    stn.arrays(bool, st.tuples(st.integers(0, 9), st.integers(0, 9))),
)
prompts = st.builds(
    Prompts,
    clicks=st.lists(clicks, max_size=3).map(tuple),
    box=st.none() | st.builds(Box, finite, finite, finite, finite),
    mask=st.none() | masks,
    anchor=st.none() | st.builds(Click, finite, finite),
)


@st.composite
def mixtures(draw):
    m, d = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    values = stn.arrays(np.float64, st.just((m, d)), elements=finite)
    weights = draw(stn.arrays(np.float64, m, elements=finite))
    return MixtureParameters(weights, draw(values), draw(values))


decisions = st.builds(
    Decision,
    act=st.sampled_from(["start", "pick", "click", "stroke", "box", "view"]),
    size=st.none() | st.floats(-1, 1),
    round=st.integers(1, 5000),
    seed=st.integers(0, 2**32 - 1),
    pick=st.none() | st.integers(0, 3),
    prompts=prompts,
    offered=st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), finite), max_size=4
    ).map(tuple),
    mixture=mixtures(),
    view=st.builds(FieldOfView, places, places, sides, sides),
    entropy=st.tuples(st.integers(0, 2**63), st.integers(1, 9999)),
    time=finite,
)


def through_json(record):
    return json.loads(json.dumps(record, allow_nan=False))


def same_mask(a, b):
    if a is None or b is None:
        return a is b
    return a.region == b.region and np.array_equal(a.pixels, b.pixels)


def one_decision(**changes):
    mixture = MixtureParameters(np.ones(1), np.zeros((1, 2)), np.ones((1, 2)))
    values = {
        "act": "click",
        "round": 2,
        "seed": 9,
        "pick": None,
        "prompts": Prompts((Click(1.5, 2.0, 0),), mask=LocalMask.crop(np.ones((2, 3), bool))),
        "offered": ((3, 4, 0.5),),
        "mixture": mixture,
        "view": FieldOfView(0.0, 1.0, 8.0, 8.0),
        "entropy": (7, 1),
        "time": 1.25,
    }
    return Decision(**(values | changes))


@settings(max_examples=60)
@given(decision=decisions)
def test_a_decision_comes_back_bit_for_bit(decision):
    back = decision_from_record(through_json(decision_to_record(decision)))
    for name in ("act", "round", "seed", "pick", "offered", "view", "entropy", "time", "size"):
        assert getattr(back, name) == getattr(decision, name), name
    ours, theirs = decision.prompts, back.prompts
    assert (ours.clicks, ours.box, ours.anchor) == (theirs.clicks, theirs.box, theirs.anchor)
    assert same_mask(ours.mask, theirs.mask)
    for name in ("weights", "means", "variances"):
        before, after = getattr(decision.mixture, name), getattr(back.mixture, name)
        assert before.shape == after.shape
        assert before.tobytes() == after.tobytes()  # minus zero included


@given(mask=masks)
def test_a_mask_comes_back(mask):
    back = mask_from_record(through_json(mask_to_record(mask)))
    assert same_mask(mask, back)
    assert back.pixels.dtype == bool


@given(index=st.lists(st.integers(0, 10**6), min_size=2, max_size=6), data=st.data())
def test_a_plane_comes_back(index, data):
    row, column = sorted(data.draw(st.sets(st.integers(0, len(index) - 1), min_size=2, max_size=2)))
    plane = Plane((row, column), tuple(index))
    assert plane_from_record(through_json(plane_to_record(plane))) == plane


@pytest.mark.parametrize("dtype", ["<u4", "<f8", "|u1", "<i2"])
def test_arrays_come_back_flat_and_writable(dtype):
    array = np.arange(12).astype(dtype).reshape(3, 4)
    back = unpack(pack(array[:, ::2]), dtype, 6)
    np.testing.assert_array_equal(back, array[:, ::2].ravel())
    back[0] = 5
    assert len(unpack(pack(array[:0]), dtype, 0)) == 0


def test_a_large_mask_takes_little_room():
    rows, columns = np.ogrid[:1000, :1000]
    mask = LocalMask.crop((rows - 500) ** 2 + (columns - 500) ** 2 < 400**2)
    assert len(json.dumps(mask_to_record(mask))) < mask.area / 40


DAMAGE = {
    "act": ["steal", None, 3],
    "round": ["two", None, [], float("inf")],
    "seed": [{}, "x"],
    "pick": ["first", []],
    "prompts": [None, [], {}, {"points": [[1, 2]], "box": None, "mask": None, "anchor": None}],
    "offered": [[{}], [[1, 2, 3]], None],
    "mixture": [
        None,
        {"shape": [1, 2], "values": "????"},
        {"shape": [1, 2], "values": "AAAA"},
        {"shape": [3, 9], "values": pack(np.zeros(4))},
        {"shape": [1], "values": pack(np.zeros(3))},
        {"shape": [-1, 2], "values": pack(np.zeros(0))},
    ],
    "view": [[1, 2, 3], [1, 2, 3, 4, 5], "wide", None],
    "entropy": [[1], [1, 2, 3], None],
    "time": ["now", None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in DAMAGE.items() for v in values]
)
def test_a_damaged_decision_is_one_sentence(name, value):
    record = decision_to_record(one_decision())
    decision_from_record(record)
    with pytest.raises(DataError, match="damaged") as caught:
        decision_from_record({**record, name: value})
    assert "\n" not in str(caught.value)
    del record[name]
    with pytest.raises(DataError, match="damaged"):
        decision_from_record(record)


@pytest.mark.parametrize(
    "record",
    [
        {"region": [0, 0, 9, 9], "pixels": pack(np.zeros(2, np.uint8))},
        {"region": [0, 0, -2, -3], "pixels": pack(np.zeros(2, np.uint8))},
        {"region": [-1, 0, 2, 3], "pixels": pack(np.zeros(1, np.uint8))},
        {"region": [0, 0, 2], "pixels": pack(np.zeros(1, np.uint8))},
        {"region": [0, 0, 10**9, 10**9], "pixels": pack(np.zeros(1, np.uint8))},
        {"region": [0, 0, 2, 3], "pixels": "not base64!"},
        {"region": [0, 0, 2, 3], "pixels": 5},
        {"region": [0, 0, 2, 3]},
        [],
    ],
    ids=str,
)
def test_a_damaged_mask_is_one_sentence(record):
    with pytest.raises(DataError, match="damaged"):
        mask_from_record(record)


@pytest.mark.parametrize(
    "record",
    [
        {"axes": [0], "index": [0, 0]},
        {"axes": [1, 0], "index": [0, 0]},
        {"axes": [0, 2], "index": [0, 0]},
        {"axes": [0, 1], "index": ["a", 0]},
        {"axes": [0, 1]},
        "a plane",
        None,
    ],
    ids=str,
)
def test_a_damaged_plane_is_one_sentence(record):
    with pytest.raises(DataError, match="damaged"):
        plane_from_record(record)


def test_a_few_bytes_are_not_unpacked_into_gigabytes() -> None:
    """The size is known first: it is what the record says, and what the image can hold."""
    bomb = base64.b64encode(zlib.compress(bytes(2**30))).decode()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="size"):
            unpack(bomb, np.uint8, 100)
        for region, shape in (((0, 0, 9, 9), (9, 9)), ((0, 0, 2**16, 2**17), (64, 64))):
            with pytest.raises(DataError, match="damaged"):
                mask_from_record({"region": region, "pixels": bomb}, shape)
        with pytest.raises(DataError, match="damaged"):
            mask_from_record({"region": (0, 0, 2**20, 2**20), "pixels": bomb})
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_mask_beyond_its_image_is_damaged() -> None:
    record = mask_to_record(LocalMask(Region(2, 3, 4, 5), np.ones((4, 5), dtype=bool)))
    assert mask_from_record(record, (6, 8)).region == Region(2, 3, 4, 5)
    for shape in ((5, 8), (6, 7)):
        with pytest.raises(DataError, match="damaged"):
            mask_from_record(record, shape)
