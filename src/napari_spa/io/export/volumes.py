"""Labels for other programs: what is exported, OME-Zarr, NIfTI in the image's space, STL."""

from __future__ import annotations

import gzip
import os
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError, SpaError
from napari_spa.io.files import atomic_folder, atomic_path, read_object
from napari_spa.io.images import ImageFile, ImageInfo, label_dtype, open_image, read_label_stack
from napari_spa.io.projects.classes import ObjectClass, ObjectNote, class_values, noted, read_notes
from napari_spa.io.projects.paths import labels_path, log_path, notes_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.core.types import DoubleArray
    from napari_spa.io.projects.project import Project, ProjectItem

    Colour = Callable[[int], tuple[int, int, int, int]]
    Progress = Callable[[float, str], None]
    Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """The objects of an image."""

    name: str  # what its files are called after
    labels: ImageFile  # 0 is background, other numbers are objects; of the axes of its info
    notes: Mapping[int, ObjectNote] = field(default_factory=dict)
    source: Path | None = None  # the image's file, for where its voxels lie in space
    # The image, or what reads its planes, for intensities; None where they are not wanted.
    pixels: Any = None
    log: Path | None = None
    # Size of a pixel along each axis of the labels, where micrometres are not meant.
    spacing: tuple[float, ...] | None = None
    unit: str = "pixel"
    file_name: str = ""  # of the image, for programs that look for it; the name by default
    # Called with the share of the planes that is done before each; may raise ``Cancelled``.
    watch: Progress | None = None

    def planes(self) -> Iterator[tuple[tuple[int, ...], NDArray[np.integer]]]:
        """Yield the index of each plane along the axes before rows and columns, and its labels."""
        stack = self.labels.levels[0]
        indices = list(np.ndindex(*stack.shape[:-2]))
        for place, index in enumerate(indices):
            if self.watch is not None:
                self.watch(place / len(indices), "")
            yield index, np.asarray(stack[index])

    def as_classes(self, classes: Sequence[ObjectClass]) -> ImageFile:
        """Return the number of each pixel's class; 0 for background and what is of no class."""
        values = class_values(classes)
        numbers = {n: values.get(note.class_name, 0) for n, note in self.notes.items()}
        semantic = np.zeros(self.labels.levels[0].shape, dtype=np.uint8)
        for index, plane in self.planes():
            found, where = np.unique(plane, return_inverse=True)
            of = np.array([numbers.get(n, 0) for n in found.tolist()], dtype=np.uint8)
            semantic[index] = of[where].reshape(plane.shape)
        return ImageFile(self.labels.path, (semantic,), self.labels.info)

    def tables(self) -> dict[str, tuple[list[str], list[Row]]]:
        """Measure the objects: columns and rows of ``objects``, and of ``slices`` for stacks."""
        from napari_spa.core.measures import measure_objects

        info = self.labels.info
        unit = "pixel" if info.pixel_size is None else "micrometer"
        measures = measure_objects(
            self.labels.levels[0],
            axes=info.axes,
            spacing=self.spacing or _spacing(info),
            unit=self.unit if self.spacing is not None else unit,
            intensity=self.pixels,
            progress=self.watch,
        )
        said = ["class", "name"] if self.notes else []
        every = [column for column in measures.columns if column != "level"]
        left_out = {"objects": {"slice_z"}, "slices": {"slices", "volume"}}
        tables = {}
        for table, level in (("objects", "object"), ("slices", "slice")):
            columns = [*said, *(c for c in every if c not in left_out[table])]
            rows = [noted(row, self.notes) for row in measures.rows if row["level"] == level]
            kept = [{name: row[name] for name in columns if name in row} for row in rows]
            tables[table] = (columns, kept)
        if len(info.axes) == 2:
            del tables["slices"]
        return tables


def of_item(project: Project, item: ProjectItem) -> Labelled:
    """Return the objects of an image of a project."""
    labels = open_image(labels_path(project.out, item.name))
    labels, pixels = _of_all_channels(labels, _pixels_of(item.path, labels.levels[0]))
    return Labelled(
        item.name,
        labels,
        read_notes(notes_path(project.out, item.name)),
        item.path,
        pixels,
        log_path(project.out, item.name),
    )


