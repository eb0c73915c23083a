"""The network: VGG16 with fc6/fc7 as convolutions, four extra stages, six pairs of heads.

Layers are named as in Caffe (conv1_1 ... conv9_2; the paper calls the extras conv8 ... conv11). Sources:
python/caffe/model_libs.py 308-448 and 792-933, examples/ssd/ssd_pascal.py 14-65. Input is RGB in 0..255
minus `MEAN`; the channel order is the only thing that differs from Caffe's BGR.

Three arguments make a small variant for laptops and for training from random weights: `width` scales the channels,
`batch_norm` normalises after every convolution of the body, `strided_stem` puts one stride-2 convolution in
place of conv1_1, conv1_2 and pool1. The sides of the feature maps, and so the 8,732 anchors, stay the same.
"""

from collections.abc import Sequence
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.records import Predictions

MEAN = (123.0, 117.0, 104.0)  # RGB; Caffe subtracts (104, 117, 123) from BGR

PIXEL_DEVIATION = 64.0  # of the input, roughly; measured 58 to 70 on photographs

# name: (output channels at width 1, kernel, convolution arguments)
BODY = {
    "conv1_1": (64, 3, dict(padding=1)),
    "conv1_2": (64, 3, dict(padding=1)),
    "conv2_1": (128, 3, dict(padding=1)),
    "conv2_2": (128, 3, dict(padding=1)),
    "conv3_1": (256, 3, dict(padding=1)),
    "conv3_2": (256, 3, dict(padding=1)),
    "conv3_3": (256, 3, dict(padding=1)),
    "conv4_1": (512, 3, dict(padding=1)),
    "conv4_2": (512, 3, dict(padding=1)),
    "conv4_3": (512, 3, dict(padding=1)),
    "conv5_1": (512, 3, dict(padding=1)),
    "conv5_2": (512, 3, dict(padding=1)),
    "conv5_3": (512, 3, dict(padding=1)),
    "fc6": (1024, 3, dict(padding=6, dilation=6)),  # "atrous": a 13x13 field at the cost of 3x3
    "fc7": (1024, 1, {}),
    "conv6_1": (256, 1, {}),
    "conv6_2": (512, 3, dict(padding=1, stride=2)),
    "conv7_1": (128, 1, {}),
    "conv7_2": (256, 3, dict(padding=1, stride=2)),
    "conv8_1": (128, 1, {}),
    "conv8_2": (256, 3, {}),
    "conv9_1": (128, 1, {}),
    "conv9_2": (256, 3, {}),
}
STEM = (64, 5, dict(padding=2, stride=2))  # in place of conv1_1, conv1_2, pool1
LEAST_CHANNELS = 16  # of a narrow network: CPUs compute 16 at a time, 8 would cost more
HALVED = dict(kernel_size=2, stride=2, ceil_mode=True)  # ceil: 75 becomes 38; floor would give 37
POOL_BEFORE = {name: HALVED for name in ("conv2_1", "conv3_1", "conv4_1", "conv5_1")}
POOL_BEFORE["fc6"] = dict(kernel_size=3, stride=1, padding=1)  # pool5 keeps the 19x19 map
PRETRAINED = tuple(BODY)[: tuple(BODY).index("conv6_1")]  # conv1_1 ... fc7: the layers that VGG16 provides
NEW_LAYERS = ("xavier", "he_normal")  # first weights of the other layers, see `init_weights`


class SSD300(nn.Module):
    """(B, 3, 300, 300) images -> `Predictions` for K = 8,732 anchors in the order of `anchors`."""

    def __init__(
        self,
        num_classes: int = 21,
        width: float = 1.0,
        batch_norm: bool = False,
        strided_stem: bool = False,
        new_layers: str = "xavier",
    ):
        super().__init__()
        self.num_classes = num_classes
        self.frozen: tuple[str, ...] = ()  # layers of the body that aren't trained
        self.body = nn.ModuleDict()
        channels, out = {}, 3
        for name, (full, kernel, kwargs) in BODY.items():
            if strided_stem and name.startswith("conv1"):
                if name == "conv1_2":
                    continue
                full, kernel, kwargs = STEM
            inputs, out = out, max(LEAST_CHANNELS, round(full * width))
            self.body[name] = _layer(inputs, out, kernel, batch_norm, **kwargs)
            channels[name] = out
        self.pools = {
            name: how for name, how in POOL_BEFORE.items() if not (strided_stem and name == "conv2_1")
        }
        # 20 in the full network; the same size of each channel when there are fewer of them
        self.conv4_3_norm = L2Norm(channels["conv4_3"], 20.0 * sqrt(width))
        self.loc, self.conf = nn.ModuleDict(), nn.ModuleDict()
        for source, boxes in zip(SSD300_ANCHORS.sources, SSD300_ANCHORS.boxes_per_cell, strict=True):
            self.loc[source] = nn.Conv2d(channels[source], boxes * 4, 3, padding=1)
            self.conf[source] = nn.Conv2d(channels[source], boxes * num_classes, 3, padding=1)
        init_weights(self, new_layers)

    def freeze(self, layer: str) -> None:
        """Keep the body up to and including `layer` as it is: no gradients, and batch norm with the mean and
        deviation that it has, as in evaluation. Autograd then stops below the layer, and keeps nothing of it."""
        names = tuple(self.body)
        self.frozen = names[: names.index(layer) + 1]
        for name in self.frozen:
            self.body[name].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SSD300":
        super().train(mode)
        for name in self.frozen:
            self.body[name].eval()
        return self

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """The six sources of the heads, name -> (B, channels, side, side), sides 38, 19, 10, 5, 3, 1."""
        maps, x = {}, images
        for name, layer in self.body.items():
            if name in self.pools:
                x = F.max_pool2d(x, **self.pools[name])
            x = layer(x)
            if name in SSD300_ANCHORS.sources:
                maps[name] = x
        # only the head sees the normalised conv4_3, the next layer saw the plain one
        maps["conv4_3"] = self.conv4_3_norm(maps["conv4_3"])
        return maps

    def forward(self, images: Tensor) -> Predictions:
        """(B, 3, 300, 300) -> offsets (B, 8732, 4) and logits (B, 8732, C)."""
        maps = self.feature_maps(images)
        offsets = [_per_anchor(self.loc[name](x), 4) for name, x in maps.items()]
        logits = [_per_anchor(self.conf[name](x), self.num_classes) for name, x in maps.items()]
        return Predictions(torch.cat(offsets, dim=1), torch.cat(logits, dim=1))


