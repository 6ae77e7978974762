"""``napari-spa export``: objects for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.cli.arguments import add_command, words
from napari_spa.cli.output import (
    CallError,
    checking_the_call,
    echo,
    echo_err,
    echo_json,
    progress_bar,
)
from napari_spa.core.presentation import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from napari_spa.cli.arguments import Commands
    from napari_spa.io.export import ExportReport, ExportRequest


def add_parser(commands: Commands) -> None:
    """Add the command to the main parser."""
    from napari_spa.io.export import FORMATS, NUMBERED

    parser = add_command(
        commands,
        "export",
        run,
        about="Write the objects of a project folder, or of a label image, for other programs.",
        example="napari-spa export images-spa -o exported --formats labels,coco,rois",
    )
    parser.add_argument(
        "labels", type=Path, metavar="PROJECT|LABELS", help="a project folder, or a label image"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into"
    )
    parser.add_argument(
        "--formats",
        type=words,
        default=["labels", "tables"],
        metavar="F,F,...",
        help=f"some of {', '.join(FORMATS)} (default: labels,tables)",
    )
    parser.add_argument(
        "--values",
        type=words,
        default=["objects"],
        metavar="V,V",
        help=f"what the numbers in {', '.join(NUMBERED)} are: objects (instance), classes "
        "(semantic), or both (default: objects)",
    )
    parser.add_argument(
        "--image",
        type=Path,
        help="the image that the labels are of, for intensities, sizes and where voxels lie in "
        "space; of a batch the folder of its images",
    )
    parser.add_argument("--replace", action="store_true", help="replace files that are there")


def run(options: argparse.Namespace) -> int:
    """Run ``export`` and return its exit status."""
    from napari_spa.io.export import ExportRequest

    request = ExportRequest(
        options.output, tuple(options.formats), tuple(options.values), options.replace
    )
    with checking_the_call():
        request.check()
    with progress_bar("export") as progress:
        report = _export(options, request, progress)
    for name, why in report.problems:
        echo_err(f"{name}: {why}")
    if options.json:
        echo_json(
            {
                "images": report.images,
                "files": report.names,
                "problems": [{"image": name, "why": why} for name, why in report.problems],
            }
        )
    else:
        images, files = counted(report.images, "image"), counted(report.files, "file")
        echo(f"{images}, {files} in {options.output}")
    return 1 if report.problems else 0


def _export(
    options: argparse.Namespace,
    request: ExportRequest,
    progress: Callable[[float, str], None],
) -> ExportReport:
    from napari_spa.io.export import export_image, export_project, of_file
    from napari_spa.io.projects.paths import is_project, project_path
    from napari_spa.io.projects.project import Project

    labels, image = options.labels, options.image
    if not is_project(labels):
        return export_image(of_file(labels, image), request, progress)
    if project_path(labels).is_file():
        if image is not None:
            raise CallError("a project knows its images; leave --image out.")
        return export_project(Project.open(labels), request, progress)
    if image is None or not image.is_dir():
        raise CallError(f"{labels} is of a batch; name the folder of its images with --image.")
    project = Project(image.absolute(), labels.absolute(), recursive=True)
    project.refresh()
    return export_project(project, request, progress)
