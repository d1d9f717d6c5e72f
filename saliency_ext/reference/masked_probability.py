"""Reference of the masked probability, completeness and soundness: one image, one label, one level, one forward at a time."""

from collections.abc import Callable

from torch import Tensor


def masked_probability(
    forward: Callable[[Tensor], Tensor],
    image: Tensor,
    infill: Tensor,
    ranks: Tensor,
    labels: list[int],
    counts: list[list[int]],
    *,
    reverse: bool = False,
) -> tuple[list[float], list[list[float]]]:
    """Clean probabilities of the labels, and for each label its probability at each of its levels.

    Args:
        image, infill: (C, H, W).
        ranks: (L, H, W), row l for the map of labels[l], 0 = most relevant.
        labels: the label set; the softmax is taken over these logits alone.
        counts: per label, how many pixels are kept at each level: the most relevant, or the least with `reverse`.
    """

    def probability(shown: Tensor, index: int) -> float:
        logits = forward(shown[None])[0].double()
        exponentials = [float((logits[label] - logits.max()).exp()) for label in labels]
        return exponentials[index] / sum(exponentials)

    clean = [probability(image, index) for index in range(len(labels))]
    masked = []
    for index, own in enumerate(counts):
        curve, places = [], ranks[index].tolist()
        for count in own:
            shown = infill.clone()
            for y in range(image.shape[1]):
                for x in range(image.shape[2]):
                    place = ranks[index].numel() - 1 - places[y][x] if reverse else places[y][x]
                    if place < count:
                        shown[:, y, x] = image[:, y, x]
            curve.append(probability(shown, index))
        masked.append(curve)
    return clean, masked


def mass_counts(saliency: Tensor, levels: list[float]) -> list[int]:
    """Pixels kept of a non-negative map (H, W) at each level: #(cumulative share <= level) + 1, at most all."""
    values = sorted(saliency.double().flatten().tolist(), reverse=True)
    counts = []
    for level in levels:
        kept, mass = 1, 0.0
        for value in values:
            mass += value
            kept += mass / sum(values) <= level
        counts.append(min(kept, len(values)))
    return counts


def completeness_of(clean: float, masked: float, floor_masked: float, cap: float = 1.0) -> float:
    """min(max(floor, g) / min(cap, p), 1); 1 where nothing was believed."""
    believed = min(cap, clean)
    return 1.0 if believed == 0 else min(max(floor_masked, masked) / believed, 1.0)


def soundness_of(clean: float, masked: float, floor_clean: float) -> float:
    """min(max(floor, p) / g, 1); 1 where nothing is shown."""
    return 1.0 if masked == 0 else min(max(floor_clean, clean) / masked, 1.0)
