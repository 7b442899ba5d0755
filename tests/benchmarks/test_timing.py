import math
import time
from functools import partial
from itertools import count

import pytest
import torch

from benchmarks.timing import Budget, medians


def test_runs_take_turns() -> None:
    order: list[str] = []

    def run(name: str) -> None:
        order.append(name)
        sum(range(10**6))

    result = medians({name: partial(run, name) for name in "ab"}, times=3)
    assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert all(seconds > 0 for seconds in result.values())


def test_after_the_deadline_each_is_timed_once() -> None:
    calls: list[int] = []
    medians({"run": lambda: calls.append(sum(range(10**6)))}, times=50, deadline=time.monotonic())
    assert len(calls) == 3


def test_short_runs_are_repeated() -> None:
    calls: list[int] = []
    medians({"run": lambda: calls.append(1)}, times=1)
    assert len(calls) == 1002


def test_another_clock_tells_the_time() -> None:
    ticks = count()
    assert medians({"run": lambda: None}, times=3, clock=lambda: 7.0 * next(ticks)) == {"run": 7}


def test_too_little_memory_is_not_a_number_and_other_errors_are_errors() -> None:
    def too_large() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken() -> None:
        raise RuntimeError("shapes")

    result = medians({"large": too_large, "small": lambda: sum(range(10**5))}, times=2)
    assert math.isnan(result["large"])
    assert result["small"] > 0
    with pytest.raises(RuntimeError, match="shapes"):
        medians({"broken": broken}, times=1)


def test_a_budget_is_shared_by_the_rows_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = Budget(60, 3)
    assert budget.next_deadline() == 120
    now = 110  # in half of its time
    assert budget.next_deadline() == 135
    now = 150
    assert budget.next_deadline() == 160
