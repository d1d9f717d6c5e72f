"""The part of the contract that needs a real accelerator; skipped with a reason where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.backends import Backend
from tests.ops.cases import USUAL, copied, is_tensor, moved


class AcceleratorContract:
    """Base of `OpContract`, which has the attributes used here."""

    dtypes: Any
    changed: Any
    call: Any
    cases: Any
    capture_safe: Any
    compare_runs: Any

    def test_side_stream(self, cuda: Backend) -> None:
        for what, arguments in self.cases(USUAL, self.dtypes[0]):
            arguments = moved(arguments, cuda)
            expected = self.call(**copied(arguments))
            torch.cuda.synchronize()
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                torch.cuda._sleep(20_000_000)  # whatever does not wait for this stream would come too early
                late = {name: v.clone() if is_tensor(v) and v.is_floating_point() else v for name, v in arguments.items()}
                results = self.call(**late)
            stream.synchronize()
            self.compare_runs(results, expected, what)

    def test_graph_capture(self, cuda: Backend) -> None:
        for what, arguments in self.cases(USUAL, self.dtypes[0]):
            arguments = self.capture_safe(moved(arguments, cuda))
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                expected = tuple(result.clone() for result in self.call(**copied(arguments)))
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                results = self.call(**arguments)
            for result in results if not self.changed else ():
                result.zero_()
            graph.replay()
            torch.cuda.synchronize()
            self.compare_runs(results, expected, what)

    def test_another_device_than_the_current(self, cuda: Backend) -> None:
        if torch.cuda.device_count() < 2:
            pytest.skip("needs two GPUs")
        for what, arguments in self.cases(USUAL, self.dtypes[0]):
            expected = self.call(**moved(arguments, cuda))
            other = Backend("cuda", torch.device("cuda", 1), cuda.namespace)
            results = self.call(**moved(arguments, other))
            assert all(result.device == other.device for result in results)
            self.compare_runs(results, expected, what)
