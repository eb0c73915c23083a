# %% [markdown]
# # 05 · The network
#
# **In one sentence:** VGG16 without its classifier, four more stages, and on six of its maps a pair of small
# convolutions that answer once for each of the 8,732 anchors, in the anchors' order.
#
# | | |
# |---|---|
# | time | 80 minutes, half of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 02: the anchors and their order |
# | new modules | `model`, `weights` |
#
# At the end of this page you will be able to
#
# - compute the side of every map from 300 down to 1, and say why the first map is 38 cells wide and not 37,
# - count the 26,285,486 parameters by part, and say which layers do the work,
# - say what L2Norm does, to what, and who sees its result,
# - turn the channels of a head into rows that belong to anchors, and recognise the bug when somebody forgot to,
# - say how much of the picture an answer can see, and how much of it matters.

# %%
import inspect
import time
from unittest import mock

import torch
import torch.nn.functional as F

from course.kit import opening, pictures
from course.kit.self_test import SelfTest
from course.kit.tables import table
from course.network import check, figures
from course.network import receptive_field as fields
from ssdlib import anchors, detect, model
from ssdlib.interop import weights
from ssdlib.records import Predictions

# %% [markdown]
# ## The picture
#
# A picture of 300 x 300 pixels goes in on the left. Convolutions and pools make maps of it, each with fewer cells and
# (at first) more channels. Six of the maps have *heads*. A head says, for each cell and each anchor there, how the anchor
# has to move (4 numbers) and what it shows (21 numbers). Smaller squares are smaller maps, but they aren't drawn to scale; the
# numbers are exact.

# %% alt="The network from left to right: the picture, five maps of VGG16, four maps of the extras, and green heads under six of them with their channels and anchors"
figure = figures.draw_network()

# %% [markdown]
# How can a few small convolutions answer for thousands of anchors? A head is a kernel that slides over its map, one cell at
# a time, and says the same kind of numbers wherever it stands. Here it stands in row 1, column 2 of the 5 x 5 map:

# %% alt="A 5 x 5 map with a 3 x 3 kernel on it; six rows of 4 offsets and 21 class scores that it says there; and the six anchors of that cell on a scene, to which these rows belong"
figure = figures.head_sliding(opening.scene())

# %% [markdown]
# ## The words
#
# - A **feature map** is what a layer gives: a square grid of cells, with a number for each channel in every cell. *38²* is
#   short for 38 x 38 cells.
# - The **body** (others say *backbone*) is the chain of layers. Its new part, conv6_1 to conv9_2, is called the
#   **extras**. The paper calls the same layers conv8 to conv11.
# - A **source** is one of the six maps that have heads.
# - A **head** is one 3x3 convolution. `loc` gives the offsets, `conf` the class scores (*logits*).
# - The **receptive field** of a cell is the part of the picture that can change what the cell says.
#
# ## By hand: from 300 to 1
#
# A kernel that slides over a map has this many places to stand:
#
# > (side + 2 · padding - dilation · (kernel - 1) - 1) / stride + 1
#
# All 3x3 convolutions of VGG16 have padding 1 and stride 1, so they keep the side. So do the 1x1 convolutions (fc7, conv6_1
# and so on). Take a pencil for the others; where the table names no dilation it is 1:
#
# | layer | kernel, stride, padding | by the formula | side |
# |---|---|---|---|
# | pool1 | 2, 2, 0 | (300 - 2) / 2 + 1 | 150 |
# | pool2 | 2, 2, 0 | (150 - 2) / 2 + 1 | 75 |
# | pool3 | 2, 2, 0 | (75 - 2) / 2 + 1 = **37.5** | **38** |
# | pool4 | 2, 2, 0 | (38 - 2) / 2 + 1 | 19 |
# | pool5 | 3, 1, 1 | (19 + 2 - 3) / 1 + 1 | 19 |
# | fc6 | 3, 1, 6, dilation 6 | (19 + 12 - 13) / 1 + 1 | 19 |
# | conv6_2 | 3, 2, 1 | (19 + 2 - 3) / 2 + 1 | 10 |
# | conv7_2 | 3, 2, 1 | (10 + 2 - 3) / 2 + 1 = **5.5** | **5** |
# | conv8_2 | 3, 1, 0 | (5 - 3) / 1 + 1 | 3 |
# | conv9_2 | 3, 1, 0 | (3 - 3) / 1 + 1 | 1 |
#
# Two halves, and they are rounded differently. **Pools round up here, convolutions round down.** Caffe's pools always
# round up; PyTorch's round down unless they are told `ceil_mode=True`; ssd_keras pads (`padding="same"`) and gets 38, too.
# The anchors of the first map were made for 38.
#
# Note the paddings, too. The two extras with stride 2 have padding 1. The last two have none: 5 becomes 3, 3 becomes 1.
#
# ## In the library
#
# The network can tell its own sides. It is run on a picture without any pixels: PyTorch's "meta" tensors have a shape and
# nothing else.