class L2Norm(nn.Module):
    """Scale the channel vector of every cell to length 1, then each channel by a learned factor, 20 at first.

    conv4_3 has far larger activations than the later maps (ParseNet, arXiv 1506.04579). Caffe's 1e-10 stands
    under the root (normalize_layer.cpp).
    """

    def __init__(self, channels: int, scale: float = 20.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, side, side) -> the same shape and type."""
        # float32: the sum of 512 squares overflows float16 and loses most of its digits in bfloat16
        length = (x.float().square().sum(dim=1, keepdim=True) + 1e-10).sqrt()
        return (x / length * self.weight[:, None, None]).to(x.dtype)


def init_weights(model: SSD300, new_layers: str = "xavier") -> None:
    """Random weights. Extras and heads, the layers that VGG16 doesn't provide, get `new_layers` of NEW_LAYERS:
    Caffe's "xavier", U(±√(3 / inputs)), or ssd_keras's "he_normal", N(0, 2 / inputs), of twice that variance. (Keras
    cuts the normal distribution at two deviations, and its older versions don't make up for it; here it isn't cut.)
    The body, which usually comes from VGG16, gets U(±√(6 / inputs)), because every ReLU halves the variance, and that
    adds up over fifteen layers. Biases are 0.

    The first layer receives pixels, whose deviation is about `PIXEL_DEVIATION`; where no batch norm follows it has
    to bring them to unit size, or the first updates are thousands of times too large.
    """
    first = next(iter(model.body))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            layer = name.split(".")[1] if name.startswith("body.") else ""
            inputs = module.weight[0].numel()
            bound = sqrt((6 if layer in PRETRAINED else 3) / inputs)
            if layer == first and module.bias is not None:
                bound /= PIXEL_DEVIATION
            if new_layers == "he_normal" and layer not in PRETRAINED:
                nn.init.normal_(module.weight, 0.0, sqrt(2 / inputs))
            else:
                nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def unit_outputs(model: SSD300, layers: Sequence[str], images: Tensor) -> dict[str, float]:
    """Multiply the kernels of body `layers` so that what each gives for `images` (B, 3, S, S), before its ReLU, has a
    standard deviation of 1. -> layer: factor.

    For layers with random weights behind trained ones, whose outputs have a scale that no rule for random weights
    knows. One after the other, since each feeds the next (LSUV, Mishkin and Matas, arXiv 1511.06422).
    """
    factors = {}
    for name in layers:
        deviations: list[float] = []
        conv = model.body[name][0]
        hook = conv.register_forward_hook(lambda _, __, out, found=deviations: found.append(float(out.std())))
        model.feature_maps(images)
        hook.remove()
        # outputs without variance: nothing to scale
        factors[name] = 1 / deviations[0] if deviations[0] > 0 else 1.0
        conv.weight *= factors[name]
    return factors


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _layer(inputs: int, outputs: int, kernel: int, batch_norm: bool, **kwargs) -> nn.Module:
    """Convolution and ReLU; with batch norm between them the bias would have no effect, so there is none."""
    conv = nn.Conv2d(inputs, outputs, kernel, bias=not batch_norm, **kwargs)
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return nn.Sequential(conv, *norm, nn.ReLU(inplace=True))


def _per_anchor(x: Tensor, numbers: int) -> Tensor:
    """(B, boxes * numbers, side, side) -> (B, side * side * boxes, numbers): row by row, as `anchors` does."""
    # no size is read here, so that an export can leave the number of images open
    return x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(2, (-1, numbers)).flatten(1, 2)
