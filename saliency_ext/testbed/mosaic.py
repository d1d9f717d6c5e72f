"""The smallest scene with known truth: a crop of one photograph pasted into another, and a model fitted in a second.

The photographs ship inside scikit-image. The model is a fixed bank of filters, pooled over windows, with a ridge-regression
read-out, so fitting has a closed form, and the evidence for a class at each place is known: its class activation map.
"""

from dataclasses import dataclass

import skimage.data
import skimage.transform
import torch
from torch import Tensor

PICTURES = ("brick", "chelsea", "coffee", "grass", "gravel", "rocket")
_SIDE = 192  # pictures are scaled to this height
_CROP = 48
_WINDOW = 24
_RIDGE = 1e-3
_SHARPNESS = 8.0  # turns regression targets in [0, 1] into logits


class WindowClassifier(torch.nn.Module):
    """Says which pictures an image shows a piece of: filter bank, rectifier, mean over windows, read-out, best window.

    Logits (N, K) of images (N, 3, H, W) in [0, 1] with H, W >= 24.
    """

    def __init__(self, filters: int = 48, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.reference_images = torch.nn.Conv2d(3, filters, kernel_size=5, stride=2, padding=2, padding_mode="replicate")
        with torch.no_grad():
            self.reference_images.weight.copy_(torch.randn(self.reference_images.weight.shape, generator=generator) / 75**0.5)
            self.reference_images.bias.copy_(torch.randn(filters, generator=generator) / 10)  # type: ignore[union-attr]
        self.head = torch.nn.Linear(filters, len(PICTURES))
        self.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """Mean filter responses of windows of 24 pixels, every 2 pixels: (N, F, h, w)."""
        return torch.nn.functional.avg_pool2d(torch.relu(self.reference_images(images - 0.5)), kernel_size=_WINDOW // 2, stride=1)

    def evidence(self, images: Tensor) -> Tensor:
        """Read-out of each window: (N, K, h, w)."""
        return self.head(self.features(images).movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K): the best window's evidence for each picture."""
        return self.evidence(images).amax((2, 3))

    def activation_map(self, images: Tensor, target: Tensor) -> Tensor:
        """Saliency (N, H, W): the evidence for the target, at the centres of its windows [class activation map, Zhou 2016]."""
        chosen = self.evidence(images)[torch.arange(len(images)), target][:, None]
        border = (_WINDOW // 2 - 1) // 2
        padded = torch.nn.functional.pad(chosen, (border, border + 1) * 2, mode="replicate")
        size = images.shape[2:]
        return torch.nn.functional.interpolate(padded, size=size, mode="bilinear", align_corners=False)[:, 0]

    def fit(self, images: Tensor, labels: Tensor) -> None:
        """Ridge regression of one-hot labels on the features of all windows, in closed form."""
        features = self.features(images)
        x = features.movedim(1, -1).flatten(0, 2).double()
        y = torch.nn.functional.one_hot(labels.repeat_interleave(features[0, 0].numel()), len(PICTURES)).double()
        centre = x.mean(0)
        x = x - centre
        weight = torch.linalg.solve(x.T @ x + _RIDGE * len(x) * torch.diag(x.var(0)), x.T @ (y - y.mean(0))).T
        with torch.no_grad():
            self.head.weight.copy_(_SHARPNESS * weight)
            self.head.bias.copy_(_SHARPNESS * (y.mean(0) - weight @ centre))


@dataclass(frozen=True)
class Mosaic:
    """A scene (1, 3, H, W) in [0, 1], the class of the pasted crop (1,), its box (top, left, bottom, right), and the model."""

    image: Tensor
    target: Tensor
    box: tuple[int, int, int, int]
    model: WindowClassifier
    accuracy: float  # of the model on crops that share no pixel with those it was fitted on


def make_mosaic(subject: str = "chelsea", ground: str = "brick", seed: int = 0) -> Mosaic:
    """A scene of `ground` with a crop of `subject`, and a classifier of all pictures fitted on their left 70 %.

    Args:
        subject, ground: two different names of `PICTURES`.
        seed: of the crops and the filter bank.

    Returns:
        The scene and its truth. The model never saw a pixel of it.

    Raises:
        ValueError: unknown names, or twice the same.

    Note:
        Deterministic. Takes about a second; nothing is downloaded.
    """
    if subject == ground or subject not in PICTURES or ground not in PICTURES:
        names = ", ".join(PICTURES)
        raise ValueError(f"make_mosaic: expected subject and ground to be two of {names}, got {subject!r} and {ground!r}")
    generator = torch.Generator().manual_seed(seed)
    pictures = [_load(name) for name in PICTURES]
    model = WindowClassifier(seed=seed)
    seen = [_crops(picture[:, :, : int(0.7 * picture.shape[2])], 60, generator) for picture in pictures]
    unseen = [_crops(picture[:, :, int(0.7 * picture.shape[2]) :], 20, generator) for picture in pictures]
    model.fit(torch.cat(seen), torch.arange(len(PICTURES)).repeat_interleave(60))
    outputs = model(torch.cat(unseen)).argmax(1)
    accuracy = (outputs == torch.arange(len(PICTURES)).repeat_interleave(20)).float().mean().item()

    index = PICTURES.index(subject)
    background = pictures[PICTURES.index(ground)]
    image = background[:, 32 : 32 + 2 * _CROP, -2 * _CROP :].clone()
    top, left = 20, 36
    image[:, top : top + _CROP, left : left + _CROP] = unseen[index][0]
    return Mosaic(image[None], torch.tensor([index]), (top, left, top + _CROP, left + _CROP), model, accuracy)


def _load(name: str) -> Tensor:
    """A picture as (3, H, W) in [0, 1]; grey ones get three equal channels."""
    pixels = getattr(skimage.data, name)()
    height, width = pixels.shape[:2]
    size = (_SIDE, round(width * _SIDE / height))
    scaled = skimage.transform.resize(pixels, size, anti_aliasing=True)  # type: ignore[no-untyped-call]
    tensor = torch.from_numpy(scaled).float()
    return tensor.expand(3, *tensor.shape).clone() if tensor.ndim == 2 else tensor[..., :3].permute(2, 0, 1).contiguous()


def _crops(picture: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random square crops (count, 3, side, side)."""
    highest, widest = picture.shape[1] - _CROP + 1, picture.shape[2] - _CROP + 1
    ys = torch.randint(highest, (count,), generator=generator).tolist()
    xs = torch.randint(widest, (count,), generator=generator).tolist()
    return torch.stack([picture[:, y : y + _CROP, x : x + _CROP] for y, x in zip(ys, xs, strict=True)])
