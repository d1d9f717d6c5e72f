"""What removed pixels become, in model input space. Each file holds one infill, or two that differ little.

To add one: a file with a frozen dataclass derived from `BaseInfill` (`RandomInfill` where it draws), which has a `name` and
makes the pixels in `_fill`; its fields are its parameters and its key. Then a line below and a row in the tests. Any other
object with the protocol `saliency_ext.protocols.Infill` serves as well.
"""

from .base import BaseInfill, RandomInfill
from .blur import Blur
from .constant import Constant, DatasetMean
from .image_extreme import ImageExtreme
from .image_mean import ImageMean
from .imputed import Harmonic, NoisyLinear
from .noise import GaussianNoise, UniformNoise
from .other_image import OtherImage
from .rise_blur import RiseBlur
from .shuffle import Shuffle

__all__ = [
    "BaseInfill",
    "Blur",
    "Constant",
    "DatasetMean",
    "GaussianNoise",
    "Harmonic",
    "ImageExtreme",
    "ImageMean",
    "NoisyLinear",
    "OtherImage",
    "RandomInfill",
    "RiseBlur",
    "Shuffle",
    "UniformNoise",
]
