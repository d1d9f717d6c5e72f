"""Easy and hard slices of the test: scenes with a pair of labels and the truth about them.

On the easy slice all decent methods are perfect, so it ranks none of them. Each hard slice takes away one convenience.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..checks import require_choice
from ..ops import philox_uniform
from ..protocols import Forward
from ._placement import Distance
from .closed_form_models import RectangleModel
from .scene_config import SceneConfig
from .scenes import CLASSES, NAMED_TWICE, SIDE, Scenes, keyed_by, make_scenes
from .truth import box_masks, own_region

RELATIONS = ("one", "two", "part", "absent")
COARSE = {"odd": (1, 3, 5, 7, 9, 11, 13), "even": (0, 2, 4, 6, 8, 10, 12)}
WRONG_NAMES = 0.25  # share of wrong labels in "noisy_synonym"
_ONE = 0.75  # of the scenes that allow both kinds of pair: makes "one" and "two" about equally frequent
_COIN = 2  # stream of the keyed noise
_GAIN = 10.0

_NAMES = "the pair is two names of one digit (one), or names of both digits (two)"
_RECIPES = {
    "easy": (SceneConfig(objects=2), f"boxes at least 4 pixels apart; {_NAMES}"),
    "close": (SceneConfig(objects=2, distance=Distance(gap=(0, 3))), f"boxes 0 to 3 pixels apart; {_NAMES}"),
    "overlap": (
        SceneConfig(objects=2, distance=Distance(overlap=(0.1, 0.4))),
        f"10 to 40 % of the smaller box lies in the other, object 2 in front; regions are the visible ink; {_NAMES}",
    ),
    "same_digit": (
        SceneConfig(objects=2, digits=NAMED_TWICE, same_digit=True),
        "one digit in two handwritings; the pair is its two names (one); each name's region is both objects",
    ),
    "low_contrast": (
        SceneConfig(objects=2, contrast=(36, 52), tint=30),
        f"ink 36 to 52 grey levels from what is behind it; {_NAMES}",
    ),
    "unequal": (
        SceneConfig(objects=2, sides=(28, 30), second_sides=(14, 16)),
        f"object 1 is about twice as large as object 2, which is smaller than any in training; {_NAMES}",
    ),
    "noisy_synonym": (
        SceneConfig(objects=1, digits=NAMED_TWICE),
        "the pair is a name of the digit and a given label, in `scenes.labels`: its other name (one), or, in a quarter of the"
        " scenes, a name of a digit that is not there (absent)",
    ),
    "coarse_fine": (
        SceneConfig(objects=2),
        "the pair is a digit and its parity, a column that `adapt` adds: one where the other digit has the other parity, part"
        " where it has the same, as the coarse label's region is then both",
    ),
    "upper_half": (
        SceneConfig(objects=1),
        "the pair is the upper half of the object's box and the whole box (part), columns 2 i and 2 i + 1 of scene i; the 14"
        " classes have no such labels, so `adapt` gives a planted model of these rectangles instead of the net",
    ),
}
SLICES = tuple(_RECIPES)


@dataclass(frozen=True)
class Slice:
    """Scenes with a pair of labels each, and what is true of the pair.

    name; says: what is true, in a sentence.
    scenes: N scenes.
    pair: (N, 2) int64, two columns of the logits of `adapt(net)`.
    relation: (N,) int64, index into RELATIONS: "one" entity with two names, "two" entities, "part": the first label's region is
        a true part of the second's, "absent": the second label names nothing in the scene.
    regions: (N, 2, 64, 64) bool, where the evidence for each label of the pair is; empty where absent.
    adapt: what makes the model that the pair speaks of from a net of `load_net`; for most slices the net itself.
    """

    name: str
    says: str
    scenes: Scenes
    pair: Tensor
    relation: Tensor
    regions: Tensor
    adapt: Callable[[Forward], Forward]


class GroupedNet(nn.Module):
    """A net with a column for each coarse label behind its own: the logarithm of the sum of its members' exponentials.

    logit_odd = log sum over odd classes k of exp(logit_k), so a softmax over the 14 columns gives p_odd as the sum of the
    members' probabilities. A softmax over all 16 columns counts every class twice: use logits, or restrict the columns.

    Args:
        net: callable (N, 3, 64, 64) -> logits (N, 14).

    Example:
        >>> GroupedNet(lambda inputs: torch.zeros(1, 14))(torch.zeros(1, 3, 64, 64))[0, 14:].exp().round()
        tensor([7., 7.])
    """

    def __init__(self, net: Forward) -> None:
        super().__init__()
        self.net = net
        self.training = False  # of this module alone: the net's own mode is its owner's

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, 16): the classes, then odd and even."""
        logits = self.net(inputs)
        return torch.cat([logits, *(logits[:, members].logsumexp(1, keepdim=True) for members in COARSE.values())], 1)


