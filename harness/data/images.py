"""Reads image files: what every viewer opens, within bounds, or a line that says what is wrong."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from harness.data import png
from harness.data.transforms import PixelArray
from harness.errors import DataError
from harness.files import FILE_TYPES

#: A network's scores of so many pixels take 5 GB: larger pictures are refused, bombs among them.
MAX_PIXELS = 2**26
_BOUND = f"expected {MAX_PIXELS / 1e6:.0f} megapixels at most: scale it down, or cut it."
#: A JPEG file whose end is lost may lack so many of its last rows: one row of its largest blocks.
LOST_ROWS = 16
TIFF_SUFFIXES = (".tif", ".tiff")
#: What PIL raises of broken files; SyntaxError for a PNG chunk, ValueError for other ones.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def not_a_file(path: Path) -> str | None:
    """What a path is that cannot be read as a file; opening a pipe would never return."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "no such file (a broken link)" if path.is_symlink() else "no such file"
    except OSError as error:
        return error.strerror or str(error)
    return None if stat.S_ISREG(mode) else FILE_TYPES.get(stat.S_IFMT(mode), "not a file")


def too_large(width: int, height: int) -> str | None:
    """How large a picture is, where that is more than can be read."""
    if width * height <= MAX_PIXELS:
        return None
    return f"{width}x{height} pixels, {width * height / 1e6:.0f} megapixels"


def read_stored(path: Path) -> PixelArray:
    """Read an image as RGB (H, W, 3), 8 bits a channel, in the order in which it is stored.

    An EXIF orientation is not applied: labels have none. DataError where it cannot be read, or more
    of a JPEG file is lost than `load` forgives.
    """
    reason = not_a_file(path)
    bgr = None
    if reason is None:
        try:
            bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:
            reason = "too large, or damaged"
    if bgr is not None and _ends_in_grey(bgr) and (reason := damage(path)):
        bgr = None
    if bgr is None:
        raise DataError(f"{path}: {reason or 'cannot be read'}; `bench data verify` says why")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_upright(path: Path) -> PixelArray:
    """Read an image as RGB (H, W, 3) uint8, turned as its EXIF orientation says.

    16 bits a channel become 8. DataError where it cannot be read, is larger than MAX_PIXELS, or has
    values whose range nobody knows (32-bit integers, floating point).
    """
    image = load(path)
    if image.mode in ("I", "F"):
        what = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise DataError(
            f"{path}: pixels of {what}; expected 8 or 16 bits a channel, for nobody says what is "
            "black and what white: convert it first."
        )
    turn = _TURNS.get(orientation_of(image))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    return np.array(image.transpose(turn) if turn is not None else image)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, as stored, where there is none that can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF of all makes: PIL has no one error for what it cannot parse
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def orientation_of_file(path: Path) -> int:
    """The same of a file, whose pixels are not decoded where its format allows that."""
    try:
        with Image.open(path) as image:
            return orientation_of(image)
    except _BROKEN:
        return 1


def load(path: Path) -> Image.Image:
    """Open and decode an image file. DataError, in one line, where that fails.

    What viewers forgive is forgiven: a wrong checksum of a PNG chunk that is no pixel, a JPEG that
    lacks its last bytes.
    """
    if reason := not_a_file(path):
        raise DataError(f"{path}: {reason}; expected an image file, such as a PNG or a JPEG.")
    try:
        return _decode(path)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: more pixels than can be read; {_BOUND}") from error
    except _BROKEN as error:
        mended = _mended(path)
        if mended is None:
            reason = str(error).replace(f" {str(path)!r}", "")
            raise DataError(
                f"{path}: {reason}; expected a whole image file, such as a PNG or a JPEG."
            ) from error
        return mended


def _decode(file: Path | io.BytesIO, name: Path | None = None) -> Image.Image:
    """PIL's own errors, and DataError for a picture that is too large."""
    with Image.open(file) as image:
        if size := too_large(*image.size):
            raise DataError(f"{name or file}: {size}; {_BOUND}")
        image.load()
        return image


