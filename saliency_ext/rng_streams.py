"""Streams of the keyed noise: one range for each purpose, so that two draws under one seed never share a number.

An infill counts its draws from 0; every other purpose begins at a number of its own and has room up to the next one.
"""

RANDOM_ORDER = 1 << 20  # + draw: random references of curves
BLOCK_ORDER = 1 << 21  # + draw: squares of the geometry gap
INPUT_NOISE = 1 << 22  # + sample: SmoothGrad and its kin
REFERENCE = 1 << 23  # + sample: expected gradients
CONTROL = 1 << 24  # the random map
WEIGHTS = 1 << 25  # parameters drawn anew
PERTURBATION = 1 << 26  # + draw: maximum sensitivity
SQUARE = 1 << 27  # squares of infidelity
RISE = 1 << 28  # masks
COALITION = 1 << 29  # + block and purpose: LIME, KernelSHAP
MASK_INFILL = 1 << 30  # + block of steps: images behind a mask that is optimised
MASK_JITTER = 5 << 28  # + block of steps: shifts of the image
MASK_NOISE = 6 << 28  # + step: noise on masked inputs
IMPUTATION = 7 << 28  # + draw: noisy linear infill
REGION = 15 << 27  # squares away from the object
STRATA = 31 << 26  # steps of a curve
IMAGE_ORDER = STRATA + 1  # images of a ranking
IMAGE_DRAWS = STRATA + 2  # likewise, with replacement
