import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tlcourse.training.groups import (
    Plan,
    Stage,
    all_at_once,
    discriminative_rates,
    gradual_unfreezing,
    head_only,
    parameter_groups,
)
from tlcourse.training.schedules import constant, slanted_triangular

quick = settings(deadline=None, max_examples=50)


def test_rates_fall_by_the_factor_from_the_head_down():
    expected = [0.01 / 2.6**3, 0.01 / 2.6**2, 0.01 / 2.6, 0.01]
    np.testing.assert_allclose(discriminative_rates(0.01, 4), expected)


@quick
@given(st.floats(1e-6, 1), st.integers(1, 12), st.floats(1, 10))
def test_the_directions_deal_out_the_same_rates(lr, n_groups, factor):
    slower = discriminative_rates(lr, n_groups, factor=factor)
    faster = discriminative_rates(lr, n_groups, factor=factor, direction="lower-faster")
    np.testing.assert_array_equal(slower[::-1], faster)
    assert slower.max() == slower[-1] == pytest.approx(lr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"lr": 0.0, "n_groups": 3}, "positive"),
        ({"lr": 0.1, "n_groups": 0}, "positive"),
        ({"lr": 0.1, "n_groups": 3, "factor": -1.0}, "positive"),
        ({"lr": 0.1, "n_groups": 3, "direction": "up"}, "lower-faster"),
    ],
)
def test_rates_out_of_range(arguments, says):
    with pytest.raises(ValueError, match=says):
        discriminative_rates(**arguments)


def test_the_ways_to_unfreeze():
    assert gradual_unfreezing(3, 5) == [Stage(1, 1), Stage(2, 1), Stage(3, 3)]
    assert gradual_unfreezing(3, 2) == [Stage(1, 1), Stage(2, 1)]
    assert gradual_unfreezing(1, 4) == all_at_once(1, 4) == head_only(1, 4) == [Stage(1, 4)]
    assert all_at_once(5, 2) == [Stage(5, 2)]
    assert head_only(5, 2) == [Stage(1, 2)]


@quick
@given(st.integers(1, 8), st.integers(1, 20))
def test_gradual_unfreezing_takes_the_epochs_it_is_given(n_groups, epochs):
    stages = gradual_unfreezing(n_groups, epochs)
    assert sum(stage.epochs for stage in stages) == epochs
    assert [stage.trainable for stage in stages] == list(range(1, min(n_groups, epochs) + 1))


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (1, 1, 0.0)])
def test_an_empty_stage_is_refused(numbers):
    with pytest.raises(ValueError, match="at least one"):
        Stage(*numbers)


def build(stages, **settings):
    settings = {"n_groups": 3, "steps_per_epoch": 10, "lr": 1.0, "schedule": constant(), "factor": 2.0} | settings
    return Plan.build(stages, **settings)


def test_a_plan_is_a_table_of_rates():
    plan = build([Stage(1, 1), Stage(2, 2, scale=0.5)])
    assert plan.rates.shape == (30, 3)
    np.testing.assert_array_equal(plan.rates[:10], [[0, 0, 1]] * 10)
    np.testing.assert_array_equal(plan.rates[10:], [[0, 0.25, 0.5]] * 20)
    assert [plan.stage_number(epoch) for epoch in range(plan.epochs)] == [0, 1, 1]
    np.testing.assert_array_equal(plan.epoch_rates(1), plan.rates[10:20])


def test_a_schedule_runs_once_a_stage_or_once_a_plan():
    schedule = slanted_triangular(cut_frac=0.5, ratio=10)
    stages = [Stage(3, 1), Stage(3, 3)]
    once_a_stage = [schedule(t, 10) for t in range(10)] + [schedule(t, 30) for t in range(30)]
    once_a_plan = [schedule(t, 40) for t in range(40)]
    np.testing.assert_allclose(build(stages, schedule=schedule).rates[:, -1], once_a_stage)
    np.testing.assert_allclose(build(stages, schedule=schedule, schedule_per="plan").rates[:, -1], once_a_plan)


def test_a_number_of_epochs_trains_all_groups():
    assert build(2).stages == (Stage(3, 2),)


@pytest.mark.parametrize(
    ("stages", "settings", "says"),
    [
        ([], {}, "at least one stage"),
        ([Stage(4, 1)], {}, "3 layer groups"),
        ([Stage(1, 1)], {"steps_per_epoch": 0}, "no training batch"),
        ([Stage(1, 1)], {"schedule_per": "epoch"}, "schedule_per"),
        (0, {}, "at least one"),
    ],
)
def test_a_plan_that_cannot_be(stages, settings, says):
    with pytest.raises(ValueError, match=says):
        build(stages, **settings)


def test_parameter_groups_take_modules_and_lists():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    groups = parameter_groups(model, [model[0], list(model[1].parameters())])
    assert [len(group) for group in groups] == [2, 2]
    assert groups[1][0] is model[1].weight


def test_a_forgotten_parameter_is_named():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"never trained: 1\.weight, 1\.bias"):
        parameter_groups(model, [model[0]])
    model[1].requires_grad_(False)
    assert len(parameter_groups(model, [model[0]])) == 1


def test_a_tied_weight_in_two_groups_is_named(small):
    model = small.LanguageModel()
    with pytest.raises(ValueError, match=r"embedding\.weight is in groups 0 and 2"):
        parameter_groups(model, [model.embedding, model.lstm, model.decoder])


def test_an_empty_group_is_refused():
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="group 1 has no parameters"):
        parameter_groups(model, [model, nn.Dropout()])
