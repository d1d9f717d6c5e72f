"""Scenes with known truth: handwritten digits in real photographs, every pixel accounted for.

The background is a crop of one of 14 photographs with a soft tone curve that brings its mean to mid-grey, so ink can be darker
or lighter than what is behind it, and is either with equal chance. On it stand one or two digits of random size and colour, and
often a distractor: a digit whose 64 pixels were shuffled, as much ink without an identity. Nothing is downloaded.

There are 14 classes for 10 entities: digits 0-3 have two names. Two names of one digit are known to be ONE entity, two digits of
a scene to be TWO.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..checks import bad_value, require_choice, require_dtype, require_integer, require_ndim, require_tensor
from ..ops import philox_uniform
from ._drawing import blend, extent, ink_colour, opacity, place, tone
from ._placement import place_boxes
from .pictures import PICTURES, SPLITS, columns, digit_range, digits, handwritings, photographs
from .scene_config import SceneConfig, check_scene_config

SIDE = 64
CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "zero", "one", "two", "three")
ENTITY_OF_CLASS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3)
NAMED_TWICE = (0, 1, 2, 3)  # entity k has classes k and k + 10
MEAN = (0.522, 0.493, 0.478)  # of the pixels of the first 12,000 training scenes, in [0, 1]
STD = (0.161, 0.153, 0.159)
_TWO_OBJECTS, _DISTRACTOR = 0.7, 0.8
_MIDDLE = (102, 153)
_CHUNK = 64  # scenes drawn at once: bounds the memory, and stays in the cache
_MOST = 1 << 40
_CHOICES, _SHUFFLE, _PLACES = 0, 1, 16  # streams of the keyed noise
_DRAWS = 40


@dataclass(frozen=True)
class Scenes:
    """N scenes and their truth. Index with an int tensor, a bool mask or a slice to get fewer. Absent objects hold -1 or 0.

    images: (N, 3, 64, 64) uint8. backgrounds: the same scenes without any ink.
    entities: (N, 2) int64, the digit of each object, -1 where there is only one.
    labels: (N,) int64, the class a training scene is labelled with: one name of one of its objects, drawn at random.
    boxes: (N, 2, 4) int64, tight boxes (top, left, bottom, right), half-open.
    ink: (N, 2, 64, 64) bool, the visible pixels of each object: where its ink was put and not covered since.
    distractor_box: (N, 4) int64; distractor_ink: (N, 64, 64) bool.
    polarity: (N, 2) int64, +1 lighter than the photograph behind it, -1 darker, 0 absent.
    handwriting: (N, 3) int64, index into scikit-learn's digits of object 1, object 2, and what the distractor was shuffled from.
    crops: (N, 3) int64, index into `pictures.PICTURES`, top, left.
    """

    images: Tensor
    backgrounds: Tensor
    entities: Tensor
    labels: Tensor
    boxes: Tensor
    ink: Tensor
    distractor_box: Tensor
    distractor_ink: Tensor
    polarity: Tensor
    handwriting: Tensor
    crops: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor | slice) -> "Scenes":
        return Scenes(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def two_objects(self) -> Tensor:
        """(N,) bool."""
        return self.entities[:, 1] >= 0

    @property
    def inputs(self) -> Tensor:
        """(N, 3, 64, 64) float32 in model input space: (image / 255 - MEAN) / STD."""
        return normalise(self.images)


def normalise(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) uint8 in model input space, float32: (image / 255 - MEAN) / STD."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images / 255 - mean) / std


def make_scenes(split: str, indices: Tensor | int, *, seed: int = 0, scene_config: SceneConfig | None = None) -> Scenes:
    """Scenes of a split, with their truth.

    Args:
        split: "train" or "test"; they share no pixel of a photograph and no handwritten digit.
        indices: which scenes, (N,) int64 in [0, 2^40); a number n stands for the first n.
        seed: another seed, other scenes; in [0, 2^63).
        scene_config: what varies; None = the scenes the nets were trained on.

    Returns:
        N scenes on the CPU.

    Raises:
        TypeError, ValueError: which argument, what was expected and what was got.
        ImportError: scikit-image or scikit-learn is missing.

    Note:
        Scene i depends on (seed, split, i, recipe) alone, bit for bit: not on its batch. No global generator is touched. The
        pictures are read once per process. About 0.5 to 0.8 ms of one core (AMD EPYC) and 37 kB a scene.

    Example:
        >>> scenes = make_scenes("test", 8)
        >>> scenes.images.shape, scenes.labels.shape
        (torch.Size([8, 3, 64, 64]), torch.Size([8]))
        >>> bool((make_scenes("test", torch.tensor([5])).images[0] == scenes.images[5]).all())
        True
    """
    require_choice("make_scenes", "split", split, SPLITS)
    scene_config = scene_config or SceneConfig()
    check_scene_config(scene_config)
    if isinstance(indices, int):
        indices = torch.arange(require_integer("make_scenes", "indices", indices, 0, _MOST))
    require_dtype("make_scenes", "indices", require_tensor("make_scenes", "indices", indices), (torch.int64,))
    require_ndim("make_scenes", "indices", indices, "(N,)")
    require_integer("make_scenes", "seed", seed, 0, 2**63 - 1)
    if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= _MOST):
        bad_value("make_scenes", "indices", "in [0, 2^40)", f"{int(indices.min())} .. {int(indices.max())}")
    parts = [_draw(split, part, seed, scene_config) for part in torch.split(indices.cpu(), _CHUNK)]
    return Scenes(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Scenes)))


def keyed_by(split: str, indices: Tensor) -> Tensor:
    """Sample ids of scenes for keyed draws: no scene of one split has that of another."""
    return indices + SPLITS.index(split) * _MOST


def _draw(split: str, indices: Tensor, seed: int, scene_config: SceneConfig) -> Scenes:
    ids = keyed_by(split, indices)
    u = philox_uniform((1, 1, _DRAWS), ids, seed=seed, stream=_CHOICES)[:, 0, 0].double()
    count = torch.full((len(ids),), scene_config.objects) if scene_config.objects else 1 + (u[:, 0] < _TWO_OBJECTS).long()
    present = torch.stack([count > 0, count > 1, u[:, 1] < _DISTRACTOR], 1)

    # What: entities, handwritings, glyphs.
    allowed = torch.tensor(scene_config.digits)
    first = (u[:, 2] * len(allowed)).long()
    second = first if scene_config.same_digit else (first + 1 + (u[:, 3] * (len(allowed) - 1)).long()) % len(allowed)
    entities = torch.stack([allowed[first], allowed[second]], 1)
    handwriting = _handwriting(split, entities, u[:, 4:7])
    glyphs = digits()[0][handwriting]
    shuffle = philox_uniform((1, 1, 64), ids, seed=seed, stream=_SHUFFLE)[:, 0, 0].argsort(dim=1, stable=True)
    glyphs[:, 2] = glyphs[:, 2].flatten(1).gather(1, shuffle).view(-1, 8, 8)

    # Where: sizes and places of the tight boxes.
    bounds = [scene_config.sides, scene_config.second_sides or scene_config.sides, scene_config.sides]
    sides = torch.stack([_whole(u[:, 7 + j], *bounds[j]) for j in range(3)], 1)
    frames = opacity(glyphs.flatten(0, 1), sides.flatten())
    tight = extent(frames > 0).view(-1, 3, 4)
    boxes = place_boxes(tight[..., 2:] - tight[..., :2], present, SIDE, scene_config.distance, ids, seed, _PLACES)
    starts = boxes[..., :2] - tight[..., :2]
    alpha = place(frames, starts[..., 0].flatten(), starts[..., 1].flatten(), SIDE).view(-1, 3, SIDE, SIDE)
    alpha = alpha * present[:, :, None, None]

    # The photograph, and ink over it: the distractor, object 1, object 2.
    crops, backgrounds = _photographs(split, u[:, 27:30], _whole(u[:, 30], *_MIDDLE))
    polarity = (1 - 2 * (u[:, 10:13] < 0.5).long()) * present
    lowest, highest = scene_config.contrast
    contrast = lowest + (highest - lowest) * u[:, 13:16]
    grey = _grey_under(backgrounds, boxes)
    tint = scene_config.tint * (2 * u[:, 16:25].view(-1, 3, 3) - 1)
    colour = ink_colour(grey.flatten(), contrast.flatten(), polarity.flatten(), tint.flatten(0, 1)).view(-1, 3, 3)
    images = backgrounds
    for j in (2, 0, 1):
        images = blend(images, alpha[:, j], colour[:, j])
    ink = alpha > 0
    ink[:, 0] &= ~ink[:, 1]

    entities = torch.where(present[:, :2], entities, -1)
    handwriting = torch.where(present, handwriting, -1)
    labels = _label(entities, u[:, 25], u[:, 26])
    whole = (boxes[:, :2], ink[:, :2], boxes[:, 2], ink[:, 2], polarity[:, :2], handwriting, crops)
    return Scenes(images.byte(), backgrounds.byte(), entities, labels, *whole)


def _handwriting(split: str, entities: Tensor, u: Tensor) -> Tensor:
    """(N, 3): a handwriting of each object, and any digit for the distractor; never the same one for both objects."""
    order, starts, counts = handwritings(split)
    number = counts[entities]
    first = (u[:, 0] * number[:, 0]).long()
    second = (u[:, 1] * number[:, 1]).long()
    twice = (entities[:, 0] == entities[:, 1]) & (first == second)
    second = torch.where(twice, (second + 1) % number[:, 1], second)
    low, high = digit_range(split)
    chosen = [order[starts[entities[:, 0]] + first], order[starts[entities[:, 1]] + second], _whole(u[:, 2], low, high - 1)]
    return torch.stack(chosen, 1)


def _photographs(split: str, u: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Crops (N, 3): picture, top, left; and their pixels after the tone curve (N, 3, 64, 64) float32."""
    picture = (u[:, 0] * len(PICTURES)).long()
    crops = torch.stack([picture, picture, picture], 1)
    pixels = torch.zeros(len(u), 3, SIDE, SIDE, dtype=torch.uint8)
    for number, photograph in enumerate(photographs()):
        here = (picture == number).nonzero()[:, 0]
        left, right = columns(split, photograph.shape[2])
        crops[here, 1] = _whole(u[here, 1], 0, photograph.shape[1] - SIDE)
        crops[here, 2] = _whole(u[here, 2], left, right - SIDE)
        windows = photograph.unfold(1, SIDE, 1).unfold(2, SIDE, 1)
        pixels[here] = windows[:, crops[here, 1], crops[here, 2]].movedim(1, 0)
    return crops, tone(pixels, middle)


def _grey_under(backgrounds: Tensor, boxes: Tensor) -> Tensor:
    """(N, 3) float64: mean over pixels and channels of the background in each box; 0 for an empty one."""
    at = torch.arange(SIDE)
    tops, lefts, bottoms, rights = boxes[..., None].unbind(2)
    inside = ((at >= tops) & (at < bottoms))[..., :, None] & ((at >= lefts) & (at < rights))[..., None, :]
    total = (backgrounds.sum(1)[:, None] * inside).sum((2, 3))  # whole numbers below 2^24: exact in any order
    return total.double() / (3 * inside.sum((2, 3))).clamp(min=1)


def _label(entities: Tensor, which: Tensor, name: Tensor) -> Tensor:
    """(N,): one name of one object."""
    two = (entities[:, 1] >= 0) & (which < 0.5)
    entity = torch.where(two, entities[:, 1], entities[:, 0])
    return entity + 10 * ((entity < len(NAMED_TWICE)) & (name < 0.5))


def _whole(u: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers in [low, high] from uniform ones."""
    return low + (u * (high - low + 1)).long()
