"""What a PNG file says of itself, without decoding it: its first 26 bytes, and its chunks."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from harness.files import map_files

GREY, RGB, PALETTE, RGBA = 0, 2, 3, 6
COLOUR_NAMES = {GREY: "grey", RGB: "RGB", PALETTE: "palette", 4: "grey with alpha", RGBA: "RGBA"}

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


class PngHeader(NamedTuple):
    width: int
    height: int
    bits: int  # a channel
    colour: int  # one of COLOUR_NAMES
    complete: bool  # the last chunk is there: the file was not cut short

    @property
    def mode(self) -> str:
        return f"{self.bits}-bit {COLOUR_NAMES.get(self.colour, 'unknown')}"


def read_header(path: Path) -> PngHeader | None:
    """Read a file's header; None when it cannot be opened or is no PNG file."""
    try:
        if not path.is_file():  # opening a pipe would never return
            return None
        with path.open("rb") as file:
            head = file.read(26)
            if len(head) < 26 or not head.startswith(_SIGNATURE):
                return None
            file.seek(-len(_END), os.SEEK_END)
            complete = file.read() == _END or _has_end(file)
    except OSError:
        return None
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    return PngHeader(width, height, head[24], head[25], complete)


def _has_end(file: BinaryIO) -> bool:
    """Whether the last chunk is there where other bytes follow it, as some tools leave them."""
    position = len(_SIGNATURE)
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return False
        if head[4:] == b"IEND":
            return True
        position += 12 + int.from_bytes(head[:4], "big")


def without_broken_notes(content: bytes) -> bytes | None:
    """A PNG file's bytes without chunks that no pixel depends on and whose checksum is wrong.

    None where there is none such, or where the file is cut short.
    """
    position, kept, dropped = len(_SIGNATURE), [_SIGNATURE], 0
    while content.startswith(_SIGNATURE) and position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        chunk = content[position : position + 12 + length]
        ancillary = bool(chunk[4] & 0x20)
        if ancillary and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            dropped += 1
        else:
            kept.append(chunk)
        if chunk[4:8] == b"IEND":
            return b"".join(kept) if dropped else None
        position += len(chunk)
    return None


def read_headers(
    paths: Sequence[Path], read: Callable[[Path], PngHeader | None] = read_header
) -> list[PngHeader | None]:
    """Read many headers at once: on a network file system the wait is latency, not bytes."""
    return list(map_files(read, paths))
