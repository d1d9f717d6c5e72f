"""Optional integrations, one file each; third-party packages are imported lazily, and none by `import saliency_ext`.

`torchmetrics`  metric classes that share one pass over the model; needs torchmetrics
`captum`        our methods with `.attribute(inputs, baselines, target)`; captum's objects are methods as they are
`quantus`       metrics and methods with Quantus' calls: arrays in, a list with one number per sample out
`lightning`     a callback that logs our metrics every few epochs, for both packages of Lightning
`transformers`, `timm`, `torchvision`  image classifiers: `load`, and `preprocess_spec`, which reads their preprocessing
"""
