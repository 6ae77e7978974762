"""``napari-spa export``: objects for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.cli.console import (
    CallError,
    answer,
    checking_the_call,
    echo_err,
    progress_bar,
)
from napari_spa.core.presentation import counted
from napari_spa.io.export import ExportReport, ExportRequest, export_image, export_project
from napari_spa.io.export.volumes import of_file
from napari_spa.io.projects.paths import is_project, project_path
from napari_spa.io.projects.project import Project
from napari_spa.refine.log.replay import changed_images, say_changed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def run(options: argparse.Namespace) -> int:
    """Run ``export`` and return its exit status."""
    request = ExportRequest(
        options.output, tuple(options.formats), tuple(options.values), options.replace
    )
    with checking_the_call():
        request.check()
    with progress_bar("export") as progress:
        report, changed = _export(options, request, progress)
    for name, why in report.problems:
        echo_err(f"napari-spa: {why}" if name in why else f"napari-spa: {name}: {why}")
    if report.left_out:
        echo_err(f"napari-spa: {report.left_out}")
    if changed:
        echo_err(f"napari-spa: {say_changed(changed, 'they are exported as they were')}")
    whole = f"{counted(report.images, 'image')}{' whole' if report.problems else ''}"
    answer(
        options,
        [f"{whole}, {counted(report.files, 'file')} in {options.output}"],
        images=report.images,
        files=report.names,
        problems=[{"image": name, "why": why} for name, why in report.problems],
        changed=changed,
    )
    return 1 if report.problems else 0


def _export(
    options: argparse.Namespace, request: ExportRequest, progress: Callable[[float, str], None]
) -> tuple[ExportReport, tuple[str, ...]]:
    """Export, and tell which images have other pixels than when they were annotated."""
    labels, image = options.labels, options.image
    if not is_project(labels):
        return export_image(of_file(labels, image), request, progress), ()
    if project_path(labels).is_file():
        if image is not None:
            raise CallError("a project knows its images; leave --image out.")
        project = Project.open(labels)
        return export_project(project, request, progress), changed_images(project)
    if image is None or not image.is_dir():
        raise CallError(f"{labels} is of a batch; name the folder of its images with --image.")
    project = Project(image.absolute(), labels.absolute(), recursive=True)
    project.refresh()
    return export_project(project, request, progress), changed_images(project)
