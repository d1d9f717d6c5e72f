"""Models whose attributions, outputs on masked inputs and metric values are known in closed form, to the last digit.

All three are logit_k = link(bias_k + sum over pixels of a term of that pixel alone); link is the identity or the square. Removing
a set of pixels takes their terms to those of the infill, so occlusion, Shapley values and integrated gradients can be written
down. With the square, pixels interact: occlusion and Shapley values then differ, and a method cannot pass for the other.
"""

import torch
from torch import Tensor, nn

from ..checks import bad_value, require_dtype, require_integer, require_ndim, require_range, require_shape, require_tensor


class LinearModel(nn.Module):
    """logit_k(x) = bias_k + sum_p weight_kp x_p, or its square.

    Args:
        weight: (K, C, H, W) float.
        bias: (K,), or None for 0.
        squared: logit_k is the square of that sum.

    Every truth below is exact, for any infill that does not depend on what is removed:
    with d_p = sum over channels of term_p(inputs) - term_p(infill), D = sum_p d_p and s_b the sum at the infill,
    integrated gradients are d_p, or with the square d_p (2 s_b + D); the Shapley value of a segment is the sum of these over it;
    occluding R costs d_R, or with the square d_R (2 s_b + 2 D - d_R), d_R = sum of d_p over R.

    Example:
        >>> import torch
        >>> model = LinearModel(torch.tensor([[[[1.0, 2.0]]]]), squared=True)
        >>> ones, zeros = torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
        >>> model(ones), model.integrated_gradients(ones, zeros, torch.tensor([0]))
        (tensor([[9.]]), tensor([[[3., 6.]]]))

    References:
        Shapley. A Value for n-Person Games. 1953. Sundararajan, Taly, Yan. Axiomatic Attribution for Deep Networks. ICML 2017.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, squared: bool = False) -> None:
        super().__init__()
        name = type(self).__name__
        require_ndim(name, "weight", require_tensor(name, "weight", weight), "(K, C, H, W)")
        offset = weight.new_zeros(len(weight)) if bias is None else require_tensor(name, "bias", bias)
        require_shape(name, "bias", offset, "(K,)", weight.shape[:1])
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", offset.detach().clone())
        self.squared = squared
        self.eval()

    def shape(self, inputs: Tensor) -> Tensor:
        """What a pixel's weight multiplies: its value."""
        return inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, K) of inputs (N, C, H, W)."""
        total = self.bias + self.shape(inputs).flatten(1) @ self.weight.flatten(1).T
        return total**2 if self.squared else total

    def integrated_gradients(self, inputs: Tensor, infill: Tensor, target: Tensor) -> Tensor:
        """Exact integrated gradients (N, H, W), summed over channels, on the straight path from the infill.

        Args:
            inputs: (N, C, H, W). infill: broadcasts to the inputs. target: (N,) int64.
        """
        terms = self._differences(inputs, infill, target)
        return terms * self._slope(terms, infill, target, inputs)[:, None, None]

    def shapley(self, inputs: Tensor, infill: Tensor, target: Tensor, segments: Tensor) -> Tensor:
        """Exact Shapley values (N, S) of the segments as players: absent ones are infill.

        Args:
            inputs, infill, target: as above.
            segments: (N, H, W) int64, 0 .. S - 1; S is one more than the largest.
        """
        require_dtype("shapley", "segments", require_tensor("shapley", "segments", segments), (torch.int64,))
        require_shape("shapley", "segments", segments, "(N, H, W)", (len(inputs), *inputs.shape[2:]))
        require_range("shapley", "segments", segments, 0, inputs[0, 0].numel() - 1 if len(inputs) else 0)
        pixels = self.integrated_gradients(inputs, infill, target).flatten(1)
        count = int(segments.max()) + 1 if segments.numel() else 0
        return pixels.new_zeros(len(inputs), count).scatter_add_(1, segments.flatten(1), pixels)

    def occlusion(self, inputs: Tensor, infill: Tensor, target: Tensor, remove: Tensor) -> Tensor:
        """Exact drop (N, M) of the target's logit when a set of pixels becomes infill.

        Args:
            inputs, infill, target: as above.
            remove: (N, M, H, W) bool, M sets per image.
        """
        require_dtype("occlusion", "remove", require_tensor("occlusion", "remove", remove), (torch.bool,))
        require_ndim("occlusion", "remove", remove, "(N, M, H, W)")
        terms = self._differences(inputs, infill, target)
        removed = (terms[:, None] * remove).sum((2, 3))
        if not self.squared:
            return removed
        whole = self._slope(terms, infill, target, inputs) + terms.sum((1, 2))  # 2 s_b + 2 D
        return removed * (whole[:, None] - removed)

    def _terms(self, inputs: Tensor, target: Tensor) -> Tensor:
        return (self.shape(inputs) * self.weight[target]).sum(1)

    def _differences(self, inputs: Tensor, infill: Tensor, target: Tensor) -> Tensor:
        name = type(self).__name__
        require_shape(
            name, "inputs", require_tensor(name, "inputs", inputs), "(N, C, H, W)", (len(inputs), *self.weight.shape[1:])
        )
        require_dtype(name, "target", require_tensor(name, "target", target), (torch.int64,))
        require_shape(name, "target", target, "(N,)", inputs.shape[:1])
        require_range(name, "target", target, 0, len(self.weight) - 1)
        return self._terms(inputs, target) - self._terms(infill.expand_as(inputs), target)

    def _slope(self, terms: Tensor, infill: Tensor, target: Tensor, inputs: Tensor) -> Tensor:
        """(N,) what a term counts for on average along the path: 1, or 2 s_b + D."""
        if not self.squared:
            return torch.ones_like(terms[:, 0, 0])
        start = self.bias[target] + self._terms(infill.expand_as(inputs), target).sum((1, 2))
        return 2 * start + terms.sum((1, 2))


class AdditiveModel(LinearModel):
    """logit_k(x) = bias_k + sum_p weight_kp tanh(x_p): no pixel knows of another, but each saturates.

    The gradient at a saturated pixel is near 0 although it decides the logit; integrated gradients, Shapley values and
    occlusion are all weight (tanh(x) - tanh(infill)).

    Args:
        weight: (K, C, H, W). bias: (K,) or None.

    Example:
        >>> import torch
        >>> model, ones = AdditiveModel(torch.ones(1, 1, 1, 1)), torch.ones(1, 1, 1, 1)
        >>> round(float(model.occlusion(ones, 0 * ones, torch.tensor([0]), ones[None, 0] > 0)), 4)
        0.7616
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(weight, bias)

    def shape(self, inputs: Tensor) -> Tensor:
        """What a pixel's weight multiplies: the hyperbolic tangent of its value."""
        return torch.tanh(inputs)


