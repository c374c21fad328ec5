"""Methods that break the contract, each in one way, and who says so."""

from __future__ import annotations

import torch
from pydantic import BaseModel, Field

from methods.contract import Method
from methods.parts.losses import cross_entropy
from methods.source_only import SourceOnly


class Sound(SourceOnly):
    """Keeps to the contract; each method below breaks it in one way."""

    def source(self, batch):
        return cross_entropy(self.student(batch.source_image).logits, batch.source_label)


class Untitled(Sound):
    title = ""


class AnyKnob(Sound):
    class Config(BaseModel):
        loss_stride: int = Field(1, description="taken from no base")


class UndocumentedKnob(Sound):
    class Config(Method.Config):
        mystery: float = 1.0


class NotAScalar(Sound):
    def losses(self, batch, step):
        yield {"source": self.source(batch), "log/map": torch.zeros(3)}


class NamedTwice(Sound):
    def losses(self, batch, step):
        yield {"source": self.source(batch)}
        yield {"source": self.source(batch)}


class ConstantTerm(Sound):
    def losses(self, batch, step):
        yield {"source": self.source(batch), "constant": torch.ones(())}


class NoTerm(Sound):
    def losses(self, batch, step):
        yield from ()


class NothingToMinimise(Sound):
    def losses(self, batch, step):
        yield {"log/source": self.source(batch)}


class Diverges(Sound):
    def losses(self, batch, step):
        yield {"source": self.source(batch) / 0}


class NaNWithoutLabels(Sound):
    def losses(self, batch, step):
        logits = self.student(batch.source_image).logits
        label = batch.source_label[:, ::4, ::4][:, : logits.shape[2], : logits.shape[3]]
        yield {"source": torch.nn.functional.cross_entropy(logits, label, ignore_index=255)}


class MultiplesOf32(Sound):
    def losses(self, batch, step):
        assert batch.source_image.shape[-1] % 32 == 0, "odd size"
        yield {"source": self.source(batch)}


class OtherClasses(Sound):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.student.register_forward_hook(self.cut)

    def cut(self, student, given, out):
        return out if student.training else out._replace(logits=out.logits[:, :7])


class UnderAnotherName(Sound):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.student.name = "test_deeplab"


class ChangesTheBatch(Sound):
    def losses(self, batch, step):
        batch.source_image.mul_(0.5)
        yield {"source": self.source(batch)}


class HalfAStudent(Sound):
    def losses(self, batch, step):
        with torch.no_grad():
            features = self.student.encoder(batch.source_image)
        head = sum(p.sum() for p in self.student.head.parameters())
        yield {"source": head + 0 * features[0].sum()}


class WithTeacher(Sound):
    """A frozen teacher, kept frozen; not by those below."""

    @classmethod
    def frozen_teachers(cls, config, student):
        from methods.contract import TeacherSpec

        return [TeacherSpec("test_deeplab")]

    def __init__(self, config, student, frozen_teachers=(), **given):
        super().__init__(config, student, frozen_teachers, **given)
        self.teacher = frozen_teachers[0].requires_grad_(False).eval()

    def train(self, mode=True):
        super().train(mode)
        self.teacher.eval()
        return self


class TeacherInTraining(WithTeacher):
    def train(self, mode=True):
        return Method.train(self, mode)


class TeacherFollows(WithTeacher):
    def after_step(self, step):
        with torch.no_grad():
            next(self.teacher.parameters()).mul_(0.9)


class TeacherLearns(WithTeacher):
    def losses(self, batch, step):
        self.teacher.requires_grad_(True)
        taught = cross_entropy(self.teacher(batch.source_image).logits, batch.source_label)
        yield {"source": self.source(batch), "teacher": taught}
        self.teacher.requires_grad_(False)


class IdleParameter(Sound):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.own = torch.nn.Parameter(torch.zeros(3))

    def param_groups(self, lr, weight_decay, head_lr_factor):
        groups = super().param_groups(lr, weight_decay, head_lr_factor)
        for group in groups:
            group["params"] = [p for p in group["params"] if p is not self.own]
        return groups


class OneRate(Sound):
    def param_groups(self, lr, weight_decay, head_lr_factor):
        return super().param_groups(lr, weight_decay, 1.0)


