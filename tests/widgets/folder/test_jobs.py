"""What runs in the folder dock is said; Cancel answers at once and is not talked over."""

from napari_spa.widgets.folder.jobs import FolderJobs
from napari_spa.widgets.folder.panel import FolderPanel


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