# %%
steps = figures.trace()
body = [step for step in steps if step.name in model.BODY]
sources = anchors.SSD300_ANCHORS.sources
rows = [(step.name, f"{step.side} x {step.side}", step.channels, "source" * (step.name in sources)) for step in body]
table(rows, head=("layer", "map", "channels", ""))

# %% [markdown]
# The pencil was right. This is the whole way from a picture to the six maps:

# %%
print(inspect.getsource(model.SSD300.feature_maps))

# %% [markdown]
# ## What became of VGG16
#
# VGG16 was made to say one word about a picture. Behind its thirteen convolutions stand three layers that see the whole
# map at once: fc6, fc7, fc8. The last one, the thousand words of ImageNet, is gone. The other two became convolutions, so
# that they answer in every cell of a map, of whatever side.
#
# How does a layer that sees a whole map become one that answers everywhere? It already is a kernel: one as large as the
# map, with a single place to stand. Give it a larger map, and there are more places. The weights stay as they are:

# %% alt="A map of 7 x 7 numbers inside one frame, which gives one number; a map of 9 x 9 numbers with two of the nine frames of that size in it; and the nine numbers they give, the first of which is the one from before"
figure = figures.from_fc_to_conv()

# %% [markdown]
# VGG's fc6 is a kernel of 7x7 with 4,096 outputs. Compare:

# %%
torch.manual_seed(0)
full = model.SSD300().eval()
count = model.count_parameters
rows = [("VGG's", "7 x 7", 4096, 7 * 7 * 512 * 4096 + 4096), ("ours", "3 x 3", 1024, count(full.body["fc6"]))]
table(rows, head=("fc6", "kernel", "outputs", "parameters"))

# %% [markdown]
# One in four of the outputs is kept, and of the 7 rows and columns only number 0, 3 and 6. (So does this library. Which ones
# the original file kept is written nowhere.) On VGG's own map these taps, the places where a kernel reads, are 3 cells
# apart. But **pool5 no longer halves the map** (3x3, stride 1). So a cell is half as large, and the same taps are 6 cells
# apart: *dilation 6*, also called *atrous*, from French *à trous*, with holes. Which cells does it touch?

# %%
cells = torch.zeros(1, 1, 13, 13, requires_grad=True)
F.conv2d(cells, torch.ones(1, 1, 3, 3), dilation=6).backward()
for line in cells.grad[0, 0].tolist():
    print(" ".join("x" if touched else "·" for touched in line))

# %% [markdown]
# Nine taps, spread over 13 x 13 cells. On a picture, with the cells of the 19 x 19 map drawn in white, fc6 reads the
# orange ones for the cell in the middle:

# %% alt="The scene with a grid of 19 x 19 cells, twice: nine orange cells side by side, 48 px wide, and the same nine cells apart, spread over 208 px and so over the dog, the car and the person"
figure = figures.dilation_on(opening.scene())

# %% [markdown]
# The number of weights is the same for both, and so is the work. The [paper](https://arxiv.org/abs/1512.02325) tried the full VGG16 too (section
# 3.2): about the same result, 74.2 mAP instead of 74.3, and about 20 % slower.
#
# The module `weights` does this thinning when a training starts from VGG16's weights:

# %%
print(inspect.getsource(weights.from_vgg16))

# %% [markdown]
# ## 26,285,486
#
# One layer by hand, conv4_3. Each of its 512 outputs has a kernel of 3 x 3 taps over 512 inputs, and one bias.

