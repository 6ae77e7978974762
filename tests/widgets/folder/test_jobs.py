"""What runs in the folder dock is said, and Cancel answers at once; fields follow the font."""

from napari_spa.widgets.folder.dock import FolderPanel
from napari_spa.widgets.folder.jobs import BatchDialog, FolderJobs


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


def test_what_is_to_review_can_be_done_again(qtbot):
    dialog = BatchDialog([], ["a", "b"], "")
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.again.text() == "Do the 2 images to review again"
    assert dialog.options().again  # there is nothing else
    dialog.again.setChecked(False)
    assert not dialog.start.isEnabled()
    none = BatchDialog(["a"], [], "")
    qtbot.addWidget(none)
    none.show()
    assert not none.again.isVisible()
    assert not none.options().again


def test_the_dialog_of_a_batch_grows_with_what_it_says(qtbot):
    dialog = BatchDialog(["a", "b"], [], "No preference is learnt yet.")
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.show_effort("Estimating time and space…", possible=True)
    qtbot.wait(50)
    before = dialog.height()
    dialog.show_effort(
        "The images cannot be used, for a reason of many words. " * 6, possible=False
    )
    qtbot.wait(50)
    assert dialog.height() > before
    assert dialog.effort.height() >= dialog.effort.heightForWidth(dialog.effort.width())
