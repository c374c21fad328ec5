"""Pixels that are not what they seem: read rightly, or one line."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageOps
from real_formats import save_png, write_cityscapes, write_gta5

from harness.data import images
from harness.data.datasets import open_dataset
from harness.data.images import damage, not_a_file, read_header, read_stored, read_upright
from harness.data.verify import quick_check, verify
from harness.errors import DataError


@pytest.fixture
def picture():
    blocks = np.random.default_rng(0).integers(0, 255, (6, 8, 3))
    return Image.fromarray(np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8))


def as_bytes(image, format_, **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(tmp_path, picture, suffix):
    grey = np.asarray(picture.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"a.{suffix}")
    assert (read_upright(tmp_path / f"a.{suffix}") == grey[..., None]).all()


@pytest.mark.parametrize(
    ("dtype", "what"), [(np.float32, "floating-point"), (np.int32, "32-bit integers")]
)
def test_values_of_unknown_range_are_refused(tmp_path, dtype, what):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=f"{what}.*expected 8 or 16 bits"):
        read_upright(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_and_a_data_sets_image_is_not(
    tmp_path, picture, suffix, orientation
):
    path, plain = tmp_path / f"a.{suffix}", tmp_path / f"plain.{suffix}"
    picture.save(path, exif=turned(orientation))
    picture.save(plain)
    assert (read_stored(path) == read_stored(plain)).all()
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert expected.shape[:2] == ((64, 48) if orientation > 4 else (48, 64))
    np.testing.assert_array_equal(read_upright(path), expected)


def test_an_orientation_is_named_by_verify_and_stops_nothing(tmp_path):
    folder = write_gta5(tmp_path, 1)
    path = folder / "images/00001.png"
    Image.open(path).save(path, exif=turned(3))
    (problem,) = verify("gta5", tmp_path)
    assert "EXIF orientation 3, which is not applied" in str(problem)
    quick_check(open_dataset("gta5", tmp_path, "train"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_faults_that_viewers_forgive(tmp_path, picture):
    noted = bytearray(as_bytes(picture, "PNG", dpi=(72, 72)))
    noted[noted.index(b"pHYs") + 4] ^= 255
    jpeg = as_bytes(picture, "JPEG")
    forgiven = {
        "crc.png": bytes(noted),
        "trailing.png": as_bytes(picture, "PNG") + bytes(99),
        "end.jpg": jpeg[:-2],
        "trailing.jpg": jpeg + bytes(99),
        "exif.jpg": as_bytes(picture, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"),
        "cmyk.jpg": as_bytes(picture.convert("CMYK"), "JPEG"),
        "alpha.png": as_bytes(picture.convert("LA"), "PNG"),
        "palette.png": as_bytes(picture.quantize(16), "PNG", transparency=0),
    }
    for name, content in forgiven.items():
        (tmp_path / name).write_bytes(content)
        assert damage(tmp_path / name) is None, name
        assert read_header(tmp_path / name).complete, name
        assert read_upright(tmp_path / name).shape == (48, 64, 3), name


def test_half_a_file_is_not_forgiven(tmp_path, picture):
    for name, content in (
        ("a.jpg", as_bytes(picture, "JPEG")),
        ("a.png", as_bytes(picture, "PNG")),
    ):
        (tmp_path / name).write_bytes(content[: len(content) // 2 + 100])
        assert damage(tmp_path / name), name
        with pytest.raises(DataError, match="expected a whole image file"):
            read_upright(tmp_path / name)
        with pytest.raises(DataError, match=r"truncated|cannot be read"):
            read_stored(tmp_path / name)


def test_a_grey_picture_is_no_lost_one(tmp_path):
    Image.new("RGB", (64, 48), (128, 128, 128)).save(tmp_path / "a.jpg")
    assert (read_stored(tmp_path / "a.jpg") == 128).all()
    assert (read_upright(tmp_path / "a.jpg") == 128).all()


def test_a_label_with_a_broken_note_is_read(tmp_path):
    folder = write_cityscapes(tmp_path, 1, 1)
    (label,) = (folder / "gtFine/train").rglob("*.png")
    content = bytearray(as_bytes(Image.open(label), "PNG", dpi=(72, 72)))
    content[content.index(b"pHYs") + 4] ^= 255
    label.write_bytes(content)
    assert verify("cityscapes", tmp_path) == []
    open_dataset("cityscapes", tmp_path, "train").read_label(0)


def test_what_is_no_file_is_named_and_never_opened(tmp_path):
    folder = write_gta5(tmp_path, 4)
    for i, make in enumerate((os.mkfifo, lambda p: p.symlink_to(p.name), lambda p: p.mkdir()), 1):
        path = folder / "images" / f"0000{i}.png"
        path.unlink()
        make(path)
    assert not_a_file(folder / "images/00001.png") == "a FIFO"
    assert not_a_file(folder / "images/00003.png") == "a folder"
    dataset = open_dataset("gta5", tmp_path, "train")
    dataset.fingerprint()
    with pytest.raises(DataError, match=r"Too many levels.*\n.*a FIFO"):
        quick_check(dataset)
    with pytest.raises(DataError, match="a FIFO"):
        dataset.read_image(0)


def test_size_is_bounded_before_pixels_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 48 * 64 - 1)
    write_gta5(tmp_path, 1)
    assert any("64x48 pixels, 0 megapixels" in str(p) for p in verify("gta5", tmp_path))
    with pytest.raises(DataError, match="megapixels at most"):
        read_upright(tmp_path / "gta5/images/00001.png")


@pytest.mark.parametrize("write", [write_gta5, lambda root, n: write_cityscapes(root, n, n)])
def test_train_ids_in_place_of_label_ids_are_named(tmp_path, write):
    folder = write(tmp_path, 2)
    train_ids = np.tile(np.array([0, 2, 8, 10, 13, 11, 255, 1], np.uint8), (48, 8))
    if folder.name == "gta5":
        train_ids[train_ids == 255] = 0
    for label in [*folder.glob("labels/*.png"), *folder.glob("gtFine/*/*/*.png")]:
        save_png(label, train_ids)
    assert "what seem to be train ids, 0 to 13" in str(verify(folder.name, tmp_path)[0])