# %%
print(f"by hand {3 * 3 * 512 * 512 + 512:,}, in the network {count(full.body['conv4_3']):,}")

# %% [markdown]
# All of them, by part:

# %%
parts = {
    "VGG16, conv1_1 to conv5_3": [full.body[name] for name in weights.VGG],
    "fc6 and fc7": [full.body["fc6"], full.body["fc7"]],
    "extras": [full.body[name] for name in weights.EXTRAS],
    "L2Norm": [full.conv4_3_norm],
    "heads, offsets": [full.loc],
    "heads, classes": [full.conf],
}
rows = [(name, sum(map(count, modules))) for name, modules in parts.items()]
table([*rows, ("together", count(full))], head=("part", "parameters"))

# %% [markdown]
# The first two lines, 20,483,904 together, can be filled from VGG16's weights. The rest starts at random.
#
# Where is the *work*? A convolution multiplies and adds once for each weight of its kernels, in each cell of its map.
# Many cells with few channels cost as much as few cells with many:

# %%
by_name = {step.name: step for step in steps}
few = [by_name[name] for name in ("conv1_2", "conv4_3", "fc6", "conv9_2")]
rows = [(step.name, step.parameters, step.multiply_adds / 1e6) for step in few]
table(rows, head=("layer", "parameters", "million multiply-adds"), form=("", "", ",.1f"))

# %%
work = {
    "all": steps,
    "extras": [by_name[name] for name in weights.EXTRAS],
    "heads": [step for step in steps if step not in body],
}
print(", ".join(f"{name} {sum(s.multiply_adds for s in part) / 1e9:.2f} billion" for name, part in work.items()))

# %% [markdown]
# conv1_2 has one parameter in seven hundred and does a tenth of the work. The four extra stages, whose maps find the large
# objects, are almost free: less than one percent.
#
# ## Three switches for laptops
#
# `SSD300` has three arguments that the paper doesn't have. `width` multiplies the channels of every layer of the body (16 are
# left at least). `batch_norm` puts a batch norm after each convolution of the body, so that it can learn without pretrained
# weights. `strided_stem` puts one 5x5 convolution of stride 2 in the place of conv1_1, conv1_2 and pool1. The sides of the
# six maps and the anchors are always the same.

# %%
sisters = {
    "full": dict(),
    "narrow": dict(width=1 / 8),
    "narrow, batch norm": dict(width=1 / 8, batch_norm=True),
    "narrow, strided stem": dict(width=1 / 8, strided_stem=True),
    "narrow, both": dict(width=1 / 8, batch_norm=True, strided_stem=True),
}
rows = []
for name, arguments in sisters.items():
    work = sum(step.multiply_adds for step in figures.trace(**arguments)) / 1e9
    rows.append((name, count(model.SSD300(**arguments)), work))
table(rows, head=("network", "parameters", "billion multiply-adds"))

# %% [markdown]
# With an eighth of the channels the work falls to a 37th, not to a 64th: the pictures still have three channels, the heads
# still give as many numbers, and the first layers stay at 16. Batch norm makes the biases of the body useless, so they go. It
# brings two numbers for each channel instead.
#
# And the time? From here on the page needs pictures: 32 test scenes of the mini VOC. One of them, `scene`, is used again and
# again.

# %%
chosen = figures.scenes(32)
scene = chosen[25]
print(scene.example.image_id, scene.names)

# %% [markdown]
# The time for this one picture on your machine, as a share of the full network's:

# %% tags=["nbval-ignore-output"]
def seconds(network, picture):
    start = time.perf_counter()
    with torch.no_grad():
        network(picture)
    return time.perf_counter() - start


needed = {}
for name, arguments in sisters.items():
    sister = full if name == "full" else model.SSD300(**arguments).eval()
    needed[name] = min(seconds(sister, scene.image) for _ in range(3))
table([(name, took / needed["full"]) for name, took in needed.items()], head=("network", "time"), form=("", ".1%"))