def _mended(path: Path) -> Image.Image | None:
    """The picture of a file that only strict readers call broken; None for a broken one."""
    notes_dropped = png.without_broken_notes(path.read_bytes())
    if not notes_dropped:
        return _mended_jpeg(path)
    try:
        return _decode(io.BytesIO(notes_dropped), path)
    except _BROKEN:
        return None


def _mended_jpeg(path: Path) -> Image.Image | None:
    """The picture of a JPEG file that lacks its last bytes and no more than LOST_ROWS rows."""
    content = path.read_bytes()
    if not content.startswith(b"\xff\xd8"):
        return None
    try:
        image = _decode(io.BytesIO(content + b"\xff\xd9"), path)
    except _BROKEN:
        return None
    return None if _ends_in_grey(np.asarray(image.convert("RGB"))) else image


def _ends_in_grey(pixels: PixelArray) -> bool:
    """Whether more than LOST_ROWS rows may be lost of a JPEG file: decoders paint them in grey."""
    return len(pixels) > LOST_ROWS and bool((pixels[-LOST_ROWS - 1] == 128).all())


def damage(path: Path) -> str | None:
    """Why a file is no sound image; None where it is one, or has faults that viewers forgive."""
    try:
        with Image.open(path) as image:
            if image.format != "PNG":
                image.load()
            image.verify()  # every chunk's checksum; PIL's decoder overlooks broken pixels
    except _BROKEN as error:
        mended = png.without_broken_notes(path.read_bytes())
        if (mended and _verifies(mended)) or _mended_jpeg(path):
            return None
        return str(error)
    return None


def _verifies(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
    except _BROKEN:
        return False
    return True


#: Bits and colour of TIFF files by PIL's mode.
_TIFF_MODES = {
    "L": (8, png.GREY),
    "P": (8, png.PALETTE),
    "RGB": (8, png.RGB),
    "RGBA": (8, png.RGBA),
    "I;16": (16, png.GREY),
    "I;16B": (16, png.GREY),
}
_BITS_PER_SAMPLE = 258
#: By PIL's name; what a label must not be stored with.
_LOSSY = ("jpeg", "tiff_jpeg", "webp")


def read_header(path: Path) -> png.PngHeader | None:
    """A PNG file's header, or the same of a JPEG or TIFF file; None for any other."""
    header = png.read_header(path)
    return header if header or not_a_file(path) else _read_other(path, _of_image)


def read_label_header(path: Path) -> png.PngHeader | None:
    """The same of a file that can be a label: PNG, or TIFF stored without loss."""
    header = png.read_header(path)
    if header or path.suffix.lower() not in TIFF_SUFFIXES or not_a_file(path):
        return header
    return _read_other(path, _of_tiff_label)


def read_palette(path: Path) -> bytes | None:
    """The colours of a palette file, 3 bytes each; None for any other."""
    try:
        with Image.open(path) as image:
            if image.mode != "P" or image.palette is None:
                return None
            stored = image.palette.palette if image.palette.rawmode == "RGB" else None
            return bytes(stored or image.getpalette() or b"")
    except _BROKEN:
        return None


def _read_other(
    path: Path, describe: Callable[[Image.Image], tuple[int, int] | None]
) -> png.PngHeader | None:
    try:
        with Image.open(path) as image:
            (width, height), stored = image.size, describe(image)
    except _BROKEN:
        return None
    return png.PngHeader(width, height, *stored, True) if stored else None


def _of_image(image: Image.Image) -> tuple[int, int] | None:
    """Bits and colour."""
    if image.format in ("JPEG", "MPO"):
        return 8, png.GREY if image.mode == "L" else png.RGB
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode not in _TIFF_MODES:
        return None
    bits, colour = _TIFF_MODES[image.mode]
    # PIL calls 16 bits a channel RGB as well, and cuts them to 8.
    return max(bits, *image.tag_v2.get(_BITS_PER_SAMPLE, (bits,))), colour


def _of_tiff_label(image: Image.Image) -> tuple[int, int] | None:
    lossy = image.format != "TIFF" or image.info.get("compression") in _LOSSY
    return None if lossy else _of_image(image)