def _of_all_channels(labels: ImageFile, pixels: Any) -> tuple[ImageFile, Any]:  # noqa: ANN401
    """Drop an axis of channels that all share their objects, which a project keeps at the first."""
    at, stack = labels.info.axes.find("C"), labels.levels[0]
    before = (slice(None),) * at
    if not 0 <= at < stack.ndim - 2 or any(
        stack[(*before, channel)].any() for channel in range(1, stack.shape[at])
    ):
        return labels, pixels
    axes = labels.info.axes.replace("C", "")
    shared = ImageFile(labels.path, (stack[(*before, 0)],), replace(labels.info, axes=axes))
    if pixels is None:
        return shared, None

    def plane(position: tuple[int, ...]) -> NDArray[np.generic]:
        return np.moveaxis(pixels[(*position[:at], slice(None), *position[at:])], 0, -1)

    return shared, plane


def of_file(path: Path, image: Path | None) -> Labelled:
    """Return the objects of a label image; ``image`` is what they were drawn on."""
    labels = open_image(path)
    stack = read_label_stack(path, labels.shape)
    for number in (int(stack.min(initial=0)), int(stack.max(initial=0))):
        try:
            label_dtype(number)
        except InputError as error:  # no form holds it
            raise InputError(f"{path}: {error}") from None
    info = labels.info if image is None else open_image(image).info
    if info.shape != labels.info.shape:
        there, here = ("{} x {}".format(*shape) for shape in (info.shape, labels.info.shape))
        raise InputError(
            f"{image} has {there} pixels, and {path} has {here}; name the image that was labelled."
        )
    if len(info.axes) != stack.ndim:  # the labels have no colours or channels
        info = labels.info
    pixels = None if image is None else _pixels_of(image, stack)
    name = (image or path).name
    return Labelled(name, ImageFile(path, (stack,), info), {}, image or path, pixels)


def _spacing(info: ImageInfo) -> tuple[float, ...] | None:
    if info.pixel_size is None:
        return None
    return tuple(info.lengths.get(axis, 1.0) for axis in info.axes)


def _pixels_of(path: Path, labels: Any) -> Any:  # noqa: ANN401  numpy, zarr or a lazy stack
    """Return the image for measuring intensities; None where it does not fit its labels."""
    try:
        pixels = open_image(path).levels[0]
    except SpaError:
        return None
    shape = tuple(labels.shape)
    return pixels if tuple(pixels.shape[: len(shape)]) == shape else None


_VERSION = "0.4"
_ORDER = "TCZYX"  # the format's: time, channels, space
_KINDS = {"T": "time", "C": "channel"}
_CHUNK, _COARSEST = 512, 256


def write_label_zarr(path: Path, image: Labelled, colour: Colour | None) -> None:
    """Write labels as an OME-Zarr label image, whole or not at all.

    Each level has every second row and column of the finer one, so labels stay labels and
    the first pixel stays where it is; the stack is not thinned out.
    """
    if os.path.lexists(path) and "image-label" not in read_object(path / ".zattrs"):
        raise InputError(f"{path} is there already and is no label image; choose another folder.")
    import zarr
    from numcodecs import Blosc  # type: ignore[import-untyped]

    info, labels, notes = image.labels.info, image.labels.levels[0], image.notes
    shape = tuple(int(n) for n in labels.shape)
    order = sorted(range(len(shape)), key=lambda axis: _ORDER.index(info.axes[axis]))
    shapes = _pyramid(tuple(shape[axis] for axis in order))
    used: set[int] = set()
    with atomic_folder(path) as folder:
        group = zarr.create_group(str(folder), zarr_format=2, overwrite=True)
        levels = [
            group.create_array(
                str(number),
                shape=extent,
                chunks=(*[1] * (len(extent) - 2), *(min(n, _CHUNK) for n in extent[-2:])),
                dtype=labels.dtype,
                compressors=Blosc(),  # LZ4, which every reader knows
                chunk_key_encoding={"name": "v2", "separator": "/"},
                fill_value=0,
            )
            for number, extent in enumerate(shapes)
        ]
        for index, plane in image.planes():
            used.update(np.unique(plane).tolist())
            there = tuple(index[axis] for axis in order[:-2])
            for number, level in enumerate(levels):
                step = 2**number
                thin = plane[::step, ::step]
                for top in range(0, len(thin), _CHUNK):  # so that a large plane can be stopped
                    if image.watch is not None and not index:
                        image.watch(top / len(plane), "")
                    place: Any = (*there, slice(top, top + _CHUNK))
                    level[place] = thin[top : top + _CHUNK]
        axes = "".join(info.axes[axis] for axis in order)
        group.attrs.update(_facts(axes, info, path.stem, len(shapes)))
        numbers = sorted(used - {0})
        said: dict[str, Any] = {"version": _VERSION}
        if colour is not None and numbers:
            said["colors"] = [{"label-value": n, "rgba": list(colour(n))} for n in numbers]
        known = [
            {"label-value": n, "class": notes[n].class_name, "name": notes[n].name}
            for n in numbers
            if n in notes
        ]
        group.attrs["image-label"] = said | ({"properties": known} if known else {})


