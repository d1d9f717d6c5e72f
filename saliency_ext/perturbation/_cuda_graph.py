"""A forward recorded once as a CUDA graph and replayed: no launch cost per operation."""

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UPS = 3


class CudaGraph:
    """Replays a forward on one buffer. What it returns is overwritten by the next replay.

    The forward must be capturable: no host synchronisation, no control flow that depends on values, fixed shapes. Memory: the
    graph's own pool, as much as a forward takes.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], buffer: Tensor) -> None:
        self.buffer = buffer
        side = torch.cuda.Stream(buffer.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(buffer.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                forward(buffer)
        torch.cuda.current_stream(buffer.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = forward(buffer)

    def __call__(self) -> Tensor:
        """Logits of what the buffer holds now."""
        self.graph.replay()
        return self.logits
