"""Reference of `mask_step_`: one step of a mask optimiser, its gradients by autograd."""

import torch
from torch import Tensor

from .total_variation import total_variation

_KINDS = ("anisotropic", "isotropic", "squared")


def resized(cells: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Cells (..., h, w) as pixels (..., H, W): a separable linear map. down: (h, H), across: (w, W)."""
    return down.T @ cells @ across


def shares(values: Tensor, sigmoid: bool) -> Tensor:
    """Cells (R, P, h, w) of parameters: the values themselves, or a softmax over the planes and one more whose logit is 0."""
    if not sigmoid:
        return values
    return torch.cat([values, torch.zeros_like(values[:, :1])], 1).softmax(1)[:, :-1]


def masked_inputs(mask: Tensor, inputs: Tensor, infill: Tensor, places: Tensor) -> Tensor:
    """mask * image + (1 - mask) * infill, (R, P, U, C, H, W), from the windows that `places` (R, U, 4) names."""
    height, width = mask.shape[2:]
    rows = []
    for row in places.tolist():
        image = torch.stack([inputs[n, :, y : y + height, x : x + width] for n, _, y, x in row])
        other = torch.stack([infill[b, :, y : y + height, x : x + width] for _, b, y, x in row])
        rows.append(torch.stack([image, other]))
    image, other = torch.stack(rows).unbind(1)
    keep = mask[:, :, None, None]
    return keep * image[:, None] + (1 - keep) * other[:, None]


def mask_step(
    gradient: Tensor | None,
    inputs: Tensor,
    infill: Tensor,
    places: Tensor,
    next_places: Tensor,
    down: Tensor,
    across: Tensor,
    values: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    cells: Tensor,
    mask: Tensor,
    counts: Tensor,
    active: Tensor,
    terms: Tensor,
    out: Tensor,
    sigmoid: bool,
    adam: bool,
    on_cells: bool,
    kind: int,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    area: float,
    variation: float,
    beta: float,
) -> None:
    """See `saliency_ext.ops.mask_step_`; all from `values` to `out` is changed in place."""
    if values.numel() == 0 or mask.numel() == 0:
        return
    if gradient is not None:
        slopes = _slopes(
            gradient,
            inputs,
            infill,
            places,
            down,
            across,
            values,
            cells,
            mask,
            active,
            terms,
            (sigmoid, on_cells, kind, area, variation, beta),
        )
        go = active.bool()
        counts += go
        for row in go.nonzero().flatten().tolist():
            _update(values[row], exp_avg[row], exp_avg_sq[row], slopes[row], int(counts[row]), adam, rate, beta1, beta2, eps)
            if not sigmoid:
                values[row].clamp_(0, 1)
    cells.copy_(shares(values, sigmoid))
    mask.copy_(resized(cells, down, across))
    out.copy_(masked_inputs(mask, inputs, infill, next_places))


def _slopes(
    gradient: Tensor,
    inputs: Tensor,
    infill: Tensor,
    places: Tensor,
    down: Tensor,
    across: Tensor,
    values: Tensor,
    cells: Tensor,
    mask: Tensor,
    active: Tensor,
    terms: Tensor,
    rule: tuple[bool, bool, int, float, float, float],
) -> Tensor:
    """d objective / d values. Notes the terms, and rows whose gradient is not finite."""
    sigmoid, on_cells, kind, area, variation, beta = rule
    with torch.inference_mode(False), torch.enable_grad():
        seen = mask.clone().requires_grad_()
        model = (masked_inputs(seen, inputs.clone(), infill.clone(), places) * gradient.clone()).sum()
        (by_mask,) = torch.autograd.grad(model, seen)
        leaf = values.clone().requires_grad_()
        made = shares(leaf, sigmoid)
        pixels = resized(made, down.clone(), across.clone())
        weighed = made if on_cells else pixels
        rough = total_variation(weighed, _KINDS[kind], beta).sum(1)
        objective = (pixels * by_mask).sum() + area * weighed.sum() + (variation * rough.sum() if variation != 0 else 0)
        (slopes,) = torch.autograd.grad(objective, leaf)
    terms[:, 0] = by_mask.double().abs().sum((1, 2, 3))
    terms[:, 1] = (cells if on_cells else mask).double().sum((1, 2, 3))
    terms[:, 2] = rough.detach().double() if variation != 0 else 0
    active *= terms[:, 0].isfinite()
    return slopes


def _update(
    values: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    slopes: Tensor,
    count: int,
    adam: bool,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """One row, in place. Adam [Kingma 2015, Alg. 1]; or momentum, whose first step is undamped, damped by `beta2`."""
    if adam:
        exp_avg.mul_(beta1).add_(slopes, alpha=1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(slopes, slopes, value=1 - beta2)
        scale = (exp_avg_sq / (1 - beta2**count)).sqrt() + eps
        values.sub_(rate / (1 - beta1**count) * exp_avg / scale)
    else:
        exp_avg.copy_(slopes if count == 1 else beta1 * exp_avg + (1 - beta2) * slopes)
        values.sub_(rate * exp_avg)
