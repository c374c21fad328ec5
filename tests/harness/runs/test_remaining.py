"""What follows a training, from the pace of its steps."""

from types import SimpleNamespace

from fake_records import fake_spec

from harness.runs.remaining import TIMING, afterwards


def seconds(networks: int = 1, steps_after: int = 0, **profile) -> float:
    plan = SimpleNamespace(spec=fake_spec("dacs", profile=profile))
    return afterwards(plan, networks, steps_after)(0.6)


def test_scoring_takes_as_long_as_its_forward_passes():
    # A step trains 4 crops of the images' size, 12 forward passes in 0.6 s; 64 images are scored.
    assert round(seconds() - TIMING, 6) == round(64 * 0.6 / 12, 6)
    assert seconds(networks=2) - TIMING == 2 * (seconds() - TIMING)
    assert seconds(tta_flip=True) == seconds(networks=2)
    assert seconds(crop=(48, 96)) - TIMING == 4 * (seconds() - TIMING)


def test_a_teacher_is_followed_by_its_students_training():
    assert seconds(steps_after=1000) == 2 * seconds() + 1000 * 0.6
