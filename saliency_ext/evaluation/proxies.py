"""Control variates for a metric: a cheap stand-in on every image, the metric itself on a random few."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..checks import bad_type, bad_value, require_integer, require_ndim, require_shape, require_tensor
from ..models.targets import Target, plain_target
from ..perturbation import Engine
from ..protocols import Forward
from ..stats.control_variates import ControlledMean, controlled_mean
from ._input_chunks import random_order
from ._subsampling import picked_map, picked_options, picked_target
from .evaluate import evaluate

_FUNCTION = "controlled_means"


@dataclass(frozen=True)
class Proxy:
    """A cheap stand-in for a metric. What it gets wrong costs precision, never correctness.

    Args:
        metric: with a coarser schedule, say; None: the metric itself.
        forward: a cheaper model, such as one in half precision; None: the model itself.
        dtype: of what it is given, torch.bfloat16 or torch.float16; None: as the inputs.
        shrink: images and maps are averaged over squares of so many pixels first. The model must take the smaller images, and
            maps must be tensors.
    """

    metric: Any = None
    forward: Forward | None = None
    dtype: torch.dtype | None = None
    shrink: int = 1

    def __post_init__(self) -> None:
        require_integer("Proxy", "shrink", self.shrink, 1, 2**15)
        if self.metric is None and self.forward is None and self.dtype is None and self.shrink == 1:
            bad_value("Proxy", "metric", "something cheaper than the metric", "None", "give metric, forward, dtype or shrink")

    def shrunk(self, images: Tensor) -> Tensor:
        """(N, ..., H / shrink, W / shrink) means over squares; what is left at the edges is dropped."""
        if self.shrink == 1:
            return images
        if min(images.shape[-2:]) < self.shrink:
            bad_value("Proxy", "shrink", f"at most {min(images.shape[-2:])}, the shorter side", self.shrink)
        planes = images.reshape(-1, 1, *images.shape[-2:])
        small = avg_pool2d(planes, self.shrink)
        return small.view(*images.shape[:-2], *small.shape[-2:])


def controlled_means(
    forward: Forward,
    inputs: Tensor,
    target: Target,
    maps: Mapping[str, Any],
    metric: Any,
    proxy: Proxy,
    *,
    images: int,
    least: float = 0.5,
    seed: int = 0,
    engine: Engine | None = None,
    sample_ids: Tensor | None = None,
    **evaluation: Any,
) -> dict[str, ControlledMean]:
    """Means over all images, by map: the proxy on every image, the metric on a random few; see `controlled_mean`.

    Args:
        forward, inputs, target, maps, metric, engine, sample_ids: as in `evaluate`; inputs a tensor.
        proxy: see `Proxy`.
        images: how many are evaluated with the metric, in [2, N].
        least: see `controlled_mean`.
        seed: of their choice, keyed by (seed, sample id).
        evaluation: further arguments of `evaluate`, such as channels.

    Note:
        Cost: masked inputs of the metric for `images` images, and of the proxy for all; worth it where the proxy is much cheaper
        than the metric. The alternative at the same cost is `StratifiedSteps` on more images. Deterministic as far as the model
        is.

    Example:
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> from saliency_ext.ops import philox_uniform
        >>> from saliency_ext.perturbation import EqualFractions
        >>> images = philox_uniform((1, 4, 4), torch.arange(200), seed=0)
        >>> model = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
        >>> fine, coarse = (Deletion(Constant(0.0), EqualFractions(steps)) for steps in (16, 4))
        >>> result = controlled_means(model, images, 0, {"itself": images[:, 0]}, fine, Proxy(coarse), images=40)
        >>> result["itself"].used, result["itself"].gain > 10
        (True, True)
    """
    require_ndim(_FUNCTION, "inputs", require_tensor(_FUNCTION, "inputs", inputs), "(N, C, H, W)")
    if not isinstance(maps, Mapping):
        bad_type(_FUNCTION, "maps", "to be a name -> map mapping", type(maps).__name__)
    if not isinstance(proxy, Proxy):
        bad_type(_FUNCTION, "proxy", "to be a Proxy", type(proxy).__name__)
    if len(inputs) < 2:
        bad_value(_FUNCTION, "inputs", "at least two images", len(inputs))
    require_integer(_FUNCTION, "images", images, 2, len(inputs))
    ids = torch.arange(len(inputs), device=inputs.device) if sample_ids is None else sample_ids
    require_shape(_FUNCTION, "sample_ids", ids, "(N,)", (len(inputs),))
    picks = random_order(ids, seed)[:images].to(inputs.device)
    few = {name: picked_map(given, picks) for name, given in maps.items()}
    options = {"engine": engine, "sample_ids": ids[picks.to(ids.device)], **picked_options(evaluation, picks)}
    dear = evaluate(forward, inputs[picks], picked_target(plain_target(target), picks), few, [metric], **options)
    own = proxy.forward or forward
    same = own is forward and proxy.dtype is None and proxy.shrink == 1
    runner = engine if same else Engine(own, dtype=proxy.dtype)
    small = {name: _shrunk(name, given, proxy) for name, given in maps.items()}
    stand_in = proxy.metric or metric
    cheap = evaluate(own, proxy.shrunk(inputs), target, small, [stand_in], engine=runner, sample_ids=ids, **evaluation)
    pairs = {name: (dear[name, metric.info.name].values, cheap[name, stand_in.info.name].values) for name in maps}
    return {name: controlled_mean(values, picks, proxies, least=least) for name, (values, proxies) in pairs.items()}


def _shrunk(name: str, given: Any, proxy: Proxy) -> Any:
    """The map of smaller images."""
    if proxy.shrink == 1:
        return given
    if not isinstance(given, Tensor):
        remedy = "make the maps first, or leave out shrink"
        bad_type(_FUNCTION, f"maps[{name!r}]", "to be a tensor where the proxy shrinks images", type(given).__name__, remedy)
    return proxy.shrunk(given)
