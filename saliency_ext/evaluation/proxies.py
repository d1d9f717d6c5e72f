"""Control variates for a metric: an inexpensive proxy on every image, the metric itself on a random sample of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..checks import bad_type, bad_value, require_integer, require_ndim, require_shape, require_tensor
from ..metrics.base import MetricLike, as_metric
from ..models.targets import Target, plain_target
from ..perturbation import Engine
from ..protocols import Forward
from ..stats.control_variates import ControlledMean, controlled_mean
from ._engine import engine_for
from ._input_chunks import random_order
from ._subsampling import picked_map, picked_options, picked_target
from .evaluate import EvaluateOptions, evaluate
from .maps import made_maps, named_maps

_FUNCTION = "controlled_means"


@dataclass(frozen=True)
class Proxy:
    """An inexpensive proxy of a metric. Its error costs precision: it introduces no bias.

    Args:
        metric: with a coarser schedule, say; None: the metric itself.
        model: a less expensive model, such as one in half precision; None: the model itself.
        dtype: of what it is given, torch.bfloat16 or torch.float16; None: as the inputs.
        shrink: images and maps are averaged over squares of so many pixels first. The model must take the smaller images, and
            maps must be tensors.
    """

    metric: MetricLike | None = None
    model: Forward | None = None
    dtype: torch.dtype | None = None
    shrink: int = 1

    def __post_init__(self) -> None:
        require_integer("Proxy", "shrink", self.shrink, 1, 2**15)
        if self.metric is None and self.model is None and self.dtype is None and self.shrink == 1:
            bad_value(
                "Proxy", "metric", "something less expensive than the metric", "None", "give metric, model, dtype or shrink"
            )

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
    model: Forward,
    inputs: Tensor,
    target: Target,
    maps: Mapping[str, Any] | Sequence[Any],
    metric: MetricLike,
    proxy: Proxy,
    *,
    images: int,
    engine: Engine | Mapping[str, Any] | None = None,
    min_correlation: float = 0.5,
    seed: int = 0,
    sample_ids: Tensor | None = None,
    chunk: int | None = None,
    **options: Unpack[EvaluateOptions],
) -> dict[str, ControlledMean]:
    """Means over all images, by map, with the proxy as control variate: the proxy is evaluated on every image, the metric on a
    random sample of them; see `controlled_mean`.

    Args:
        model, inputs, target, maps, engine, sample_ids, chunk: as in `evaluate`; inputs a tensor.
        metric: one, as in `evaluate`.
        proxy: see `Proxy`.
        images: how many are evaluated with the metric, in [2, N].
        min_correlation: see `controlled_mean`.
        seed: of their choice, keyed by (seed, sample id).
        options: further options of `evaluate`: truth, channels, resample, on_bad, check_model.

    Note:
        Cost: perturbed inputs of the metric for `images` images, and of the proxy for all; worth it where the proxy is much less
        expensive than the metric. The alternative at the same cost is `StratifiedSteps` on more images. Deterministic as far as
        the model is.

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
    if not isinstance(proxy, Proxy):
        bad_type(_FUNCTION, "proxy", "to be a Proxy", type(proxy).__name__)
    if len(inputs) < 2:
        bad_value(_FUNCTION, "inputs", "at least two images", len(inputs))
    require_integer(_FUNCTION, "images", images, 2, len(inputs))
    ids = torch.arange(len(inputs), device=inputs.device) if sample_ids is None else sample_ids
    require_shape(_FUNCTION, "sample_ids", ids, "(N,)", (len(inputs),))
    exact, proxy_metric = as_metric(_FUNCTION, metric), as_metric(_FUNCTION, proxy.metric or metric)
    named = made_maps(named_maps(_FUNCTION, maps), model)
    runner = engine_for(_FUNCTION, model, engine)
    picks = random_order(ids, seed)[:images].to(inputs.device)
    picked = {name: picked_map(given, picks) for name, given in named.items()}
    expensive = evaluate(
        model,
        inputs[picks],
        picked_target(plain_target(target), picks),
        picked,
        [exact],
        engine=runner,
        sample_ids=ids[picks.to(ids.device)],
        chunk=chunk,
        **picked_options(options, picks),
    )
    other = proxy.model or model
    if other is not model or proxy.dtype is not None or proxy.shrink != 1:
        runner = Engine(other, dtype=proxy.dtype)
    shrunk = {name: _shrunk(name, given, proxy) for name, given in named.items()}
    approximate = evaluate(
        other, proxy.shrunk(inputs), target, shrunk, [proxy_metric], engine=runner, sample_ids=ids, chunk=chunk, **options
    )
    pairs = {name: (expensive[name, exact.info.name].values, approximate[name, proxy_metric.info.name].values) for name in named}
    return {
        name: controlled_mean(values, picks, proxies, min_correlation=min_correlation)
        for name, (values, proxies) in pairs.items()
    }


def _shrunk(name: str, given: Any, proxy: Proxy) -> Any:
    """The map of smaller images."""
    if proxy.shrink == 1:
        return given
    if not isinstance(given, Tensor):
        remedy = "make the maps first, or leave out shrink"
        bad_type(_FUNCTION, f"maps[{name!r}]", "to be a tensor where the proxy shrinks images", type(given).__name__, remedy)
    return proxy.shrunk(given)
