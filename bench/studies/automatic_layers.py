"""Which layer do class activation maps choose by themselves in the networks of torchvision, timm and transformers?

python -m bench.studies.automatic_layers writes bench/results/automatic_layers.json: for each network at random weights the
layer, its grid, why it was chosen, whether Grad-CAM runs there and is finite; or the refusal, in words. Networks:
of torchvision the smallest of each family of classifiers, of timm a small one of each architecture module, of transformers each
image classifier at its default size with at most four transformer layers. What needs more than `--seconds` of processor time, or
cannot be built or run by itself, is left out, and named. Weights that are all zeros are drawn: they would read nothing.
"""

import argparse
import importlib
import importlib.metadata
import json
import multiprocessing
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from saliency_ext.attribution import GradCAM

from ..readme import RESULTS
from ..report import write_json

Size = tuple[int, int, int]
LIBRARIES = ("torchvision", "timm", "transformers")
# fmt: off
TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn",
    "vit_b_16", "vit_b_32", "wide_resnet50_2",
)
_SMALL = ("atto", "femto", "xxs", "pico", "xx_small", "nano", "050", "xs", "tiny", "_ti", "_t_", "b0", "mini", "small", "_s")
# fmt: on
_OUTPUTS = 5
_BLOCKS = 4  # of a transformer of which the configuration says how many


class OutOfTime(BaseException):
    """Not an Exception: what is tried catches those."""


def row(name: str, model: nn.Module, size: Size) -> dict[str, Any]:
    """What is chosen in a network, and whether Grad-CAM works there."""
    drawn = draw_zero_weights(model)
    inputs = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    result: dict[str, Any] = {"network": name, "input": list(size), "drawn": drawn}
    cam = GradCAM(model.eval(), relu=False)
    try:
        maps = cam(inputs, 0)
    except (TypeError, ValueError, RuntimeError) as error:
        return result | {"refusal": f"{type(error).__name__}: {error}"}
    target = cam.target
    if target is None:
        raise RuntimeError("row: expected a target after a call")
    return result | {
        "layer": target.layer_name,
        "grid": str(target.grid),
        "choice": target.choice,
        "call": f"{target.call + 1} of {target.calls}",
        "finite": bool(maps.isfinite().all()),
        "varies": bool((maps.amax((-2, -1)) > maps.amin((-2, -1))).all()),
    }


def draw_zero_weights(model: nn.Module) -> list[str]:
    """Draws the weights of linear layers and convolutions that are all zeros; names of those."""
    draw, names = torch.Generator().manual_seed(1), []
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear | nn.Conv2d) and isinstance(weight, nn.Parameter) and not bool(weight.any()):
            names.append(name)
            with torch.no_grad():
                weight.copy_(0.02 * torch.randn(weight.shape, generator=draw))
    return names


def names_of(library: str) -> list[str]:
    """Networks of a library that are tried: names, architecture modules, or kinds of configurations."""
    if library == "torchvision":
        return list(TORCHVISION)
    if library == "timm":
        timm = importlib.import_module("timm")
        modules = {module for module in timm.list_modules() if timm.list_models(module=module)}
        return sorted({min(_untested(timm.list_models(module=module)), key=_smallness) for module in modules})
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    return sorted(auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)


def _untested(names: list[str]) -> list[str]:
    """Without the networks that timm has for its own tests."""
    return [name for name in names if not name.startswith("test_")] or names


def _smallness(name: str) -> tuple[int, int, str]:
    return next((number for number, word in enumerate(_SMALL) if word in name), len(_SMALL)), len(name), name


def build(library: str, name: str) -> tuple[nn.Module, Size]:
    """A network at random weights, and the size of its input."""
    torch.manual_seed(0)
    builders: dict[str, Callable[[str], tuple[nn.Module, Size]]] = {
        "torchvision": _torchvision,
        "timm": _timm,
        "transformers": _transformers,
    }
    return builders[library](name)


def _torchvision(name: str) -> tuple[nn.Module, Size]:
    models = importlib.import_module("torchvision.models")
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    side = 299 if name == "inception_v3" else 224
    return models.get_model(name, weights=None, **options), (3, side, side)


def _timm(name: str) -> tuple[nn.Module, Size]:
    model = importlib.import_module("timm").create_model(name, pretrained=False)
    return model, tuple(model.pretrained_cfg["input_size"])


def _transformers(name: str) -> tuple[nn.Module, Size]:
    library = importlib.import_module("transformers")
    config = library.AutoConfig.for_model(name)
    config.num_labels = _OUTPUTS
    for part in (config, getattr(config, "vision_config", None)):
        if isinstance(getattr(part, "num_hidden_layers", None), int) and not hasattr(part, "depths"):
            part.num_hidden_layers = min(part.num_hidden_layers, _BLOCKS)
    vision = getattr(config, "vision_config", None) or config
    side = getattr(vision, "image_size", 224)
    height, width = side if isinstance(side, list | tuple) else (side, side)
    kinds = importlib.import_module("transformers.models.auto.modeling_auto").MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    kind = kinds[name] if isinstance(kinds[name], str) else kinds[name][0]
    model = getattr(library, kind)(config)
    return model, (getattr(vision, "num_channels", 3), height, width)


def tried(library: str, name: str, seconds: float) -> tuple[dict[str, Any] | None, str]:
    """The row of a network, or None and why it is left out. Run in a process of its own."""

    def stop(*_: Any) -> None:
        raise OutOfTime

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        model, size = build(library, name)
        with torch.no_grad():
            model.eval()(torch.zeros(1, *size))
        return row(name, model, size), ""
    except OutOfTime:
        return None, f"more than {seconds:g} s of processor time"
    except Exception as error:  # of the network's library: it cannot be built or run by itself
        return None, f"{type(error).__name__}: {error}".splitlines()[0][:200]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def run(libraries: list[str], seconds: float, only: list[str] | None, content: dict[str, Any]) -> dict[str, Any]:
    """The content of the file: that given, with the rows of these networks made anew."""
    content = {"torch": torch.__version__, "libraries": {}} | content
    for library in libraries:
        names = names_of(library)
        old = content["libraries"].get(library, {"rows": [], "left out": {}})
        rows = {each["network"]: each for each in old["rows"] if each["network"] in names}
        left_out = {name: reason for name, reason in old["left out"].items() if name in names}
        for name in names:
            if only is not None and name not in only:
                continue
            with multiprocessing.get_context("fork").Pool(1) as process:  # memory is given back
                result, reason = process.apply(tried, (library, name, seconds))
            rows.pop(name, None)
            left_out.pop(name, None)
            if result is None:
                left_out[name] = reason
            else:
                rows[name] = result
            print(library, name, reason or result, flush=True)
        ordered = [rows[name] for name in names if name in rows]
        version = importlib.metadata.version(library)
        content["libraries"][library] = {"version": version, "rows": ordered, "left out": left_out}
    return content


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "automatic_layers.json")
    parser.add_argument("--seconds", type=float, default=20.0, help="of processor time for one network")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--only", nargs="+", help="names of networks; the other rows of the file stay")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = json.loads(options.out.read_text()) if options.only and options.out.exists() else {}
    write_json(options.out, run(options.libraries, options.seconds, options.only, before))


if __name__ == "__main__":
    main()
