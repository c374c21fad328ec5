"""The last lines of a run."""

from __future__ import annotations

import pytest
from fake_records import fake_cost, fake_record

from harness.report.columns import MEMORY_NOTES
from harness.report.outcome import own_lines


@pytest.mark.parametrize("kind", MEMORY_NOTES)
def test_memory_is_said_in_the_words_of_the_tables(kind, tmp_path):
    first, *_ = own_lines(fake_record(cost=fake_cost(memory_kind=kind)), tmp_path)
    assert f" MiB ({MEMORY_NOTES[kind]}), done in " in first


def test_scores_have_their_unit(tmp_path):
    first, *_ = own_lines(fake_record(miou=30.04, ema_miou=31.5), tmp_path)
    assert ": mIoU 30.0 % (all19), EMA teacher 31.5 %; " in first
