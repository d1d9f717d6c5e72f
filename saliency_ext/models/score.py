"""Scores: the number of a model's output that is explained or evaluated."""

from torch import Tensor

from ..checks import bad_value, require_choice
from .targets import check_classes

# Those that a gradient can be taken of; masked inputs are also scored by "accuracy".
SCORES = ("logit", "probability", "log_probability", "sigmoid")
ALL_SCORES = ("probability", "logit", "log_probability", "sigmoid", "accuracy")

_ACROSS_CLASSES = ("probability", "log_probability", "accuracy")


def require_meaning(function: str, score: str, outputs: int) -> None:
    """Refuses a score that compares classes where the model has one output: its softmax is 1 for every input.

    Raises:
        ValueError: with the remedy.
    """
    if outputs == 1 and score in _ACROSS_CLASSES:
        expected = "to be 'sigmoid' or 'logit' for a model with one output, whose softmax is 1 for every input"
        bad_value(function, "score", expected, repr(score), "pass score='sigmoid', or return two logits, (0, z)")


def target_scores(function: str, logits: Tensor, classes: Tensor, score: str) -> Tensor:
    """Scores (N, T) of classes (N, T) from logits (N, K).

    "logit" itself, "probability" or "log_probability" under softmax over all logits, or "sigmoid" of the logit.

    Raises:
        ValueError: an unknown score, a class out of range, or a score across classes of a single output.
    """
    require_choice(function, "score", score, SCORES)
    check_classes(function, classes, logits.shape[1])
    require_meaning(function, score, logits.shape[1])
    if score == "log_probability":
        logits = logits.log_softmax(1)
    elif score == "probability":
        logits = logits.softmax(1)
    requested = logits.gather(1, classes)
    return requested.sigmoid() if score == "sigmoid" else requested