# %% [markdown]
# The last row is the network of the recorded run that you will meet below and in chapter 10.
#
# ## L2Norm, and its 20
#
# The network has one layer that VGG16 doesn't have at all: `L2Norm`, between conv4_3 and its heads. Look at one cell. Its
# channels are a vector, and a vector has a length. L2Norm divides by this length, then multiplies by a scale that starts at
# 20, as in the paper (section 3.1). By hand: (3, 4) has length √(9 + 16) = 5, so it becomes (.6, .8); times 20 that is
# (12, 16). For a cell with the channels $x_1 \ldots x_C$, and with a scale $s_c$ that is learned for each channel:
#
# $$
# y_c = \textcolor{#D55E00}{s_c} \cdot \frac{x_c}
# {\textcolor{#0072B2}{\sqrt{\sum_{j=1}^{C} x_j^2 + 10^{-10}}}}
# $$
#
# Blue is the length, `length` in the code below. Red is the scale, `self.weight`.

# %%
print(inspect.getsource(model.L2Norm.forward))
print(model.L2Norm(2)(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)).flatten().tolist())

# %% [markdown]
# Why? Maps from different depths have vectors of different lengths. [ParseNet](https://arxiv.org/abs/1506.04579), where this
# layer comes from, reports that in VGG16 with ImageNet's weights those of conv4_3 are much longer than those of later maps.
# The heads of all maps start in the same way and learn at the same rate, so they would meet very different inputs.
#
# The weights of ImageNet aren't on this page, but you can see the mechanism without them. Here are mean lengths in the
# full network with random weights; then for the same picture with three times the contrast; then in the recorded
# network, a narrow one with batch norm that was trained on the mini VOC.

# %%
recorded = pictures.recorded_network()
recorded.requires_grad_(False)
columns = {
    "random": figures.lengths(full, scene.image),
    "contrast x 3": figures.lengths(full, 3 * scene.image),
    "recorded": figures.lengths(recorded, scene.image),
}
rows = [(name, *(found[name].mean() for found in columns.values())) for name in columns["random"]]
table(rows, head=("mean length", *columns), form=("", ".0f", ".0f", ".0f"))

# %% [markdown]
# Look at the first two columns. Lengths differ from map to map, and all of them grow with the contrast. Only behind L2Norm,
# in the line `conv4_3`, it is 20 both times. (With random weights conv4_3 isn't the longest. That comes with ImageNet's
# weights.) In the third column, the recorded network, batch norm has already brought all maps to about the same length.
#
# Why 5 there and not 20? The scale is a parameter for each channel, and it learns. In the recorded network, with an eighth
# of the channels, it began at 20 · √(1/8). So a single channel began as large as in the full network:

# %%
scale = recorded.conv4_3_norm.weight
print(f"began at {20 * (1 / 8) ** 0.5:.1f}; after training {scale.min():.1f} to {scale.max():.1f}")

# %% [markdown]
# **Only the heads see the normalised map.** pool4 takes the plain one. Set the scale to zero, and one of the six maps
# changes:

# %%
with torch.no_grad():
    before = full.feature_maps(scene.image)
    full.conv4_3_norm.weight.zero_()
    after = full.feature_maps(scene.image)
    full.conv4_3_norm.weight.fill_(20)
print("changed:", [name for name in before if not torch.equal(before[name], after[name])])

# %% [markdown]
# Programs differ in a small number here. Caffe adds 1e-10 under the root, amdegroot's ssd.pytorch behind it, sgrvinod's
# tutorial nowhere: there a cell of zeros becomes 0/0.
#
# ## The order of the answers
#
# A head gives channels, the loss wants anchors. A `conf` head on the 38² map has 4 boxes · 21 classes = 84 channels. First
# come all 21 of box 0, then all 21 of box 1. In general, class c of box b is channel **b · 21 + c**, coordinate i is channel
# b · 4 + i.
#
# PyTorch keeps channels *before* rows and columns (NCHW). The anchors go row by row, in a row cell by cell, in a cell box
# by box. So the channels have to come last (NHWC): `permute(0, 2, 3, 1)`. Only then may the numbers be cut into rows.
#
# By hand: a map of 1 row and 3 columns, 2 boxes in each cell, 2 numbers for each box. That makes 4 channels. Each number tells
# where it stands: 21 is channel 2 of column 1.

