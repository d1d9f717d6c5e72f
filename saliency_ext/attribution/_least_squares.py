"""Least squares of one image: a small ridge solver, on the host in float64."""

import torch
from torch import Tensor


def ridge_solution(design: Tensor, scores: Tensor, ridge: float) -> Tensor:
    """argmin over b of |design b - scores|^2 + ridge |b|^2; of several minimisers the one of smallest norm.

    Through the eigenvalues of the smaller of design' design and design design': many more columns than rows cost no matrix of
    columns x columns. Directions with an eigenvalue below rounding are left out.

    Args:
        design: (S, K) float64.
        scores: (S, T) float64.
        ridge: >= 0.

    Returns:
        (K, T) float64.

    Example:
        >>> import torch
        >>> ridge_solution(torch.tensor([[2.0, 0.0]]), torch.tensor([[4.0]]), 0.0).flatten().tolist()
        [2.0, 0.0]
    """
    wide = design.shape[1] > design.shape[0]
    gram = design @ design.mT if wide else design.mT @ design
    side = scores if wide else design.mT @ scores
    eigenvalues, directions = torch.linalg.eigh(gram)
    rounding = torch.finfo(gram.dtype).eps * len(gram) * eigenvalues[-1:]
    inverse = torch.where(eigenvalues > rounding, 1.0 / (eigenvalues + ridge), 0.0)
    solution: Tensor = directions @ (inverse[..., None] * (directions.mT @ side))
    return design.mT @ solution if wide else solution
