import time

import pytest

from harness.measure import own_time as module
from harness.measure.own_time import own_time


def test_sleep_counts():
    start = own_time()
    time.sleep(0.1)
    assert own_time() - start > 0.09


def test_the_wait_for_a_core_does_not_count(tmp_path, monkeypatch):
    stat = tmp_path / "schedstat"
    monkeypatch.setattr(module, "_SCHEDSTAT", stat)
    monkeypatch.setattr(module.time, "perf_counter", lambda: 10.0)
    stat.write_text("5000000000 3000000000 7\n")
    assert own_time() == pytest.approx(7.0)


@pytest.mark.parametrize("text", [None, "", "1", "a b c"])
def test_where_the_system_does_not_tell_it_is_the_plain_clock(tmp_path, monkeypatch, text):
    stat = tmp_path / "schedstat"
    if text is not None:
        stat.write_text(text)
    monkeypatch.setattr(module, "_SCHEDSTAT", stat)
    monkeypatch.setattr(module.time, "perf_counter", lambda: 10.0)
    assert own_time() == 10.0
