from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import MaskRule, MaskState, Resizing, mask_step_
from saliency_ext.ops.mask_state import KINDS
from saliency_ext.reference.mask_step import resized, shares
from tests.backends import Backend, close, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.contract import OpContract

STATE = MaskState._fields
INFILLS = 2


def state_of(arguments: Arguments) -> MaskState:
    return MaskState(*(arguments[name].clone(memory_format=torch.contiguous_format) for name in STATE))


class TestMaskStep(OpContract):
    """The contract's results are copies of the state after the call: what is changed in place must be contiguous."""

    name = "mask_step_"
    native = ("mask_step",)
    batched = ("gradient", "places", "next_places", *STATE, "out")
    few = ("plain", "start")

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        n, c, h, w = shape
        scale, planes = 3, 1 if h * w > 10_000 else 2
        resizing = Resizing.bilinear((h, w), scale, dtype=dtype)
        values = torch.randn(n, planes, len(resizing.down), len(resizing.across), generator=rng, dtype=dtype)
        inputs, infill = (torch.randn(k, c, h + 2, w + 1, generator=rng, dtype=dtype) for k in (n, 2))
        places = [torch.stack([torch.randint(k, (n, INFILLS), generator=rng) for k in (max(n, 1), 2, 3, 2)], 2) for _ in range(2)]
        cells = shares(values, True)
        mask = resized(cells, resizing.down, resizing.across)
        return {
            "gradient": torch.randn(n, planes, INFILLS, c, h, w, generator=rng, dtype=dtype),
            "inputs": inputs,
            "infill": infill,
            "places": places[0],
            "next_places": places[1],
            "values": values,
            "exp_avg": torch.randn(values.shape, generator=rng, dtype=dtype),
            "exp_avg_sq": torch.rand(values.shape, generator=rng, dtype=dtype) + 0.5,
            "cells": cells,
            "mask": mask,
            "counts": torch.randint(1, 9, (n,), generator=rng),
            "active": torch.ones(n, dtype=torch.uint8),
            "terms": torch.zeros(n, 3, dtype=torch.float64),
            "out": torch.zeros(n, planes, INFILLS, c, h, w, dtype=dtype),
            "resizing": resizing,
            "rule": MaskRule(area=0.3, variation=0.7),
        }

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        def clamped(given: Arguments) -> Arguments:
            values = given["values"].sigmoid()
            mask = resized(values, given["resizing"].down, given["resizing"].across)
            return {"values": values, "cells": values.clone(), "mask": mask}

        def cells(given: Arguments) -> Arguments:
            return clamped(given) | {"rule": MaskRule(False, "cells", -0.2, 0.5, "isotropic", 3.0)}

        def momentum(given: Arguments) -> Arguments:
            rule = MaskRule(False, "pixels", 0.1, 0.0, optimiser="momentum", rate=0.01, beta2=0.9)
            return clamped(given) | {"rule": rule, "counts": torch.arange(len(given["counts"]))}  # a first step among them

        def blurred(given: Arguments) -> Arguments:
            axes = Resizing.bilinear(tuple(given["mask"].shape[2:]), 3, sigma=1.5, dtype=dtype)
            return {"resizing": axes, "mask": resized(given["cells"], axes.down, axes.across)}

        def cell_per_pixel(given: Arguments) -> Arguments:
            """Nothing is resized: a path of its own."""
            axes = Resizing.bilinear(tuple(given["mask"].shape[2:]), 1, dtype=dtype)
            values, exp_avg, exp_avg_sq = torch.randn(3, *given["mask"].shape, generator=generator(), dtype=dtype)
            cells = shares(values, True)
            state = {
                "values": values,
                "exp_avg": exp_avg,
                "exp_avg_sq": exp_avg_sq.abs() + 0.5,
                "cells": cells,
                "mask": cells.clone(),
            }
            return state | {"resizing": axes}

        return {
            "start": lambda given: {"gradient": None},
            "cell_per_pixel": cell_per_pixel,
            "no_terms": lambda given: {"rule": MaskRule()},
            "cells": cells,
            "momentum": momentum,
            "anisotropic": lambda given: {"rule": MaskRule(variation=0.5, kind="anisotropic", beta=2.0)},
            "stopped": lambda given: {"active": torch.arange(len(given["active"])).remainder(2).to(torch.uint8)},
            "blurred": blurred,
        }

    def call(self, **arguments: Any) -> tuple[Tensor, ...]:
        state = state_of(arguments)
        out = arguments["out"].clone(memory_format=torch.contiguous_format)
        read = (arguments[name] for name in ("gradient", "inputs", "infill", "places", "next_places"))
        mask_step_(*read, state, out, resizing=arguments["resizing"], rule=arguments["rule"])
        return (*state, out)

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        dtype = arguments["values"].dtype
        wide = {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in arguments.items()}
        state, out, rule = state_of(wide), wide["out"], wide["rule"]
        read = [wide[name] for name in ("gradient", "inputs", "infill", "places", "next_places")]
        axes = [matrix.double() for matrix in (wide["resizing"].down, wide["resizing"].across)]
        flags = (rule.logits, rule.optimiser == "adam", rule.on == "cells", KINDS.index(rule.kind))
        numbers = (rule.rate, rule.beta1, rule.beta2, rule.eps, rule.area, rule.variation, rule.beta)
        reference.mask_step(*read, *axes, *state, out, *flags, *numbers)
        kept = [value.to(dtype) if value.is_floating_point() and value is not state.terms else value for value in (*state, out)]
        return tuple(kept)

    def row(self, arguments: Arguments, n: int) -> Arguments:
        given = {k: v for k, v in arguments.items() if k != "gradient" or v is not None}
        return arguments | super().row(given, n)

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """Sums over pixels in float32, of terms that cancel: absolute in the size of the largest."""
        for name, a, b in zip((*STATE, "out"), actual, expected, strict=True):
            scale = 1 + (float(b.abs().max()) if b.numel() and b.is_floating_point() else 0.0)
            if a.is_floating_point():
                close(a / scale, b / scale, f"{what}, {name}", self.judged_as(name, a))
            else:
                assert torch.equal(a.cpu(), b.cpu()), f"{what}, {name}"

    def judged_as(self, name: str, value: Tensor) -> torch.dtype:
        """Terms are float64 sums of what was computed in the masks' dtype; this class sees float32 and float64 runs."""
        return torch.float32 if name == "terms" else value.dtype

    def compare_backends(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """Sums run in another order."""
        self.compare(actual, expected, what)

    def faults(self) -> dict[str, Fault]:
        return {
            "type": Fault(lambda a: {"inputs": 1.0}, TypeError, "inputs to be a torch.Tensor, got float"),
            "half": Fault(lambda a: {"inputs": a["inputs"].half()}, TypeError, "inputs of dtype float32 or float64, got float16"),
            "infill": Fault(lambda a: {"infill": a["infill"][:, :1]}, ValueError, "infill of shape (B, C, H, W) = (2, 3, 8, 11)"),
            "gradient": Fault(lambda a: {"gradient": a["gradient"][0]}, ValueError, "gradient of shape (R, P, U, C, H, W)"),
            "dtype": Fault(lambda a: {"exp_avg": a["exp_avg"].double()}, TypeError, "exp_avg of dtype float32, got float64"),
            "shape": Fault(lambda a: {"exp_avg_sq": a["exp_avg_sq"][:, :1]}, ValueError, "exp_avg_sq of shape (R, P, h, w)"),
            "places": Fault(lambda a: {"places": a["places"][0]}, ValueError, "places of shape (R, U, 4), got (2, 4)"),
            "float": Fault(lambda a: {"next_places": a["places"].float()}, TypeError, "next_places of dtype int64"),
            "image": Fault(
                lambda a: {"places": a["places"] + torch.tensor([9, 0, 0, 0])}, ValueError, "places[..., 0] in [0, 2]"
            ),
            "window": Fault(
                lambda a: {"next_places": a["places"] - torch.tensor([0, 0, 0, 5])}, ValueError, "next_places[..., 3] in [0, 1]"
            ),
            "small": Fault(
                lambda a: {"inputs": a["inputs"][..., :4], "infill": a["infill"][..., :4]},
                ValueError,
                "at least as large as the mask",
            ),
            "resizing": Fault(lambda a: {"resizing": Resizing.bilinear((6, 10), 2)}, ValueError, "of shape (R, P, h, w)"),
        }


@pytest.mark.parametrize("planes", [1, 3])
def test_slopes_are_those_of_autograd(backend: Backend, planes: int) -> None:
    """One momentum step of rate 1 from rest moves by the slope: against autograd of the whole objective, model and all."""
    rng, size = generator(), (9, 7)
    resizing = Resizing.bilinear(size, 2, sigma=0.8, dtype=torch.float64)
    values = torch.randn(2, planes, 5, 4, generator=rng, dtype=torch.float64)
    images, reference_images = (torch.randn(k, 3, *size, generator=rng, dtype=torch.float64) for k in (2, 4))
    places = torch.stack([torch.tensor([[0, 0], [1, 1]]), torch.randint(4, (2, 2), generator=rng)], 2)
    places = torch.cat([places, torch.zeros_like(places)], 2)
    rule = MaskRule(area=0.2, variation=0.4, optimiser="momentum", rate=1.0)
    weights = torch.randn(2, planes, 2, 3, *size, generator=rng, dtype=torch.float64)

    def model(shown: Tensor) -> Tensor:
        return (weights * shown).sin().sum()

    leaf = values.clone().requires_grad_()
    mask = resized(shares(leaf, True), resizing.down, resizing.across)
    keep = mask[:, :, None, None]
    shown = keep * images[:, None, None] + (1 - keep) * reference_images[places[..., 1]][:, None]
    smooth = mask.diff(dim=3).square().sum() + mask.diff(dim=2).square().sum()
    (expected,) = torch.autograd.grad(model(shown) + 0.2 * mask.sum() + 0.4 * smooth, leaf)

    state = MaskState(*(part.to(backend.device) for part in MaskState.start(values, size)))
    out = torch.zeros(2, planes, 2, 3, *size, dtype=torch.float64, device=backend.device)
    moved = [each.to(backend.device) for each in (images, reference_images, places, places)]
    axes = Resizing(*(part.to(backend.device) for part in resizing))
    mask_step_(None, *moved, state, out, resizing=axes, rule=rule)
    close(out.cpu(), shown.detach(), "masked inputs")
    seen = out.cpu().requires_grad_()
    (gradient,) = torch.autograd.grad(model(seen), seen)
    mask_step_(gradient.to(backend.device), *moved, state, out, resizing=axes, rule=rule)
    close((values - state.values.cpu()), expected, "slopes")
    close(state.terms[:, 1].cpu(), mask.detach().sum((1, 2, 3)), "area")
    close(state.terms[:, 2].sum().cpu(), smooth.detach(), "variation")


def test_constant_mask_and_spike(backend: Backend) -> None:
    """TV of a constant mask is 0; of an inner spike of height h it is 4 h^2."""
    size, h = (5, 5), 0.25
    values = torch.zeros(2, 1, *size)
    values[1, 0, 2, 2] = h
    images = torch.zeros(1, 1, *size, device=backend.device)
    places = torch.zeros(2, 1, 4, dtype=torch.int64, device=backend.device)
    state = MaskState(*(part.to(backend.device) for part in MaskState.start(values, size)))
    out = torch.zeros(2, 1, 1, 1, *size, device=backend.device)
    axes = Resizing(*(part.to(backend.device) for part in Resizing.bilinear(size, 1)))
    for gradient in (None, torch.zeros_like(out)):
        rule = MaskRule(False, "pixels", 0.0, 1.0)
        mask_step_(gradient, images, images, places, places, state, out, resizing=axes, rule=rule)
    assert state.terms[:, 2].tolist() == [0.0, 4 * h * h]
    assert state.terms[:, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_stops_alone(backend: Backend, bad: float) -> None:
    tests = TestMaskStep()
    plain = tests.arguments((3, 2, 6, 7), torch.float32, generator())
    spoilt = plain | {"gradient": plain["gradient"].clone()}
    spoilt["gradient"][1, 0, 0, 0, 3, 3] = bad
    after, expected = (dict(zip((*STATE, "out"), tests.call(**each), strict=True)) for each in (spoilt, plain))
    assert after["active"].tolist() == [1, 0, 1]
    same_bits(after["values"][1], plain["values"][1])
    for name in ("values", "exp_avg", "exp_avg_sq", "mask", "out"):
        same_bits(after[name][[0, 2]], expected[name][[0, 2]], name)


@pytest.mark.parametrize(("size", "scale", "cells"), [((8, 8), 4, (2, 2)), ((9, 5), 4, (3, 2)), ((3, 3), 7, (1, 1))])
def test_resizing_is_that_of_torch(size: tuple[int, int], scale: int, cells: tuple[int, int]) -> None:
    resizing = Resizing.bilinear(size, scale, dtype=torch.float64)
    values = torch.randn(2, 1, *cells, generator=generator(), dtype=torch.float64)
    expected = torch.nn.functional.interpolate(values, size=size, mode="bilinear", align_corners=False)
    close(resized(values, resizing.down, resizing.across), expected)
    for matrix, bands in ((resizing.down, resizing.down_bands), (resizing.across, resizing.across_bands)):
        for line, (first, last) in zip([*matrix, *matrix.T], bands.tolist(), strict=True):
            used = line.nonzero().flatten().tolist()
            assert (first, last) == (used[0], used[-1] + 1)


def test_what_is_changed_must_be_contiguous(backend: Backend) -> None:
    arguments = TestMaskStep().arguments((2, 1, 4, 4), torch.float32, generator())
    read = (arguments[name] for name in ("gradient", "inputs", "infill", "places", "next_places"))
    state = state_of(arguments)._replace(mask=arguments["mask"].mT)
    with pytest.raises(ValueError, match="mask_step_: expected mask contiguous: it is changed in place, got strides"):
        mask_step_(*read, state, arguments["out"], resizing=arguments["resizing"], rule=arguments["rule"])


@pytest.mark.parametrize("name", ["infill", "gradient", "places", "next_places", *STATE, "out", "resizing"])
def test_everything_lies_on_the_device_of_the_inputs(name: str) -> None:
    arguments = TestMaskStep().arguments((2, 1, 4, 4), torch.float32, generator())
    if name == "resizing":
        arguments[name] = arguments[name]._replace(across=arguments[name].across.to("meta"))
    else:
        arguments[name] = arguments[name].to("meta")
    read = (arguments[key] for key in ("gradient", "inputs", "infill", "places", "next_places"))
    words = "resizing.across" if name == "resizing" else name
    with pytest.raises(ValueError, match=f"mask_step_: expected {words} on the device of inputs"):
        mask_step_(*read, state_of(arguments), arguments["out"], resizing=arguments["resizing"], rule=arguments["rule"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"on": "rows"}, "MaskRule: expected on to be one of 'pixels', 'cells', got 'rows'"),
        ({"rate": 0.0}, "MaskRule: expected rate > 0 and finite, got 0.0"),
        ({"beta1": 1.0}, r"MaskRule: expected beta1 in \[0, 1\), got 1.0"),
        ({"variation": -1.0}, "MaskRule: expected variation >= 0 and finite, got -1.0"),
        ({"optimiser": "sgd"}, "expected optimiser to be one of 'adam', 'momentum', got 'sgd'"),
    ],
)
def test_rules_that_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MaskRule(**options)


