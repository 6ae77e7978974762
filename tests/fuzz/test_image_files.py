"""Damaged images through every reader: an answer or one sentence, in time and in memory."""

import contextlib
import resource
import shutil
import time
import warnings
from collections import Counter

import numpy as np
import pytest
import tifffile
from mutating import mutated
from PIL import Image

from napari_spa.datasets import open_folder
from napari_spa.errors import SpaError
from napari_spa.io.images import (
    image_parts,
    list_images,
    open_image,
    open_stack,
    read_image,
    read_label_stack,
)
from napari_spa.io.images.faults import LIMIT_VARIABLE

SHAPE = (3, 24, 20)
STACK = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.uint16)
BYTES = (STACK[0] >> 4).astype(np.uint8)
COLOURS = np.stack([BYTES, BYTES[::-1], BYTES // 2], axis=-1)
SECONDS, GROWTH = 10.0, 600 * 2**20
"""Of one call: seconds that it computes, so that a busy machine fails nothing; and bytes."""


def nifti(path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(STACK.T, np.diag([2, 3, 5, 1])), path)


def nifti_pair(path):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Pair(STACK.T, np.eye(4)), path)


def itk(path):
    simple = pytest.importorskip("SimpleITK")
    simple.WriteImage(simple.GetImageFromArray(STACK), str(path))


def deep_png(path):
    imagecodecs = pytest.importorskip("imagecodecs")
    path.write_bytes(imagecodecs.png_encode(COLOURS.astype(np.uint16) * 200))


def deep_jp2(path):
    imagecodecs = pytest.importorskip("imagecodecs")
    path.write_bytes(imagecodecs.jpeg2k_encode(COLOURS.astype(np.uint16) * 200, level=0))


def lzw(path):
    planes = [Image.fromarray((plane >> 4).astype(np.uint8)) for plane in STACK]
    planes[0].save(path, compression="tiff_lzw", save_all=True, append_images=planes[1:])


def several(path):
    with tifffile.TiffWriter(path, ome=True) as writer:
        for plane in (STACK[0], STACK[1], STACK[2, ::2, ::2]):
            writer.write(plane, metadata={"axes": "YX"})


def palette(path):
    colours = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(path, BYTES, photometric="palette", colormap=colours[:, ::-1].copy())


def zarr(version, **options):
    def write(path):
        library = pytest.importorskip("zarr")
        group = library.create_group(str(path), zarr_format=version)
        group.create_array("0", data=STACK, chunks=(1, 24, 20), **options)
        axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
        scale = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
        facts = [
            {
                "version": "0.4",
                "axes": axes,
                "datasets": [{"path": "0", "coordinateTransformations": scale}],
            }
        ]
        group.attrs.update(
            {"multiscales": facts} if version == 2 else {"ome": {"multiscales": facts}}
        )

    return write


def dicom(path, *, frames=1, compress=False):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset

    data, meta = Dataset(), FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta = meta
    data.SeriesInstanceUID, data.Modality = "1.2.3", "CT"
    data.Rows, data.Columns = SHAPE[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME1"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = 2, -1000
    data.PixelSpacing, data.ImageOrientationPatient = [0.5, 0.25], [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [0, 0, 3]
    if frames > 1:
        data.NumberOfFrames = frames
        measures, shared, groups = Dataset(), Dataset(), []
        measures.PixelSpacing = [0.5, 0.25]
        shared.PixelMeasuresSequence = [measures]
        for number in range(frames):
            place, group = Dataset(), Dataset()
            place.ImagePositionPatient = [0, 0, 2 * number]
            group.PlanePositionSequence = [place]
            groups.append(group)
        data.SharedFunctionalGroupsSequence = [shared]
        data.PerFrameFunctionalGroupsSequence = groups
    data.PixelData = STACK[:frames].tobytes()
    if compress:
        data.compress(pydicom.uid.RLELossless)
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def qubiq(path):
    nibabel = pytest.importorskip("nibabel")
    case = path / "case01"
    case.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(STACK[0].T, np.eye(4)), case / "image.nii.gz")
    for rater in (1, 2):
        mask = (STACK[0] > 2000).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask.T, np.eye(4)), case / f"task01_seg0{rater}.nii.gz")


