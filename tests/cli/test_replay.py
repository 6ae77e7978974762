"""Tests of ``napari-spa replay``: masks that come again bit for bit, and all that may stand in
the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_spa import RefinementSession, cli, load_model
from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import DataError
from napari_spa.io.event_log import RecordLog
from napari_spa.io.images import ImageInfo, read_image, write_labels
from napari_spa.io.models.formats import save_model
from napari_spa.refine.annotation.annotation import Annotation, ArraySurface
from napari_spa.refine.annotation.objects import Part
from napari_spa.refine.log.journal import ImageFacts, Journal
from napari_spa.refine.log.replay import differing_pixels, logged_plane

NOWHERE = Region(0, 0, 0, 0)


class Annotator:
    """A user at work on an image file: what they do is annotated and written down."""

    def __init__(self, model_file: str, image: Path, array: np.ndarray, ndim: int) -> None:
        self.image, self.array = image, array
        self.log = image.with_suffix(".spa.jsonl")
        self.session = RefinementSession(load_model(model_file, device="cpu"), seed=5)
        self.labels = np.zeros(array.shape[:ndim], dtype=np.uint16)
        self.annotation = Annotation(ArraySurface(self.labels))
        self._log = RecordLog(self.log)
        self.journal = Journal(self._log)
        facts = ImageFacts(image.name, self.labels.shape, str(array.dtype), str(image))
        self.journal.begin(facts, self.session.model.identity)

    def plane(self, *position: int) -> Plane:
        return Plane((len(position), len(position) + 1), (*position, 0, 0))

    def start(self, plane: Plane, point, look=None) -> None:
        self.at, self.look = plane, look or {"channels": None, "axis": None, "limits": None}
        self.session.set_image(logged_plane((self.array,), plane, self.look))
        self.session.start(points=[point])
        self.show()

    def show(self) -> None:
        number, timeline = self.annotation.next_number, self.session.timeline
        self.journal.shown(number, self.at, timeline, self.source)

    @property
    def source(self) -> dict:
        sampler = self.session.sampler
        look = {**self.look, "limits": sampler.intensity.logged}
        return {"image": sampler.fingerprint, "look": look}

    def go(self, act: str, *arguments) -> None:
        getattr(self.session, act)(*arguments)
        self.show()

    def accept(self, number: int | None = None, overlap="protect", source=None) -> None:
        for _ in range(20):  # a random network's first mask may well be empty
            proposal = self.session.proposal
            if proposal.area:
                break
            if proposal.candidates:
                self.session.pick(len(proposal.candidates) - 1)
            else:
                self.session.click((30, 40))
        if source is None:
            self.show()
        result = self.session.accept()
        proposal = result.proposal
        number = self.annotation.next_number if number is None else number
        rounds, decisions = result.rounds, result.decisions
        part = Part(self.at, "accepted", rounds, 0.1, decisions, source=source or {})
        mask = LocalMask.crop(proposal.local_mask, proposal.region)
        self.annotation.commit(number, part, mask, overlap=overlap)
        self.journal.accept(number, part, mask, overlap)

    def paint(self, plane: Plane, rows: slice, columns: slice, number: int) -> None:
        labels = self.labels[plane.slices]
        labels[rows, columns] = number
        self.annotation.recount(plane, labels)
        self.journal.edit(plane, labels.copy())

    def close(self) -> None:
        self.journal.note("closed")
        self._log.close()


def pixels(shape, seed=0, dtype=np.uint16):
    image = np.random.default_rng(seed).integers(0, 90, shape).astype(dtype)
    image[..., 20:50, 30:60] += 120
    return image


@pytest.fixture(scope="module")
def new_annotator(model_file) -> Iterator[Callable[[Path, np.ndarray, int], Annotator]]:
    """``new_annotator(path, array, ndim)``: someone at work, who closes the log in the end."""
    annotators: list[Annotator] = []

    def begin(image: Path, array: np.ndarray, ndim: int) -> Annotator:
        annotators.append(Annotator(model_file, image, array, ndim))
        return annotators[-1]

    yield begin
    for annotator in annotators:
        annotator.close()


@pytest.fixture(scope="module")
def flat_annotator(new_annotator, tmp_path_factory) -> Annotator:
    path = tmp_path_factory.mktemp("flat") / "image.png"
    iio.imwrite(path, np.moveaxis(pixels((3, 70, 90), dtype=np.uint8), 0, -1))
    annotator = new_annotator(path, iio.imread(path), 2)
    annotator.start(annotator.plane(), (35, 45))
    annotator.go("pick", 0)
    annotator.go("click", (30, 40), 1)
    annotator.go("undo")
    annotator.go("stroke", [(25, 35), (30, 55)], 1)
    annotator.accept()
    annotator.start(
        annotator.plane(), (60, 10), {"channels": [0, 1, 2], "axis": None, "limits": None}
    )
    annotator.go("pick", 1)
    annotator.accept(overlap="replace")
    annotator.paint(annotator.plane(), slice(0, 4), slice(80, 90), 9)
    annotator.paint(annotator.plane(), slice(66, 70), slice(0, 5), 2)
    annotator.close()
    return annotator


@pytest.fixture(scope="module")
def stack_annotator(new_annotator, tmp_path_factory) -> Annotator:
    array = pixels((4, 70, 90))
    path = tmp_path_factory.mktemp("stack") / "stack.tif"
    tifffile.imwrite(
        path, array, compression="zlib", photometric="minisblack", metadata={"axes": "ZYX"}
    )
    annotator = new_annotator(path, array, 3)
    annotator.start(annotator.plane(1), (35, 45))
    annotator.go("pick", 0)
    annotator.accept()
    annotator.at = annotator.plane(2)  # as propagation does: nothing is shown before it is accepted
    annotator.session.set_image(array[2])
    annotator.session.start(points=[(36, 44)])
    annotator.accept(1, source=annotator.source)
    annotator.start(annotator.plane(3), (10, 10))
    annotator.accept()
    annotator.annotation.remove(2)
    annotator.journal.delete(2, None)
    annotator.annotation.undo()
    annotator.journal.note("undo")
    annotator.annotation.remove(2)
    annotator.journal.delete(2, None)
    annotator.start(annotator.plane(0), (35, 45))
    annotator.go("click", (36, 46), 1)
    annotator.close()
    return annotator


def copy_of(annotator: Annotator, folder: Path) -> Annotator:
    """The same work in a folder of its own."""
    other = copy(annotator)
    other.image, other.log = folder / annotator.image.name, folder / annotator.log.name
    shutil.copy(annotator.image, other.image)
    other.log.write_text(annotator.log.read_text().replace(str(annotator.image), str(other.image)))
    return other


@pytest.fixture
def flat(flat_annotator, tmp_path) -> Annotator:
    """A colour picture with two clicked objects, of which one was painted on, and a drawn one."""
    return copy_of(flat_annotator, tmp_path)


@pytest.fixture
def stack(stack_annotator, tmp_path) -> Annotator:
    """A compressed stack with an object over two slices, one that went, and one unfinished."""
    return copy_of(stack_annotator, tmp_path)


@pytest.fixture
def replay(run, model_file):
    """``replay(desk, ...)``: replay a log with the network that made it."""

    def call(annotator, *arguments: object):
        log = annotator.log if isinstance(annotator, Annotator) else annotator
        return run("replay", log, "--model", model_file, *arguments)

    return call


# ------------------------------------------------------------------------------------ the same


def test_a_picture_comes_again_bit_for_bit(replay, flat: Annotator, tmp_path: Path) -> None:
    answer = replay(flat, "-o", tmp_path / "again.tif", "--json")
    assert answer.status == 0, answer
    assert answer.err == ""
    said = answer.json
    assert [(o["object"], o["outcome"], o["edited"]) for o in said["objects"]] == [
        (1, "same", False),
        (2, "same", True),
        (9, "painted", False),
    ]
    assert [o["area"] for o in said["objects"]] == [
        np.count_nonzero(flat.labels == number) for number in (1, 2, 9)
    ]
    assert all(o["slice"] == [] and o["pixels"] == 0 for o in said["objects"])
    assert said["image"] == str(flat.image)
    assert said["at_hand"] is said["check"] is None
    assert said["models"][0]["sha256"] == flat.session.model.identity.sha256
    labels, info = read_image(tmp_path / "again.tif")
    np.testing.assert_array_equal(labels, flat.labels)
    assert info.shape == (70, 90)


def test_a_stack_comes_again_bit_for_bit(replay, stack: Annotator, tmp_path: Path) -> None:
    answer = replay(stack, "-o", tmp_path / "again.tif", "--json")
    assert answer.status == 0, answer
    said = answer.json
    assert [(o["object"], o["slice"], o["outcome"]) for o in said["objects"]] == [
        (1, [1], "same"),
        (1, [2], "same"),
    ]
    assert said["at_hand"] == {"object": 3, "round": 2}
    with tifffile.TiffFile(tmp_path / "again.tif") as tiff:
        assert tiff.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tiff.asarray(), stack.labels)


def test_without_json_it_is_for_people(replay, stack: Annotator, flat: Annotator) -> None:
    assert replay(stack).out.splitlines() == [
        f"object 1, slice 1: the same, {np.count_nonzero(stack.labels[1])} px",
        f"object 1, slice 2: the same, {np.count_nonzero(stack.labels[2])} px",
        "object 3 is not accepted: left out, it was at round 2",
        "2 of 2 masks are the same",
    ]
    lines = replay(flat).out.splitlines()
    assert lines[1].endswith("px; painted on by hand since, as in the log")
    assert lines[2] == "object 9: painted by hand, taken from the log, 40 px"
    assert lines[3] == "2 of 2 masks are the same"


def test_channels_and_contrast_are_those_of_the_log(replay, new_annotator, tmp_path: Path) -> None:
    array = pixels((2, 3, 2, 70, 90), dtype=np.uint16)
    path = tmp_path / "hyper.tif"
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "TZCYX"})
    annotator = new_annotator(path, array, 5)
    looks = [
        {"channels": [1, 0], "axis": 2, "limits": None},
        {"channels": None, "axis": None, "limits": [[10.0, 150.0]]},
        {"channels": [0, 1], "axis": 2, "limits": [[0.0, 100.0], [50.0, 200.0]]},
    ]
    for number, look in enumerate(looks):
        annotator.start(annotator.plane(1, number, 1), (35, 45), look)
        annotator.go("pick", 0)
        annotator.accept()
    annotator.close()
    answer = replay(annotator, "-o", tmp_path / "again.tif", "--json")
    assert answer.status == 0, answer
    assert [o["outcome"] for o in answer.json["objects"]] == ["same"] * 3
    with tifffile.TiffFile(tmp_path / "again.tif") as tiff:
        assert tiff.series[0].axes == "TZCYX"
        np.testing.assert_array_equal(tiff.asarray(), annotator.labels)
    other = [json.loads(line) for line in annotator.log.read_text().splitlines()]
    for record in other:
        if "look" in record:
            record["look"]["limits"] = None
    annotator.log.write_text("".join(json.dumps(record) + "\n" for record in other))
    assert [o["outcome"] for o in replay(annotator, "--json").json["objects"]] != ["same"] * 3


@pytest.mark.parametrize("kind", ["npy", "zarr", "pyramid"])
def test_other_kinds_of_stacks(replay, new_annotator, tmp_path: Path, kind: str) -> None:
    array = pixels((3, 1, 70, 90))
    path = tmp_path / ("stack.npy" if kind == "npy" else "stack.zarr")
    if kind == "npy":
        np.save(path, array)
    else:
        zarr = pytest.importorskip("zarr")
        if kind == "zarr":
            zarr.create_array(path, data=array)
        else:
            group = zarr.create_group(path)
            group.create_array("0", data=array)
            group.create_array("1", data=array[..., ::2, ::2])
    annotator = new_annotator(path, array, 4)
    annotator.start(annotator.plane(2, 0), (35, 45))
    annotator.accept()
    annotator.close()
    answer = replay(annotator, "--json")
    assert answer.status == 0, answer
    assert answer.json["objects"][0]["slice"] == [2, 0]


def test_planes_across_a_stack(replay, new_annotator, tmp_path: Path) -> None:
    array = np.moveaxis(pixels((4, 70, 90)), 0, 1)  # rows, slices, columns
    path = tmp_path / "across.npy"
    np.save(path, array)
    annotator = new_annotator(path, array, 3)
    annotator.start(Plane((0, 2), (0, 3, 0)), (35, 45))
    annotator.accept()
    annotator.close()
    answer = replay(annotator, "--json")
    assert answer.status == 0, answer
    assert (answer.json["objects"][0]["slice"], answer.json["objects"][0]["axes"]) == ([3], [0, 2])


def test_a_part_that_was_reopened(replay, new_annotator, stack: Annotator, tmp_path: Path) -> None:
    path = tmp_path / "other.tif"
    shutil.copy(stack.image, path)
    annotator = new_annotator(path, stack.array, 3)
    annotator.start(annotator.plane(1), (35, 45))
    annotator.go("pick", 0)
    annotator.accept()
    decisions = annotator.annotation.objects[1].parts[0].decisions
    annotator.journal.reopen(1, annotator.at, decisions)
    annotator.look = {"channels": None, "axis": None, "limits": [[0.0, 500.0]]}
    annotator.session.set_image(logged_plane((annotator.array,), annotator.at, annotator.look))
    annotator.session.restore(decisions, learnt=1)
    annotator.show()
    annotator.accept(1)
    annotator.close()
    answer = replay(annotator, "--json", "-o", tmp_path / "again.tif")
    assert answer.status == 0, answer
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), annotator.labels)


def test_an_object_that_was_looked_at_again(replay, new_annotator, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    iio.imwrite(path, pixels((70, 90), dtype=np.uint8))
    annotator = new_annotator(path, iio.imread(path), 2)
    annotator.start(annotator.plane(), (35, 45))
    annotator.go("pick", 0)
    annotator.look = {"channels": None, "axis": None, "limits": [[0.0, 120.0]]}
    shown, state = annotator.session.proposal, annotator.session.timeline.state
    mask = LocalMask.crop(shown.local_mask, shown.region)
    annotator.session.set_image(logged_plane((annotator.array,), annotator.at, annotator.look))
    annotator.go("look_again", state, mask)
    annotator.go("pick", 0)
    annotator.accept()
    annotator.close()
    answer = replay(annotator, "--json", "-o", tmp_path / "again.tif")
    assert answer.status == 0, answer
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again.tif"), annotator.labels)


def test_a_slice_of_which_only_the_decisions_are_known(
    replay, new_annotator, tmp_path: Path
) -> None:
    array = pixels((2, 70, 90)) * np.array([1, 7], dtype=np.uint16)[:, None, None]
    np.save(tmp_path / "stack.npy", array)
    annotator = new_annotator(tmp_path / "stack.npy", array, 3)
    annotator.start(annotator.plane(0), (35, 45))
    annotator.accept()
    annotator.at = annotator.plane(1)
    annotator.session.set_image(array[1])
    annotator.session.start(points=[(36, 44)])
    annotator.accept(1, source={})
    annotator.close()
    answer = replay(annotator, "--json")
    assert answer.status == 0, answer
    assert [o["outcome"] for o in answer.json["objects"]] == ["same", "same"]


def test_the_image_is_found_beside_the_log(
    replay, flat: Annotator, tmp_path: Path, monkeypatch
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(flat.log, moved / "log.jsonl")
    flat.image.rename(moved / flat.image.name)
    answer = replay(moved / "log.jsonl", "--json")
    assert answer.status == 0, answer
    assert answer.json["image"] == str(moved / "image.png")
    text = (moved / "log.jsonl").read_text()
    (moved / "log.jsonl").write_text(text.replace(str(flat.image), "moved/image.png"))
    shutil.move(moved / "log.jsonl", tmp_path / "relative.jsonl")
    assert replay(tmp_path / "relative.jsonl").status == 0
    (moved / "image.png").rename(tmp_path / "renamed.png")
    answer = replay(tmp_path / "relative.jsonl")
    assert answer.status == 1
    assert "moved/image.png is not there; give --image IMAGE" in answer.err
    assert replay(tmp_path / "relative.jsonl", "--image", tmp_path / "renamed.png").status == 0


def test_a_named_model_is_found_by_its_name(run, model_file, flat: Annotator) -> None:
    from napari_spa.io.models.load import import_model

    answer = run("replay", flat.log)
    assert answer.status == 1
    assert "tiny" in answer.err
    assert answer.err.endswith("give --model PATH.\n")
    import_model(model_file, "tiny")
    assert run("replay", flat.log).status == 0


# ---------------------------------------------------------------------------------- the labels


def test_checking_saved_labels(replay, stack: Annotator, tmp_path: Path) -> None:
    path, info = tmp_path / "labels.tif", ImageInfo("ZYX", (70, 90))
    write_labels(path, stack.labels, info)
    answer = replay(stack, "--check", path)
    assert answer.status == 0
    assert answer.out.splitlines()[-1] == f"{path}: has the same labels"
    other = stack.labels.copy()
    other[0, :2, :3] = 5
    write_labels(path, other, info)
    answer = replay(stack, "--check", path, "--json")
    assert answer.status == 1
    assert answer.json["check"] == {"path": str(path), "pixels": 6}
    assert replay(stack, "--check", path).out.splitlines()[-1] == f"{path}: differs in 6 px"


def test_checking_labels_of_a_picture(replay, flat: Annotator, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", flat.labels[None])
    assert replay(flat, "--check", tmp_path / "labels.npy").status == 0


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.zeros((4, 70, 91), np.uint8), "is of 4 x 70 x 91 pixels, not 4 x 70 x 90"),
        (np.full((4, 70, 90), 0.5, np.float32), "labels are whole numbers"),
    ],
)
def test_labels_that_cannot_be_compared(refuses, stack, model_file, tmp_path, labels, sentence):
    np.save(tmp_path / "labels.npy", labels)
    call = ["replay", stack.log, "--model", model_file, "--check", tmp_path / "labels.npy"]
    assert sentence in refuses(*call)


# ---------------------------------------------------------------------------------- not the same


def rewrite(annotator: Annotator, change) -> None:
    records = [json.loads(line) for line in annotator.log.read_text().splitlines()]
    for record in records:
        change(record)
    annotator.log.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_mask_that_differs_is_counted(replay, stack: Annotator) -> None:
    from napari_spa.refine.log.serialization import mask_from_record, mask_to_record

    def change(record) -> None:
        if record["kind"] == "accept" and record["plane"]["index"][0] == 2:
            mask = mask_from_record(record["mask"])
            changed = mask.pixels.copy()
            changed[0] = ~changed[0]
            record["mask"] = mask_to_record(replace(mask, pixels=changed))
            widths.append(mask.region.width)

    widths: list[int] = []
    rewrite(stack, change)
    (width,) = widths
    answer = replay(stack, "--json")
    assert answer.status == 1
    assert [(o["outcome"], o["pixels"]) for o in answer.json["objects"]] == [
        ("same", 0),
        ("differs", width),
    ]
    assert "another device" in answer.err
    assert f"slice 2: differs in {width} px" in replay(stack).out


def test_other_pixels_are_one_sentence(replay, stack: Annotator) -> None:
    changed = stack.array.copy()
    changed[2, 0, 0] += 1
    np.save(stack.image.with_suffix(".npy"), changed)
    answer = replay(stack, "--image", stack.image.with_suffix(".npy"), "--json")
    assert answer.status == 1
    assert [o["outcome"] for o in answer.json["objects"]] == ["same", "failed"]
    assert answer.err == ("napari-spa: the image has other pixels here than the log was made on.\n")
    assert "other pixels" in answer.json["objects"][1]["reason"]
    answer = replay(stack, "--image", stack.image.with_suffix(".npy"))
    assert "slice 2: could not be replayed, taken from the log" in answer.out


def test_another_image_or_none(refuses, stack, flat, model_file, tmp_path: Path) -> None:
    call = ["replay", stack.log, "--model", model_file]
    assert "not 4 x 70 x 90" in refuses(*call, "--image", flat.image)
    assert "does not exist" in refuses(*call, "--image", tmp_path / "none.tif")
    (tmp_path / "bad.tif").write_bytes(stack.image.read_bytes()[:300])
    assert "cannot be read" in refuses(*call, "--image", tmp_path / "bad.tif")
    tifffile.imwrite(stack.image, stack.array[:3], photometric="minisblack")
    assert "give --image" in refuses(*call, status=1)
    stack.image.unlink()
    assert "is not there; give --image" in refuses(*call, status=1)

    def forget(record) -> None:
        if record["kind"] == "session":
            record["image"]["path"] = ""

    rewrite(stack, forget)
    assert "does not say where stack.tif is" in refuses(*call)


def test_other_weights_are_one_sentence(run, refuses, flat: Annotator, tmp_path: Path) -> None:
    from tiny_model import make_model

    other = tmp_path / "tiny.safetensors"
    save_model(make_model(seed=1).spa, other, {})
    sentence = refuses("replay", flat.log, "--model", other)
    assert "other weights of tiny" in sentence
    refuses("replay", flat.log, "--model", tmp_path / "none.safetensors")
    from napari_spa.io.models.load import import_model

    import_model(other, "tiny")
    assert "give --model PATH" in refuses("replay", flat.log, status=1)


def test_a_log_of_two_models(replay, model_file, stack: Annotator) -> None:
    lines = stack.log.read_text().splitlines()
    other = json.loads(lines[0])
    other["model"] = asdict(replace(stack.session.model.identity, sha256="1" * 64))
    where = next(n for n, line in enumerate(lines) if json.loads(line)["kind"] == "accept")
    lines.insert(where + 1, json.dumps(other))
    stack.log.write_text("\n".join(lines))
    answer = replay(stack, "--json")
    assert answer.status == 1
    assert [o["outcome"] for o in answer.json["objects"]] == ["same", "failed"]
    assert "other weights" in answer.err


def test_a_pick_that_is_not_on_offer(replay, stack: Annotator) -> None:
    def change(record) -> None:
        if record.get("pick") is not None:
            record["pick"] = 7

    rewrite(stack, change)
    answer = replay(stack, "--json")
    assert answer.status == 1
    assert answer.json["objects"][0]["outcome"] == "failed"
    assert "offers no candidate 7" in answer.err


def test_channels_that_are_not_there(replay, stack: Annotator) -> None:
    def change(record) -> None:
        if "look" in record:
            record["look"] = {"channels": [0, 9], "axis": 0, "limits": None}

    rewrite(stack, change)
    answer = replay(stack, "--json")
    assert answer.status == 1
    assert "no such channels" in answer.err


# -------------------------------------------------------------------------------- wrong calls


def test_help_shows_an_example_that_parses(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["replay", "--help"])
    assert stopped.value.code == 0
    example = capsys.readouterr().out.split("Example:\n")[1].split()
    assert example[:2] == ["napari-spa", "replay"]
    assert cli._parser().parse_args(example[1:]).run


def test_what_is_no_log(refuses, tmp_path: Path, image_file: Path) -> None:
    assert "cannot read" in refuses("replay", tmp_path / "none.jsonl")
    assert "is no decision log" in refuses("replay", image_file)
    (tmp_path / "log.jsonl").write_text('{"kind": "undo"}\n')
    assert "which image" in refuses("replay", tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_text('{"kind": "session", "version": 99}\n')
    assert "newer napari-spa" in refuses("replay", tmp_path / "log.jsonl")


def test_a_damaged_log_is_one_sentence(refuses, flat: Annotator, model_file) -> None:
    with flat.log.open("a") as stream:
        stream.write('{"kind": "delete", "object": 77, "plane": null}\n')
    sentence = refuses("replay", flat.log, "--model", model_file, status=1)
    assert "contradicts itself: there is no object 77" in sentence


def test_a_log_that_was_cut_is_replayed_as_far_as_it_goes(replay, flat: Annotator) -> None:
    flat.log.write_bytes(b"\xef\xbb\xbf" + flat.log.read_bytes()[:-900])  # by an editor, too
    answer = replay(flat, "--json")
    assert answer.status == 0
    assert answer.json["objects"][0]["outcome"] == "same"
    assert f"left out: 1 line of {flat.log}" in answer.err


def test_outputs_that_cannot_be(refuses, flat: Annotator, model_file, tmp_path: Path) -> None:
    call = ["replay", flat.log, "--model", model_file, "-o"]
    before = flat.log.read_bytes()
    assert "written as .tif" in refuses(*call, tmp_path / "labels.png")
    tif = tmp_path / "image.tif"
    tifffile.imwrite(tif, flat.array)
    assert "overwrite" in refuses(*call, tif, "--image", tif)
    check = tmp_path / "check.tif"
    check.write_bytes(tif.read_bytes())
    assert "overwrite the labels to compare" in refuses(*call, check, "--check", check)
    assert check.read_bytes() == tif.read_bytes()
    (tmp_path / "folder.tif").mkdir()
    assert "is a folder" in refuses(*call, tmp_path / "folder.tif")
    assert flat.log.read_bytes() == before


def test_an_image_too_large_for_labels_is_one_sentence(
    refuses, flat: Annotator, model_file
) -> None:
    from napari_spa.cli.replay import _empty_labels

    with pytest.raises(DataError, match="do not fit"):
        _empty_labels((10**9, 10**9, 10**9))


# ------------------------------------------------------------------------------------- the parts


def test_pixels_that_differ() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 30, 40)) < 0.3
    masks = [LocalMask.crop(one), LocalMask.crop(other[5:20, 7:30], Region(5, 7, 15, 23))]
    full = np.zeros_like(other)
    full[5:20, 7:30] = other[5:20, 7:30]
    assert differing_pixels(*masks) == np.count_nonzero(one != full)
    nothing = LocalMask.crop(np.zeros((3, 3), dtype=bool))
    assert differing_pixels(masks[0], nothing) == differing_pixels(nothing, masks[0]) == one.sum()
    assert differing_pixels(nothing, nothing) == 0
    assert differing_pixels(masks[0], masks[0]) == 0


@pytest.mark.parametrize(
    "look",
    [
        {"channels": [9]},
        {"channels": [-1]},
        {"channels": []},
        {"channels": "red"},
        {"channels": [0], "axis": "c"},
        {"limits": [1, 2]},
        {"limits": 5},
        "red",
    ],
    ids=str,
)
def test_a_damaged_look_is_one_sentence(look) -> None:
    with pytest.raises(DataError, match="channels"):
        logged_plane((np.zeros((9, 9, 3)),), Plane((0, 1), (0, 0)), look)
