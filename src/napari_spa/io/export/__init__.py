"""Objects written for other programs: label images, outlines, meshes, COCO, tables.

Front: `FORMATS`, and an `ExportRequest` given to `export_image` or `export_project`.
"""

from napari_spa.io.export.export import (
    FORMATS,
    NUMBERED,
    VALUES,
    ExportReport,
    ExportRequest,
    existing,
    export_image,
    export_project,
    format_problem,
    free_folder,
    free_name,
)
from napari_spa.io.export.volumes import Labelled, of_file

__all__ = [
    "FORMATS",
    "NUMBERED",
    "VALUES",
    "ExportReport",
    "ExportRequest",
    "Labelled",
    "existing",
    "export_image",
    "export_project",
    "format_problem",
    "free_folder",
    "free_name",
    "of_file",
]
