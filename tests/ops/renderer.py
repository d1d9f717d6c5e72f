"""What the five families of the renderer share: variants, faults, layout and `out=`."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from tests.backends import Backend, generator, same_bits
from tests.ops.cases import USUAL, Arguments, Change, Fault, Shape, copied, moved
from tests.ops.contract import OpContract


class RendererContract(OpContract):
    """Subclasses give the mask of the family: its arguments, the same per image, none at all, and its reference weights."""

    batch_dim = 1
    batched = ("inputs", "infill")
    chooses: ClassVar[bool] = True  # keeps or removes whole pixels: bits are moved, nothing is computed
    per_step: ClassVar[tuple[str, ...]]  # arguments of the mask that are (S, ...) or (N, S, ...)

    def mask(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        raise NotImplementedError

    def weights(self, arguments: Arguments) -> Tensor:
        raise NotImplementedError

    def mask_variants(self) -> dict[str, Change]:
        return {}

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        inputs, infill = (torch.randn(shape, generator=rng, dtype=dtype) for _ in range(2))
        return {"inputs": inputs, "infill": infill, **self.mask(shape, dtype, rng)}

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        def statistics(given: Arguments) -> Arguments:
            channels = given["inputs"].shape[1]
            return {
                "mean": torch.linspace(-0.5, 0.5, channels, dtype=dtype),
                "std": torch.linspace(0.3, 2, channels, dtype=dtype),
            }

        def per_image(given: Arguments) -> Arguments:
            images = given["inputs"].shape[0]
            return (
                {name: torch.stack([given[name].roll(n, 0) for n in range(images)]) for name in self.per_step} if images else {}
            )

        last = {"memory_format": torch.channels_last}
        changes: dict[str, Change] = {
            "normalised": statistics,
            "number": lambda given: {"infill": 0.25},
            "colour": lambda given: {"infill": given["infill"][:1, :, :1, :1]},
            "per_image": per_image,
            "channels_last": lambda given: last | statistics(given) | per_image(given),
            "no_steps": lambda given: {name: given[name][:0] for name in self.per_step},
        }
        if dtype == torch.float32:
            changes["float16"] = lambda given: {"dtype": torch.float16} | statistics(given)
            changes["float16_last"] = lambda given: {"dtype": torch.float16} | last
            changes["bfloat16"] = lambda given: {"dtype": torch.bfloat16}
            changes["bfloat16_last"] = lambda given: {"dtype": torch.bfloat16} | statistics(given) | last
        return changes | self.mask_variants()

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        inputs = arguments["inputs"]
        infill = torch.as_tensor(arguments["infill"], dtype=inputs.dtype).expand(inputs.shape)
        weights = self.weights(arguments).to(inputs.dtype)
        out = reference.blend(inputs, infill, weights, arguments.get("mean"), arguments.get("std"))
        return (out.to(arguments.get("dtype") or inputs.dtype),)

    def row(self, arguments: Arguments, n: int) -> Arguments:
        alone = super().row({name: value for name, value in arguments.items() if isinstance(value, Tensor)}, n)
        plain = self.arguments(USUAL, torch.float32, generator())
        for name in self.per_step:
            if arguments[name].ndim > plain[name].ndim:
                alone[name] = arguments[name][n : n + 1]
        if isinstance(arguments["infill"], Tensor) and arguments["infill"].shape[0] == 1:
            alone["infill"] = arguments["infill"]
        return arguments | alone

    def faults(self) -> dict[str, Fault]:
        n, c, h, w = USUAL
        leaf = torch.zeros(USUAL, requires_grad=True)
        faults = {
            "inputs_3d": Fault(
                lambda a: {"inputs": a["inputs"][0]}, ValueError, "inputs of shape (N, C, H, W), got (3, 6, 10); add"
            ),
            "inputs_bytes": Fault(
                lambda a: {"inputs": a["inputs"].byte()}, TypeError, "inputs of dtype float32 or float64, got uint8; convert with"
            ),
            "inputs_list": Fault(lambda a: {"inputs": [1.0]}, TypeError, "inputs to be a torch.Tensor, got list"),
            "inputs_sparse": Fault(
                lambda a: {"inputs": a["inputs"].to_sparse()}, TypeError, "inputs to be a dense (strided) tensor"
            ),
            "infill_dtype": Fault(lambda a: {"infill": a["infill"].double()}, TypeError, "infill of dtype float32, got float64"),
            "infill_shape": Fault(
                lambda a: {"infill": torch.zeros(2, 1, 1, 1)},
                ValueError,
                "infill broadcastable to inputs (N, C, H, W) = (3, 3, 6, 10)",
            ),
            "infill_device": Fault(
                lambda a: {"infill": a["infill"].to("meta")},
                ValueError,
                "infill on the device of inputs (cpu), got meta; move it",
            ),
            "infill_bool": Fault(lambda a: {"infill": True}, TypeError, "infill to be a tensor or a number, got bool"),
            "infill_text": Fault(lambda a: {"infill": "mean"}, TypeError, "infill to be a tensor or a number, got str"),
            "mean_alone": Fault(lambda a: {"mean": [0.0] * c}, ValueError, "mean and std both or neither, got only mean"),
            "std_alone": Fault(lambda a: {"std": [1.0] * c}, ValueError, "mean and std both or neither, got only std"),
            "mean_length": Fault(
                lambda a: {"mean": [0.0] * 2, "std": [1.0] * c}, ValueError, "mean of shape (C,) = (3,), got (2,)"
            ),
            "std_zero": Fault(lambda a: {"mean": [0.0] * c, "std": [1.0, 0.0, 1.0]}, ValueError, "std > 0, got [1.0, 0.0, 1.0]"),
            "std_device": Fault(
                lambda a: {"mean": [0.0] * c, "std": torch.ones(c, device="meta")}, ValueError, "std on the device of inputs"
            ),
            "dtype": Fault(
                lambda a: {"dtype": torch.float64}, TypeError, "dtype float32 or bfloat16 or float16 for float32 inputs"
            ),
            "memory_format": Fault(
                lambda a: {"memory_format": torch.channels_last_3d},
                ValueError,
                "memory_format torch.contiguous_format or torch.channels_last, got torch.channels_last_3d",
            ),
            "out_type": Fault(lambda a: {"out": 3}, TypeError, "out to be a torch.Tensor, got int"),
            "out_shape": Fault(lambda a: {"out": torch.empty(1, 2, 3)}, ValueError, "out of shape (S, N, C, H, W) = ("),
            "out_dtype": Fault(
                lambda a: {"out": self.out_for(a).half()}, TypeError, "out of dtype float32, got float16; pass dtype= as well"
            ),
            "out_device": Fault(
                lambda a: {"out": self.out_for(a).to("meta")}, ValueError, "out on the device of inputs (cpu), got meta"
            ),
            "out_layout": Fault(
                lambda a: {"out": self.out_for(a, last=True)}, ValueError, "out packed and torch.contiguous_format, got strides"
            ),
            "out_gaps": Fault(
                lambda a: {"out": torch.empty(2 * self.steps(a), n, c, h, w)[::2]},
                ValueError,
                "out packed and torch.contiguous_format",
            ),
            "out_over_inputs": Fault(
                self.overlapping("inputs"), ValueError, "out not to share memory with inputs, got overlapping"
            ),
            "out_over_infill": Fault(
                self.overlapping("infill"), ValueError, "out not to share memory with infill, got overlapping"
            ),
        }
        for name in self.mask(USUAL, torch.float32, generator()):
            text = f"out not to share memory with {name}, got overlapping"
            faults[f"out_over_{name}"] = Fault(self.overlapping_bytes(name), ValueError, text)
        if self.name != "blend_dense":
            faults["inputs_grad"] = Fault(lambda a: {"inputs": leaf}, RuntimeError, "inputs and infill that need no gradient")
            faults["infill_grad"] = Fault(
                lambda a: {"infill": leaf}, RuntimeError, "use blend_dense with a float mask, or call it"
            )
        return faults

    def steps(self, arguments: Arguments) -> int:
        return len(arguments[self.per_step[0]])

    def out_for(self, arguments: Arguments, last: bool = False) -> Tensor:
        s, (n, c, h, w) = self.steps(arguments), arguments["inputs"].shape
        dtype = arguments["inputs"].dtype
        return (
            torch.full((s, n, h, w, c), 7, dtype=dtype).permute(0, 1, 4, 2, 3)
            if last
            else torch.full((s, n, c, h, w), 7, dtype=dtype)
        )

    def overlapping(self, name: str) -> Change:
        def change(arguments: Arguments) -> Arguments:
            out = self.out_for(arguments)
            return {"out": out, name: out[-1]}

        return change

    def overlapping_bytes(self, name: str) -> Change:
        """The argument, of whatever dtype, lies where `out` does."""

        def change(arguments: Arguments) -> Arguments:
            out, value = self.out_for(arguments), arguments[name]
            value = value if isinstance(value, Tensor) else torch.tensor(value)
            place = out.view(-1).view(torch.uint8)[-value.nbytes :].view(value.dtype).view(value.shape)
            return {"out": out, name: place.copy_(value)}

        return change

    # ---- what only a renderer has

    @pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
    @pytest.mark.parametrize("offset", [0, 1, 2, 3])
    def test_writes_into_out(self, backend: Backend, dtype: torch.dtype, last: bool, offset: int) -> None:
        """Every element of `out` and none around it, also where it is not aligned to 16 bytes."""
        arguments = moved(self.arguments((2, 3, 3, 19), dtype, generator()), backend)
        options = {"memory_format": torch.channels_last} if last else {}
        (expected,) = self.call(**arguments, **options)
        like = self.out_for(arguments, last)
        buffer = torch.full((like.numel() + 8,), 7, dtype=dtype, device=backend.device)
        out = buffer[4 + offset :].as_strided(like.shape, like.stride())
        (result,) = self.call(**arguments, **options, out=out)
        assert result is out
        same_bits(out, expected)
        rest = torch.cat([buffer[: 4 + offset], buffer[4 + offset + like.numel() :]])
        assert (rest == 7).all()

    @pytest.mark.parametrize("shape", [USUAL, (1, 1, 1, 1), (2, 3, 1, 7), (2, 1, 4, 4), (0, 3, 4, 5)], ids=str)
    def test_layout_of_the_result(self, backend: Backend, shape: Shape) -> None:
        arguments = moved(self.arguments(shape, torch.float32, generator()), backend)
        (plain,) = self.call(**arguments)
        (last,) = self.call(**arguments, memory_format=torch.channels_last)
        assert plain.is_contiguous()
        if plain.numel() > 0:
            assert last.view(-1, *shape[1:]).is_contiguous(memory_format=torch.channels_last)
        same_bits(last, plain)
        (again,) = self.call(**arguments, memory_format=torch.channels_last, out=last)
        assert again is last

    def test_statistics_may_be_numbers(self, backend: Backend) -> None:
        arguments = moved(self.arguments(USUAL, torch.float32, generator()), backend)
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        tensors = {"mean": torch.tensor(mean, device=backend.device), "std": torch.tensor(std, device=backend.device)}
        same_bits(self.call(**arguments, mean=mean, std=std)[0], self.call(**arguments, **tensors)[0])

    def test_gradients_are_no_matter_under_no_grad(self, backend: Backend) -> None:
        arguments = moved(self.arguments(USUAL, torch.float32, generator()), backend)
        (expected,) = self.call(**copied(arguments))
        arguments["inputs"].requires_grad_()
        with torch.no_grad():
            (result,) = self.call(**arguments)
        assert not result.requires_grad
        same_bits(result, expected)

    def test_choosing_moves_bits(self, backend: Backend, dtype: torch.dtype) -> None:
        """Infinities, NaN with their payload, -0 and subnormals come through unchanged, beside values that are not shown."""
        if not self.chooses:
            pytest.skip("this family computes")
        shape = (2, 2, 3, 12)
        arguments = self.arguments(shape, dtype, generator())
        width = torch.int32 if dtype == torch.float32 else torch.int64
        special = torch.tensor([float("inf"), -float("inf"), float("nan"), -0.0, 5e-324, 1e-40], dtype=dtype).view(width)
        special[2] += 12345  # a payload
        drawn = torch.randint(0, 6, (2, *shape), generator=generator("properties"))
        arguments["inputs"], arguments["infill"] = special[drawn].view(dtype)
        kept = self.weights(arguments)
        kept = (kept if kept.ndim == 4 else kept[None]).expand(2, -1, -1, -1).transpose(0, 1)[:, :, None].bool()
        (result,) = self.call(**moved(arguments, backend))
        same_bits(result, torch.where(kept, arguments["inputs"].view(width), arguments["infill"].view(width)).view(dtype))