class RectangleModel(LinearModel):
    """Logit k reads one known rectangle: any map that is not 0 outside it is unsound.

    logit_k(x) = gain * (mean of x over the rectangle), or, with a pattern, gain * <x, pattern> / <pattern, pattern> there: then
    the logit is `gain` on the pattern itself, 0 on the mean colour (0), and no pixel of the pattern speaks against it.

    Args:
        boxes: (K, 4) int64, top, left, bottom, right, half-open.
        size: (C, H, W) of the inputs.
        gain: the logit where the mean is 1, or on the pattern.
        pattern: (K, C, H, W) or None.
        squared: the square of that, so that the pixels of the rectangle interact.

    Example:
        >>> import torch
        >>> model = RectangleModel(torch.tensor([[0, 0, 1, 2]]), (1, 2, 2), gain=4.0)
        >>> model(torch.tensor([[[[1.0, 0.5], [9.0, 9.0]]]])), model.regions
        (tensor([[3.]]), tensor([[[ True,  True],
                 [False, False]]]))
    """

    def __init__(
        self,
        boxes: Tensor,
        size: tuple[int, int, int],
        *,
        gain: float = 1.0,
        pattern: Tensor | None = None,
        squared: bool = False,
    ) -> None:
        name = type(self).__name__
        channels, height, width = (require_integer(name, "size", number, 1, 2**20) for number in size)
        require_ndim(name, "boxes", require_tensor(name, "boxes", boxes), "(K, 4)")
        top, left, bottom, right = boxes.unbind(1)
        good = (top >= 0) & (top < bottom) & (bottom <= height) & (left >= 0) & (left < right) & (right <= width)
        if not bool(good.all()):
            worst = int((~good).nonzero()[0])
            bad_value(name, "boxes", f"not empty and inside {height} x {width}", f"{boxes[worst].tolist()} at index {worst}")
        rows, columns = torch.arange(height), torch.arange(width)
        tall = (rows >= top[:, None]) & (rows < bottom[:, None])
        wide = (columns >= left[:, None]) & (columns < right[:, None])
        regions = tall[:, :, None] & wide[:, None, :]
        template = torch.ones(len(boxes), channels, height, width) if pattern is None else pattern
        require_shape(name, "pattern", template, "(K, C, H, W)", (len(boxes), channels, height, width))
        inside = template * regions[:, None]
        super().__init__(gain * inside / (inside**2).sum((1, 2, 3), keepdim=True).clamp(min=1e-12), squared=squared)
        self.regions = regions  # (K, H, W) bool: where each logit looks