# %%
x = (10 * torch.arange(4)[:, None, None] + torch.arange(3))[None]
print("channels by columns\n", x[0, :, 0])
print("with permute\n", x.permute(0, 2, 3, 1).reshape(1, -1, 2)[0])

# %% [markdown]
# First row: box 0 of cell 0, channels 0 and 1 of column 0. Second row: box 1 of the same cell. Now the same without the
# permute:

# %%
print("without permute\n", x.reshape(1, -1, 2)[0])

# %% [markdown]
# The shape is the same. The first row now says that column 0 and column 1 of channel 0 are the two numbers of one box.
# PyTorch doesn't complain. What it does to a real network you will see below.
#
# The library does it in one line, in the same way for each head:

# %%
print(inspect.getsource(model._per_anchor))
print(inspect.getsource(model.SSD300.forward))

# %% [markdown]
# Does row k of the answers belong to row k of the anchors? Take box 1 in row 12, column 13 of the 19² map (all counted from
# 0), and read its 21 channels from the head itself:

# %%
grid = anchors.default_boxes()
said, maps = recorded(scene.image), recorded.feature_maps(scene.image)
line, column, box = 12, 13, 1
k = fields.anchors_of(1, line, column).start + box
raw = recorded.conf["fc7"](maps["fc7"])[0, 21 * box : 21 * (box + 1), line, column]
print("the same 21 numbers:", torch.equal(raw, said.logits[0, k]))
print(f"anchor {k}:", [round(x) for x in grid[k].tolist()])

# %% [markdown]
# In other programs the anchors live inside the network, and the loss asks the network for them. Then neither can be
# understood or changed without the other ([sgrvinod, issue
# 90](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/90)). Here the anchors are a plain tensor,
# and the network never sees it. What ties the two together is this order, and a test that checks it.
#
# ## What goes in: RGB minus (123, 117, 104)
#
# The network takes RGB from 0 to 255 with a mean subtracted, and no division. Caffe, and so the original weights, take
# BGR minus (104, 117, 123): the same mean, the other way round. OpenCV reads BGR as well. What does a mix-up cost? The
# recorded network looks at the 32 scenes:

# %%
images, mean = figures.images_of(chosen), torch.tensor(model.MEAN)[:, None, None]
inputs = {
    "as it was trained": images,
    "BGR": images.flip(1),
    "mean not subtracted": images + mean,
    "0 to 1, no mean": (images + mean) / 255,
}
rows = [(name, *figures.found(recorded(pixels), chosen)) for name, pixels in inputs.items()]
table(rows, head=("input", "found", "of", "detections"))

# %% [markdown]
# (Found: right class, IoU at least .5, score at least .5.) No error, no warning, only fewer detections. These scenes are
# painted and their colours say a lot. On photographs a swap may cost less, and is harder to notice.
#
# To run weights made for BGR, don't touch the pictures: reverse the order of the first kernel's three input channels, once.

# %%
swapped = pictures.recorded_network()
first = swapped.body["conv1_1"][0]
with torch.no_grad():
    first.weight.copy_(first.weight.flip(1))
    print("the same:", torch.allclose(swapped(images.flip(1)).logits, recorded(images).logits, atol=1e-2))

# %% [markdown]
# ## Weights that others published
#
# Six programs publish weights for these layers, each under its own names. They differ in three more things, which no weight
# file tells:
#
# | | first layer takes | order of the 4 offsets | anchors it was trained with |
# |---|---|---|---|
# | Caffe | BGR - mean | x, y, w, h | unclipped |
# | ssd_keras | BGR - mean (swaps inside) | x, y, w, h | unclipped |
# | amdegroot, lufficc | RGB - mean | x, y, w, h | centres clipped |
# | torchvision | RGB - mean | x, y, w, h | sizes clipped; other scales (COCO) |
# | chainercv | RGB - mean | **y, x, h, w** | unclipped |
#
# `from_state` reads three of them. It recognises a file by a name that only this kind has:

# %%
print(inspect.getsource(weights.from_state))

# %%
rows = [(source, f"`{mark}`", f"`clip={clip!r}`") for source, (mark, clip) in weights.SOURCES.items()]
table(rows, head=("file of", "known by", "its anchors"))

