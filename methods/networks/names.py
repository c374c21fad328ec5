"""What a network's name says: PREFIX:NAME for those that the zoo's table does not hold."""

from __future__ import annotations

#: Any network, at two scales: methods/networks/multi_scale.py.
TWO_SCALES = "hrda:"
#: timm:MODEL or timm:MODEL:HEAD, an encoder of timm with a head of the zoo.
TIMM = "timm:"
#: mmseg:CONFIG, a network of mmsegmentation.
MMSEG = "mmseg:"


def one_scale(name: str) -> str:
    """The network that one at two scales is made of; any other is itself."""
    return name.removeprefix(TWO_SCALES)


def timm_parts(name: str, head: str) -> tuple[str, str]:
    """Model and head of "timm:MODEL:HEAD"; `head` where the name has none."""
    model, _, named = name.removeprefix(TIMM).partition(":")
    return model, named or head
