"""What a network's name says: PREFIX:NAME for those that the zoo's table does not hold."""

from __future__ import annotations

from typing import NamedTuple

#: Any network, at two scales: methods/networks/multi_scale.py.
TWO_SCALES = "hrda:"
#: timm:MODEL, timm:MODEL:HEAD or timm:MODEL:HEAD:TAPS, an encoder of timm with a head of the zoo.
TIMM = "timm:"
#: mmseg:CONFIG, a network of mmsegmentation.
MMSEG = "mmseg:"
#: Between the names of networks that answer as one: methods/networks/ensemble.py.
AND = ", "
#: Of TAPS: the map after the last block alone.
LAST = "last"


class TimmParts(NamedTuple):
    """What "timm:MODEL:HEAD:TAPS" says."""

    model: str
    head: str
    taps: str  # blocks whose maps are used, such as 2-5-8-11, or LAST; "" where the name has none


def one_scale(name: str) -> str:
    """The network that one at two scales is made of; any other is itself."""
    return name.removeprefix(TWO_SCALES)


def timm_parts(name: str, head: str) -> TimmParts:
    """The parts of a name of timm; `head` where it has none."""
    model, _, rest = name.removeprefix(TIMM).partition(":")
    named, _, taps = rest.partition(":")
    return TimmParts(model, named or head, taps)


def tapped_blocks(taps: str) -> tuple[int, ...] | None:
    """The numbers of "2-5-8-11", from 0; None for LAST. ValueError for anything else."""
    if taps == LAST:
        return None
    numbers = taps.split("-")
    if all(number.isascii() and number.isdecimal() for number in numbers):
        blocks = tuple(map(int, numbers))
        if list(blocks) == sorted(set(blocks)):
            return blocks
    raise ValueError(
        f"taps {taps!r}: expected numbers of blocks that ascend, from 0, such as 2-5-8-11, or "
        f"{LAST}"
    )
