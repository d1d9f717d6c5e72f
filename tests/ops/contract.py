"""The fixed list of tests that every op passes, over backends and dtypes.

A test file subclasses `OpContract` and says how to make arguments, how to compute the expected result, which variants of the
arguments there are, and which faults are refused in which words. Everything else is inherited, so a missing test is visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import saliency_ext
from saliency_ext.checks import dtype_name
from tests.backends import BACKENDS, Backend, close, generator, same_bits
from tests.native import simulated_ops
from tests.ops.accelerator import AcceleratorContract
from tests.ops.cases import (
    LAYOUTS,
    PHOTOGRAPHS,
    SHAPES,
    USUAL,
    Arguments,
    Change,
    Fault,
    Recorder,
    Shape,
    copied,
    facts_of,
    forget_constants,
    is_tensor,
    laid_out,
    moved,
    thread_count,
)


class OpContract(AcceleratorContract):
    """Subclass per op; see the attributes and the methods that raise NotImplementedError."""

    name: ClassVar[str]  # in saliency_ext.ops
    native: ClassVar[tuple[str, ...]] = ()  # ops of the dispatcher that its calls reach, the first one counts threads
    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32, torch.float64)
    few: ClassVar[tuple[str, ...]] = ("plain",)  # variants that are worth compiling
    batched: ClassVar[tuple[str, ...]]  # arguments with N in front
    changed: ClassVar[tuple[str, ...]] = ()  # arguments that the op writes to
    batch_dim: ClassVar[int] = 0  # of N in each result
    repeatable: ClassVar[bool] = True  # same bits in any batch, layout and number of threads

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        raise NotImplementedError

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        return {}

    def faults(self) -> dict[str, Fault]:
        raise NotImplementedError

    def call(self, **arguments: Any) -> tuple[Tensor, ...]:
        result = getattr(saliency_ext.ops, self.name)(**arguments)
        return result if isinstance(result, tuple) else (result,)

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """Result against reference: bit-equal, unless a subclass says otherwise."""
        for a, b in zip(actual, expected, strict=True):
            same_bits(a, b, what)

    def compare_backends(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """CUDA kernels against CPU kernels."""
        self.compare_runs(actual, expected, what)

    def compare_runs(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """One backend against itself."""
        for a, b in zip(actual, expected, strict=True):
            assert a.dtype == b.dtype, f"{what}: {a.dtype} instead of {b.dtype}"
            (same_bits if self.repeatable else close)(a, b, what)

    def row(self, arguments: Arguments, n: int) -> Arguments:
        """The arguments of image n alone."""
        return arguments | {name: arguments[name][n : n + 1] for name in self.batched if name in arguments}

    def capture_safe(self, arguments: Arguments) -> Arguments:
        """The arguments as the docstring asks for them inside a CUDA graph."""
        return arguments

    def cases(self, shape: Shape, dtype: torch.dtype, few: bool = False) -> Iterator[tuple[str, Arguments]]:
        """Names and arguments of all variants, or of few."""
        plain = self.arguments(shape, dtype, generator())
        for name, change in {"plain": lambda _: {}, **self.variants(dtype)}.items():
            if not few or name in self.few:
                yield name, plain | change(plain)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "dtype" in metafunc.fixturenames:
            metafunc.parametrize("dtype", self.dtypes, ids=dtype_name)
        if "fault" in metafunc.fixturenames:
            metafunc.parametrize("fault", list(self.faults()))

    # ---- values

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_matches_the_reference(self, backend: Backend, dtype: torch.dtype, shape: Shape) -> None:
        for what, arguments in self.cases(shape, dtype):
            expected = self.reference(**copied(arguments))
            self.compare(self.call(**moved(arguments, backend)), expected, what)

    @pytest.mark.backends("sim", "cuda")
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_equals_the_cpu_kernels(self, backend: Backend, dtype: torch.dtype, shape: Shape) -> None:
        for what, arguments in self.cases(shape, dtype):
            with BACKENDS["cpu"].active():
                expected = self.call(**copied(arguments))
            self.compare_backends(self.call(**moved(arguments, backend)), expected, what)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_reads_any_layout(self, backend: Backend, layout: str) -> None:
        for what, arguments in self.cases(USUAL, self.dtypes[0]):
            arguments = moved(arguments, backend)
            views = {
                name: value if layout == "expanded" and name in self.changed else laid_out(value, layout)
                for name, value in arguments.items()
            }
            packed = {name: v.clone(memory_format=torch.contiguous_format) if is_tensor(v) else v for name, v in views.items()}
            self.compare_runs(self.call(**views), self.call(**packed), f"{what}, {layout}")

    # ---- determinism

    def test_two_runs_are_bit_equal(self, backend: Backend) -> None:
        for what, arguments in self.cases(USUAL, self.dtypes[0]):
            first, second = (self.call(**moved(arguments, backend)) for _ in range(2))
            for a, b in zip(first, second, strict=True):
                same_bits(a, b, what)

    def test_threads_do_not_matter(self, dtype: torch.dtype) -> None:
        shape = (5, 3, 64, 96)
        for what, arguments in self.cases(shape, dtype):
            results = []
            for threads in (1, 2, 3):
                with thread_count(threads):
                    results.append(self.call(**copied(arguments)))
            self.compare_runs(results[1], results[0], f"{what}, 2 threads")
            self.compare_runs(results[2], results[0], f"{what}, 3 threads")

    def test_every_thread_takes_part(self) -> None:
        if not self.native:
            pytest.skip("no kernel of ours")
        arguments = self.arguments(PHOTOGRAPHS, torch.float32, generator())
        with thread_count(2):
            saliency_ext._C.reset_counters()
            self.call(**arguments)
        counted = saliency_ext._C.counters()
        assert counted[self.native[0]]["threads"] == 2, counted

    @pytest.mark.backends("sim")
    def test_schedule_does_not_matter(self, backend: Backend) -> None:
        for what, arguments in self.cases((2, 3, 5, 13), self.dtypes[0]):
            results = []
            for seed, workers in ((0, 1), (1, 2), (77, 3)):
                simulated_ops.schedule(seed, workers)
                results.append(self.call(**copied(arguments)))
            for other in results[1:]:
                for a, b in zip(other, results[0], strict=True):
                    same_bits(a, b, what)

    def test_a_row_equals_the_row_alone(self, backend: Backend, dtype: torch.dtype) -> None:
        for what, arguments in self.cases(USUAL, dtype):
            together = self.call(**moved(arguments, backend))
            for n in range(USUAL[0]):
                alone = self.call(**moved(self.row(arguments, n), backend))
                rows = tuple(result.narrow(self.batch_dim, n, 1) for result in together)
                self.compare_runs(alone, rows, f"{what}, row {n}")

    # ---- manners

    @pytest.mark.backends("cpu", "cuda")
    def test_arguments_stay_as_they_are(self, backend: Backend) -> None:
        for what, arguments in self.cases(USUAL, self.dtypes[0]):
            arguments = moved(arguments, backend)
            before = copied(arguments)
            facts = {name: facts_of(value) for name, value in arguments.items() if is_tensor(value)}
            self.call(**arguments)
            for name in facts.keys() - set(self.changed):
                same_bits(arguments[name], before[name], f"{what}, {name}")
                assert facts_of(arguments[name]) == facts[name], f"{what}, {name}"

    @pytest.mark.backends("cpu", "cuda")
    def test_works_without_autograd(self, backend: Backend) -> None:
        """In inference mode, also as the first call of all; and what it keeps does not hinder a later one that trains."""
        for what, arguments in self.cases((1, 3, 4, 11), self.dtypes[0]):
            forget_constants()
            with torch.inference_mode():
                inside = self.call(**moved(arguments, backend))
            self.compare_runs(inside, self.call(**moved(arguments, backend)), what)

    @pytest.mark.backends("cpu", "cuda")
    def test_autocast_changes_nothing(self, backend: Backend) -> None:
        for what, arguments in self.cases(USUAL, self.dtypes[0]):
            expected = self.call(**moved(arguments, backend))
            with torch.autocast(backend.device.type, dtype=torch.bfloat16):
                inside = self.call(**moved(arguments, backend))
            self.compare_runs(inside, expected, what)

    @pytest.mark.backends("cpu", "cuda")
    def test_compiles_into_one_graph(self, backend: Backend) -> None:
        for what, arguments in self.cases(USUAL, self.dtypes[0], few=True):
            torch._dynamo.reset()
            compiled = torch.compile(self.call, backend="aot_eager", fullgraph=True)
            expected = self.call(**moved(arguments, backend))
            self.compare_runs(compiled(**moved(arguments, backend)), expected, what)

    def record(self, arguments: Arguments) -> list[tuple[Any, tuple[Any, ...]]]:
        """The native ops that a call reaches, with what they are given."""
        with Recorder() as recorder:
            self.call(**arguments)
        return recorder.calls

    def trained(self, op: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments of a native op, with requires_grad where a gradient is promised."""
        return given

    def test_opcheck(self, backend: Backend) -> None:
        if not self.native:
            pytest.skip("no kernel of ours")
        seen = set()
        for what, arguments in self.cases((2, 3, 4, 5), self.dtypes[0], few=True):
            for op, given in self.record(moved(arguments, backend)):
                seen.add(op._schema.name.split("::")[1])
                assert op.namespace == backend.namespace, what
                torch.library.opcheck(op, self.trained(op, given))
        assert seen == set(self.native)

    # ---- faults

    def test_refuses(self, fault: str) -> None:
        case = self.faults()[fault]
        plain = self.arguments(USUAL, self.dtypes[0], generator())
        arguments = plain | case.changes(plain)
        with pytest.raises(case.error) as caught:
            self.call(**arguments)
        message = str(caught.value)
        assert message.startswith(f"{self.name}: "), message
        assert case.text in message, message


