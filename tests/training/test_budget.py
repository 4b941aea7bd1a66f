import pytest

from softmine import SoftmineError
from softmine.training.budget import Budget, evaluation_points
from softmine.training.settings import FitSettings


def test_whichever_is_spent_first_counts():
    budget = Budget(steps=100, seconds=10.0)
    assert budget.progress(50, 1.0) == 0.5
    assert budget.progress(50, 9.0) == 0.9
    assert budget.progress(150, 0.0) == 1.0


@pytest.mark.parametrize("count", [1, 2, 20, 100])
def test_evaluation_points_rise_and_end_with_the_budget(count):
    points = evaluation_points(count)
    assert points == sorted(set(points))
    assert points[-1] == 1.0


@pytest.mark.parametrize(
    ("steps", "seconds", "message"),
    [
        (None, None, "needs a number"),
        (0, None, "steps is 0"),
        (None, -1.0, "seconds is -1"),
        (None, float("nan"), "seconds is nan"),
        (None, float("inf"), "seconds is inf"),
    ],
)
def test_impossible_budgets_are_refused(steps, seconds, message):
    with pytest.raises(SoftmineError, match=message):
        Budget(steps, seconds)


def test_an_unknown_schedule_is_refused():
    FitSettings(schedule="constant").check()
    with pytest.raises(SoftmineError, match="unknown schedule 'linear'"):
        FitSettings(schedule="linear").check()


def test_without_a_budget_settings_say_sixty_seconds():
    assert FitSettings().seconds == 60.0
    assert FitSettings(steps=5).seconds is None
