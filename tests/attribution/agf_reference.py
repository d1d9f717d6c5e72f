"""AGF written out rule by rule with autograd, as the published code does it, for networks whose structure is given.

Slow and literal on purpose: biased denominators, three convolutions in the z-box, every term by its own backward pass. One image
at a time.
"""

import torch
import torch.nn.functional as F
from torch import nn


def safe(a, b):
    return torch.where(b == 0, 0.0, a / (b + 1e-9))


def pull(function, x, out):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x), x, out)[0]


def share(function, x, rel):
    z = function(x) * (rel != 0)
    return x * pull(function, x, safe(rel, z) * (rel != 0))


def head(linear, x, target):
    x = x.detach().requires_grad_()
    y = linear(x)
    d = y - y[:, target : target + 1]
    sigma = d.abs().max(1, keepdim=True)[0]
    s = F.softmax(y[:, target : target + 1] * torch.exp(-(d**2) / (2 * sigma**2)), 1)
    g = torch.autograd.grad(s[0, target], x)[0]
    return (x * g).detach(), g


def shifted(base, residual):
    support = (base != 0).to(base.dtype)
    return base + residual - support * residual.sum() / support.sum()


def factored(values, phi):
    soft = torch.sigmoid(10 * values / (values.max() + 1e-9))[0].flatten(1)  # C x HW
    columns = []
    for mask in (phi.flatten() < 0, phi.flatten() > 0):
        columns.append(soft[:, mask].mean(1) if mask.any() else torch.zeros(len(soft), dtype=soft.dtype))
    rep = torch.stack(columns, 1)
    q = torch.linalg.solve(rep.T @ rep + torch.eye(2, dtype=rep.dtype), rep.T @ soft).clamp(min=0)
    return (q[1] - q[0]).clamp(min=0).view(1, 1, *values.shape[2:])


def convolved(conv, x, weight):
    return F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


def conv_first(conv, x, rel):
    positive, negative = conv.weight.clamp(min=0), conv.weight.clamp(max=0)
    low, high = torch.full_like(x, x.min().item()), torch.full_like(x, x.max().item())
    terms = ((x, conv.weight, 1), (low, positive, -1), (high, negative, -1))
    s = safe(rel, sum(sign * convolved(conv, value, weight) for value, weight, sign in terms))
    return sum(sign * value * pull(lambda v, w=weight: convolved(conv, v, w), x, s) for value, weight, sign in terms)


def conv_flat(conv, x, rel):
    return x.abs() * pull(
        lambda v: convolved(conv, v, conv.weight.abs()), x.abs(), safe(rel, convolved(conv, x.abs(), conv.weight.abs()))
    )


def conv_full(conv, x, rel, g_out, **switches):
    base = conv_flat(conv, x, rel)
    m = (x * pull(conv, x, g_out)).mean(1, keepdim=True).clamp(min=0)
    masked = pull(conv, x, g_out * (rel != 0))
    phi = base.mean(1, keepdim=True)
    uniform = convolved(conv, torch.ones_like(x), conv.weight.abs())
    u = pull(lambda v: convolved(conv, v, conv.weight.abs()), x, safe(rel, uniform))
    numerator = torch.zeros_like(base)
    if not switches.get("no_fx"):
        numerator = numerator + factored(x, phi)
    if not switches.get("no_m"):
        numerator = numerator + m / (m.max() + 1e-9)
    if switches.get("gradcam"):
        numerator = (x * F.adaptive_avg_pool2d(masked, 1)).mean(1, keepdim=True).clamp(min=0).expand_as(x)
    r = numerator if switches.get("no_reg") else numerator / (1 + torch.exp(-base))
    if not switches.get("no_fdx"):
        r = r + factored(masked, phi)
    if not switches.get("no_a"):
        r = r + u
    return shifted(base, r * (base != 0))


