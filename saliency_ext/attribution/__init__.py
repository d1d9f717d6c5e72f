"""Attribution methods, one per file, with one call shape: `Method(model, ...)(inputs, target) -> (N, H, W)`.

To add a method: subclass `Method` in a new file, give it a class attribute `info: MethodInfo`, implement `_explain`, write
its docstring like a short paper (what it is, equation with source, variants, cost, traps, reference), list it here, and give its
tests a closed form.
"""

from .adapters import as_method
from .agf import AGF
from .base import Method
from .controls import Centre, Control, Edge, GreyLevel, RandomControl
from .eigen_cam import EigenCAM
from .expected_gradients import ExpectedGradients
from .extremal_perturbation import ExtremalPerturbation
from .grad_cam import GradCAM
from .grad_cam_plus_plus import GradCAMPlusPlus
from .gradient import Gradient, InputXGradient
from .integrated_gradients import IntegratedGradients
from .intrinsic_mask import IntrinsicMask
from .kernel_shap import KernelSHAP
from .layer_cam import LayerCAM
from .lime import LIME
from .mask_method import MaskMethod, OptimisedMasks
from .meaningful_perturbation import MeaningfulPerturbation
from .occlusion import Occlusion
from .random_weights import RandomWeights
from .rise import RISE, NoiseFloor
from .sampled_gradients import SampledGradientMethod
from .score_cam import ScoreCAM
from .segment_mean import SegmentMean
from .smooth_grad import SmoothGrad, SmoothGradSquared, VarGrad
from .xrai import XRAI

__all__ = [
    "AGF",
    "LIME",
    "RISE",
    "XRAI",
    "Centre",
    "Control",
    "Edge",
    "EigenCAM",
    "ExpectedGradients",
    "ExtremalPerturbation",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "GreyLevel",
    "InputXGradient",
    "IntegratedGradients",
    "IntrinsicMask",
    "KernelSHAP",
    "LayerCAM",
    "MaskMethod",
    "MeaningfulPerturbation",
    "Method",
    "NoiseFloor",
    "Occlusion",
    "OptimisedMasks",
    "RandomControl",
    "RandomWeights",
    "SampledGradientMethod",
    "ScoreCAM",
    "SegmentMean",
    "SmoothGrad",
    "SmoothGradSquared",
    "VarGrad",
    "as_method",
]
