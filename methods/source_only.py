"""Source-only: supervised on the source, the baseline that adaptation is measured against."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from methods.contract import Batch, Method
from methods.parts.losses import cross_entropy


class SourceOnly(Method):
    """Cross-entropy on labelled source images; the target is never seen."""

    title = "Supervised on the source only"
    uses_target = False

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        logits = self.student(batch.source_image).logits
        yield {"source": cross_entropy(logits, batch.source_label, stride=self.config.loss_stride)}