# %% [markdown]
# A fourth kind, the HDF5 files of ssd_keras, is read by `from_keras` in the same module, which reads the arrays and nothing
# else. `python -m ssdlib evaluate --checkpoint ssd300.h5` takes such a file as it takes the others, or a run of yours.
#
# And if `from_state` knows none of the names, it says so in a sentence:

# %%
try:
    weights.from_state({"stem.weight": torch.zeros(1)})
except weights.WeightsError as error:
    print(error)

# %% [markdown]
# ## What an answer can see
#
# One 3x3 convolution sees a square 3 pixels wide, two in a row see 5: each adds one pixel on either side. Behind a pool of
# stride 2 neighbouring cells are two pixels apart, so the next 3x3 adds 4. *Kernels add, strides multiply.* That is the
# whole computation:

# %%
print(inspect.getsource(fields.receptive_field))

# %% [markdown]
# All six sources, in px. `cell` is what a cell of the map sees, `answer` what the 3x3 head on it sees.

# %%
rows = []
for level, name in enumerate(sources):
    cell, answer = fields.receptive_field(name), fields.receptive_field(name, head=True)
    longest = max(max(shape) for shape in anchors.SSD300_ANCHORS.shapes(level))
    rows.append((name, cell.size, answer.size, longest, cell.first, anchors.SSD300_ANCHORS.strides[level] / 2))
head = ("source", "cell", "answer", "longest anchor", "first cell's middle: seen", "anchors")
table(rows, head, form=("", "", "", ".0f", ".0f", ".0f"))

# %% [markdown]
# **Every map sees far more than its anchors.** An answer isn't given from a cut-out of the picture. It may use the road
# under the car. From fc7 on the field is larger than the picture. What lies outside is padding: zeros.
#
# Look at the last two columns: from conv6_2 on, the middle of what a cell sees isn't the middle of its anchors. Stride and
# padding of the extras don't quite fit Caffe's steps of 32, 64, 100 and 300 px. Still, every anchor lies inside of what its
# answer sees: a test of this course checks all 8,732.
#
# Here is a cell near the middle of each map. Blue is what its answers see, dashed green are its anchors. The lower row is
# drawn smaller, or its blue squares wouldn't fit.

# %% alt="One scene six times with the anchors of a middle cell in dashed green and the receptive field as a blue square, which grows from a third of the picture to three times the picture"
figure = figures.fields_on(scene)

# %% [markdown]
# To see is not to look. Which pixels *really* change an answer? The gradient tells: how much would this answer change if
# that pixel did? Here it is for the cell in the middle of each map of the recorded network, mean over eight scenes: the
# brighter, the more. In the white dashed square lies half of it. Blue is again what the answer sees; only on conv4_3 that is
# less than the picture.

# %% alt="Six heat pictures of gradients: a small bright spot for conv4_3, a wide cloud for fc7 and conv6_2, nearly even over the picture for the last maps"
figure, halves = figures.heats_on(recorded, chosen[:8])

# %%
rows = []
for name, (size, half) in zip(sources, halves):
    rows.append((name, size, min(size, 300), min(size, 300) / 2**0.5, half))
head = ("source", "sees", "of the picture", "half, if even", "half, measured")
table(rows, head, form=("", "", "", ".0f"))

# %% [markdown]
# *If even* means: if every visible pixel mattered alike, half of the gradient would lie in a square of that side. On
# conv4_3 it lies in a square half as wide: the middle counts, the border of the field hardly. [Luo and others,
# 2016](https://arxiv.org/abs/1701.04128) observed this in many networks: the *effective* field is much smaller than the
# theoretical one, and dense in the middle.
#
# The last maps look nearly even. Their fields are so large that the whole picture lies in the middle of them.
#
# ## Move it
#
# Point at the picture. The nearest cell of the chosen map shows what its answers see (blue, thick), its anchors (green,
# dashed) and, in red, the anchor that says an object. The words beside it are the recorded network's, read from
# the rows of this cell. *Say before you look:*
#
# - **38² map**: go from the middle of a small object to its edge. Which of the four anchors names it, and when do all say
#   background? And on a large object?
# - **19² map**: much of the blue square lies outside of the picture. Does the network still name the objects near the border?
# - **1² map**: why doesn't the mouse change anything?
# - tick **which pixels matter** and go back to 38²: the more orange a pixel, the more it would change the strongest answer of
#   this cell.

