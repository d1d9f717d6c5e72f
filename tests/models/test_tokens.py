"""Token grids: known models' shapes, rivals, exact positions, and errors that say what to pass."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saliency_ext.models.tokens import infer_grid, token_grid


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 197, 768), (224, 224), ("NLC", 14, 14, 1)),  # ViT-B/16: class token
        ((1, 196, 768), (224, 224), ("NLC", 14, 14, 0)),  # mean over patches
        ((1, 198, 768), (224, 224), ("NLC", 14, 14, 2)),  # DeiT: class and distillation tokens
        ((1, 261, 384), (224, 224), ("NLC", 16, 16, 5)),  # DINOv2: patches of 14, four registers
        ((1, 50, 768), (224, 224), ("NLC", 7, 7, 1)),  # ViT-B/32
        ((197, 1, 768), (224, 224), ("LNC", 14, 14, 1)),  # tokens first
        ((1, 49, 768), (224, 224), ("NLC", 7, 7, 0)),  # Swin's last stage as tokens
        ((1, 56, 56, 96), (224, 224), ("NHWC", 56, 56, 0)),  # Swin's first stage
        ((1, 2048, 7, 7), (224, 224), ("NCHW", 7, 7, 0)),
        ((1, 1 + 8 * 24, 64), (128, 384), ("NLC", 8, 24, 1)),  # wide
        ((1, 1 + 24 * 8, 64), (384, 128), ("NLC", 24, 8, 1)),  # tall
        ((1, 4, 12, 32), (64, 192), ("NHWC", 4, 12, 0)),
        ((1, 1 + 14 * 14, 64), (230, 230), ("NLC", 14, 14, 1)),  # the last pixels are in no patch
        ((1, 15 * 15, 64), (230, 230), ("NLC", 15, 15, 0)),  # padded to whole patches
        ((1, 5, 8), (16, 16), ("NLC", 2, 2, 1)),
        ((1, 17, 8), (32, 32), ("NLC", 4, 4, 1)),
        ((1, 16, 6, 4), (8, 6), ("NCHW", 6, 4, 0)),  # a convolution without padding: no whole stride
        ((1, 2, 3, 4), (8, 12), ("NCHW", 3, 4, 0)),  # both fit: the usual layout
        ((1, 8, 8, 8), (32, 32), ("NCHW", 8, 8, 0)),  # no telling: the usual layout
    ],
)
def test_known_shapes(shape, size, expected):
    result = token_grid(shape, size)
    assert (result.layout, result.rows, result.columns, result.leading) == expected
    assert result.channels == (shape[1] if expected[0] == "NCHW" else shape[-1])


def test_rivals_are_stated():
    assert token_grid((1, 197, 768), (224, 224)).alternatives == ()
    assert token_grid((1, 9, 8), (32, 32)).alternatives == ((3, 3, 0),)  # 2 x 2 and five leading tokens divide 32 exactly
    assert token_grid((1, 17, 8), (24, 24)).leading == 1


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), patch=st.integers(2, 9), leading=st.sampled_from([0, 1, 2, 5]))
def test_whole_patches_are_always_among_the_possibilities(rows, columns, patch, leading):
    if rows * columns == 1:
        return
    result = token_grid((1, rows * columns + leading, 4), (rows * patch, columns * patch))
    assert (rows, columns, leading) in [(result.rows, result.columns, result.leading), *result.alternatives]
    assert result.rows * result.columns + result.leading == rows * columns + leading


def test_cells_lie_row_by_row_after_the_leading_tokens():
    rows, columns = 2, 3
    cells = torch.arange(2 * rows * columns * 7.0).view(2, rows, columns, 7)
    wanted = cells.permute(0, 3, 1, 2)
    tokens = torch.cat([torch.full((2, 1, 7), -1.0), cells.flatten(1, 2)], 1)
    assert torch.equal(token_grid((1, 7, 7), (8, 12)).spatial(tokens), wanted)
    assert torch.equal(token_grid((7, 1, 7), (8, 12)).spatial(tokens.transpose(0, 1)), wanted)
    assert torch.equal(token_grid((1, rows, columns, 7), (8, 12)).spatial(cells), wanted)
    trailing = torch.cat([tokens, torch.full((2, 2, 7), -2.0)], 1)
    assert torch.equal(token_grid((1, 9, 7), (8, 12), grid=(2, 3, 1)).spatial(trailing), wanted)
    for layout in ("NLC", "LNC"):
        with pytest.raises(ValueError, match=rf"TokenGrid.spatial: expected activation with 2 x 3 .* layout {layout}, got"):
            token_grid((1, 7, 7) if layout == "NLC" else (7, 1, 7), (8, 12)).spatial(torch.zeros(2, 5, 4))


def test_a_given_grid_wins():
    assert token_grid((1, 197, 8), (100, 50), grid=(14, 14)).leading == 1
    assert token_grid((1, 297, 8), (224, 224), grid=(14, 14, 1)).leading == 1
    assert token_grid((1, 8, 8, 8), (32, 32), grid=(8, 8)).layout == "NCHW"
    assert token_grid((1, 16, 8, 8), (32, 16)).layout == "NHWC"  # 16 x 8 has the aspect of the input ...
    assert token_grid((1, 16, 8, 8), (32, 16), grid=(8, 8)).layout == "NCHW"  # ... and may be wrong
    assert token_grid((1, 7, 9, 5), (32, 32), grid=(7, 9)).layout == "NHWC"


def test_failures_name_what_was_seen_and_what_to_pass():
    message = (
        r"GradCAM: expected tokens to be a grid with the aspect of the input 224 x 224 after at most 9 leading tokens, got "
        r"100 tokens in shape \(1, 120, 8\)"
    )
    with pytest.raises(ValueError, match=message.replace("100", "120") + r"; pass grid=\(rows, columns\)"):
        token_grid((1, 120, 8), (224, 224), function="GradCAM")
    with pytest.raises(
        ValueError, match=r"expected grid to have at most 197 cells, .* got \(15, 14\) for an activation of shape"
    ):
        token_grid((1, 197, 8), (224, 224), grid=(15, 14))
    with pytest.raises(ValueError, match=r"at most 9 leading tokens unless they are given, got \(14, 14\)"):
        token_grid((1, 297, 8), (224, 224), grid=(14, 14))
    with pytest.raises(ValueError, match=r"grid to be \(8, 7\) for \(N, C, h, w\) or \(6, 8\) for \(N, h, w, C\)"):
        token_grid((1, 6, 8, 7), (224, 224), grid=(3, 3))
    with pytest.raises(ValueError, match=r"the activation of shape \(N, C, h, w\), .* with N = 2, got \(8, 49, 96\); choose a"):
        token_grid((8, 49, 96), (224, 224), images=2)
    with pytest.raises(ValueError, match=r"got \(1, 10\)"):
        token_grid((1, 10), (224, 224))
    with pytest.raises(TypeError, match=r"expected grid to be \(rows, columns\) or .* got 14"):
        token_grid((1, 197, 8), (224, 224), grid=14)
    with pytest.raises(ValueError, match=r"expected grid in \[1, 2147483647\], got 0"):
        token_grid((1, 197, 8), (224, 224), grid=(0, 14))
    assert infer_grid((1, 120, 8), (224, 224)) is None and infer_grid((1, 10), (4, 4)) is None
    assert infer_grid((1, 2, 8), (4, 4)) is None, "one cell is no grid"


def test_the_grid_says_what_it_is_in_words():
    assert str(token_grid((1, 261, 4), (224, 224))) == "16 x 16 cells of 4 channels after 5 leading tokens, layout NLC"
    assert str(token_grid((1, 3, 2, 2), (4, 4))) == "2 x 2 cells of 3 channels, layout NCHW"