def make_slice(name: str, split: str, indices: Tensor | int, *, seed: int = 0) -> Slice:
    """A slice: scenes, a pair of labels for each, and the truth about the pair.

    Args:
        name: one of SLICES.
        split, indices, seed: as in `make_scenes`.

    Returns:
        N scenes with their truth. Scene and pair i depend on (name, seed, split, i) alone; only the columns of "upper_half" count
        scenes from the start of the batch.

    Raises:
        TypeError, ValueError, ImportError: as `make_scenes`.

    Example:
        >>> close = make_slice("close", "test", 4)
        >>> [RELATIONS[relation] for relation in close.relation], close.pair.shape
        (['two', 'two', 'two', 'one'], torch.Size([4, 2]))
    """
    require_choice("make_slice", "name", name, SLICES)
    scene_config, says = _RECIPES[name]
    scenes = make_scenes(split, indices, seed=seed, scene_config=scene_config)
    ids = torch.arange(indices) if isinstance(indices, int) else indices.cpu()
    coins = philox_uniform((1, 1, 8), keyed_by(split, ids), seed=seed, stream=_COIN)[:, 0, 0]
    if name == "upper_half":
        return _upper_half(name, says, scenes)
    if name == "coarse_fine":
        return _coarse_fine(name, says, scenes, coins)
    if name == "noisy_synonym":
        return _noisy_synonym(name, says, scenes, coins)
    return _names(name, says, scenes, coins)


def _names(name: str, says: str, scenes: Scenes, coins: Tensor) -> Slice:
    """Two names of one object, or one name of each."""
    entities = torch.where((coins[:, 0] < 0.5)[:, None], scenes.entities, scenes.entities.flip(1))
    twice = entities < len(NAMED_TWICE)
    both = torch.where(twice[:, 0], entities[:, 0], entities[:, 1])  # an object with two names, if there is one
    alike = entities[:, 0] == entities[:, 1]
    one = (twice.any(1) & (coins[:, 1] < _ONE)) | alike
    second_name = 10 * ((coins[:, 2:4] < 0.5) & twice)
    pair = torch.where(one[:, None], torch.stack([both, both + 10], 1), entities + second_name)
    pair = torch.where((coins[:, 4] < 0.5)[:, None], pair, pair.flip(1))
    return Slice(name, says, scenes, pair, (~one).long(), _regions(scenes, pair), _same)


def _noisy_synonym(name: str, says: str, scenes: Scenes, coins: Tensor) -> Slice:
    digit = scenes.entities[:, 0]
    written = coins[:, 0] < 0.5  # the given label is a word
    wrong = coins[:, 1] < WRONG_NAMES
    other = (digit + 1 + (coins[:, 2] * 3).long()) % len(NAMED_TWICE)
    given = torch.where(wrong, other, digit) + 10 * written
    pair = torch.stack([digit + 10 * ~written, given], 1)
    relation = torch.where(wrong, RELATIONS.index("absent"), RELATIONS.index("one"))
    return Slice(name, says, replace(scenes, labels=given), pair, relation, _regions(scenes, pair), _same)


def _coarse_fine(name: str, says: str, scenes: Scenes, coins: Tensor) -> Slice:
    requested = torch.where(coins[:, 0] < 0.5, scenes.entities[:, 0], scenes.entities[:, 1])
    even = (requested % 2 == 0).long()
    parity = scenes.entities % 2 == requested[:, None] % 2
    relation = torch.where(parity.all(1), RELATIONS.index("part"), RELATIONS.index("one"))
    coarse = (scenes.ink & parity[:, :, None, None]).any(1)
    regions = torch.stack([own_region(scenes, requested), coarse], 1)
    return Slice(name, says, scenes, torch.stack([requested, len(CLASSES) + even], 1), relation, regions, GroupedNet)


def _upper_half(name: str, says: str, scenes: Scenes) -> Slice:
    whole = scenes.boxes[:, 0]
    upper = whole.clone()
    upper[:, 2] = (whole[:, 0] + whole[:, 2]) // 2
    boxes = torch.stack([upper, whole], 1)
    pattern = scenes.inputs.repeat_interleave(2, 0)
    model = RectangleModel(boxes.flatten(0, 1), (3, SIDE, SIDE), gain=_GAIN, pattern=pattern)
    pair = torch.arange(2 * len(scenes)).view(-1, 2)
    relation = torch.full((len(scenes),), RELATIONS.index("part"))
    return Slice(name, says, scenes, pair, relation, box_masks(boxes), lambda net: model)


def _regions(scenes: Scenes, pair: Tensor) -> Tensor:
    return torch.stack([own_region(scenes, pair[:, 0]), own_region(scenes, pair[:, 1])], 1)


def _same(net: Forward) -> Forward:
    return net
