"""What a net recognises in scenes: the four shares that its training log states."""

import torch
from torch import Tensor

from ..checks import bad_value, require_tensor
from .scenes import CLASSES, ENTITY_OF_CLASS, NAMED_TWICE, Scenes


def recognition(logits: Tensor, scenes: Scenes) -> dict[str, Tensor]:
    """Which scenes a net got right, by four measures; the mean of each is the share.

    Args:
        logits: (N, 14), of `scenes.inputs`.
        scenes: N scenes.

    Returns:
        Bool tensors, one entry for each scene that the measure is about:
        "one_object": scenes with one object, the best class is a name of it.
        "in_scene": all scenes, the best class is a name of one of the objects.
        "both_found": scenes with two entities, they are the two best ones (probabilities of two names are added).
        "synonym_pair": scenes with one object that has two names, these are the two best classes.

    Raises:
        ValueError: logits are not (N, 14).

    Example:
        >>> from saliency_ext.testbed.scenes import make_scenes
        >>> scenes = make_scenes("test", 20)
        >>> guess = torch.nn.functional.one_hot(scenes.entities[:, 0], 14).float()
        >>> bool(recognition(guess, scenes)["in_scene"].all())
        True
    """
    if require_tensor("recognition", "logits", logits).shape != (len(scenes), len(CLASSES)):
        bad_value("recognition", "logits", f"of shape (N, K) = ({len(scenes)}, {len(CLASSES)})", tuple(logits.shape))
    entity_of = torch.tensor(ENTITY_OF_CLASS)
    two = scenes.two_objects
    result = entity_of[logits.argmax(1)]
    first, second = scenes.entities.unbind(1)
    entities = torch.zeros(len(scenes), 10, dtype=torch.float64).index_add_(1, entity_of, logits.double().softmax(1))
    best_two = entities.topk(2, 1).indices.sort(1).values
    named_twice = ~two & (first < len(NAMED_TWICE))
    names = torch.stack([first, first + 10], 1)
    return {
        "one_object": (result == first)[~two],
        "in_scene": (result == first) | (result == second),
        "both_found": (best_two == scenes.entities.sort(1).values).all(1)[two & (first != second)],
        "synonym_pair": (logits.topk(2, 1).indices.sort(1).values == names).all(1)[named_twice],
    }
