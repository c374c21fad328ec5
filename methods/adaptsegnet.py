"""AdaptSegNet: adversarial adaptation of the output space (Tsai et al., CVPR 2018).

A discriminator learns to tell the softmax maps of source images from those of target images; the
student learns to make target maps that it takes for the source's, at one level or at two.

    student:        L = CE(source) + lambda_adv * L_gan(D(softmax(target)), source)
    discriminator:  L = (L_gan(D(softmax(source)), source) + L_gan(D(softmax(target)), target)) / 2
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field
from torch import Tensor, nn

from methods.bases.levels import MultiLevel
from methods.contract import Batch, Segmentor
from methods.parts.adversarial import GAN, SOURCE, TARGET, gan_loss, held_fixed
from methods.parts.discriminator import Discriminator
from methods.parts.losses import upsample


class AdaptSegNet(MultiLevel):
    """Source supervision, and a discriminator of the output space that the student is to fool."""

    title = "Adversarial adaptation of the output space"
    paper = "Learning to Adapt Structured Output Space for Semantic Segmentation, CVPR 2018"

    class Config(MultiLevel.Config):
        lambda_adv: float = Field(
            0.001, ge=0, description="weight of the adversarial term (paper; 0.01 for its ls model)"
        )
        lambda_adv_auxiliary: float = Field(
            0.0002, ge=0, description="the same at the auxiliary level (paper)"
        )
        gan: GAN = Field("vanilla", description="vanilla, or ls: least squares (authors' code)")
        discriminator_lr: float = Field(
            1e-4, gt=0, description="Adam's, decayed with power 0.9 (paper)"
        )
        discriminator_width: int = Field(
            64, ge=1, description="channels of the discriminator's first convolution (paper)"
        )

    config: Config

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        levels = ("main", "auxiliary")[: self.config.levels]
        self.discriminators = nn.ModuleDict(
            {
                level: Discriminator(self.student.num_classes, self.config.discriminator_width)
                for level in levels
            }
        )

    def critic_groups(self) -> list[dict]:
        parameters = list(self.discriminators.parameters())
        return [{"params": parameters, "lr": self.config.discriminator_lr}]

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        size = batch.source_image.shape[-2:]
        source = self.predict(batch.source_image)
        yield self.supervised(source, batch.source_label)
        source = detached(source)

        target = self.predict(batch.target_image)
        weight = {"main": self.config.lambda_adv, "auxiliary": self.config.lambda_adv_auxiliary}
        with held_fixed(self.discriminators):
            fooled = self.judge(target, SOURCE, size)
        yield {f"adversarial_{level}": weight[level] * loss for level, loss in fooled.items()}
        target = detached(target)

        told = self.judge(source, SOURCE, size), self.judge(target, TARGET, size)
        yield {f"discriminator_{level}": (told[0][level] + told[1][level]) / 2 for level in source}

    def judge(
        self, levels: dict[str, Tensor], domain: float, size: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """Loss of each discriminator where its level's logits are to be taken for that domain's."""
        losses = {}
        for level, logits in levels.items():
            maps = self.seen(upsample(logits.float(), size))
            losses[level] = gan_loss(self.discriminators[level](maps), domain, self.config.gan)
        return losses

    def seen(self, logits: Tensor) -> Tensor:
        """What a discriminator sees of logits (B, C, H, W) at the crop's size: the softmax."""
        return logits.softmax(1)


def detached(levels: dict[str, Tensor]) -> dict[str, Tensor]:
    """The logits alone, without the graph that made them."""
    return {level: logits.detach() for level, logits in levels.items()}
