# %% [markdown]
# # 05 · The network
#
# **In one sentence:** VGG16 without its last layer, followed by four more stages, makes six feature maps, and on each
# of them two small convolutions answer once for every anchor: 8,732 times in all, in the anchors' order.
#
# Take a single call, `permute`, out of this network. Every shape stays as it was, PyTorch reports no error, and in
# training the loss falls. Yet a trained detector that found more than half of the objects now finds almost none of
# them and covers the image with boxes. Or leave the network whole and exchange red and blue in its input: it finds
# about half as many objects as before, again without a message. Because a network can be wrong in ways that no error
# shows, this chapter computes it by hand, until you can say of each number that comes out which anchor it belongs to
# and which pixels it has seen. You will see both failures happen.
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
# - compute the side of every feature map from 300 down to 1, and say why the first source is 38 cells wide and not
#   37,
# - count the 26,285,486 parameters by part, and say which layers do most of the work,
# - build the whole network in some forty lines,
# - say why the body starts from ImageNet's weights,
# - say what L2Norm does, to which map, and which layers see its result,
# - turn the channels of a head into rows that belong to anchors, and recognise the bug when that step was forgotten,
# - say how much of the image an answer can see, and how much of that matters.

# %%
import time
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from course.kit import opening, pictures
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from course.network import check, figures
from course.network import receptive_field as fields
from ssdlib import anchors, detect, model
from ssdlib.interop import weights

# %% [markdown]
# ## The picture
#
# An image of 300 x 300 pixels enters on the left. Convolutions and pools turn it into maps with fewer and fewer cells
# and, at first, more and more channels. Six of the maps have *heads*, drawn in green. For each anchor in each cell of
# its map, a head gives 4 numbers that say how the anchor has to move and grow, and 21 numbers that say what it shows.
# Smaller squares stand for smaller maps, although they aren't drawn to scale; the numbers are exact.

# %% alt="The network from left to right: the input image, five maps of VGG16, four maps of the extras, and green heads under six of them with their channels and anchors"
figure = figures.draw_network()

# %% [markdown]
# How can a few small convolutions answer for thousands of anchors? A head is a kernel that slides over its map, one
# cell at a time, and gives the same kinds of numbers wherever it stands, so one small set of weights serves every
# cell. Here it stands in row 1, column 2 of the 5 x 5 map, counted from 0. It reads the cells in the solid blue square,
# next those in the dotted one:

# %% alt="A 5 x 5 map with a 3 x 3 kernel on it; six rows of 4 offsets and 21 class scores that it says there; and the six anchors of that cell on a scene, to which these rows belong"
figure = figures.head_sliding(opening.scene())

# %% [markdown]
# These two pictures hold most of the chapter. What follows computes the sides of the maps, then looks at where their
# weights come from, at the way from the heads to the anchors, and finally at what an answer can see.
#
# ## The words
#
# - A **feature map** is the output of a layer: a square grid of cells, with a number for each channel in every cell.
#   *38²* is short for 38 x 38 cells.
# - The **body** (elsewhere *backbone*) is the chain of layers from the image to the last map. Its new part, conv6_1
#   to conv9_2, is called the **extras**. The paper calls the same layers conv8 to conv11.
# - A **source** is one of the six maps that have heads.
# - A **head** is one 3x3 convolution. Each source has two, which the pictures draw as one: `loc` gives the offsets,
#   `conf` the class scores before the softmax (*logits*).
# - The **receptive field** of a cell is the part of the image that can change the numbers in that cell.
#
# ## By hand: from 300 to 1
#
# A [convolution](https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html) puts a small grid of weights,
# its kernel, on a map, multiplies each weight by the number below it, adds up the products and moves on. It has one
# kernel for each channel that it gives, and each kernel has a grid of weights for every channel of the map below. A
# pool slides in the same way, without weights, and keeps the largest number of each channel. So the next map has as
# many cells as there are places to stand. *Padding* adds cells of zeros around the map, *stride* is how far the
# kernel moves each time, and *dilation* is the distance between neighbouring weights of the kernel, in cells. Along
# one side there are this many places:
#
# > (side + 2 · padding - dilation · (kernel - 1) - 1) / stride + 1
#
# All 3x3 convolutions of VGG16 have padding 1 and stride 1, so they keep the side. So do the 1x1 convolutions (fc7,
# conv6_1 and so on). Take a pencil for the others, and cover the two columns on the right until you have filled them
# in yourself; where the table names no dilation it is 1:
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
# Two results end in a half, and they are rounded differently: **in this network pools round up and convolutions round
# down**. Caffe's pools always round up; PyTorch's round down unless they are told `ceil_mode=True`; ssd_keras pads
# (`padding="same"`) and gets 38, too. The direction matters because the anchors of the first source were made for 38
# cells.
#
# Look at the paddings as well. The two extras with stride 2 have padding 1, whereas the last two have none, which is
# why 5 becomes 3 and 3 becomes 1.
#
# ### In the library
#
# Does the network agree with the pencil? It can report its own sides, if it is run on an image without any pixels:
# PyTorch's ["meta" tensors](https://docs.pytorch.org/docs/stable/meta.html) have a shape and no values.

