"""Metrics and methods with the interface of Quantus: arrays in, one number per sample out. Quantus is not imported."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from ..attribution.base import Method
from ..checks import bad_type, bad_value, require_choice
from ..evaluation import evaluate
from ..metrics.base import MapMetric, MetricLike, ModelMetric, as_metric
from ..metrics.presets import preset
from ..metrics.result import MetricResult
from ..perturbation import Engine

Array = NDArray[Any]


class QuantusMetric:
    """A metric of `saliency_ext.metrics` with the call of a Quantus metric, for `quantus.evaluate` and harnesses like it.

    Args:
        metric: what `evaluate` takes, such as `metrics.Fidelity(infill)`.
        curve: name of a curve to return per sample in place of the value, such as "morf".
        absolute: whether the absolute values of the attributions are scored.
        engine: options of `perturbation.Engine`. By default forwards have the size that memory allows, not `batch_size`.

    Attributes:
        result: `MetricResult` of the last call: statuses, curves, parameters; None before one.

    Direction, unit, cost, determinism: those of the metric. The index of a sample is its sample id, which keys ties and random
    infills; its value does not depend on batches. A sample without a value gets NaN; `result.status` says why.

    Note:
        The engine of the last call is kept, with its model and the buffer of one forward, until a call with another model or
        other options.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> x = np.array([[[[3.0, 1.0], [0.0, 2.0]]]], dtype=np.float32)
        >>> model = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
        >>> QuantusMetric(Deletion(Constant(0.0)))(model=model, x_batch=x, y_batch=np.array([0]), a_batch=x, softmax=False)
        [1.75]
    """

    def __init__(
        self, metric: MetricLike, *, curve: str | None = None, absolute: bool = False, engine: Mapping[str, Any] | None = None
    ) -> None:
        self.metric, self.curve, self.absolute = as_metric("QuantusMetric", metric), curve, absolute
        self.engine = dict(engine or {})
        self.result: MetricResult | None = None
        self._last: Engine | None = None
        self._engine_options: dict[str, Any] = {}

    def __call__(
        self,
        model: Any,
        x_batch: Array,
        y_batch: Array,
        a_batch: Array | None = None,
        s_batch: Array | None = None,
        channel_first: bool | None = None,
        explain_func: Callable[..., Any] | None = None,
        explain_func_kwargs: Mapping[str, Any] | None = None,
        model_predict_kwargs: Mapping[str, Any] | None = None,
        softmax: bool | None = None,
        device: str | None = None,
        batch_size: int = 64,
        custom_batch: Any = None,
    ) -> list[Any]:
        """One value, or one curve, per sample.

        Args:
            model: torch module, or callable (N, C, H, W) -> logits (N, K).
            x_batch: (N, C, H, W) floating, in model input space; converted to the dtype of the model, or to float32.
            y_batch: (N,) integers.
            a_batch: (N, H, W) or (N, 1, H, W), larger = more relevant. None: explain_func makes them.
            s_batch: (N, H, W) or (N, 1, H, W), the truth mask: True where not 0.
            channel_first: must not be False: a torch model reads (N, C, H, W).
            explain_func, explain_func_kwargs: called as explain_func(model=, inputs=, targets=, **kwargs) -> array.
            model_predict_kwargs: keyword arguments of the model.
            softmax: True reads the probability of the target, False its logit; None the metric's own score.
            device: where to compute; None: the CPU.
            batch_size: images handled together.
            custom_batch: ignored.

        Raises:
            TypeError, ValueError: which argument, what was expected and what was got.
        """
        inputs = _images("x_batch", x_batch, model, channel_first).to(device)
        target = _classes(y_batch, len(inputs)).to(device)
        metric = self._with_score(softmax)
        maps: Tensor | Callable[[Tensor, Tensor], Tensor]
        if metric.info.needs == "method" or a_batch is None:
            if explain_func is None:
                remedy = "the metric explains further inputs, or a_batch is None"
                bad_value("QuantusMetric", "explain_func", "a function", None, remedy)
            maps = _explainer(model, explain_func, dict(explain_func_kwargs or {}), self.absolute)
        else:
            maps = _map("a_batch", a_batch, inputs, self.absolute)
        forward = _with_options(model, dict(model_predict_kwargs or {}))
        results = evaluate(
            forward,
            inputs,
            target,
            {"map": maps},
            [metric],
            engine=self._engine_for(forward),
            truth=None if s_batch is None else _map("s_batch", s_batch, inputs, False) != 0,
            chunk=batch_size,
            check_model=False,
        )
        self.result = results["map", metric.info.name]
        if self.curve is None:
            return list(self.result.values.tolist())
        require_choice("QuantusMetric", "curve", self.curve, tuple(self.result.curves))
        return list(self.result.curves[self.curve].tolist())

    def _engine_for(self, forward: Any) -> Engine:
        """The engine of the last call where model and options are the same: its buffer is allocated and measured once."""
        if self._last is None or self._last.forward is not forward or self._engine_options != self.engine:
            self._last, self._engine_options = Engine(forward, **self.engine), dict(self.engine)
        return self._last

    def __getstate__(self) -> dict[str, Any]:
        """Without the engine, which holds the model."""
        return vars(self) | {"_last": None}

    def _with_score(self, softmax: bool | None) -> MapMetric | ModelMetric:
        """The metric on probabilities or logits, where it reads a score of the target."""
        if softmax is None or not isinstance(self.metric, ModelMetric) or self.metric.target_score is None:
            return self.metric
        return self.metric.with_score("probability" if softmax else "logit")


def pixel_flipping(
    features_in_step: int = 1, perturb_baseline: str | float = "black", *, return_auc_per_sample: bool = False
) -> QuantusMetric:
    """Pixel flipping with the parameters of Quantus (`metrics.preset("quantus")`, which says what is not reproduced).

    Args:
        features_in_step: channel values per step.
        perturb_baseline: "black", "white" or a number.
        return_auc_per_sample: the area, with dx = 1, in place of the curve.

    Direction: lower is better. Cost: ceil(C H W / features_in_step) forwards per image.

    Example:
        >>> pixel_flipping(4).metric.info.name
        'morf'
    """
    (metric,) = preset("quantus", features_in_step=features_in_step, baseline=perturb_baseline)
    return QuantusMetric(metric, curve=None if return_auc_per_sample else "morf")


class ExplainFunc:
    """Attribution methods as `explain_func` of Quantus: arrays in, maps (N, 1, H, W) float32 out.

    Args:
        make: from a model to a `Method`, for example `GradCAM`: metrics that randomise weights come with other models.

    Example:
        >>> import numpy as np
        >>> from saliency_ext.attribution import Gradient
        >>> explain = ExplainFunc(lambda model: Gradient(model, channels="sum"))
        >>> x = np.ones((1, 2, 1, 2), dtype=np.float32)
        >>> explain(model=lambda x: x.flatten(1), inputs=x, targets=np.array([1]))
        array([[[[0., 1.]]]], dtype=float32)
    """

    def __init__(self, make: Callable[[Any], Method]) -> None:
        if not callable(make):
            bad_type("ExplainFunc", "make", "a function from a model to a Method", type(make).__name__)
        self.make = make

    def __call__(self, model: Any, inputs: Array, targets: Array, method: str | None = None, device: str | None = None) -> Array:
        """The maps of a batch; `method`, a name that Quantus passes along, is ignored."""
        images = _images("inputs", inputs, model, None).to(device)
        maps = self.make(model)(images, _classes(targets, len(images)).to(device))
        return np.asarray(maps[:, None].detach().cpu().float().numpy())


def _explainer(
    model: Any, explain: Callable[..., Any], options: dict[str, Any], absolute: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    def explained(inputs: Tensor, classes: Tensor) -> Tensor:
        result = explain(model=model, inputs=inputs.cpu().numpy(), targets=classes.cpu().numpy(), **options)
        return _map("explain_func's result", result, inputs, absolute)

    return explained


def _with_options(model: Any, options: dict[str, Any]) -> Any:
    return model if not options else lambda inputs: model(inputs, **options)


def _array(argument: str, value: Any) -> Array:
    if isinstance(value, Tensor):
        return np.asarray(value.detach().cpu().numpy())
    if not isinstance(value, np.ndarray):
        bad_type("QuantusMetric", argument, "to be a numpy array", type(value).__name__, "use numpy.asarray")
    return value


def _images(argument: str, value: Any, model: Any, channel_first: bool | None) -> Tensor:
    array = _array(argument, value)
    if array.ndim != 4:
        bad_value("QuantusMetric", argument, "of shape (N, C, H, W)", array.shape)
    if channel_first is False or (channel_first is None and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3)):
        remedy = "torch models read (N, C, H, W): numpy.moveaxis(x, -1, 1), or channel_first=True if it is so already"
        bad_value("QuantusMetric", argument, "of shape (N, C, H, W)", f"{array.shape}, which reads like (N, H, W, C)", remedy)
    if array.dtype.kind != "f":
        bad_type(
            "QuantusMetric",
            argument,
            "of a floating dtype",
            array.dtype,
            "scale and normalise it as for training",
        )
    weight = next(model.parameters(), None) if isinstance(model, Module) else None
    dtype = torch.float64 if weight is not None and weight.dtype == torch.float64 else torch.float32
    return torch.from_numpy(np.array(array, copy=True)).to(dtype)


def _classes(value: Any, count: int) -> Tensor:
    array = _array("y_batch", value)
    if array.shape != (count,):
        bad_value("QuantusMetric", "y_batch", f"of shape (N,) = ({count},)", array.shape)
    if array.dtype.kind not in "iu":
        bad_type("QuantusMetric", "y_batch", "of an integer dtype", array.dtype, "class indices, not names or one-hot rows")
    return torch.from_numpy(array.astype(np.int64))


def _map(argument: str, value: Any, inputs: Tensor, absolute: bool) -> Tensor:
    array = _array(argument, value)
    n, _, height, width = inputs.shape
    if array.shape not in ((n, height, width), (n, 1, height, width)):
        expected = f"of shape (N, H, W) or (N, 1, H, W) = {(n, 1, height, width)}"
        bad_value("QuantusMetric", argument, expected, array.shape, "sum it over the channels: a.sum(1)")
    maps = torch.from_numpy(np.ascontiguousarray(array).reshape(n, height, width)).to(inputs.device)
    return maps.abs() if absolute else maps
