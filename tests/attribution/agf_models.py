"""Small networks of the published shapes, with the habits of real ones: in-place and reused ReLUs, `+=`, functional calls."""

import torch
import torch.nn.functional as F
from torch import nn

VGG = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
RESNET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def seeded(model, seed=0):
    """Random weights that keep activations alive, batch-norm statistics that are not the identity, weak residual branches."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            if tensor.ndim > 1:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("running_var", "weight")):
                tensor.copy_(0.6 + 0.8 * torch.rand(tensor.shape, generator=generator))
            else:
                tensor.copy_(0.2 * torch.rand(tensor.shape, generator=generator) - 0.1)
        for block in model.modules():
            if isinstance(block, Block):
                (block.bn3 if block.bottleneck else block.bn2).weight.mul_(0.3)
    return model.eval()


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Vgg(nn.Module):
    def __init__(self, depth=11, norm=False, width=4, classes=7, pooled=2):
        super().__init__()
        layers, channels = [], 3
        for stage, count in enumerate(VGG[depth]):
            for _ in range(count):
                out = width * min(2**stage, 8)
                layers += [
                    nn.Conv2d(channels, out, 3, padding=1),
                    *([nn.BatchNorm2d(out)] if norm else []),
                    nn.ReLU(inplace=True),
                ]
                channels = out
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        hidden = [
            nn.Linear(channels * pooled**2, 24),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(24, 24),
            nn.ReLU(True),
            nn.Dropout(),
        ]
        self.classifier = nn.Sequential(*hidden, nn.Linear(24, classes))

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class AlexNet(nn.Module):
    def __init__(self, width=4, classes=7):
        super().__init__()
        w = width
        self.features = nn.Sequential(
            *[nn.Conv2d(3, w, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(w, 3 * w, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(3 * w, 6 * w, 3, padding=1), nn.ReLU(inplace=True)],
            *[nn.Conv2d(6 * w, 4 * w, 3, padding=1), nn.ReLU(inplace=True)],
            *[nn.Conv2d(4 * w, 4 * w, 3, padding=1), nn.ReLU(inplace=True)],
        )
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        hidden = [nn.Dropout(), nn.Linear(16 * w, 24), nn.ReLU(True), nn.Dropout(), nn.Linear(24, 24), nn.ReLU(True)]
        self.classifier = nn.Sequential(*hidden, nn.Linear(24, classes))

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(x.view(x.size(0), -1))


def conv_norm(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)


class Block(nn.Module):
    """Basic (two 3 x 3) or bottleneck (1 x 1, 3 x 3, 1 x 1), with one ReLU module used everywhere."""

    def __init__(self, inputs, planes, stride, bottleneck):
        super().__init__()
        outputs = planes * 4 if bottleneck else planes
        self.conv1, self.bn1 = conv_norm(inputs, planes, 1 if bottleneck else 3, 1 if bottleneck else stride)
        self.conv2, self.bn2 = conv_norm(planes, planes, 3, stride if bottleneck else 1)
        if bottleneck:
            self.conv3, self.bn3 = conv_norm(planes, outputs, 1)
        self.bottleneck = bottleneck
        self.downsample = nn.Sequential(*conv_norm(inputs, outputs, 1, stride)) if stride > 1 or inputs != outputs else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        identity = x
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            out = self.bn3(self.conv3(self.relu(out)))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, depth=18, width=4, classes=7):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(3, width, 7, 2)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, count in enumerate(RESNET[depth]):
            blocks = []
            for block in range(count):
                planes = width * 2**stage
                blocks.append(Block(channels, planes, 2 if stage and not block else 1, depth >= 50))
                channels = planes * 4 if depth >= 50 else planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class ByModules(nn.Module):
    """A residual network of every supported layer, in modules, nothing in place."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.maximum, self.mean, self.spot = nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)
        self.flat, self.hidden, self.dropout, self.fc = nn.Flatten(), nn.Linear(16, 8), nn.Dropout(), nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        y = self.relu(self.inner(x))
        x = self.spot(self.mean(self.maximum(torch.add(y, x))))
        return self.fc(self.dropout(self.relu(self.hidden(self.flat(x)))))


class ByFunctions(ByModules):
    """The same computation by functions, operators and methods, in place where torch can."""

    def forward(self, x):
        x = F.conv2d(x, self.stem.weight, self.stem.bias, padding=(1, 1))
        norm = self.norm
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=self.training)
        x = F.relu(x, inplace=True)
        y = torch.conv2d(x, self.inner.weight, self.inner.bias, 1, 1)
        y = y.relu_()
        y += x
        x = F.max_pool2d(y, 2)
        x = F.avg_pool2d(x, kernel_size=2)
        x = F.adaptive_avg_pool2d(x, (2, 2))
        x = x.reshape(x.shape[0], x.size(1) * 4)
        x = torch.relu(F.linear(x, self.hidden.weight, self.hidden.bias))
        x = F.dropout(x, training=self.training)
        return {"logits": F.linear(x, self.fc.weight, bias=self.fc.bias)}