# %%
steps = figures.trace()
body = [step for step in steps if step.name in model.BODY]
sources = anchors.SSD300_ANCHORS.sources
rows = [(step.name, f"{step.side} x {step.side}", step.channels, "source" * (step.name in sources)) for step in body]
table(rows, head=("layer", "map", "channels", ""))

# %% [markdown]
# The pencil was right. The method below is the whole way from an image to the six maps. It goes through the body
# layer by layer, applies a pool where one stands before the layer, and keeps the map if it is a source. Each `layer`
# is a convolution followed by a [ReLU](https://docs.pytorch.org/docs/stable/generated/torch.nn.ReLU.html), which
# replaces negative numbers by zero.

# %%
source(model.SSD300.feature_maps)

# %% [markdown]
# The first fifteen of these layers come from an older network, so the next question is what SSD had to change in it.
#
# ## What became of VGG16
#
# [VGG16](https://arxiv.org/abs/1409.1556) was made to classify: it gives a whole photograph one label out of the
# thousand of [ImageNet](https://www.image-net.org/). Behind its thirteen convolutions stand three fully connected
# layers, fc6, fc7 and fc8, which see the whole map at once. SSD drops the last of them, which names ImageNet's
# classes, and turns the other two into convolutions, so that they answer in every cell of a map, whatever its side.
#
# ### From fully connected to convolution
#
# How does a layer that sees a whole map become one that answers everywhere? It already is a kernel: one that is as
# large as the map and therefore has a single place to stand. On a larger map there are more places, and the weights
# stay as they are:

# %% alt="A map of 7 x 7 numbers inside one frame, which gives one number; a map of 9 x 9 numbers with two of the nine frames of that size in it; and the nine numbers they give, the first of which is the one from before"
figure = figures.from_fc_to_conv()

# %% [markdown]
# VGG16's fc6 is a kernel of 7x7 cells with 4,096 outputs. The fc6 of SSD has the same task with far fewer weights:

# %%
torch.manual_seed(0)
full = model.SSD300().eval()
count = model.count_parameters
rows = [("VGG's", "7 x 7", 4096, 7 * 7 * 512 * 4096 + 4096), ("ours", "3 x 3", 1024, count(full.body["fc6"]))]
table(rows, head=("fc6", "kernel", "outputs", "parameters"))

# %% [markdown]
# ### A kernel with holes
#
# SSD keeps one in four of the outputs, and of the 7 rows and columns only three. No document says which ones the
# original file kept; the library keeps numbers 0, 3 and 6. The places where a kernel reads are called its taps. On
# VGG16's own map the taps that remain are 3 cells apart. But in SSD **pool5 no longer halves the map** (3x3,
# stride 1), so a cell is half as large, and the same taps are 6 cells apart: *dilation 6*, also called *atrous*, from
# French *à trous*, with holes. Which cells does such a kernel read?

# %%
cells = torch.zeros(1, 1, 13, 13, requires_grad=True)
F.conv2d(cells, torch.ones(1, 1, 3, 3), dilation=6).backward()
for line in cells.grad[0, 0].tolist():
    print(" ".join("x" if touched else "·" for touched in line))

# %% [markdown]
# Nine taps, spread over 13 x 13 cells. On an image, with the cells of the 19 x 19 map drawn in white, these are the
# cells that fc6 reads for the cell in the middle, in orange, without dilation and with it:

# %% alt="The scene with a grid of 19 x 19 cells, twice: nine orange cells side by side, 48 px wide, and the same nine cells apart, spread over 208 px and so over the dog, the car and the person"
figure = figures.dilation_on(opening.scene())

# %% [markdown]
# Both kernels have the same number of weights and do the same work, although the right one covers far more of the
# image. And is anything lost by the thinning? The [paper](https://arxiv.org/abs/1512.02325) (section 3.2) tried the
# full VGG16 too: the result was about the same, 74.2 mAP instead of 74.3, and the network was about 20 % slower.
#
# When a training starts from VGG16's weights, `weights.from_vgg16` does this thinning. The function is long because
# these weights are published in several forms, so here is only its end, where the thinning is. In the lines that begin
# with `fc6` and `fc7`, `::4` keeps every fourth channel and `::3` the rows and columns 0, 3 and 6.
# `_fold_normalisation` changes conv1_1: PyTorch's VGG16 was trained on pixels divided by 255 and by their deviation,
# and after this line the layer gives the same outputs for pixels from 0 to 255 minus the mean:

# %%
source(weights.from_vgg16, start="fc6 = state")

# %% [markdown]
# ### Why ImageNet's weights help
#
# Why start from weights that were learned for another task? VGG16 learned on ImageNet which patterns tell things in
# photographs apart. Such patterns aren't bound to the thousand classes, so a detector can build on them and has to
# learn only what is new, its own classes and where their objects are. There is also a practical reason: the paper's
# learning rate was made for these weights, and from random ones the training doesn't even start with it. Two later
# chapters try it with the network at full width, on photographs:
#
# - [Chapter 07](07_sgd_instability.ipynb), *The same at full width, on photographs*, compares four starts. From
#   random weights and at the paper's learning rate, the loss becomes NaN in step 6. ImageNet's convolutions alone
#   don't prevent it: with fc6 and fc7 random by [He's rule](https://arxiv.org/abs/1502.01852), which chooses the
#   spread of random weights so that signals keep their size from layer to layer, NaN comes in step 18. The start
#   whose loss falls has ImageNet's convolutions too, but also a smaller fc6, half the learning rate and a warm-up,
#   which raises the learning rate step by step.
# - [Chapter 09](09_full_training.ipynb), *The full network on photographs*, trains from ImageNet's convolutions, and
#   the loss comes close to where the curve of *the published run* begins, the training with ssd_keras that this course
#   retraces.
#
# > Note: each start was run once, and none of them had the paper's fc6 and fc7. More than the weights differs between
# > the first start and the last, so these runs don't measure how much ImageNet contributes, and least of all in mAP.
# > Nor do they say that a network can't learn from random weights: the recorded narrow network of this page did, on
# > painted scenes and with batch norm.
#
# How much of the network do these weights fill? That is a matter of counting.
#
# ## 26,285,486
#
# Count one layer by hand, conv4_3. Each of its 512 outputs has a kernel of 3 x 3 taps over 512 inputs, and one bias,
# a number that is added to the sum.

# %%
print(f"by hand {3 * 3 * 512 * 512 + 512:,}, in the network {count(full.body['conv4_3']):,}")

# %% [markdown]
# All parameters, counted in the same way and listed by part:

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
# The first two lines, 20,483,904 together, can be filled from VGG16's weights, and the rest starts at random.
#
# ### Where is the work?
#
# Parameters cost memory, but the time depends on the *work*. A convolution multiplies and adds once for each weight
# of its kernels in each cell of its map, so many cells with few channels cost as much as few cells with many:

# %%
by_name = {step.name: step for step in steps}
few = [by_name[name] for name in ("conv1_2", "conv4_3", "fc6", "conv9_2")]
rows = [(step.name, step.parameters, step.multiply_adds / 1e6) for step in few]
table(rows, head=("layer", "parameters", "million multiply-adds"), form=("", "", ",.1f"))

# %%
work = {
    "all layers": steps,
    "extras": [by_name[name] for name in weights.EXTRAS],
    "heads": [step for step in steps if step not in body],
}
rows = [(name, sum(step.multiply_adds for step in part) / 1e9) for name, part in work.items()]
table(rows, head=("part", "billion multiply-adds"))

# %% [markdown]
# conv1_2 has one parameter in seven hundred and does a tenth of the work. The four extra stages, whose maps find the
# large objects, are almost free, because they take less than one percent of it. A network that is fast enough for a
# laptop therefore has to save elsewhere: on the channels of every layer, or in the first layers.
#
# ### Three switches for laptops
#
# `SSD300` has three arguments that the paper doesn't have:
#
# - `width` multiplies the channels of every layer of the body, although at least 16 are left.
# - `batch_norm` puts a [batch norm](https://arxiv.org/abs/1502.03167) after each convolution of the body. It brings
#   every channel to mean 0 and deviation 1 over the batch, then gives it a learned scale and shift, so that the body
#   can learn without pretrained weights.
# - `strided_stem` puts a **strided stem**, one 5x5 convolution of stride 2, in the place of conv1_1, conv1_2 and
#   pool1.
#
# The sides of the six maps, and therefore the anchors, are always the same.

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
# With an eighth of the channels you might expect a 64th of the work. It falls only to a 37th, because the images
# still have three channels, the heads still give as many numbers, and the first layers stay at 16. Batch norm subtracts
# the mean of each channel and any bias with it, so the biases of the body are left out, and the learned scale and shift
# of each channel come instead.
#
# And the time? From here on the page needs images: 32 test scenes of the mini VOC, the painted dataset of this
# course. One of them, `scene`, is used again and again.

# %%
chosen = figures.scenes(32)
scene = chosen[25]
print(scene.example.image_id, scene.names)

