"""A callback that evaluates saliency maps during training: every few epochs, on a few samples, logged as numbers.

For `lightning` and `pytorch_lightning`: the callback derives from the `Callback` of the one that is there (the one already
imported, if both are); where none can be imported it is a plain class with the same hook.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import bad_type, bad_value, require_integer, require_ndim, require_shape, require_tensor
from ..evaluation import evaluate
from ..evaluation.evaluate import named_metrics
from ..evaluation.results import Results
from ..metrics.base import MetricLike
from ..models import evaluation_mode
from ..models.precision import FULL_PRECISION
from ..perturbation import Engine
from ..protocols import Forward

_FUNCTION = "SaliencyCallback"
_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def callback_base() -> type:
    """The `Callback` of Lightning, or `object` where it cannot be imported."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            result: type = import_module(name).Callback
            return result
        except Exception:  # missing, or what a broken installation raises
            continue
    return object


_Base: Any = callback_base()


class SaliencyCallback(_Base):  # type: ignore[misc]  # the package is untyped here
    """Logs the mean of each metric for each method, after every n-th training epoch.

    logged["saliency/METHOD/METRIC"] = mean over the samples that have a value; NaN where none has.

    Args:
        data: (inputs, target) or (inputs, target, truth): (M, C, H, W) in model input space, (M,) classes, (M, H, W) bool; or a
            map-style dataset whose items begin with an image (C, H, W) and a label. Floating inputs are converted to float64
            for a module in float64, and to float32 for any other that has weights.
        methods: name -> function from a model to a method, such as {"grad_cam": GradCAM}; made anew each time.
        metrics: of `saliency_ext.metrics`.
        every_n_epochs: after the epochs n, 2n, ... counted from 1.
        samples: of a dataset or tensors, so many are taken, spread evenly from the first to the last; None: all.
        model: from the LightningModule to what is explained, callable (N, C, H, W) -> logits; None: the module itself.
        options: of `evaluate`, such as {"chunk": 16}.
        prefix: before the names.

    Attributes:
        results: `Results` of the last evaluation, with intervals and statuses; None before one.

    Raises:
        TypeError, ValueError: which argument, what was expected and what was got.

    Note:
        Direction and unit are those of the metrics. Cost: that of `evaluate` on the samples and of the methods, per n epochs.
        Memory: the samples are read once, when the callback is made, and kept. Deterministic; the model runs in eval mode and
        keeps its modes, gradients and flags, and no global random state is used. Every process of a distributed run judges the
        same samples and logs the same number: nothing is gathered, so nothing can wait. Logged in `on_train_epoch_end`, which
        runs before the checkpoints of Lightning choose, so a checkpoint can monitor these names. A module in half precision
        is given masked inputs of its dtype. Methods that need gradients refuse it, and what `model` returns, where that is no
        nn.Module, gets float32 from methods: what fails so is logged as NaN, with a warning that says why.

    Example:
        >>> from types import SimpleNamespace
        >>> from saliency_ext.attribution import Gradient
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> module = nn.Flatten()  # a logit per pixel
        >>> module.log_dict = lambda values, **_: print(values)
        >>> methods = {"gradient": lambda model: Gradient(model, channels="sum")}
        >>> data = (torch.ones(1, 1, 2, 2), torch.tensor([0]))
        >>> callback = SaliencyCallback(data, methods, [Deletion(Constant(0.0), score="logit")], every_n_epochs=2)
        >>> for epoch in range(2):
        ...     callback.on_train_epoch_end(SimpleNamespace(current_epoch=epoch), module)
        {'saliency/gradient/deletion': 0.125}
    """

    def __init__(
        self,
        data: Any,
        methods: Mapping[str, Callable[[Any], Any]],
        metrics: Sequence[MetricLike],
        *,
        every_n_epochs: int = 1,
        samples: int | None = None,
        model: Callable[[Any], Forward] | None = None,
        options: Mapping[str, Any] | None = None,
        prefix: str = "saliency",
    ) -> None:
        super().__init__()
        require_integer(_FUNCTION, "every_n_epochs", every_n_epochs, 1, 2**31 - 1)
        if samples is not None:
            require_integer(_FUNCTION, "samples", samples, 1, 2**31 - 1)
        if not isinstance(methods, Mapping) or not methods:
            bad_type(_FUNCTION, "methods", "to be a mapping from names to functions of a model", type(methods).__name__)
        for name, make in methods.items():
            if not callable(make):
                bad_type(_FUNCTION, f"methods[{name!r}]", "to be a function from a model to a method", type(make).__name__)
        named_metrics(metrics)
        self.methods, self.metrics, self.every_n_epochs, self.prefix = dict(methods), list(metrics), every_n_epochs, prefix
        self.results: Results | None = None
        self._model = model
        self._options = dict(options or {})
        self._inputs, self._target, self._truth = _read(data, samples)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluates and logs, if it is the turn of this epoch."""
        if (int(trainer.current_epoch) + 1) % self.every_n_epochs == 0:
            values = self.evaluate(pl_module)
            pl_module.log_dict(values, on_step=False, on_epoch=True, batch_size=len(self._inputs))

    def evaluate(self, module: Any) -> dict[str, float]:
        """What is logged, by name."""
        forward = module if self._model is None else self._model(module)
        weights = [weight for each in (forward, module) if isinstance(each, nn.Module) for weight in each.parameters()]
        place = weights[0].device if weights else self._inputs.device
        dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), None)
        halved = {} if dtype in (None, *FULL_PRECISION) else {"engine": Engine(forward, dtype=dtype)}
        with evaluation_mode(module, warn=False):
            self.results = evaluate(
                forward,
                _converted(self._inputs, dtype).to(place),
                self._target.to(place),
                {name: make(forward) for name, make in self.methods.items()},
                self.metrics,
                truth=None if self._truth is None else self._truth.to(place),
                check_model=False,
                **(halved | self._options),
            )
        return {f"{self.prefix}/{name}/{metric}": self.results.summary(name, metric).mean for name, metric in self.results}


def _converted(inputs: Tensor, weights: torch.dtype | None) -> Tensor:
    """Floating inputs in a dtype that `evaluate` reads: float64 beside weights of float64, else float32."""
    if weights is None or not inputs.is_floating_point():
        return inputs
    return inputs.to(torch.float64 if weights == torch.float64 else torch.float32)


def _read(data: Any, samples: int | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, target and truth of the samples that are judged."""
    if isinstance(data, tuple | list) and len(data) in (2, 3) and all(isinstance(each, Tensor) for each in data):
        inputs, target = data[0], data[1]
        truth = data[2] if len(data) == 3 else None
        require_ndim(_FUNCTION, "data[0]", inputs, "(M, C, H, W)")
        require_shape(_FUNCTION, "data[1]", target, "(M,)", inputs.shape[:1])
        if truth is not None:
            require_shape(_FUNCTION, "data[2]", truth, "(M, H, W)", (len(inputs), *inputs.shape[2:]))
        places = _places(len(inputs), samples)
        return inputs[places].detach(), target[places], None if truth is None else truth[places]
    if isinstance(data, Tensor) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        expected = "to be tensors (inputs, target) or a map-style dataset of (image, label)"
        bad_type(_FUNCTION, "data", expected, type(data).__name__, "a loader's own is loader.dataset")
    items = [data[place] for place in _places(len(data), samples)]
    for item in items:
        if not isinstance(item, tuple | list) or len(item) < 2:
            bad_type(_FUNCTION, "data", "to hold (image, label)", type(item).__name__)
        require_ndim(_FUNCTION, "an image of data", require_tensor(_FUNCTION, "an image of data", item[0]), "(C, H, W)")
    return torch.stack([item[0].detach() for item in items]), torch.tensor([int(item[1]) for item in items]), None


def _places(count: int, samples: int | None) -> list[int]:
    """Numbers of the samples, spread evenly."""
    if count == 0:
        bad_value(_FUNCTION, "data", "at least one sample", "none")
    taken: list[int] = torch.linspace(0, count - 1, min(samples or count, count), dtype=torch.float64).round().long().tolist()
    return taken
