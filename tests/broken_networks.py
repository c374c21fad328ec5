"""Methods that break the contract by the networks that they keep, and who says so."""

from __future__ import annotations

import copy

import torch
from broken_methods import Sound
from torch import nn

from methods.contract import TeacherSpec
from methods.parts.ema import EMATeacher
from methods.source_only import SourceOnly


class WithCopy(Sound):
    """A copy of the student that teaches it, as `keep` makes it."""

    def keep(self):
        return EMATeacher(self.student, 0.9)

    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.mean_teacher = self.keep()

    def losses(self, batch, step):
        yield {"source": self.source(batch)}
        wanted = self.mean_teacher(batch.target_image).logits.softmax(1)
        given = self.student(batch.target_image).logits.log_softmax(1)
        yield {"taught": -(wanted * given).sum(1).mean()}

    def after_step(self, step):
        self.mean_teacher.update(self.student, step)


class ScoredCopy(WithCopy):
    """An average of the method's own making, by whatever name, that is scored too."""

    def keep(self):
        return copy.deepcopy(self.student).requires_grad_(False)

    @property
    def ema_teacher(self):
        return self.mean_teacher

    def train(self, mode=True):
        super().train(mode)
        self.mean_teacher.eval()
        return self

    @torch.no_grad()
    def after_step(self, step):
        for own, other in zip(
            self.mean_teacher.parameters(), self.student.parameters(), strict=True
        ):
            own.lerp_(other, 0.1)


class CopyLearns(ScoredCopy):
    def keep(self):
        return copy.deepcopy(self.student)


class CopyDropsOut(ScoredCopy):
    def train(self, mode=True):
        return super(ScoredCopy, self).train(mode)


class StudentsOwnEncoder(Sound):
    """What is meant to be a frozen copy is none."""

    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.imagenet = self.student.encoder.requires_grad_(False)


class NothingLearns(Sound):
    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.student.requires_grad_(False)
        self.prior = nn.Parameter(torch.zeros(()))

    def losses(self, batch, step):
        yield {"source": self.source(batch) + self.prior}


class InAList(Sound):
    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.projections = [nn.Conv2d(width, 4, 1) for width in self.student.feature_channels]


class LeftInEval(Sound):
    def losses(self, batch, step):
        yield {"source": self.source(batch)}
        self.student.eval()
        with torch.no_grad():
            self.student(batch.target_image)


class NineteenClasses(Sound):
    def losses(self, batch, step):
        p = self.student(batch.source_image).logits.softmax(1).mean((0, 2, 3))
        balance = (p - torch.full((19,), 1 / 19, device=p.device)).square().sum()
        yield {"source": self.source(batch), "balance": balance}


class BreaksWithAnyClasses(Sound):
    def losses(self, batch, step):
        loss = self.source(batch)
        yield {"source": loss}
        yield {"again": loss}


class ChangesTheFirstBatch(Sound):
    def losses(self, batch, step):
        if step == 0:
            batch.target_image.clamp_(-1, 1)
        yield {"source": self.source(batch)}


class StartsFromATeacher(SourceOnly):
    """The student starts as a network that the source trained, which is not kept."""

    @classmethod
    def frozen_teachers(cls, config, student):
        return [TeacherSpec(student)]

    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.student.load_state_dict(frozen_teachers[0].state_dict())


class FixedHead(StartsFromATeacher):
    """Source hypothesis transfer: the head stands still."""

    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.student.head.requires_grad_(False)


class NormsAlone(StartsFromATeacher):
    """Tent: scale and shift of norms learn, and nothing else."""

    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_("norm" in name)


SOUND = [WithCopy, ScoredCopy, StartsFromATeacher, FixedHead, NormsAlone]

BROKEN = {
    StudentsOwnEncoder: ("gradients_reach_the_student_and_nothing_frozen", "imagenet"),
    NothingLearns: ("gradients_reach_the_student_and_nothing_frozen", "nothing of the student"),
    CopyLearns: ("a_further_network_only_teaches", "mean_teacher learns"),
    CopyDropsOut: ("a_further_network_only_teaches", "mean_teacher .* with dropout"),
    InAList: ("its_modules_are_registered", "projections"),
    LeftInEval: ("the_student_stays_in_training_mode", "all of it"),
    NineteenClasses: ("any_number_of_classes_will_do", "with 23 classes"),
    BreaksWithAnyClasses: ("any_number_of_classes_will_do", "^Trying to backward"),
    ChangesTheFirstBatch: ("the_batch_stays_as_it_is", "step 0 .*target_image"),
}