# %% [markdown]
# Here is the time that this one image takes on your machine, as a share of the full network's:

# %% tags=["nbval-ignore-output"]
def seconds(network, image):
    start = time.perf_counter()
    with torch.no_grad():
        network(image)
    return time.perf_counter() - start


needed = {}
for name, arguments in sisters.items():
    sister = full if name == "full" else model.SSD300(**arguments).eval()
    needed[name] = min(seconds(sister, scene.image) for _ in range(3))
table([(name, took / needed["full"]) for name, took in needed.items()], head=("network", "time"), form=("", ".1%"))

# %% [markdown]
# The last row is the network of the recorded run that you will meet below and in chapter 10.
#
# So far everything was about making maps. Two details lie between the maps and the answers: one map is normalised
# before its heads read it, and the numbers of all heads have to be put into the order of the anchors.
#
# ## L2Norm, and its 20
#
# The network has one layer that VGG16 doesn't have in any form: `L2Norm`, between conv4_3 and its heads. The channels
# of one cell are a vector, and a vector has a length. L2Norm divides the vector by its length, then multiplies each
# channel by a scale that starts at 20, as in the paper (section 3.1). By hand: (3, 4) has length √(9 + 16) = 5, so it
# becomes (0.6, 0.8); times 20 that is (12, 16). For a cell with the channels $x_1 \ldots x_C$, and with a scale $s_c$
# that is learned for each channel:
#
# $$
# y_c = \textcolor{#D55E00}{s_c} \cdot \frac{x_c}
# {\textcolor{#0072B2}{\sqrt{\sum_{j=1}^{C} x_j^2 + 10^{-10}}}}
# $$
#
# Blue is the length, `length` in the code below. Red is the scale, `self.weight`.

# %%
source(model.L2Norm.forward)

# %%
model.L2Norm(2)(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)).flatten().tolist()

# %% [markdown]
# Why is it there? Maps from different depths have vectors of different lengths.
# [ParseNet](https://arxiv.org/abs/1506.04579), where this layer comes from, reports that in VGG16 with ImageNet's
# weights those of conv4_3 are much longer than those of later maps. The heads of all maps start in the same way and
# learn at the same learning rate, so without the layer they would meet very different inputs.
#
# ImageNet's weights aren't part of this page, but you can see the mechanism without them. Here are mean lengths in
# the full network with random weights, then for the same image with three times the contrast, and then in the
# recorded network, a narrow one with batch norm that was trained on the mini VOC.

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
# Look at the first two columns. Lengths differ from map to map, and all of them grow with the contrast, except behind
# L2Norm: in the line `conv4_3` the length is 20 both times. In the third column, the recorded network, batch norm has
# already brought all maps to about the same length.
#
# > Note: with random weights conv4_3 isn't the longest. That comes with ImageNet's weights.
#
# Why is the length behind L2Norm 5 there and not 20? The scale is a parameter for each channel, and it learns. In the
# recorded network, which has an eighth of the channels, it began at 20 · √(1/8), so that a single channel began as
# large as in the full network:

# %%
scale = recorded.conv4_3_norm.weight
print(f"began at {20 * (1 / 8) ** 0.5:.1f}; after training {scale.min():.1f} to {scale.max():.1f}")

# %% [markdown]
# **Only the heads see the normalised map**, since pool4 takes the plain one. To check it, set the scale to zero: of
# the six maps only one changes.

# %%
with torch.no_grad():
    before = full.feature_maps(scene.image)
    full.conv4_3_norm.weight.zero_()
    after = full.feature_maps(scene.image)
    full.conv4_3_norm.weight.fill_(20)
print("changed:", [name for name in before if not torch.equal(before[name], after[name])])

# %% [markdown]
# > Note: programs differ in where, and whether, they add the small number that keeps a cell of zeros from becoming
# > 0/0; the [docs](../docs/differences_from_caffe.md) list what they do.
#
# Now every source is ready for its heads, and what remains is to bring their numbers into order.
#
# ## The order of the answers
#
# A head gives channels, but the loss wants one row for each anchor. A `conf` head on the 38² map has 4 boxes · 21
# classes = 84 channels: first all 21 of box 0, then all 21 of box 1, and so on. In general, class c of box b is
# channel **b · 21 + c**, and coordinate i of box b is channel b · 4 + i.
#
# PyTorch keeps channels *before* rows and columns (NCHW: images, channels, height, width). The anchors, however, go
# row by row, in a row cell by cell, and in a cell box by box. So the channels have to come last (NHWC), which is what
# `permute(0, 2, 3, 1)` does, and only then may the numbers be cut into rows.
#
# By hand: take a map of 1 row and 3 columns, with 2 boxes in each cell and 2 numbers for each box, which makes 4
# channels. Each number tells where it stands: 21 is channel 2 of column 1.

