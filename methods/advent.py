"""ADVENT: adversarial adaptation of the entropy maps (Vu et al., CVPR 2019).

AdaptSegNet on the weighted self-information -p log p / log C of each class in the place of the
softmax: target maps are to show the source's low entropy, and its spatial structure.
"""

from __future__ import annotations

from torch import Tensor

from methods.adaptsegnet import AdaptSegNet
from methods.parts.entropy import self_information


class Advent(AdaptSegNet):
    """AdaptSegNet whose discriminator sees the self-information of each class."""

    title = "Adversarial adaptation of the entropy maps"
    paper = (
        "ADVENT: Adversarial Entropy Minimization for Domain Adaptation in Semantic Segmentation, "
        "CVPR 2019"
    )

    def seen(self, logits: Tensor) -> Tensor:
        """The weighted self-information of logits (B, C, H, W) at the crop's size."""
        return self_information(logits)
