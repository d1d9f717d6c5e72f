"""Confidence sequences hold at all times together, end at the truth, and narrow as they should."""

import math

import pytest
import torch

from saliency_ext.stats import BettingSequence

POPULATIONS = {
    "two values": torch.tensor([0.0] * 60 + [1.0] * 40),
    "rare": torch.tensor([0.0] * 95 + [1.0] * 5),
    "even": torch.linspace(0.2, 0.9, 100),
    "constant": torch.full((100,), 0.3),
}


def orders(values, runs, seed=0):
    """(T, runs): the population in `runs` random orders."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([values[torch.randperm(len(values), generator=generator)] for _ in range(runs)], 1)


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("known", [True, False])
def test_the_true_mean_is_ever_given_up_with_at_most_alpha(name, known):
    values = POPULATIONS[name].double()
    runs, alpha = 1500, 0.1
    drawn = orders(values, runs)
    if not known:  # independent draws
        drawn = values[torch.randint(len(values), (300, runs), generator=torch.Generator().manual_seed(1))]
    sequence = BettingSequence(values.mean()[None], runs, len(values) if known else None, alpha)
    for row in drawn:
        sequence.update(row)
    wrong = float((sequence.above | sequence.below).double().mean())
    assert wrong <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


@pytest.mark.parametrize("name", POPULATIONS)
def test_after_all_values_the_mean_is_known(name):
    values = POPULATIONS[name].double()
    candidates = torch.linspace(0, 1, 201, dtype=torch.float64)
    sequence = BettingSequence(candidates, 3, len(values), 0.05)
    for row in orders(values, 3):
        sequence.update(row)
    low, high = sequence.interval()
    mean = float(values.mean())
    assert torch.allclose(low, torch.tensor(mean, dtype=torch.float64)) and torch.equal(low, high)
    assert torch.equal(sequence.above[0], candidates < mean - 1e-9) and torch.equal(sequence.below[0], candidates > mean + 1e-9)
    with pytest.raises(ValueError, match="expected values at most 100 times, got 101 times"):
        sequence.update(torch.zeros(3))


def test_against_a_loop_from_the_definition():
    values, population, alpha = [0.9, 0.1, 0.7, 0.8, 1.0, 0.6], 9, 0.2
    for candidate in (0.0, 0.05, 0.5, 0.95, 1.0):
        capital, total, squares, seen = [0.5, 0.5], 0.0, 0.25, []
        gone = [False, False]
        for t, x in enumerate(values, 1):
            left = (population * candidate - total) / (population - t + 1)
            gone = [gone[0] or left < -1e-9, gone[1] or left > 1 + 1e-9]
            left = min(max(left, 0.0), 1.0)
            rate = math.sqrt(2 * math.log(2 / alpha) / (squares / t * t * math.log(1 + t)))
            capital[0] *= 1 + min(rate, 0.5 / left if left else math.inf) * (x - left)
            capital[1] *= 1 - min(rate, 0.5 / (1 - left) if left < 1 else math.inf) * (x - left)
            gone = [own or money >= 1 / alpha for own, money in zip(gone, capital, strict=True)]
            seen.append(x)
            total += x
            squares += (x - (0.5 + total) / (t + 1)) ** 2
        sequence = BettingSequence(torch.tensor([candidate]), 1, population, alpha)
        for x in values:
            sequence.update(torch.tensor([x], dtype=torch.float64))
        assert [bool(sequence.above), bool(sequence.below)] == gone


def test_a_column_does_not_depend_on_the_others():
    drawn = orders(POPULATIONS["even"].double(), 4)[:50]
    candidates = torch.linspace(0, 1, 51, dtype=torch.float64)
    together, alone = BettingSequence(candidates, 4, 100, 0.05), BettingSequence(candidates, 1, 100, 0.05)
    for row in drawn:
        together.update(row)
        alone.update(row[2:3])
    assert torch.equal(together.above[2], alone.above[0]) and torch.equal(together.below[2], alone.below[0])
    assert float(alone.mean) == pytest.approx(float(drawn[:, 2].mean()))


def test_before_the_first_value_everything_is_possible():
    sequence = BettingSequence(torch.linspace(0, 1, 11), 2, 100, 0.05)
    assert torch.equal(torch.stack(sequence.interval()), torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64))
    assert sequence.mean.isnan().all()


def test_what_cannot_be_left_is_ruled_out_at_once():
    """Of 4 values three are 1: the mean is at least 0.75, whatever alpha."""
    sequence = BettingSequence(torch.tensor([0.7, 0.75, 0.8]), 1, 4, 1e-9)
    for _ in range(3):
        sequence.update(torch.ones(1))
    sequence.update(torch.zeros(1))
    assert sequence.above.tolist() == [[True, False, False]]
    assert sequence.below.tolist() == [[False, False, True]]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: BettingSequence(torch.tensor([1.5]), 1, None, 0.05), r"expected candidates \(G,\) means in \[0, 1\]"),
        (lambda: BettingSequence(torch.tensor([0.5]), 1, None, 0.0), r"expected alpha in \(0, 1\), got 0"),
        (lambda: BettingSequence(torch.tensor([0.5]), 1, None, 1.0), r"expected alpha in \(0, 1\), got 1"),
        (lambda: BettingSequence(torch.tensor([0.5]), 1, 0, 0.05), "population"),
        (lambda: BettingSequence(torch.tensor([0.5]), 1, 5, 0.05).update(torch.tensor([1.1])), r"\(1,\) numbers in \[0, 1\]"),
        (lambda: BettingSequence(torch.tensor([0.5]), 1, 5, 0.05).update(torch.tensor([torch.nan])), "numbers in"),
        (lambda: BettingSequence(torch.tensor([0.5]), 2, 5, 0.05).update(torch.tensor([1.0])), r"\(2,\) numbers in"),
    ],
)
def test_bad_arguments(make, text):
    with pytest.raises(ValueError, match=text):
        make()