# %%
x = (10 * torch.arange(4)[:, None, None] + torch.arange(3))[None]
print("channels by columns\n", x[0, :, 0])
print("with permute\n", x.permute(0, 2, 3, 1).reshape(1, -1, 2)[0])

# %% [markdown]
# The first row belongs to box 0 of cell 0 and holds channels 0 and 1 of column 0; the second row belongs to box 1 of
# the same cell. Now the same without the permute:

# %%
print("without permute\n", x.reshape(1, -1, 2)[0])

# %% [markdown]
# The shape is the same, so PyTorch doesn't complain. But the first row now claims that column 0 and column 1 of
# channel 0 are the two numbers of one box. What this does to a trained network you will see below, in *What would go
# wrong if*.
#
# The library does it in one line, in the same way for each head:

# %%
source(model._per_anchor)

# %% [markdown]
# Does row k of the answers really belong to row k of the anchors? Take box 1 in row 12, column 13 of the 19² map (all
# counted from 0), read its 21 channels directly from the head, and compare them with row k:

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
# 90](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/90)). Here the anchors are a plain
# tensor that the network never sees. What ties the two together is this order, and a test that checks it.
#
# By now every part of the network has been on this page, so we can put it together.
#
# ## The whole network in forty lines
#
# Here is SSD300 without the library's class. Its body is six stages, and each of them ends with a source. The numbers
# are those of the first figure and of *By hand*:

# %%
def conv(inputs, outputs, kernel=3, padding=1, **more):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding, **more), nn.ReLU())


def vgg(inputs, outputs, count):
    return nn.Sequential(conv(inputs, outputs), *[conv(outputs, outputs) for _ in range(count - 1)])


def stages():
    half, pool5 = nn.MaxPool2d(2, 2, ceil_mode=True), nn.MaxPool2d(3, 1, padding=1)
    to_conv3 = [vgg(3, 64, 2), half, vgg(64, 128, 2), half, vgg(128, 256, 3), half]
    fc6, fc7 = conv(512, 1024, padding=6, dilation=6), conv(1024, 1024, 1, padding=0)
    return nn.ModuleList([
        nn.Sequential(*to_conv3, vgg(256, 512, 3)),  # conv4_3, 38 x 38
        nn.Sequential(half, vgg(512, 512, 3), pool5, fc6, fc7),  # fc7, 19 x 19
        nn.Sequential(conv(1024, 256, 1, padding=0), conv(256, 512, stride=2)),  # conv6_2, 10 x 10
        nn.Sequential(conv(512, 128, 1, padding=0), conv(128, 256, stride=2)),  # conv7_2, 5 x 5
        nn.Sequential(conv(256, 128, 1, padding=0), conv(128, 256, padding=0)),  # conv8_2, 3 x 3
        nn.Sequential(conv(256, 128, 1, padding=0), conv(128, 256, padding=0)),  # conv9_2, 1 x 1
    ])

# %% [markdown]
# The rest is two heads on each source, and L2Norm before the first two. `model.L2Norm` and `model._per_anchor` are
# those that you have just read:

# %%
class PlainSSD(nn.Module):
    def __init__(self, classes=21):
        super().__init__()
        self.classes, self.stages, self.norm = classes, stages(), model.L2Norm(512)
        self.loc, self.conf = nn.ModuleList(), nn.ModuleList()
        for channels, boxes in zip((512, 1024, 512, 256, 256, 256), (4, 6, 6, 6, 4, 4)):
            self.loc.append(nn.Conv2d(channels, boxes * 4, 3, padding=1))
            self.conf.append(nn.Conv2d(channels, boxes * classes, 3, padding=1))

    def forward(self, x):
        offsets, logits = [], []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            for_heads = self.norm(x) if i == 0 else x  # the next stage takes the plain map
            offsets.append(model._per_anchor(self.loc[i](for_heads), 4))
            logits.append(model._per_anchor(self.conf[i](for_heads), self.classes))
        return torch.cat(offsets, dim=1), torch.cat(logits, dim=1)

# %% [markdown]
# Is it the same network? It has as many parameters, and if we copy the weights of `full` into it, in their order, it
# has to give the same outputs:

# %%
plain = PlainSSD().eval()
plain.load_state_dict(dict(zip(plain.state_dict(), full.state_dict().values())))
with torch.no_grad():
    offsets, logits = plain(scene.image)
    library = full(scene.image)
print(f"{count(plain):,} parameters, {len(logits[0]):,} rows")
print("the same offsets:", torch.allclose(offsets, library.offsets, rtol=1e-4, atol=1e-4))
print("the same logits: ", torch.allclose(logits, library.logits, rtol=1e-4, atol=1e-4))

