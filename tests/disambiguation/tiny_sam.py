"""A Segment Anything model of `transformers` in its smallest size, with random weights that find masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def tiny_model(transformers: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.SamConfig(
        vision_config={"hidden_size": 16, "output_channels": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 64, "patch_size": 16, "mlp_dim": 16, "num_pos_feats": 4, "global_attn_indexes": [0],
                       "window_size": 2},
        prompt_encoder_config={"hidden_size": 8, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 8, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                             "iou_head_hidden_dim": 8, "iou_head_depth": 2},
    )  # fmt: skip
    model = transformers.SamModel(config).eval()
    with torch.no_grad():
        for head in model.mask_decoder.iou_prediction_head.modules():
            if isinstance(head, nn.Linear):
                head.bias.fill_(1.0)  # so that no mask is refused for its score
        for weight in model.mask_decoder.output_hypernetworks_mlps.parameters():
            weight.mul_(20.0)
        model.mask_decoder.upscale_conv2.weight.mul_(1e4)  # so that logits pass 1
    return model
