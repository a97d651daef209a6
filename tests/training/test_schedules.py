import functools
import itertools
import math

import pytest
import torch
from fastai.callback.schedule import SchedCos, combined_cos
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from tlcourse.training.schedules import (
    constant,
    cosine_restarts,
    one_cycle,
    slanted_triangular,
    triangular_cyclical,
    warmup_cosine,
    warmup_linear,
)

quick = settings(deadline=None, max_examples=50)
lengths = st.integers(1, 400)
fractions = st.floats(0.01, 0.9)
ratios = st.floats(1, 1000)


def values(schedule, T):
    return [schedule(t, T) for t in range(T)]


def torch_rates(make_scheduler, steps):
    """The rates that a torch scheduler sets at steps 0, 1, ..., with a peak rate of 1."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = make_scheduler(optimiser), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def paper_equation_3(t, T, cut_frac, ratio):
    cut = math.floor(T * cut_frac)
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
    return (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(("T", "cut_frac", "ratio"), [(100, 0.1, 32), (1000, 0.25, 10), (64, 0.5, 4)])
def test_slanted_triangular_is_equation_3(T, cut_frac, ratio):
    expected = [paper_equation_3(t, T, cut_frac, ratio) for t in range(T)]
    assert values(slanted_triangular(cut_frac=cut_frac, ratio=ratio), T) == pytest.approx(expected, abs=1e-12)


@quick
@given(lengths, fractions, ratios)
def test_slanted_triangular_rises_to_its_peak_at_cut_and_falls(T, cut_frac, ratio):
    rates = values(slanted_triangular(cut_frac=cut_frac, ratio=ratio), T)
    cut = math.floor(T * cut_frac)
    assert max(rates) == rates[cut] == pytest.approx(1)
    assert rates[: cut + 1] == sorted(rates[: cut + 1])
    assert rates[cut:] == sorted(rates[cut:], reverse=True)
    assert min(rates) >= 1 / ratio - 1e-12


@quick
@given(lengths, fractions, ratios, st.floats(0, 1))
def test_slanted_triangular_is_continuous(T, cut_frac, ratio, position):
    schedule, t, step = slanted_triangular(cut_frac=cut_frac, ratio=ratio), position * T, 1e-6
    steepest = max(1, 1 / (T * (1 - cut_frac)) * 2)
    assert abs(schedule(t + step, T) - schedule(t, T)) <= steepest * step + 1e-9


def test_slanted_triangular_without_room_for_a_rise_starts_at_the_peak():
    assert values(slanted_triangular(cut_frac=0.1, ratio=32), 4) == pytest.approx([1, 0.7578125, 0.515625, 0.2734375])
    assert slanted_triangular(cut_frac=0.1)(0, 1) == 1


def test_slanted_triangular_stays_positive_where_the_printed_equation_does_not():
    assert paper_equation_3(18, 19, 0.1, 32) < 0
    assert slanted_triangular(cut_frac=0.1, ratio=32)(18, 19) == pytest.approx(1 / 32)


@pytest.mark.parametrize(("step_size", "ratio"), [(1, 4), (10, 4), (17, 32)])
def test_triangular_cyclical_agrees_with_torch(step_size, ratio):
    expected = torch_rates(
        lambda optimiser: CyclicLR(optimiser, 1 / ratio, 1, step_size_up=step_size, cycle_momentum=False), 80
    )
    assert values(triangular_cyclical(step_size=step_size, ratio=ratio), 80) == pytest.approx(expected, abs=1e-6)


@quick
@given(lengths, st.integers(1, 50), ratios)
def test_triangular_cyclical_repeats_between_its_bounds(T, step_size, ratio):
    schedule = triangular_cyclical(step_size=step_size, ratio=ratio)
    rates = values(schedule, T)
    assert all(1 / ratio - 1e-9 <= rate <= 1 + 1e-9 for rate in rates)
    assert schedule(0, T) == pytest.approx(1 / ratio)
    assert schedule(step_size, T) == pytest.approx(1)
    assert schedule(T + 2 * step_size, T) == pytest.approx(schedule(T, T))


@pytest.mark.parametrize(("first_cycle", "growth", "floor"), [(10, 1, 0), (7, 2, 0.1), (5, 3, 0)])
def test_cosine_restarts_agree_with_torch(first_cycle, growth, floor):
    expected = torch_rates(
        lambda optimiser: CosineAnnealingWarmRestarts(optimiser, first_cycle, growth, eta_min=floor), 100
    )
    ours = values(cosine_restarts(first_cycle=first_cycle, growth=growth, floor=floor), 100)
    assert ours == pytest.approx(expected, abs=1e-6)


def test_cosine_without_restart_agrees_with_fastai():
    fall = SchedCos(1.0, 0.0)
    assert values(cosine_restarts(), 50) == pytest.approx([fall(t / 50) for t in range(50)], abs=1e-6)


@quick
@given(lengths, st.integers(1, 30), st.integers(1, 3), st.floats(0, 1))
def test_cosine_restarts_fall_within_a_cycle_and_jump_back_to_the_peak(T, first_cycle, growth, floor):
    rates = values(cosine_restarts(first_cycle=first_cycle, growth=growth, floor=floor), T)
    restarts = [0]
    while restarts[-1] < T:
        restarts.append(restarts[-1] + first_cycle * growth ** (len(restarts) - 1))
    for start, stop in itertools.pairwise(restarts):
        cycle = rates[start:stop]
        assert cycle[0] == 1
        assert cycle == sorted(cycle, reverse=True)
        assert floor <= min(cycle)
        assert min(cycle) > 0


@pytest.mark.parametrize(("peak_at", "div", "div_final"), [(0.25, 25, 1e5), (0.3, 10, 100), (0.5, 1, 1)])
def test_one_cycle_agrees_with_fastai(peak_at, div, div_final):
    theirs = combined_cos(peak_at, 1 / div, 1.0, 1 / div_final)
    ours = values(one_cycle(peak_at=peak_at, div=div, div_final=div_final), 60)
    assert ours == pytest.approx([theirs(t / 60) for t in range(60)], abs=1e-6)


def test_one_cycle_agrees_with_torch():
    """torch puts its last step at T - 1 and its peak at pct_start * T - 1, we put them at T and peak_at * T."""
    T, peak_at, div, div_final = 60, 0.25, 25, 1e5
    expected = torch_rates(
        lambda optimiser: OneCycleLR(
            optimiser,
            max_lr=1.0,
            total_steps=T + 1,
            pct_start=(peak_at * T + 1) / (T + 1),
            div_factor=div,
            final_div_factor=div_final / div,
            cycle_momentum=False,
        ),
        T,
    )
    ours = values(one_cycle(peak_at=peak_at, div=div, div_final=div_final), T)
    assert ours == pytest.approx(expected, abs=1e-6)


@quick
@given(lengths, fractions, st.floats(1, 100), st.floats(1, 1e6))
def test_one_cycle_rises_and_falls_once(T, peak_at, div, div_final):
    schedule = one_cycle(peak_at=peak_at, div=div, div_final=div_final)
    assert schedule(peak_at * T, T) == pytest.approx(1)
    rates = values(schedule, T)
    peak = math.ceil(peak_at * T - 1e-9)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(0 < rate <= 1 + 1e-9 for rate in rates)


def test_warmup_linear_by_hand():
    assert values(warmup_linear(warmup=0.3), 10) == pytest.approx(
        [1 / 4, 2 / 4, 3 / 4, *(left / 7 for left in range(7, 0, -1))]
    )
    assert values(warmup_linear(warmup=0), 4) == [1, 0.75, 0.5, 0.25]


@quick
@given(T=lengths, warmup=st.floats(0, 0.99))
def test_warmup_linear_falls_as_that_of_transformers(T, warmup):
    rise = math.floor(T * warmup)
    make = functools.partial(get_linear_schedule_with_warmup, num_warmup_steps=rise, num_training_steps=T)
    ours, theirs = values(warmup_linear(warmup=warmup), T), torch_rates(make, T)
    assert ours[rise:] == pytest.approx(theirs[rise:])
    assert all(0 < rate <= 1 for rate in ours)
    assert all(a < b for a, b in itertools.pairwise(ours[: rise + 1]))


@quick
@given(T=lengths, warmup=st.floats(0, 0.99))
def test_warmup_cosine_falls_as_that_of_transformers(T, warmup):
    rise = math.floor(T * warmup)
    make = functools.partial(get_cosine_schedule_with_warmup, num_warmup_steps=rise, num_training_steps=T)
    ours, theirs = values(warmup_cosine(warmup=warmup), T), torch_rates(make, T)
    assert ours[rise:] == pytest.approx(theirs[rise:], abs=1e-9)
    assert ours[:rise] == pytest.approx([(t + 1) / (rise + 1) for t in range(rise)])


def test_constant():
    assert values(constant(), 3) == [1, 1, 1]


@pytest.mark.parametrize(
    ("make", "arguments", "says"),
    [
        (slanted_triangular, {"cut_frac": 0}, "cut_frac"),
        (slanted_triangular, {"cut_frac": 1.0}, "cut_frac"),
        (slanted_triangular, {"ratio": 0.5}, "ratio"),
        (triangular_cyclical, {"step_size": 0}, "step_size"),
        (triangular_cyclical, {"step_size": 5, "ratio": 0}, "ratio"),
        (cosine_restarts, {"first_cycle": 0}, "first_cycle"),
        (cosine_restarts, {"growth": 0}, "growth"),
        (cosine_restarts, {"floor": 2}, "floor"),
        (one_cycle, {"peak_at": 1.5}, "peak_at"),
        (one_cycle, {"div": 0}, "div"),
        (warmup_linear, {"warmup": 1.0}, "warmup"),
        (warmup_linear, {"warmup": -0.1}, "warmup"),
        (warmup_cosine, {"warmup": 1.0}, "warmup"),
    ],
)
def test_an_argument_out_of_range_is_named(make, arguments, says):
    with pytest.raises(ValueError, match=says):
        make(**arguments)
