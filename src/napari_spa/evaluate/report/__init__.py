"""The report of an evaluation: tables, figures, Markdown and one page."""

from napari_spa.evaluate.report.page import Report, write_report
from napari_spa.evaluate.report.tables import Results

__all__ = ["Report", "Results", "write_report"]
