"""`linear_infill` against a sparse direct solve, the imputer of a CAM library, and the forwards of the model it serves."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from saliency_ext import ops, reference, rng_streams

from .common import PIXELS, Baseline, Case, Setup, Task, host_only, max_difference, missing, optional_import
from .nets import residual_net

_TOLERANCE = 1e-3  # the default of the op
_FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def cases(setup: Setup) -> list[Case]:
    """One photograph at several shares removed, in solid and scattered masks; and a study of nine fractions in both orders."""
    return [
        *(
            Case(
                "linear_infill",
                f"(1, 3, 224, 224), {share:.0%} removed, {kind}",
                "one image and mask: one thread; road stencil, tolerance 1e-3, no noise",
                _one(setup, share, kind),
                main=share == 0.5 and kind == "solid",
            )
            for share in (0.1, 0.5, 0.9)
            for kind in ("solid", "scattered")
        ),
        Case(
            "linear_infill",
            "18 masks of a photograph: 9 fractions, both orders",
            "road stencil, tolerance 1e-3, noise 0.01; the forward of as many images by an 18-layer residual net",
            _study(setup),
        ),
    ]


def photograph(setup: Setup) -> Tensor:
    """(1, 3, 224, 224) of coarse and fine structure, in about [-2, 2]."""
    coarse = torch.nn.functional.interpolate(setup.normal(1, 3, 14, 14), (224, 224), mode="bicubic", align_corners=False)
    return coarse + 0.2 * setup.normal(1, 3, 224, 224, seed=1)


def ranks_of(setup: Setup, kind: str) -> Tensor:
    """(1, 224, 224): of a coarse map, upsampled, or of noise."""
    if kind == "scattered":
        return ops.rank(setup.normal(1, 224, 224, seed=2))
    coarse = setup.normal(1, 1, 7, 7, seed=3)
    return ops.rank(torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic", align_corners=False)[:, 0])


def _one(setup: Setup, share: float, kind: str) -> Callable[[], Task]:
    def prepare() -> Task:
        image, remove = photograph(setup), (ranks_of(setup, kind) < int(share * PIXELS))[None]
        direct, imputer = {0.5: 25.0, 0.9: 50.0}.get(share), 60.0 if share in (0.5, 0.9) else None
        return Task(
            ours=lambda: ops.linear_infill(image, remove, noise_std=0.0),
            baselines=[_spsolve(image, remove, setup, direct), _cam_library(image, remove, setup, imputer)],
            traffic=PIXELS * (1 + 3 * 8),
            formula=f"{PIXELS} * (1 mask + 3 channels * (4 read + 4 written)); bound by the solver, not by this",
            check=lambda result: max_difference(result, reference.linear_infill(image, remove)[0]),
            tolerance=_TOLERANCE,
        )

    return prepare


def system(image: np.ndarray, remove: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of the equations' matrix for a mask (H, W), and their right side for an image (C, H, W)."""
    h, w = remove.shape
    number = np.cumsum(remove).reshape(h, w) - 1
    y, x = np.nonzero(remove)
    own, unknowns = number[y, x], len(y)
    rows, columns, values = [own], [own], [np.zeros(unknowns)]
    right = np.zeros((unknowns, len(image)))
    for i, j in ((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j):
        weight = 1 / 12 if i and j else 1 / 6
        inside = (y + i >= 0) & (y + i < h) & (x + j >= 0) & (x + j < w)
        v, u, row = y[inside] + i, x[inside] + j, own[inside]
        values[0][row] += weight
        open_ = remove[v, u]
        rows.append(row[open_])
        columns.append(number[v, u][open_])
        values.append(np.full(int(open_.sum()), -weight))
        right[row[~open_]] += weight * image[:, v[~open_], u[~open_]].T
    return np.stack([np.concatenate(rows), np.concatenate(columns)]), np.concatenate(values), right


def _spsolve(image: Tensor, remove: Tensor, setup: Setup, target: float | None) -> Baseline:
    name = "scipy spsolve, assembly excluded"
    linalg, error = optional_import("scipy.sparse.linalg")
    sparse, _ = optional_import("scipy.sparse")
    if error is not None:
        return missing(name, "scipy", error)
    picture, mask = image[0].cpu().double().numpy(), remove[0, 0].cpu().numpy()
    places, values, right = system(picture, mask)
    matrix = sparse.csc_matrix((values, places), shape=(len(right), len(right)))

    def run() -> Tensor:
        filled = picture.copy()
        filled[:, mask] = linalg.spsolve(matrix, right).T
        return torch.from_numpy(filled)[None, None].float()

    return host_only(name, run, setup, target=target, tolerance=_TOLERANCE, note="one thread; three right sides at once")


def _cam_library(image: Tensor, remove: Tensor, setup: Setup, target: float | None) -> Baseline:
    name = "pytorch-grad-cam NoisyLinearImputer"
    peer, error = optional_import("pytorch_grad_cam.metrics.road")
    if error is not None:
        return missing(name, "pytorch-grad-cam", error)
    imputer, picture, keep = peer.NoisyLinearImputer(noise=0.0), image[0].cpu(), (~remove[0, 0]).float().cpu()
    return host_only(
        name, lambda: imputer(picture, keep)[None, None].float(), setup, target=target, tolerance=_TOLERANCE, note="end to end"
    )


def _study(setup: Setup) -> Callable[[], Task]:
    def prepare() -> Task:
        image, ranks = photograph(setup), ranks_of(setup, "solid")
        counts = [int(t * PIXELS) for t in (_FRACTIONS[:2] if setup.quick else _FRACTIONS)]
        remove = torch.stack([ranks < k for k in counts] + [ranks >= PIXELS - k for k in counts])
        model = residual_net().to(setup.device)
        noise = ops.philox_normal((3, 224, 224), torch.arange(1, device=setup.device), seed=0, stream=rng_streams.IMPUTATION)
        ends = [0, -1]  # the smallest and the largest mask, for the reference is slow
        batch = image.expand(len(remove), -1, -1, -1).contiguous()

        def forward() -> Tensor:
            with torch.inference_mode():
                result: Tensor = model(batch)
            return result

        return Task(
            ours=lambda: ops.linear_infill(image, remove),
            baselines=[
                Baseline(
                    "the forwards they are for",
                    forward,
                    5.0,
                    tolerance=None,
                    note="not a rival: a ratio of 5 is an imputation of 20 % of the forward time",
                )
            ],
            traffic=len(remove) * PIXELS * (1 + 3 * 8),
            formula=f"masks * {PIXELS} * (1 mask + 3 channels * (4 read + 4 written)); bound by the solver, not by this",
            check=lambda result: max_difference(
                result[ends], reference.linear_infill(image, remove[ends], "road", noise, 0.01)[0]
            ),
            tolerance=_TOLERANCE,
        )

    return prepare