# %% [markdown]
# The library's `SSD300` keeps its layers under Caffe's names, so that the weights of other programs find their places,
# and it has the three switches, the initial weights and layers that can be frozen. Otherwise it is these forty lines.
# Its `forward` goes over the maps that `feature_maps` returns:

# %%
source(model.SSD300.forward)

# %% [markdown]
# The order of the anchors is one convention that no shape can show. There is another one at the entrance of the
# network.
#
# ## What goes in: RGB minus (123, 117, 104)
#
# The network takes RGB from 0 to 255 with a mean subtracted, and without a division. Caffe, and therefore the
# original weights, take BGR minus (104, 117, 123), which is the same mean the other way round. OpenCV reads images as
# BGR as well, so the two are easily mixed up. What does it cost? Here the recorded network looks at the 32 scenes:

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
# There is no error and no warning, only fewer detections.
#
# > Note: *found* means right class, IoU at least 0.5 and score at least 0.5. These scenes are painted, and their
# > colours say a lot; on photographs a swap may cost less, and is harder to notice.
#
# If you want to run weights that were made for BGR, leave the images as they are and reverse the order of the first
# kernel's three input channels, once. Here the swap and the reversal undo each other:

# %%
swapped = pictures.recorded_network()
first = swapped.body["conv1_1"][0]
with torch.no_grad():
    first.weight.copy_(first.weight.flip(1))
    print("the same:", torch.allclose(swapped(images.flip(1)).logits, recorded(images).logits, atol=1e-2))

# %% [markdown]
# ### Weights that others published
#
# *You need this part only if you load other people's files; otherwise go on with "What an answer can see".*
#
# Six programs publish weights for these layers, each under its own names. They differ in three more things that no
# weight file tells: the order of the colours that the first layer takes, the order of the 4 offsets, and the anchors
# with which they were trained. [A table in the docs](../docs/differences_from_caffe.md) lists them for all six.
#
# `from_state` reads three of them. It recognises a file by a name that only this kind has, and says so in a sentence
# if it knows none of the names:

# %%
source(weights.from_state)

# %%
rows = [(program, f"`{mark}`", f"`clip={clip!r}`") for program, (mark, clip) in weights.SOURCES.items()]
table(rows, head=("file of", "known by", "its anchors"))

# %% [markdown]
# A fourth kind, the HDF5 files of ssd_keras, is read by `from_keras` in the same module, which reads the arrays and
# nothing else. `python -m ssdlib evaluate --checkpoint ssd300.h5` takes such a file as it takes the others, or a run
# of yours.
#
# And this is the sentence for a file of an unknown kind:

# %%
try:
    weights.from_state({"stem.weight": torch.zeros(1)})
except weights.WeightsError as error:
    print(error)

# %% [markdown]
# The network is now complete, from its input to its rows. One question is left that its shapes don't answer: on which
# part of the image is an answer based?
#
# ## What an answer can see
#
# One 3x3 convolution sees a square 3 pixels wide, and two in a row see 5, because each adds one pixel on either side.
# Behind a pool of stride 2 neighbouring cells are two pixels apart, so the next 3x3 adds 4. In short, *kernels add,
# strides multiply*, and that is the whole computation:

# %%
source(fields.receptive_field)

# %% [markdown]
# Here are all six sources, in pixels. `cell` is what a cell of the map sees, and `answer` what the 3x3 head on it
# sees.

# %%
rows = []
for level, name in enumerate(sources):
    cell, answer = fields.receptive_field(name), fields.receptive_field(name, head=True)
    longest = max(max(shape) for shape in anchors.SSD300_ANCHORS.shapes(level))
    rows.append((name, cell.size, answer.size, longest, cell.first, anchors.SSD300_ANCHORS.strides[level] / 2))
head = ("source", "cell", "answer", "longest anchor", "first cell: middle of field", "of anchors")
table(rows, head, form=("", "", "", ".0f", ".0f", ".0f"))

# %% [markdown]
# **Every map sees far more than its anchors.** An answer isn't given from a cut-out of the image, so it may use the
# road under the car. From fc7 on the field is larger than the image, and what lies outside is padding: zeros.
#
# Now look at the last two columns. From conv6_2 on, the middle of what a cell sees isn't the middle of its anchors,
# because the stride and padding of the extras don't quite fit Caffe's steps of 32, 64, 100 and 300 px. Still, every
# anchor lies inside what its answer sees: a test of this course checks all 8,732.
#
# The next figure shows it for a cell near the middle of each map. Blue is what its answers see, and dashed green are
# the widest and the highest of its anchors. The lower row is drawn smaller, because its blue squares wouldn't fit
# otherwise.

# %% alt="One scene six times with the two longest anchors of a middle cell in dashed green and the receptive field as a blue square, which grows from a third of the image's width to three times its width"
figure = figures.fields_on(scene)

