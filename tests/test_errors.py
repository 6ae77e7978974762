"""A sentence is one printable line of reasonable length, whatever name it quotes."""

import pytest

from napari_spa.core.presentation import capitalised
from napari_spa.errors import CheckpointError, InputError, SpaError, printable


def test_control_characters_of_names_do_not_reach_a_terminal() -> None:
    name = "a\x1b]0;owned\x07\n\rb\u202egnp.exe\udce9\ud800\x9b"
    text = str(InputError(f"{name} cannot be read."))
    assert text == (r"a\x1b]0;owned\x07\n\rb\u202egnp.exe\xe9\ud800\x9b cannot be read.")
    text.encode("utf-8")


@pytest.mark.parametrize("text", ["µm, 画像, naïve “cup”", "a\u3000b\u202fPM", ""])
def test_letters_of_any_script_stay(text: str) -> None:
    assert printable(text) == text


def test_a_long_sentence_keeps_its_beginning_and_its_remedy() -> None:
    text = str(CheckpointError(f"the weights {'x' * 5000} are damaged; copy them again."))
    assert len(text) < 1010
    assert text.startswith("the weights xxx")
    assert text.endswith("xxx are damaged; copy them again.")


def test_what_is_said_survives_wrapping_in_another_error() -> None:
    inner = SpaError("a" * 999)
    assert str(SpaError(f"{inner}")) == "a" * 999


def test_a_name_keeps_its_letters_where_a_sentence_begins_with_it():
    for sentence in (
        "a.tif cannot be read.",
        "b_2 cannot be read.",
        "cell3: no image.",
        "/x is gone.",
    ):
        assert capitalised(sentence) == sentence
    assert capitalised("cannot write /x.") == "Cannot write /x."
    assert capitalised("stopped.") == "Stopped."
    assert capitalised("") == ""
