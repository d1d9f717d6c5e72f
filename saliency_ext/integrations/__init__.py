"""Doors to other libraries, one file each. Nothing here is imported by `import saliency_ext`, and no partner before it is needed.

`torchmetrics`  metric classes that share one pass over the model; needs torchmetrics
`captum`        our methods with `.attribute(inputs, baselines, target)`; captum's objects are methods as they are
`quantus`       metrics and methods with Quantus' calls: arrays in, a list with one number per sample out
`lightning`     a callback that logs our metrics every few epochs, for both packages of Lightning
`transformers`, `timm`, `torchvision`  image classifiers: `load`, and `preprocess_spec`, which reads what they say of their inputs
"""