# %% [markdown]
# A pixel that *can* change an answer needn't change it much. Which pixels really do? The gradient tells, because it
# says how much the answer would change if a pixel did, and
# [backpropagation](https://docs.pytorch.org/tutorials/beginner/blitz/autograd_tutorial.html) gives it for all pixels
# at once. Here it is for the cell in the middle of each map of the recorded network, as a mean over eight scenes: the
# brighter, the larger. The white dashed square, which has the same middle as the field, holds half of it. Blue is again
# what the answer sees, which is less than the image only on conv4_3; elsewhere the blue square lies outside the panel.

# %% alt="Six heat maps of gradients: a small bright spot for conv4_3, a wide cloud for fc7 and conv6_2, nearly even over the image for the last maps"
figure, halves = figures.heats_on(recorded, chosen[:8])

# %%
rows = []
for name, (size, half) in zip(sources, halves):
    rows.append((name, size, min(size, 300), min(size, 300) / 2**0.5, half))
head = ("source", "sees", "of the image", "half, if even", "half, measured")
table(rows, head, form=("", "", "", ".0f"))

# %% [markdown]
# *If even* means: if every visible pixel mattered alike, half of the gradient would lie in a square of that side. On
# conv4_3 the measured square is only half as wide, because the middle counts and the border of the field hardly does.
# [Luo and others, 2016](https://arxiv.org/abs/1701.04128) observed this in many networks: the *effective* field is much
# smaller than the theoretical one, and dense in the middle. The last maps look nearly even, since their fields are so
# large that the whole image lies in the middle of them.
#
# > Note: the recorded network has a strided stem, so its fields, here and in the explorer, are one pixel smaller than
# > in the table of the full network.
#
# What a cell sees, its anchors and its answers have had separate figures so far. The explorer puts them on one image.
#
# ## Move it
#
# Point at the image. The nearest cell of the chosen map shows what its answers see (blue, thick), its anchors (green,
# dashed) and, in red, the anchor that names an object. The words beside it are the recorded network's, read from the
# rows of this cell. *Predict first:*
#
# - **38² map**: go from the middle of a small object to its edge. Which of the four anchors names it, and when do all
#   say background? And on a large object?
# - **19² map**: much of the blue square lies outside the image. Does the network still name the objects near the
#   border?
# - **1² map**: why doesn't the mouse change anything?
# - Tick **which pixels matter** and go back to 38²: the more orange a pixel, the more it would change the strongest
#   answer of this cell.

# %%
explorer = fields.FieldPointer(scene, level=1)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# Now write the pieces yourself: two of them, 5.5 and 5.6, are building blocks of your own SSD in chapter 13.
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold.
#
# ### 5.1 The next side · easy · 5 minutes
#
# Write the formula of *By hand: from 300 to 1* as a function. Given are the `side` of a map and the layer's `kernel`,
# `stride`, `padding` and `dilation`, all whole numbers, and `up`, which is True or False: is the result of the division
# rounded up (a pool with `ceil_mode`) or down? Return the side of the map that the layer gives, a whole number.

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
# How far can the kernel move? Divide that by the stride, and add the place where it starts.
# </details>
# <details><summary>Hint 2</summary>
#
# `a // b` rounds down, `-(-a // b)` rounds up.
# </details>
# <!-- solution -->
#
# ### 5.2 The price of a floor · on paper · 5 minutes
#
# Suppose that **only pool3** rounds down, and everything else stays as it was. How many answers would the network
# then give, instead of 8,732? Put the number, or a formula for it, into `fitting`.

# %% tags=["exercise"]
fitting = 8732 - 4 * (38**2 - 37**2)  # solution

# %%
check.floored(fitting)

# %% [markdown]
# <details><summary>Hint</summary>
#
# pool4 still rounds up, so 37 becomes 19 and only the first source changes.
# </details>
# <!-- solution -->
#
# ### 5.3 Parameters of a layer · easy · 3 minutes
#
# Given are the channels that go into a convolution, `inputs`, the channels that come out, `outputs`, and the side of
# its square kernel, `kernel`. Return how many parameters the convolution has, biases included.

# %% tags=["exercise"]
def parameters(inputs, outputs, kernel):
    # solution
    return kernel * kernel * inputs * outputs + outputs

# %%
check.parameters(parameters)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Each output channel has a kernel over all input channels, and one bias.
# </details>
# <!-- solution -->
#
# ### 5.4 What a stack sees · the heart of the chapter · 10 minutes
#
# Given is `layers`, a list of (kernel, stride, dilation), the first layer first. Return how many pixels wide the
# receptive field of one cell of the last layer's map is. For an empty list that is 1, because a pixel sees itself.

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
# Given is `x`, the output of a head, of shape (B, boxes · numbers, rows, columns), and `numbers`, which is 4 for
# offsets and 21 for classes. Return a tensor of shape (B, K, numbers) with K = rows · columns · boxes, whose rows go
# row by row of the map, in a row cell by cell, and in each cell box by box.
#
# *Building block:* in chapter 13 it lines up the outputs of the twelve heads.

