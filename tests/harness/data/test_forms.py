"""Pairs of image and label: found in any form of their names, in time linear in their number."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest

from harness.data import forms


def test_a_large_set_is_listed_in_linear_time(monkeypatch):
    """At GTA5's 24,966 images a square takes minutes; at 4,000 it would take half a minute."""
    files = [Path("images") / f"{number:05d}.png" for number in range(4000)]
    monkeypatch.setattr(forms, "walk", lambda folder, depth: files)
    started = time.process_time()
    assert forms.images_in(Path("images")) == files
    assert time.process_time() - started < 3


@pytest.mark.parametrize("forms_of", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")], ids=str)
def test_accents_stored_apart_from_their_letters_part_no_pair(tmp_path, forms_of):
    """macOS writes them apart, other systems as one character; archives carry both."""
    image_form, label_form = forms_of
    for folder, form in (("images", image_form), ("labels", label_form)):
        file = tmp_path / folder / unicodedata.normalize(form, "Münchner Straße é.png")
        file.parent.mkdir()
        file.touch()
    form = forms.Form((("images", "labels"),))
    ((image, label),) = forms.list_pairs([form], tmp_path, "train")
    assert image.is_file()
    assert label.is_file()