@pytest.mark.parametrize("name", ["mask", "inputs", "infill", "places", "resizing.down"])
def test_what_is_changed_shares_no_memory(name: str) -> None:
    arguments = TestMaskStep().arguments((2, 1, 4, 4), torch.float32, generator())
    arguments |= {key: torch.zeros_like(arguments[key]) for key in ("places", "next_places")}
    out, state = arguments["out"], state_of(arguments)

    def inside_out(value: Tensor) -> Tensor:
        return out.view(-1).view(torch.uint8)[: value.nbytes].view(value.dtype).view(value.shape).zero_()

    if name == "mask":
        state = state._replace(mask=inside_out(state.mask))
    elif name == "resizing.down":
        arguments["resizing"] = arguments["resizing"]._replace(down=inside_out(arguments["resizing"].down))
    else:
        arguments[name] = inside_out(arguments[name][:1] if name in ("inputs", "infill") else arguments[name])
    read = (arguments[key] for key in ("gradient", "inputs", "infill", "places", "next_places"))
    with pytest.raises(ValueError, match=rf"mask_step_: expected (out|mask) not to share memory with ({name}|out), got overlap"):
        mask_step_(*read, state, out, resizing=arguments["resizing"], rule=arguments["rule"])


@pytest.mark.parametrize("tangent", [False, True])
def test_a_derivative_is_refused(tangent: bool) -> None:
    arguments = TestMaskStep().arguments((1, 1, 4, 4), torch.float32, generator())
    read = [arguments[key] for key in ("gradient", "inputs", "infill", "places", "next_places")]

    def step(images: Tensor) -> None:
        read[1] = images
        mask_step_(*read, state_of(arguments), arguments["out"].clone(), resizing=arguments["resizing"], rule=arguments["rule"])

    with pytest.raises(RuntimeError, match="mask_step_: expected inputs and infill that need no gradient, got (requires|a forw)"):
        if tangent:
            torch.func.jvp(step, (read[1],), (read[1],))
        else:
            step(read[1].clone().requires_grad_())


