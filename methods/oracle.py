"""Oracle: supervised on the target's own labels, an upper bound of adaptation."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from methods.contract import Batch, Method
from methods.parts.losses import cross_entropy


class Oracle(Method):
    """Cross-entropy on labelled target images, with the schedule of every other method."""

    title = "Supervised on the target (needs its labels)"
    needs_target_labels = True
    uses_source = False

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        assert batch.target_label is not None
        logits = self.student(batch.target_image).logits
        yield {"target": cross_entropy(logits, batch.target_label, stride=self.config.loss_stride)}