KINDS = {
    "plain.tif": lambda p: tifffile.imwrite(p, STACK, photometric="minisblack"),
    "imagej.tif": lambda p: tifffile.imwrite(p, STACK, imagej=True, metadata={"axes": "ZYX"}),
    "tiles.ome.tif": lambda p: tifffile.imwrite(
        p, STACK, tile=(16, 16), compression="zlib", metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}
    ),
    "several.ome.tif": several,
    "lzw.tif": lzw,
    "palette.tif": palette,
    "grey.png": lambda p: Image.fromarray(STACK[0]).save(p),
    "deep.png": deep_png,
    "deep.jp2": deep_jp2,
    "colours.jpg": lambda p: Image.fromarray(COLOURS).save(p, exif=b"Exif\0\0"),
    "frames.gif": lambda p: Image.fromarray(BYTES, "L").save(
        p, save_all=True, append_images=[Image.fromarray(COLOURS)]
    ),
    "a.bmp": lambda p: Image.fromarray(COLOURS).save(p),
    "a.webp": lambda p: Image.fromarray(COLOURS).save(p),
    "a.pgm": lambda p: Image.fromarray(BYTES).save(p),
    "a.npy": lambda p: np.save(p, STACK),
    "a.npz": lambda p: np.savez_compressed(p, STACK),
    "a.nii": nifti,
    "a.nii.gz": nifti,
    "a.hdr": nifti_pair,
    "a.nrrd": itk,
    "a.mha": itk,
    "v2.zarr": zarr(2),
    "v3.zarr": zarr(3, shards=(3, 24, 20)),
    "plain.dcm": dicom,
    "enhanced.dcm": lambda p: dicom(p, frames=3),
    "packed.dcm": lambda p: dicom(p, compress=True),
    "qubiq": qubiq,
}


def every_door(path):
    """Return the calls that a file of a stranger goes through."""
    if path.name == "qubiq":
        yield "cases", lambda: [open_folder(path).read(n) for n in open_folder(path).names()]
        return
    yield "list", lambda: list_images(path.parent)
    yield "open", lambda: all_planes(open_image(path))
    yield "stack", lambda: open_stack(path, SHAPE)
    yield "slice", lambda: read_image(path, index=(1,))
    yield "labels", lambda: read_label_stack(path, SHAPE)
    yield "parts", lambda: image_parts(path)


def answered(path):
    """Return how many of the calls read a file that is whole; labels may be of another shape."""
    count = 0
    for _, call in every_door(path):
        with contextlib.suppress(SpaError):
            call()
            count += 1
    return count


def all_planes(image):
    for level in image.levels:
        for index in np.ndindex(*image.shape[:-2]):
            np.asarray(level[index])
            if len(index) and index[-1] > 8:
                break
    return image.info


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_image_is_an_answer_or_one_sentence(
    kind, tmp_path, fuzz_count, fuzz_seed, monkeypatch, capsys
):
    monkeypatch.setenv(LIMIT_VARIABLE, "0.2")
    whole = tmp_path / "whole"
    whole.mkdir()
    KINDS[kind](whole / kind)
    files = sorted(p for p in whole.rglob("*") if p.is_file())
    counts, slowest, foreign, odd = Counter(), 0.0, [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what of the file is not opened
        assert answered(whole / kind)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(fuzz_count):
        rng = np.random.default_rng([fuzz_seed, number])
        place = tmp_path / "damaged"
        shutil.copytree(whole, place)
        file = files[int(rng.integers(len(files)))]
        (place / file.relative_to(whole)).write_bytes(mutated(file.read_bytes(), rng))
        for door, call in every_door(place / kind):
            start = time.process_time()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    call()
                counts["answer"] += 1
            except SpaError as error:
                counts["sentence"] += 1
                odd += [str(error)] if "\n" in str(error) or len(str(error)) > 1100 else []
            except Exception as error:  # noqa: BLE001  that is what is looked for
                counts["foreign"] += 1
                foreign.append(f"{number} {door}: {type(error).__name__}: {str(error)[:100]}")
            slowest = max(slowest, time.process_time() - start)
        shutil.rmtree(place)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun) * 1024
    with capsys.disabled():
        print(  # noqa: T201  the counts are what this is for
            f"\n{kind}: seed {fuzz_seed}, {fuzz_count} files, {dict(counts)}, "
            f"slowest {slowest:.2f} s, grew {growth / 1e6:.0f} MB"
        )
    assert not foreign, foreign[:5]
    assert not odd, odd[:5]
    assert slowest < SECONDS
    assert growth < GROWTH