class DifferentiableContract(OpContract):
    """More tests for the ops with a gradient."""

    twice: ClassVar[bool] = False  # differentiable any number of times
    leaves: ClassVar[tuple[str, ...]]  # arguments with a gradient

    def gradient_cases(self) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
        """Functions and their float64 inputs, away from kinks."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        super().pytest_generate_tests(metafunc)
        if "gradient_case" in metafunc.fixturenames:
            metafunc.parametrize("gradient_case", list(self.gradient_cases()))

    def record(self, arguments: Arguments) -> list[tuple[Any, tuple[Any, ...]]]:
        with Recorder() as recorder:
            results = self.call(
                **{k: v.requires_grad_() if k in self.leaves and is_tensor(v) else v for k, v in arguments.items()}
            )
            sum(result.sum() for result in results).backward()
        return recorder.calls

    def trained(self, op: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        forward = op._schema.name.split("::")[1] == self.native[0]
        names = [argument.name for argument in op._schema.arguments]
        return tuple(
            value.detach().requires_grad_(forward and name in self.leaves) if is_tensor(value) else value
            for name, value in zip(names, given, strict=True)
        )

    def test_gradcheck(self, backend: Backend, gradient_case: str) -> None:
        function, inputs = self.gradient_cases()[gradient_case]
        leaves = tuple(value.to(backend.device).requires_grad_() for value in inputs)
        assert torch.autograd.gradcheck(function, leaves, check_forward_ad=True)
        if self.twice:
            assert torch.autograd.gradgradcheck(function, leaves)

    def test_second_derivative_is_refused(self, backend: Backend) -> None:
        if self.twice:
            pytest.skip("it is not")
        function, inputs = next(iter(self.gradient_cases().values()))
        leaves = tuple(value.to(backend.device).requires_grad_() for value in inputs)
        first = torch.autograd.grad(function(*leaves).square().sum(), leaves, create_graph=True)
        with pytest.raises(RuntimeError, match=f"{self.name}: expected one backward pass, got a second; double backward"):
            torch.autograd.grad(sum(gradient.square().sum() for gradient in first), leaves)

    @pytest.mark.backends("cpu", "cuda")
    def test_gradients_when_compiled(self, backend: Backend) -> None:
        function, inputs = next(iter(self.gradient_cases().values()))
        leaves = tuple(value.to(backend.device).requires_grad_() for value in inputs)
        torch._dynamo.reset()
        compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
        expected = torch.autograd.grad(function(*leaves).square().sum(), leaves)
        self.compare_runs(torch.autograd.grad(compiled(*leaves).square().sum(), leaves), expected, "gradients")

    def test_gradient_after_inference_mode(self, backend: Backend) -> None:
        """Constants that were cached in inference mode can be saved for backward later."""
        for function, inputs in self.gradient_cases().values():
            forget_constants()
            with torch.inference_mode():
                function(*(value.to(backend.device) for value in inputs))
            leaves = tuple(value.to(backend.device).requires_grad_() for value in inputs)
            torch.autograd.grad(function(*leaves).sum(), leaves)