@pytest.mark.parametrize("name", ["down_bands", "across_bands"])
@pytest.mark.parametrize(("row", "column", "value"), [(0, 1, 2**30), (-1, 1, 3), (0, 0, -1), (-1, 0, -(2**20))])
def test_bands_outside_the_resizing_are_refused(name: str, row: int, column: int, value: int) -> None:
    arguments = TestMaskStep().arguments((1, 1, 4, 4), torch.float32, generator())
    bands = getattr(arguments["resizing"], name).clone()
    bands[row, column] = value
    read = (arguments[key] for key in ("gradient", "inputs", "infill", "places", "next_places"))
    with pytest.raises(ValueError, match=rf"mask_step_: expected resizing.{name} of (cells|pixels) in \[0, \d\], got {value}"):
        resizing = arguments["resizing"]._replace(**{name: bands})
        mask_step_(*read, state_of(arguments), arguments["out"], resizing=resizing, rule=arguments["rule"])


def test_a_pixel_of_no_cell_is_infill(backend: Backend) -> None:
    """An empty band: nothing of the mask before stays there."""
    arguments = TestMaskStep().arguments((1, 1, 4, 4), torch.float32, generator())
    down, bands = arguments["resizing"].down.clone(), arguments["resizing"].down_bands.clone()
    down[:, 1], bands[len(down) + 1] = 0, 0
    resizing = arguments["resizing"]._replace(down=down, down_bands=bands)
    read = [arguments[key].to(backend.device) for key in ("inputs", "infill", "places", "next_places")]
    state = MaskState(*(part.to(backend.device) for part in state_of(arguments)))
    axes = Resizing(*(part.to(backend.device) for part in resizing))
    mask_step_(None, *read, state, arguments["out"].to(backend.device), resizing=axes, rule=arguments["rule"])
    assert (state.mask[:, :, 1] == 0).all() and (state.mask[:, :, 0] != 0).all()
