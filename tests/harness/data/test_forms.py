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


@pytest.fixture
def listed(tmp_path):
    """Label by image, as paths below the set's folder, of the files that are there."""

    def of(places: tuple[str, str], *files: str) -> dict[str, str]:
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        pairs = forms.list_pairs([forms.Form((places,))], tmp_path, "train")
        return {
            image.relative_to(tmp_path).as_posix(): label.relative_to(tmp_path).as_posix()
            for image, label in pairs
        }

    return of


def test_an_unlabelled_image_does_not_get_another_sequences_label(listed):
    assert listed(("images", "labels"), "images/a/1.jpg", "images/b/1.jpg", "labels/a/1.png") == {
        "images/a/1.jpg": "labels/a/1.png",
        "images/b/1.jpg": "labels/b/1.png",
    }


def test_one_flat_label_is_that_of_neither_of_two_images(listed):
    assert listed(("images", "labels"), "images/a/1.jpg", "images/b/1.jpg", "labels/1.png") == {
        "images/a/1.jpg": "labels/a/1.png",
        "images/b/1.jpg": "labels/b/1.png",
    }


def test_a_flat_label_that_one_image_has_is_its_own(listed):
    """Also where the image lies there as PNG and as JPEG."""
    assert listed(
        ("images", "labels"), "images/a/1.jpg", "images/a/1.png", "images/b/2.jpg",
        "labels/1.png", "labels/2.png",
    ) == {
        "images/a/1.jpg": "labels/1.png",
        "images/a/1.png": "labels/1.png",
        "images/b/2.jpg": "labels/2.png",
    }  # fmt: skip


@pytest.mark.parametrize("part", ["part{}/images part{}/labels", "{}_images {}_labels"])
def test_of_several_folders_with_labels_the_nearest_is_the_images(listed, part):
    images, labels = part.split()
    files = [images.format(i) + f"/{n}.jpg" for i in (1, 2) for n in (1, 2)]
    truth = [labels.format(1) + "/1.png", labels.format(1) + "/2.png", labels.format(2) + "/1.png"]
    expected = [*truth, labels.format(2) + "/2.png"]  # the last is missing
    places = images.format("*"), labels.format("*")
    assert listed(places, *files, *truth) == dict(zip(files, expected, strict=True))