def _pyramid(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shape of each level, finest first."""
    shapes = [shape]
    while max(shapes[-1][-2:]) > _COARSEST:
        *stack, rows, columns = shapes[-1]
        shapes.append((*stack, -(-rows // 2), -(-columns // 2)))
    return shapes


def _facts(axes: str, info: ImageInfo, name: str, levels: int) -> dict[str, Any]:
    """Describe the axes, and how far pixels of each level are apart."""
    lengths = info.lengths
    described = []
    for axis in axes:
        fact = {"name": axis.lower(), "type": _KINDS.get(axis, "space")}
        described.append(fact | ({"unit": "micrometer"} if axis in lengths else {}))
    datasets = []
    for number in range(levels):
        steps = [
            float(lengths.get(axis, 1.0)) * (2**number if axis in "YX" else 1) for axis in axes
        ]
        transforms = [{"type": "scale", "scale": steps}]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    said = {"version": _VERSION, "name": name, "axes": described, "datasets": datasets}
    return {"multiscales": [said | {"type": "nearest"}]}


_NIFTI_AXES = "XYZTC"
_NIFTI, _ITK = (
    (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz"),
    (".nrrd", ".nhdr", ".mha", ".mhd"),
)
_MICROMETRES = 1000.0  # in a millimetre
_PIECE = 2**24  # bytes that are compressed at once
_SIDE = 32_767  # what the first version of NIfTI can count
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])


def write_nifti(path: Path, image: Labelled) -> None:
    """Write labels as NIfTI: voxel (x, y, z) is index (z, y, x) of the labels.

    The affine is that of the image's file where it has one (NIfTI, MGH, NRRD, MetaImage);
    else it holds the size of the voxels.
    """
    import nibabel

    labels, axes = image.labels, image.labels.info.axes
    stack = np.asarray(labels.levels[0])
    letters = _NIFTI_AXES[: 1 + max(_NIFTI_AXES.index(axis) for axis in axes)]
    array = stack.transpose([axes.index(axis) for axis in letters if axis in axes])
    array = array.reshape([stack.shape[axes.index(a)] if a in axes else 1 for a in letters])
    array = array.astype(label_dtype(int(array.max(initial=0))))
    kind: Any = nibabel.Nifti1Image if max(array.shape) <= _SIDE else nibabel.Nifti2Image
    affine, header = _geometry(image.source)
    known = affine is not None
    nifti = kind(array, affine if known else _sized(labels), header if known else None)
    nifti.header.set_data_dtype(array.dtype)
    nifti.header.set_slope_inter(1, 0)
    nifti.header.set_intent("label")
    if header is None and (known or labels.info.pixel_size is not None):
        nifti.header.set_xyzt_units("mm")
    content = memoryview(nifti.to_bytes())
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        # Without name and time: the same labels are the same bytes.
        gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed,
    ):
        for done in range(0, len(content), _PIECE):
            if image.watch is not None:
                image.watch(done / len(content), "")
            packed.write(content[done : done + _PIECE])


def _sized(labels: ImageFile) -> DoubleArray:
    """Return an affine that holds the size of the voxels in millimetres."""
    height, width = labels.info.pixel_size or (_MICROMETRES, _MICROMETRES)
    depth = labels.info.plane_distance or _MICROMETRES
    return np.diag([width, height, depth, _MICROMETRES]) / _MICROMETRES


def _geometry(source: Path | None) -> tuple[DoubleArray | None, Any]:
    """Return where a file says its voxels lie, in mm to right, front and top; its NIfTI header."""
    name = "" if source is None else source.name.lower()
    if name.endswith(_NIFTI):
        import nibabel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Any = nibabel.load(source, mmap=False)  # type: ignore[arg-type]
        header = image.header if isinstance(image, nibabel.Nifti1Image) else None
        return np.asarray(image.affine, dtype=float), header
    if name.endswith(_ITK):
        import SimpleITK

        reader: Any = SimpleITK.ImageFileReader()
        reader.SetFileName(str(source))
        reader.ReadImageInformation()
        count = min(3, int(reader.GetDimension()))
        whole = int(reader.GetDimension())
        turn = np.array(reader.GetDirection()).reshape(whole, whole)[:count, :count]
        affine = np.eye(4)
        affine[:count, :count] = turn * np.array(reader.GetSpacing()[:count])
        affine[:count, 3] = reader.GetOrigin()[:count]
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, None  # ITK's left and back are NIfTI's -
    return None, None


def write_meshes(folder: Path, image: Labelled) -> Iterator[Path]:
    """Write the surface of each 3D object as a binary STL file; yield each file.

    Corners are (x, y, z): in the space of the image's file, in millimetres, where it has one
    (see :func:`write_nifti`); else in micrometres, or in voxels where their size is unknown.
    """
    from skimage.measure import marching_cubes

    info = image.labels.info
    if "Z" not in info.axes:
        raise InputError(f"{image.name} has no planes along Z; STL is for 3D objects.")
    affine, _ = _geometry(image.source)
    if affine is None:
        affine = _sized(image.labels)
        if info.pixel_size is not None:
            affine = np.diag([_MICROMETRES] * 3 + [1.0]) @ affine
    for name, first, mask in _solids(image):
        # A rim of background closes the surface; its corners count from there.
        corners, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
        places = (corners + np.array(first) - 1)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
        _write_stl(folder / f"{name}.stl", places[faces])
        yield folder / f"{name}.stl"


def _solids(image: Labelled) -> Iterator[tuple[str, tuple[int, ...], NDArray[np.bool_]]]:
    """Yield name, first voxel and mask in its box of each object at each time."""
    from scipy import ndimage
    from skimage.segmentation import relabel_sequential

    axes = image.labels.info.axes
    place = axes.index("Z")
    stack = np.moveaxis(np.asarray(image.labels.levels[0]), place, -3)
    others = axes[:-2].replace("Z", "").lower()
    times = list(np.ndindex(*stack.shape[:-3]))
    for at, index in enumerate(times):
        small, _, original = relabel_sequential(stack[index])
        where = "".join(f"-{axis}{n:04}" for axis, n in zip(others, index, strict=True))
        boxes = ndimage.find_objects(small)
        for number, box in enumerate(boxes, start=1):
            if image.watch is not None:
                image.watch((at + (number - 1) / len(boxes)) / len(times), "")
            if box is not None:
                name = f"object{int(original[number]):05}{where}"
                yield name, tuple(part.start for part in box), small[box] == number


def _write_stl(path: Path, triangles: DoubleArray) -> None:
    """Write triangles of shape (N, 3, 3) with their outer sides outwards."""
    one, two, three = triangles.transpose(1, 0, 2)
    if np.einsum("ij,ij->", one, np.cross(two, three)) < 0:  # six times the volume
        two, three = three, two
    normals = np.cross(two - one, three - one)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    content = np.zeros(len(triangles), dtype=_TRIANGLE)
    content["normal"] = normals / np.where(lengths > 0, lengths, 1)
    content["corners"] = np.stack([one, two, three], axis=1)
    with atomic_path(path) as temporary:
        head = b"napari-spa".ljust(80) + len(content).to_bytes(4, "little")
        temporary.write_bytes(head + content.tobytes())
