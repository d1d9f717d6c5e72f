"""Infills made from the pixels around, alone and in the engine."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saliency_ext import rng_streams
from saliency_ext.infill import Constant, Harmonic, NoisyLinear
from saliency_ext.ops import linear_infill, philox_normal, rank
from saliency_ext.perturbation import Engine, Plan, Ranked, RankMasks
from saliency_ext.protocols import Infill, MaskedInfill
from tests.backends import same_bits
from tests.infill.cases import ids, images
from tests.infill.test_fixed import rejects


def masks(inputs: Tensor, counts: tuple[int, ...] = (10, 40)) -> Tensor:
    """The top of the image's own first channel, nested: (S, N, H, W)."""
    ranks = rank(inputs[:, 0])
    return torch.stack([ranks < count for count in counts])


def test_only_these_see_the_mask() -> None:
    assert isinstance(NoisyLinear(), MaskedInfill) and isinstance(Harmonic(), MaskedInfill)
    assert not isinstance(Constant(0.0), MaskedInfill) and isinstance(Constant(0.0), Infill)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_noisy_linear(dtype: torch.dtype) -> None:
    """Per channel: the solution, plus its standard deviation times keyed normal noise."""
    inputs, std = images(dtype=dtype), (0.0, 0.5, 2.0)
    remove = masks(inputs)
    filled = NoisyLinear(std, 3, tolerance=1e-6).fill_removed(inputs, remove, ids(), draw=2)
    assert filled.shape == (2, *inputs.shape) and filled.dtype == dtype
    plain = linear_infill(inputs, remove, noise_std=0.0, tolerance=1e-6)
    noise = philox_normal((3, 9, 7), ids(), seed=3, stream=rng_streams.IMPUTATION + 2) * torch.tensor(std).view(3, 1, 1)
    wanted = torch.where(remove[:, :, None], plain + noise, inputs).to(dtype)
    torch.testing.assert_close(filled, wanted, rtol=0, atol=2e-6)
    same_bits(filled[:, :, 0], plain[:, :, 0])
    same_bits(
        NoisyLinear(0.5, 3).fill_removed(inputs, remove, ids()),
        linear_infill(inputs, remove, noise_std=0.5, seed=3, sample_ids=ids()),
    )


def test_harmonic() -> None:
    inputs = images()
    filled = Harmonic(1e-6).fill_removed(inputs, masks(inputs), ids(), draw=7)
    same_bits(filled, linear_infill(inputs, masks(inputs), stencil="harmonic", tolerance=1e-6, noise_std=0.0))


def test_without_a_mask_everything_is_removed() -> None:
    inputs = images()
    same_bits(Harmonic().fill(inputs, ids()), torch.zeros_like(inputs))
    noise = philox_normal((3, 9, 7), ids(), seed=3, stream=rng_streams.IMPUTATION)
    same_bits(NoisyLinear(0.5, 3).fill(inputs, ids()), 0.5 * noise)


def test_keys_say_what_decides_the_pixels() -> None:
    base = NoisyLinear(0.01, 3)
    assert base.key == NoisyLinear([0.01] * 3, 3).key == NoisyLinear(0.01, 3, draws=5).key
    others = [NoisyLinear(0.02, 3), NoisyLinear(0.01, 4), NoisyLinear(0.01, 3, tolerance=1e-4), Harmonic(), Harmonic(1e-4)]
    assert len({infill.key for infill in [base, *others]}) == 6


def test_refusals() -> None:
    no = float("nan")
    rejects(ValueError, "NoisyLinear: expected noise_std >= 0, got -0.1", lambda: NoisyLinear(-0.1))
    rejects(ValueError, "NoisyLinear: expected noise_std finite, got nan", lambda: NoisyLinear(no))
    rejects(ValueError, "NoisyLinear: expected noise_std >= 0, got -2.0", lambda: NoisyLinear([0.1, -2.0]))
    rejects(ValueError, "NoisyLinear: expected seed in [0, 9223372036854775807], got -1", lambda: NoisyLinear(0.1, -1))
    rejects(ValueError, "NoisyLinear: expected tolerance > 0 and finite, got 0", lambda: NoisyLinear(tolerance=0))
    rejects(TypeError, "Harmonic: expected tolerance to be a number, got str", lambda: Harmonic("fine"))  # type: ignore[arg-type]
    rejects(
        ValueError,
        "NoisyLinear: expected noise_std to hold C = 3 numbers, one per channel of the inputs, got 2; "
        "one plain number stands for all channels",
        lambda: NoisyLinear([0.1, 0.2]).fill(images(), ids()),
    )
    rejects(
        ValueError,
        "linear_infill: expected remove of shape (S, N, H, W), got (4, 9, 7); add the batch dimension with [None]",
        lambda: Harmonic().fill_removed(images(), masks(images())[0], ids()),
    )


def scored(infill: Infill, counts: list[int], keep: str, images_at_once: int = 4) -> tuple[Tensor, Engine]:
    """Every value of the masked inputs, for it is the model that returns them: (N, S, C H W)."""
    inputs = images()
    engine, plan = Engine(lambda x: x.flatten(1), max_batch=images_at_once), Plan()
    order = Ranked(rank(inputs[:, 0]))
    (keys,) = plan.request(RankMasks(order, counts, keep=keep), infill)
    again = plan.request(RankMasks(order, counts, keep=keep), infill)
    assert again == [keys]  # equal masks under equal infills are one probe
    classes = torch.arange(inputs[0].numel()).expand(len(inputs), -1)
    outputs = engine.run(plan, inputs, classes, sample_ids=ids())
    return torch.stack([outputs.score(keys, "logit", column) for column in range(classes.shape[1])], 2), engine


@pytest.mark.parametrize("infill", [NoisyLinear(0.1, 3), Harmonic()], ids=lambda infill: infill.name)
def test_the_engine_gives_each_probe_its_own_filling(infill: MaskedInfill) -> None:
    """Removing the first k and keeping the first k are different masks with different fillings, and any buffer agrees."""
    inputs = images()
    ranks, counts = rank(inputs[:, 0]), [0, 10, 40, 63]
    for keep in ("tail", "head"):
        remove = torch.stack([(ranks < count) if keep == "tail" else (ranks >= count) for count in counts])
        wanted = infill.fill_removed(inputs, remove, ids()).flatten(2).double()
        result, engine = scored(infill, counts, keep)
        assert torch.equal(result.transpose(0, 1), wanted)
        assert torch.equal(scored(infill, counts, keep, images_at_once=1)[0], result)
        assert engine.counters.unique == 4
