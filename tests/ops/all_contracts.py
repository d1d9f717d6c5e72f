"""Every op's contract, for tests that go over all of them. The names keep pytest from collecting the classes twice."""

from __future__ import annotations

from tests.ops.contract import OpContract
from tests.ops.test_blend_boxes import TestBlendBoxes as Boxes
from tests.ops.test_blend_dense import TestBlendDense as Dense
from tests.ops.test_blend_grids import TestBlendGrids as Grids
from tests.ops.test_blend_rank import TestBlendRank as Rank
from tests.ops.test_blend_rank_update import TestBlendRankUpdate as Update
from tests.ops.test_blend_segments import TestBlendSegments as Segments
from tests.ops.test_gaussian_blur import TestGaussianBlur as Blur
from tests.ops.test_linear_infill import TestLinearInfill as Infill
from tests.ops.test_mask_step import TestMaskStep as MaskStep
from tests.ops.test_noise import TestPhiloxNormal as Normal
from tests.ops.test_noise import TestPhiloxUniform as Uniform
from tests.ops.test_rank import TestRank as Ranks
from tests.ops.test_smooth_maximum import TestSmoothMaximum as SmoothMaximum
from tests.ops.test_topk_mask import TestTopkMask as Masks
from tests.ops.test_total_variation import TestTotalVariation as Variation
from tests.ops.test_total_variation import TestTotalVariationWithGrad as VariationWithGrad

CONTRACTS: tuple[type[OpContract], ...] = (
    Boxes,
    Dense,
    Grids,
    Rank,
    Update,
    Segments,
    Blur,
    Infill,
    MaskStep,
    Normal,
    Uniform,
    Ranks,
    SmoothMaximum,
    Masks,
    Variation,
    VariationWithGrad,
)
