"""Checks a proof on the model: no segmenter, no attribution, at most two forward passes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_dtype, require_ndim, require_tensor
from ..fingerprinting import tensor_digest
from ..perturbation import CoalitionMasks, Engine, Plan
from ..protocols import Forward
from ._redaction import Centred, retained
from .proof import Evidence, Proof, fingerprint_of, mask_names, slacks
from .rules import ROUNDING

TOLERANCE = 0.1  # percentage points, or a thousandth: between what a proof says and what another machine finds
_ONE_PASS = 8  # masked inputs that are forwarded at once; more are forwarded in two halves


@dataclass(frozen=True)
class Verification:
    """Whether a proof holds, and why not. shown: what is left, found anew, under each infill of the proof. forwards: passes."""

    valid: bool
    reasons: tuple[str, ...]
    shown: tuple[Evidence, ...]
    forwards: int


def verify(model: Forward, image: Tensor, proof: Proof) -> Verification:
    """Whether a proof holds for a model and an image.

    Asked anew, under every infill the proof names: the image, and the image with each mask redacted. Valid: all inequalities of
    the proof hold, no mask redacts more of the image than the proof's own limit, and the scores of the image and what is left of
    them are what the proof says, up to 0.1 percentage points (0.001 of a score) or a thousandth. Only the fingerprint of the
    partition is held against nothing: no inequality needs it.

    Args:
        model: the very model of the proof, callable (B, C, H, W) -> logits (B, K).
        image: (C, H, W) float32 or float64, in model input space, the very image of the proof.
        proof: of `PairFinder`, or of `read_proof`.

    Returns:
        A Verification; a proof that does not hold is no error.

    Raises:
        ValueError: the proof is of another model or image (which fingerprint differs is said), or names a class that the model
            does not have. TypeError: no proof, no image.

    Note:
        At most 2 forward passes, of (1 + sets x infills x draws) / 2 masked inputs each; one pass where there are at most 8.
        Deterministic. Nothing of the caller's is changed. A fingerprint shows that model and image are the same, not who made
        the proof: it is no signature, and needs none, as the proof is checked and not believed.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from saliency_ext.disambiguation import PairFinder, verify
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.segmentation import grid
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4, bias=False)).eval()
        >>> _ = net[1].weight.data.copy_(torch.tensor([[4.0, 0, 4, 0], [0, 4, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]]))
        >>> image = torch.tensor([[[1.0, 1.0], [0.5, 0.5]]])
        >>> maps = lambda x, classes: net[1].weight[classes].view(-1, 2, 2)
        >>> finder = PairFinder(net, Constant(0.0), partial(grid, cells=(1, 2)), attribution=maps)
        >>> proof = finder(image[None], torch.tensor([[0, 1]]))[0][0].proofs[0]
        >>> verify(net, image, proof).valid
        True
    """
    function = "verify"
    if not isinstance(proof, Proof):
        bad_type(function, "proof", "to be a Proof", type(proof).__name__, "read_proof makes one of a file")
    pixels = require_tensor(function, "image", image).detach()
    require_dtype(function, "image", pixels, (torch.float32, torch.float64), "convert with .float() and normalise")
    require_ndim(function, "image", pixels, "(C, H, W)")
    _check_fingerprints(model, pixels, proof)
    plan, classes = Plan(), torch.tensor([proof.labels], device=pixels.device)
    masks = [_redacting(mask.to(pixels.device)) for mask in proof.masks]
    clean_key = plan.request(_redacting(torch.zeros_like(proof.masks[0]).to(pixels.device)), proof.shown[0].infill)[0]
    keys = [[plan.request(mask, each.infill) for mask in masks] for each in proof.shown]
    requested = len(plan)
    engine = Engine(Centred(model), max_batch=requested if requested <= _ONE_PASS else -(-requested // 2), pad=False)
    ids = torch.tensor([proof.sample_id], device=pixels.device)
    outputs = engine.run(plan, pixels[None], classes, sample_ids=ids)

    def scores(draws: list[list[object]]) -> Tensor:
        """(2 labels, 2 measures)."""
        return torch.stack([
            torch.stack([outputs.mean_score(draws, kind, t)[0, 0] for kind in ("probability", "logit")]) for t in range(2)
        ])  # fmt: skip

    clean = scores([clean_key])
    result = tuple(
        Evidence(each.infill, torch.stack([retained(scores(draws), clean) for draws in own]))
        for each, own in zip(proof.shown, keys, strict=True)
    )
    reasons = _clean_reasons(proof, clean)
    reasons += [reason for said, seen in zip(proof.shown, result, strict=True) for reason in _reasons(proof, said, seen)]
    reasons += _area_reasons(proof)
    return Verification(not reasons, tuple(reasons), result, engine.counters.forwards)


def _check_fingerprints(model: Forward, image: Tensor, proof: Proof) -> None:
    size = tuple(proof.masks[0].shape)
    if tuple(image.shape[1:]) != size:
        bad_value("verify", "image", f"of the proof's size (H, W) = {size}", tuple(image.shape[1:]))
    own = tensor_digest(image)
    if own != proof.image:
        bad_value("verify", "image", f"with the proof's fingerprint {proof.image}", own, "the proof is of another image")
    here = fingerprint_of(model)
    for name in proof.model | here:
        said, seen = proof.model.get(name, "none"), here.get(name, "none")
        if said != seen:
            remedy = "the proof is of another model"
            bad_value("verify", "model", f"with the proof's fingerprint of its {name}, {said}", seen, remedy)


def _redacting(remove: Tensor) -> CoalitionMasks:
    """The one mask that removes these pixels (H, W)."""
    return CoalitionMasks(remove.long()[None] - 1, torch.zeros(1, 1, 1, dtype=torch.bool, device=remove.device))


def _area_reasons(proof: Proof) -> list[str]:
    """A line for each mask that redacts more of the image than the proof's limit."""
    return [
        f"{name} redacts {100 * area:.4g} % of the image, more than the {100 * proof.area_limit:g} % that the proof may"
        for name, area in zip(mask_names(proof.kind), proof.areas, strict=True)
        if area > proof.area_limit + ROUNDING
    ]


def _clean_reasons(proof: Proof, clean: Tensor) -> list[str]:
    """A line for each label whose score of the image itself is not what the proof says; a missing one never is."""
    same = (proof.clean.to(clean) - clean).abs() <= TOLERANCE / 100 + 1e-3 * clean.abs()
    return [
        f"the image itself has other scores of class {label} than the proof says"
        for label, right in zip(proof.labels, same.all(1).tolist(), strict=True)
        if not right
    ]


def _reasons(proof: Proof, said: Evidence, seen: Evidence) -> list[str]:
    """Why a proof does not hold under one infill."""
    under = f"under {said.infill.name}"
    reasons = []
    slack = slacks(proof.kind, seen.retention, proof.delta, proof.score)
    if not bool((slack >= 0).all()):
        reasons.append(f"{under} an inequality fails by {-float(slack.nan_to_num(-100).min()):.2f} percentage points")
    limit = TOLERANCE + 1e-3 * seen.retention.abs()
    same = (said.retention - seen.retention).abs() <= limit
    same |= said.retention.isnan() & seen.retention.isnan()
    for number in (~same).flatten(1).any(1).nonzero().flatten().tolist():
        reasons.append(f"{under} redacting {mask_names(proof.kind)[number]} leaves other shares than the proof says")
    return reasons