def linear(layer, x, rel, g_out, shape):
    base = x.abs() * (safe(rel, x.abs() @ layer.weight.abs().T) @ layer.weight.abs())
    g = g_out @ layer.weight
    if shape is not None:
        m = (x * g).view(shape).mean(1, keepdim=True).expand(shape).reshape(x.shape).clamp(min=0) * (base != 0)
        base = shifted(base, m / (m.max() + 1e-9))
    return base, g


def back(layer, x, rel, g, rule="full", shape=None, **switches):
    """Both streams through one module, from its output to its input x."""
    if isinstance(layer, nn.Conv2d):
        if rule == "first":
            return conv_first(layer, x, rel), None
        down = conv_flat(layer, x, rel) if rule == "flat" else conv_full(layer, x, rel, g, **switches)
        return down, pull(layer, x, g)
    if isinstance(layer, nn.Linear):
        return linear(layer, x, rel, g, shape)
    if isinstance(layer, nn.BatchNorm2d):
        return rel, pull(layer, x, g) if g is not None else None
    if isinstance(layer, nn.ReLU):
        layer = torch.relu
    elif isinstance(layer, nn.Dropout):
        return rel, g
    return share(layer, x, rel), pull(layer, x, g)


def chain(layers, x):
    """Inputs of a list of modules run one after the other, and the last output; in-place modules are given a copy."""
    inputs = []
    for layer in layers:
        inputs.append(x.detach())
        x = layer(x.clone())
    return inputs, x.detach()


def finish(rel):
    return (rel / rel.max()).sum(1)[0]


def of_stack(features, pool, classifier, image, target, **switches):
    """VGG and AlexNet: saliency (H, W) of one image (1, 3, H, W)."""
    layers = [*features, pool]
    inputs, top = chain(layers, image)
    hidden, _ = chain(classifier, top.flatten(1))
    rel, g = head(classifier[-1], hidden[-1], target)
    first_linear = next(i for i, layer in enumerate(classifier) if isinstance(layer, nn.Linear))
    for i in range(len(classifier) - 2, -1, -1):
        rel, g = back(classifier[i], hidden[i], rel, g, shape=top.shape if i == first_linear else None)
    rel, g = rel.view(top.shape), g.view(top.shape)
    for i in range(len(layers) - 1, -1, -1):
        rel, g = back(layers[i], inputs[i], rel, g, "full" if i else "first", **switches)
    return finish(rel)


def of_resnet(model, image, target):
    """ResNet of basic or bottleneck blocks: saliency (H, W) of one image (1, 3, H, W)."""
    stem = [model.conv1, model.bn1, nn.ReLU(), model.maxpool]
    stem_inputs, x = chain(stem, image)
    blocks, tapes = [b for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for b in stage], []
    for block in blocks:
        branch = [block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2]
        branch += [nn.ReLU(), block.conv3, block.bn3] if block.bottleneck else []
        inputs, out = chain(branch, x)
        side, identity = chain(block.downsample or [], x)
        tapes.append((x, branch, inputs, out, side, identity))
        x = torch.relu(out + identity)
    pooled = model.avgpool(x)
    rel, g = head(model.fc, pooled.flatten(1), target)
    rel, g = back(model.avgpool, x, rel.view(pooled.shape), g.view(pooled.shape))
    for block, (x, branch, inputs, out, side, identity) in zip(blocks[::-1], tapes[::-1], strict=True):
        rel, g = back(nn.ReLU(), out + identity, rel, g)
        ratio = safe(rel, out + identity)
        down, side_rel, down_g, side_g = out * ratio, identity * ratio, g, g
        for i in range(len(side) - 1, -1, -1):
            side_rel, side_g = back(block.downsample[i], side[i], side_rel, side_g, "flat")
        full = 3 if block.bottleneck else 0
        for i in range(len(branch) - 1, -1, -1):
            down, down_g = back(branch[i], inputs[i], down, down_g, "full" if i == full else "flat")
        rel, g = x * (safe(down, x) + safe(side_rel, x)), down_g + side_g
    for i in range(3, -1, -1):
        rel, g = back(stem[i], stem_inputs[i], rel, g, "full" if i else "first")
    return finish(rel)