class WithCritic(Sound):
    """A critic whose term teaches the student as well."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.critic = torch.nn.Conv2d(19, 1, 1)

    def critic_groups(self):
        return [{"params": list(self.critic.parameters()), "lr": 1e-4}]

    def losses(self, batch, step):
        yield {"source": self.source(batch)}
        yield {"critic": self.critic(self.student(batch.source_image).logits).mean()}


class ReachesNothing(Sound):
    """Its second term moves a parameter of the method's own alone."""

    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.own = torch.nn.Parameter(torch.ones(3))

    def losses(self, batch, step):
        yield {"source": self.source(batch), "prior": self.own.square().sum()}


class Rounded(Sound):
    """The second term's gradient reaches the student, and is zero everywhere."""

    def losses(self, batch, step):
        logits = self.student(batch.source_image).logits
        share = (logits * 100).round().abs().mean()
        yield {"source": cross_entropy(logits, batch.source_label), "share": share}


class CachedInBf16(Sound):
    """Weights cast without a gradient serve a forward with one: autocast's cache did that."""

    def losses(self, batch, step):
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        with torch.set_grad_enabled(dtype is not torch.bfloat16):
            features = self.student.encoder(batch.source_image)
        yield {"source": cross_entropy(self.student.head(features)[0], batch.source_label)}


class CoarseInBf16(Sound):
    """Differences of large numbers: eight bits hold nothing of them."""

    def losses(self, batch, step):
        logits = ((self.student(batch.source_image).logits + 300) - 300) * 20
        yield {"source": cross_entropy(logits, batch.source_label)}


class OverflowsInFp16(Sound):
    def losses(self, batch, step):
        logits = self.student(batch.source_image).logits * 1e6
        yield {"source": cross_entropy(logits / 1e6, batch.source_label)}


class OnTarget(Sound):
    uses_target = True

    def target(self, batch):
        return self.student(batch.target_image).logits.square().mean()


class PeeksAtTargetLabels(OnTarget):
    def losses(self, batch, step):
        term = self.source(batch) + self.target(batch)
        if batch.target_label is not None and step == 0:
            term = term * (1 + (batch.target_label == 3).float().mean())
        yield {"source": term}


class NeverLooks(Sound):
    uses_target = True


class LooksAllTheSame(OnTarget):
    uses_target = False

    def losses(self, batch, step):
        yield {"source": self.source(batch) + self.target(batch)}


class OnTargetAlone(OnTarget):
    """Looks at no source."""

    uses_source = False

    def losses(self, batch, step):
        yield {"target": self.target(batch)}


class NeverLooksAtTheSource(OnTargetAlone):
    uses_source = True


class LooksAtTheSourceAllTheSame(OnTargetAlone):
    def losses(self, batch, step):
        yield {"target": self.target(batch), "source": self.source(batch)}


class CountsTheSource(OnTargetAlone):
    def losses(self, batch, step):
        yield {"target": self.target(batch) * (1 + len(batch.source_label))}


class DrawsFromTorch(Sound):
    def losses(self, batch, step):
        batch.source_image = batch.source_image + 0.1 * torch.randn(2, 1, 1, 1)
        yield {"source": self.source(batch)}


class DrawsFromNowhere(Sound):
    def losses(self, batch, step):
        chance = torch.rand((), generator=torch.Generator().manual_seed(torch.seed() % 2**31))
        yield {"source": self.source(batch) * (1 + chance)}


class Backpropagates(Sound):
    def losses(self, batch, step):
        self.source(batch).backward()
        yield {"source": self.source(batch)}


class WaitsOften(Sound):
    """Asks for three values a step."""

    def losses(self, batch, step):
        term = self.source(batch)
        shares = [float((batch.source_label == c).float().mean()) for c in range(3)]
        yield {"source": term * (1 + sum(shares))}


class MixesDevices(Sound):
    def losses(self, batch, step):
        tint = torch.ones(3, 1, 1)  # on the CPU, wherever the batch is
        batch.source_image = batch.source_image * tint
        yield {"source": self.source(batch)}


class CountsInPython(Sound):
    count = 0

    def losses(self, batch, step):
        self.count += 1
        yield {"source": self.source(batch) / self.count}


class TwoGraphs(Sound):
    def losses(self, batch, step):
        first = self.student(batch.source_image).logits
        yield {"source": cross_entropy(first, batch.source_label)}
        yield {"again": self.source(batch)}


