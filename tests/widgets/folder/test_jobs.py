"""What runs in the folder dock is said, and Cancel answers at once; fields follow the font."""

from napari_spa.widgets.folder.jobs import FolderJobs
from napari_spa.widgets.folder.panel import FolderPanel


def test_what_is_typed_is_as_large_as_what_is_read(qtbot):
    parts = FolderPanel(lambda item: None)
    qtbot.addWidget(parts)
    font = parts.summary.font()
    font.setPointSizeF(2 * font.pointSizeF())
    parts.summary.setFont(font)
    assert parts.text.font() == parts.note.font() == parts.list.font() == font


class Controller:
    project = None


def test_cancel_says_at_once_what_it_waits_for(qtbot):
    jobs, parts = FolderJobs(Controller()), FolderPanel(lambda item: None)
    qtbot.addWidget(parts)
    jobs.running.connect(parts.set_running)
    parts.show()
    try:
        jobs._what = "Batch"
        jobs._on_progressed(0.4, "2 of 5 images, about 3 min left")
        assert parts.running.text() == "Batch: 2 of 5 images, about 3 min left"
        assert parts.progress.value() == 0.4 * parts.progress.maximum()
        jobs.cancel()
        waits = "Stopping: waiting for the image in progress. What is finished stays."
        assert parts.running.text() == waits
        jobs._on_progressed(0.6, "3 of 5 images")
        assert parts.running.text() == waits
        assert parts.progress.value() == 0.4 * parts.progress.maximum()
        jobs._what = ""
        jobs.running.emit("", 0.0)
        assert not parts.cancel.isVisible()
    finally:
        jobs.close()