# %%
explorer = fields.FieldPointer(scene, level=1)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# The recorded network has a strided stem, so its fields are one pixel smaller than in the table above.
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold.
#
# ### 5.1 The next side · easy · 5 minutes
#
# Return the side of the map behind a layer, a whole number. All arguments are whole numbers, but for `up`, which is True or
# False: is the result of the division rounded up (a pool with `ceil_mode`) or down?

# %% tags=["exercise"]
def next_side(side, kernel, stride, padding, dilation, up):
    # solution
    free = side + 2 * padding - dilation * (kernel - 1) - 1
    return (-(-free // stride) if up else free // stride) + 1

# %%
check.next_side(next_side)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# How far can the kernel move? That, divided by the stride, plus the place where it starts.
# </details>
# <details><summary>Hint 2</summary>
#
# `a // b` rounds down, `-(-a // b)` rounds up.
# </details>
# <!-- solution -->
#
# ### 5.2 The price of a floor · on paper · 5 minutes
#
# Suppose that **only pool3** rounds down, and all else is as it was. How many answers would the network then give, instead
# of 8,732?

# %% tags=["exercise"]
fitting = 8732 - 4 * (38**2 - 37**2)  # solution

# %%
check.floored(fitting)

# %% [markdown]
# <details><summary>Hint</summary>
#
# pool4 still rounds up: 37 becomes 19. So only the first map changes.
# </details>
# <!-- solution -->
#
# ### 5.3 Parameters of a layer · easy · 3 minutes
#
# Return how many parameters a convolution has, with its bias: `inputs` and `outputs` are its channels, `kernel` is the side
# of its square kernel.

# %% tags=["exercise"]
def parameters(inputs, outputs, kernel):
    # solution
    return kernel * kernel * inputs * outputs + outputs

# %%
check.parameters(parameters)

# %% [markdown]
# <details><summary>Hint</summary>
#
# One output channel is a kernel over all input channels, and one bias.
# </details>
# <!-- solution -->
#
# ### 5.4 What a stack sees · the heart of the chapter · 10 minutes
#
# `layers` is a list of (kernel, stride, dilation), the first layer first. Return how many pixels wide the receptive field of
# one cell of the last layer's map is. For an empty list that is 1: a pixel sees itself.

# %% tags=["exercise"]
def seen(layers):
    # solution
    size, apart = 1, 1
    for kernel, stride, dilation in layers:
        size += (kernel - 1) * dilation * apart
        apart *= stride
    return size

# %%
check.seen(seen)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Keep two numbers: how much you see, and how many pixels apart two neighbouring cells are.
# </details>
# <details><summary>Hint 2</summary>
#
# A kernel reaches (kernel - 1) · dilation cells further. Each of them is as wide as the product of the strides
# *before* this layer.
# </details>
# <!-- solution -->
#
# ### 5.5 From channels to anchors · the heart of the chapter · 10 minutes
#
# `x` is what a head says, (B, boxes · numbers, rows, columns). Return (B, K, numbers) with K = rows · columns · boxes: row by
# row, in a row cell by cell, and in each cell box by box. `numbers` is 4 for offsets, 21 for classes.
#
# *Building block:* in chapter 13 it lines up what the twelve heads give.

# %% tags=["exercise"]
def per_anchor(x, numbers):
    # solution
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)

# %%
check.per_anchor(per_anchor)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `reshape` cuts the numbers in the order in which the axes stand. The last axis runs fastest. Which one has to?
# </details>
# <details><summary>Hint 2</summary>
#
# `permute(0, 2, 3, 1)`: batch, rows, columns, channels.
# </details>
# <details><summary>Help: the shapes agree and it says "not right"</summary>
#
# Look at the picture of the check: each number tells its channel, row and column. In one row the channel should change and
# nothing else.
# </details>
# <!-- solution -->
#
# ### 5.6 L2Norm · medium · 7 minutes
#
# Bring the channel vector of every cell of `x` (B, C, rows, columns) to length 1, then multiply channel c by `scale[c]`;
# `scale` has shape (C,). Return the same shape as `x`. A cell of zeros stays zero.
#
# *Building block:* in chapter 13 it stands between conv4_3 and its heads.

# %% tags=["exercise"]
def l2norm(x, scale):
    # solution
    length = (x.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()
    return x / length * scale[:, None, None]

# %%
check.l2norm(l2norm)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# One length for each picture, row and column: sum the squares over `dim=1` with `keepdim=True`.
# </details>
# <details><summary>Hint 2</summary>
#
# `scale[:, None, None]` has the shape (C, 1, 1), which fits (B, C, rows, columns).
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# **... the pools rounded down?** In PyTorch they do, unless told otherwise. We let all pools round down, and give the
# result to the next module:

# %%
pool = F.max_pool2d


def rounding_down(x, kernel_size, stride, padding=0, ceil_mode=False):
    return pool(x, kernel_size, stride, padding)


with mock.patch("torch.nn.functional.max_pool2d", rounding_down):
    short = recorded(scene.image)
    print({name: x.shape[-1] for name, x in recorded.feature_maps(scene.image).items()})
try:
    detect.detect(short, grid, [(300, 300)])
except RuntimeError as error:
    print(error)

# %% [markdown]
# 75 becomes 37, 37 becomes 18, 18 becomes 9. The network itself runs, and any weights load, because a convolution doesn't
# care about sides. The error comes later, where answers meet anchors, and doesn't name the pools. When you see *8732* beside another number, look at the
# pools first.
#
# An error was luck. A program that makes its anchors from the sides it finds would run on, with other anchors than its
# weights were trained for.
#
# **... somebody forgot the permute?** The recorded network, with `_per_anchor` replaced by a plain reshape:

# %%
def unpermuted(x, numbers):
    return x.reshape(len(x), -1, numbers)


with mock.patch("ssdlib.model._per_anchor", unpermuted):
    mixed = recorded(images)
right = recorded(images)
print("same shapes:", mixed.logits.shape == right.logits.shape, mixed.offsets.shape == right.offsets.shape)
rows = [(name, *figures.found(said, chosen)) for name, said in {"with permute": right, "without": mixed}.items()]
table(rows, head=("heads", "found", "of", "detections"))

# %% [markdown]
# One of the scenes. Blue are the detections, dashed red are the objects:

# %% alt="The same scene twice with detections in blue: with the permute a few boxes, on objects; without it many boxes all over the picture"
one = {
    name: Predictions(said.offsets[25:26], said.logits[25:26])
    for name, said in {"with permute": right, "without": mixed}.items()
}
figure = figures.side_by_side(scene, one)

# %% [markdown]
# A row now holds numbers of many different cells. Whoever trained like that would get no error, and the loss would even
# fall. We let new heads learn on the frozen maps of four scenes for 30 steps, in both ways:

# %% alt="Two loss curves over 30 steps: both fall, the one with permute much faster and deeper"
learned = {
    "with permute": figures.heads_learn(recorded, chosen[:4], model._per_anchor),
    "without": figures.heads_learn(recorded, chosen[:4], unpermuted),
}
figure = figures.curves(learned)
print("both fall:", all(losses[-1] < losses[0] for losses in learned.values()))

# %% [markdown]
# A falling loss is no proof. If yours falls and then stays high, with boxes everywhere: suspect the order.
#
# **... the first layer got BGR?** You saw it above: about half of the objects, and no message.
#
# ## Self-test

# %%
SelfTest("network")

# %% [markdown]
# ## Recap
#
# - 300, 150, 75, 38, 19, 10, 5, 3, 1. Pools round up, convolutions round down, the last two extras have no padding.
# - VGG16 up to conv5_3, fc6 and fc7 as thinned convolutions, four extra stages, two heads on each of six maps: 26,285,486
#   parameters. The deep layers have the parameters, the early ones do the work.
# - L2Norm gives every cell of conv4_3 the same length, for its heads alone.
# - Channel b · 21 + c is class c of box b. Channels last, then rows: or the answers belong to other anchors.
# - Every answer sees far more than its anchors. What it looks at is smaller than what it sees.
#
# Paper, sections 2.1 and 3 "Base network"; Caffe, `python/caffe/model_libs.py` 308-448 and 792-933, and
# `examples/ssd/ssd_pascal.py` 14-65.