class KeepsPredictions(Sound):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.kept = []

    def losses(self, batch, step):
        self.kept.append(torch.zeros(8))
        yield {"source": self.source(batch)}


class BufferGrows(Sound):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.bank = torch.zeros(1)

    def losses(self, batch, step):
        self.bank = torch.cat([self.bank, torch.zeros(1)])
        yield {"source": self.source(batch)}


class KeepsGraphs(Sound):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.total = torch.zeros(())

    def losses(self, batch, step):
        self.total = self.total + self.source(batch)  # never detached, never backpropagated
        yield {"source": self.source(batch)}


BROKEN = {
    Untitled: ("it_says_what_it_is", "no `title`"),
    UndocumentedKnob: ("it_says_what_it_is", "mystery"),
    AnyKnob: ("unknown_knobs_are_refused", "unknown knob"),
    NotAScalar: ("terms_are_named_finite_scalars", "shape"),
    NamedTwice: ("terms_are_named_finite_scalars", "used twice"),
    ConstantTerm: ("terms_are_named_finite_scalars", "no gradient"),
    NoTerm: ("terms_are_named_finite_scalars", "yields no terms"),
    NothingToMinimise: ("terms_are_named_finite_scalars", "nothing to minimise"),
    Diverges: ("terms_are_named_finite_scalars", "is inf"),
    NaNWithoutLabels: ("an_unlabelled_source_crop_stays_finite", "NaN"),
    MultiplesOf32: ("any_crop_will_do", "odd size"),
    OtherClasses: ("its_networks_answer_at_any_size", "19"),
    UnderAnotherName: ("its_networks_are_built_again_by_their_names", "other parameters"),
    ChangesTheBatch: ("the_batch_stays_as_it_is", "source_image"),
    HalfAStudent: ("gradients_reach_the_student_and_nothing_frozen", "encoder"),
    TeacherFollows: ("gradients_reach_the_student_and_nothing_frozen", "frozen weights move"),
    TeacherLearns: ("gradients_reach_the_student_and_nothing_frozen", "what is frozen"),
    TeacherInTraining: ("a_frozen_teacher_stays_as_it_was_given", "training mode"),
    IdleParameter: ("param_groups_hold_what_learns_each_once", "own"),
    WithCritic: ("a_group_teaches_the_student_or_its_critics", "at once"),
    ReachesNothing: ("every_term_teaches_someone", "prior"),
    Rounded: ("every_term_teaches_someone", "share"),
    Backpropagates: ("the_harness_alone_backpropagates", "backward.. itself.*student"),
    CachedInBf16: ("its_gradients_are_the_same_in_bf16", "no gradient reaches"),
    CoarseInBf16: ("its_gradients_are_the_same_in_bf16", "differ"),
    OverflowsInFp16: ("its_gradients_are_the_same_in_fp16", "not finite"),
    OneRate: ("the_head_learns_faster_by_the_factor", "head"),
    PeeksAtTargetLabels: ("target_labels_change_nothing", "labels"),
    NeverLooks: ("it_looks_at_the_target", "uses_target"),
    LooksAllTheSame: ("it_works_without_a_target", "uses_target"),
    NeverLooksAtTheSource: ("it_looks_at_the_source", "uses_source"),
    LooksAtTheSourceAllTheSame: ("it_works_without_a_source", "depend on the source: uses_source"),
    CountsTheSource: ("it_works_without_a_source", "being there"),
    WaitsOften: ("it_seldom_waits_for_a_gpu", "3 times.*float"),
    MixesDevices: ("it_seldom_waits_for_a_gpu", "mixes devices"),
    DrawsFromNowhere: ("equal_seeds_give_equal_steps", "differ"),
    DrawsFromTorch: ("its_draws_leave_torchs_generator_alone", "generator"),
    CountsInPython: ("the_state_dict_resumes_it_exactly", "buffer"),
    TwoGraphs: ("one_graph_is_alive_at_a_time", "alive"),
    KeepsPredictions: ("memory_does_not_grow", "tensors"),
    BufferGrows: ("memory_does_not_grow", "bytes"),
    KeepsGraphs: ("memory_does_not_grow", "operations of graphs"),
}