# %% tags=["exercise"]
def per_anchor(x, numbers):
    # solution
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)

# %%
check.per_anchor(per_anchor)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `reshape` cuts the numbers in the order in which the axes stand, and the last axis runs fastest. Which one has to?
# </details>
# <details><summary>Hint 2</summary>
#
# `permute(0, 2, 3, 1)`: batch, rows, columns, channels.
# </details>
# <details><summary>Help: the shapes agree and it says "not right"</summary>
#
# Look at the picture of the check: each number tells its channel, row and column. Within one row only the channel should
# change.
# </details>
# <!-- solution -->
#
# ### 5.6 L2Norm · medium · 7 minutes
#
# Given are `x`, a map of shape (B, C, rows, columns), and `scale`, of shape (C,). Bring the channel vector of every
# cell to length 1, then multiply channel c by `scale[c]`. Return a tensor of the same shape as `x`. A cell of zeros
# stays zero.
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
# There is one length for each image, row and column: sum the squares over `dim=1` with `keepdim=True`.
# </details>
# <details><summary>Hint 2</summary>
#
# `scale[:, None, None]` has the shape (C, 1, 1), which fits (B, C, rows, columns).
# </details>
# <!-- solution -->
#
# With the pieces in hand, break the network on purpose, so that you recognise the symptoms when you meet them.
#
# ## What would go wrong if
#
# ### ... the pools rounded down?
#
# In PyTorch they do, unless told otherwise. Here all pools round down, and the answers go on to `detect`, which turns
# answers and anchors into detections ([chapter 10](10_detection.ipynb)):

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
# 75 becomes 37, 37 becomes 18, 18 becomes 9. The network itself runs, and any weights load, because a convolution
# doesn't depend on the sides of its map. The error comes later, where answers meet anchors, and it doesn't name the
# pools. So when you see *8732* beside another number, look at the pools first.
#
# The error was luck. A program that makes its anchors from the sides it finds would run on, with other anchors than
# its weights were trained for.
#
# ### ... the permute were forgotten?
#
# This is the failure from the top of the page: the recorded network, with `_per_anchor` replaced by a plain reshape.

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
# On one of the scenes, with the detections in blue and the objects in dashed red:

# %% alt="The same scene twice with detections in blue: with the permute a few boxes, on objects; without it many boxes all over the image"
figure = figures.side_by_side(chosen, {"with permute": right, "without": mixed}, 25)

# %% [markdown]
# Each row now holds numbers from many different cells. A training with this bug would give no error, and its loss
# would even fall. To see that, we let new heads learn on the frozen maps of four scenes for 30 steps, in both ways:

# %% alt="Two loss curves over 30 steps: both fall, the one with permute much faster and deeper"
with interruptible(instead="the two curves are left out, and no cell below needs them"):
    learned = {
        "with permute": figures.heads_learn(recorded, chosen[:4], model._per_anchor),
        "without": figures.heads_learn(recorded, chosen[:4], unpermuted),
    }
    figure = figures.curves(learned)
    print("both fall:", all(losses[-1] < losses[0] for losses in learned.values()))

# %% [markdown]
# So a falling loss proves nothing about the order. If yours falls and then stays high, with boxes everywhere, suspect
# the order first.
#
# ### ... the first layer got BGR?
#
# You saw it in *What goes in*: the network finds about half as many objects, and there is no message. A drop like that
# is easily put down to too little training, so check the order of the colours first when results are merely poor.
#
# ## Self-test

# %%
SelfTest("network")

# %% [markdown]
# ## Recap
#
# - The sides are 300, 150, 75, 38, 19, 10, 5, 3, 1: pools round up, convolutions round down, and the last two extras
#   have no padding.
# - VGG16 up to conv5_3, fc6 and fc7 as thinned convolutions, four extra stages and two heads on each of six maps make
#   26,285,486 parameters. The deep layers have the parameters, and the early ones do the work.
# - ImageNet's weights fill the body up to fc7, and the paper's learning rate was made for them.
# - L2Norm gives every cell of conv4_3 the same length, for its heads alone.
# - Channel b · 21 + c is class c of box b. Put the channels last before you cut rows, or the answers belong to other
#   anchors.
# - Every answer sees far more than its anchors, but what matters to it can be much less than what it sees.
#
# Close the page and draw the first picture from memory: the six sources with their sides, their channels and their
# anchors.
#
# The network is described in the paper in sections 2.1 and 3, "Base network"; the
# [docs](../docs/differences_from_caffe.md) say where Caffe's program builds it.
