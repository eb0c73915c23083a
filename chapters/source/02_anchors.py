# %% [markdown]
# # 02 · Anchors
#
# **In one sentence:** before anybody looks at a picture, 8,732 boxes are laid over it, always the same; a few
# percents, six strides and two ratios say where each of them lies and how large it is, and this page derives every one
# of these numbers.
#
# | | |
# |---|---|
# | time | 80 minutes, half of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 01: boxes, their formats, IoU |
# | new modules | `anchors` |
#
# At the end of this page you will be able to
#
# - derive 30, 60, 111, 162, 213, 264 and 315 from three percents, and 8,732 from six maps,
# - say which anchor number 5,776 is, where its centre lies and how wide it is,
# - name the four places where published codes differ (sizes, centres, order, clipping), and what each difference does
#   to trained weights,
# - judge a set of anchors by the objects it covers, for VOC and for data of your own.

# %%
import inspect
from dataclasses import replace
from math import floor, sqrt

import torch

from course.anchors import anchor_browser, check, coverage, figures, other_anchors
from course.boxes import voc_facts
from course.kit import free_photographs, opening, pictures, tables
from course.kit.self_test import SelfTest
from ssdlib import anchors
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import voc

# %% [markdown]
# ## The picture
#
# The scene of chapter 00, three cells, and the anchors of each. Every dot is a centre that carries such a set. The cross marks the cell.

# %% alt="The same scene three times with a grid of dots: a cell of the fine map with four small anchors, a cell of the 10 x 10 map with six large ones, and its last cell, whose centre lies outside the picture"
scene = pictures.scene(opening.example())
figure = figures.of_cells(scene, ((0, 19, 12), (2, 4, 6), (2, 9, 9)))

# %% [markdown]
# Left: on the fine map the centres lie 8 pixels apart, and each has four small boxes. Middle: on the 10 x 10 map they
# lie 32 pixels apart, and each has six large ones. Right: the last cell of that map. Its centre lies *outside* the
# picture. That is no mistake of this page, and you will see why.
#
# The network answers once for each of these boxes: what is in it, and how it has to move to fit. So every object should
# find a box nearby that has about its size and its shape. Here is one object on a photograph, in orange, and in blue the
# anchor of each map that fits it best.

# %% alt="The same photograph six times, one for each map: the object in an orange box, and in blue the anchor that overlaps it most, with its IoU"
cat = pictures.scene(free_photographs.example("chelsea"))
figure = free_photographs.add_credit(figures.best_of_each_map(cat), ["chelsea"])

# %% [markdown]
# A face that fills the picture is a task for the last maps. The best anchor of the first map is hardly larger than an eye,
# so that no small correction could make it the box of the whole cat. For a small object it is the other way round.
#
# ## The words
#
# - An **anchor** is a box that is there before the picture. (Caffe: *prior*; the paper: *default box*;
#   [they are the same thing](https://github.com/pierluigiferrari/ssd_keras/issues/178).)
# - The **canvas** is the square of 300 x 300 pixels that every picture is squeezed to. All lengths here are its pixels.
# - A **map** is the grid of **cells** that a layer of the network gives. Six of them answer, with 38, 19, 10, 5, 3 and 1
#   cells a side; on this page *map* means one of these six.
# - The **stride** is how many pixels lie between the centres of two neighbouring cells. (Caffe: *step*.)
# - The **size** of a map is the side of its small square. (Caffe: *min_size*.)
# - An **aspect ratio** is width / height. A box of ratio 2 lies, one of ratio 1/2 stands.
#
# ## By hand: seven sizes
#
# Each map looks for objects of its own size. The settings of the released code are three numbers, in percent of 300:
#
# - 10, for the first map alone,
# - 20 and 90, the range for the other five maps.
#
# *The step.* Five maps have four gaps between them: (90 - 20) / 4 = 17.5. The code takes the floor: **17**.
#
# *The percents.* 10, then 20, 37, 54, 71, 88. The last isn't 90, because four steps of 17 are 68, not 70. One more
# step gives 105. It belongs to no map; you will need it in a moment.
#
# *The sizes.* 37 percent of 300 pixels are 111. Do the other six on paper, then look.

# %%
step = floor((90 - 20) / 4)
percents = [10, *range(20, 106, step)]
print("percents", percents)
print("sizes   ", [300 * percent // 100 for percent in percents])

# %% [markdown]
# You find these numbers in many codes, without a word on where they come from; people ask
# [again](https://github.com/amdegroot/ssd.pytorch/issues/192) and
# [again](https://github.com/amdegroot/ssd.pytorch/issues/385). With 7, 15 and 90 percent the same rule gives the
# other famous row, that of COCO: 21, 45, 99 and so on. You will compute it in the exercises.
#
# ### What the paper says
#
# The paper has equation 4 instead: from 20 to 90 percent in equal steps, over m maps. It can be read in two ways,
# because section 3.1 sets the first map apart: m is 6 or 5. Here are both, and the code.

# %%
all_six = [300 * (0.2 + 0.7 / 5 * k) for k in range(6)]
last_five = other_anchors.LetterSpec().min_sizes
sizes = {"eq. 4, m = 6": all_six, "eq. 4, m = 5": last_five, "the code": SSD300_ANCHORS.min_sizes}
maps = [f"{side} x {side}" for side in SSD300_ANCHORS.feature_maps]
tables.table([(name, *row) for name, row in sizes.items()], head=("sizes, px", *maps), form=("", *[".1f"] * 6))

# %% [markdown]
# The weights that were released with the paper's code were trained with the last row, so this course uses it. Asked
# about the difference, the author answered that the first map was
# [added as an extra](https://github.com/weiliu89/caffe/issues/295), and that the best sizes are
# [an open question](https://github.com/weiliu89/caffe/issues/48).
#
# ## By hand: the shapes of one cell
#
# Take conv6_2, the 10 x 10 map, with size s = 111. The next size is 162.
#
# 1. The **small square**: 111 x 111.
# 2. The **large square**: its side is the geometric mean of this size and the next, √(111 · 162) = 134.1. So 162 isn't the side
#    of a box here, though Caffe calls it *max_size*; [many stumble over that
#    name](https://github.com/weiliu89/caffe/issues/412). For the last map the next size is the 315 from above.
# 3. **Ratio 2**: s · √2 wide and s / √2 high, 157.0 x 78.5. Then the same box standing, **1/2**: 78.5 x 157.0.
# 4. **Ratio 3** and **1/3** in the same way: 192.3 x 64.1 and 64.1 x 192.3.
#
# Why the root? Width / height = (s√2) / (s/√2) = 2, as it should be, and width · height = s · s: **every ratio box has
# the area of the small square**. Without the root, 222 x 55.5, the ratio would be 4.

# %%
listed = zip(anchor_browser.names(SSD300_ANCHORS, 2), SSD300_ANCHORS.shapes(2), strict=True)
rows = [(name, width, height, width / height, width * height) for name, (width, height) in listed]
tables.table(rows, head=("shape", "width", "height", "ratio", "area"), form=("", ".1f", ".1f", ".2f", ",.0f"))

# %% [markdown]
# The order of this list, **1, 1', 2, 1/2, 3, 1/3**, matters as much as its content: it is the order of the network's
# output channels. In the settings you read only `[2, 3]`. The squares are always there, and each ratio
# [counts twice](https://github.com/weiliu89/caffe/issues/70), lying and standing. Width over height, or the other way
# round? [People had to ask](https://github.com/tensorflow/models/issues/1930). Width over height, here and in Caffe.
#
# ## By hand: 8,732
#
# A map with f cells a side has f · f cells. Three maps have six shapes a cell; the other three have `[2]` only, so
# four. The first has four because six would be
# [too many](https://github.com/weiliu89/caffe/issues/316) on its 1,444 cells.

# %%
spec = SSD300_ANCHORS
rows = [(f"{n} x {n}", n * n, k, count) for n, k, count in zip(spec.feature_maps, spec.boxes_per_cell, spec.per_map)]
tables.table([*rows, ("together", None, None, sum(spec.per_map))], head=("map", "cells", "shapes", "anchors"))

# %% [markdown]
# ## By hand: the centres
#
# Cell i of a row has its centre at **(i + ½) · stride**: half a cell in, then one stride for each cell.
#
# The strides are 8, 16, 32, 64, 100, 300. The first four are what the network does: three times it halves the picture
# before conv4_3, 2 · 2 · 2 = 8, then again for each next map. The last two layers
# [don't halve](https://github.com/weiliu89/caffe/issues/352); they shrink because they have no padding. There the code
# divides the picture: 300 / 3 and 300 / 1.
#
# The paper divides everywhere: (i + ½) / cells, as a part of the picture. For ten cells and 300 pixels that is a distance
# of 30, not 32. So the two disagree:

# %%
pairs = zip(SSD300_ANCHORS.feature_maps, SSD300_ANCHORS.strides, strict=True)
rows = [(side, stride, (side - 0.5) * stride, (side - 0.5) * 300 / side) for side, stride in pairs]
tables.table(rows, head=("cells", "stride", "last centre: code", "paper"), form=("", "", ".1f", ".1f"))

# %% [markdown]
# Look at the third line. Ten strides of 32 pixels are 320, more than the picture has, and the last centre lies at 304.
# On the 5 x 5 map the two formulas differ by 18 pixels. Which is right? Neighbouring cells of conv6_2 do look at places
# 32 pixels apart, because the picture was halved five times. So on the first four maps the *spacing* of the code's anchors
# is that of the network. Their position isn't: the first cells of the 19 x 19, 10 x 10, 3 x 3 and 1 x 1 maps look at places
# around 8, 8, 72 and 136 px (chapter 05 computes that), and their anchors stand at 16, 32, 50 and 150. The network learns
# such a constant shift with its offsets. What decides is that weights go with the centres they were trained with, and those
# of the released weights are the code's.
#
# ## In the library
#
# `AnchorSpec` holds what can be chosen; everything else is computed from that. This is the rule for the percents:

# %%
print(inspect.getsource(anchors.AnchorSpec.percents.func))

# %% [markdown]
# This is one cell:

# %%
print(inspect.getsource(anchors.AnchorSpec.shapes))

# %% [markdown]
# And this is a whole map. `indexing="ij"` with y first makes x run fastest: row by row, each row from the left.

# %%
print(inspect.getsource(anchors._map_boxes))


# %% [markdown]
# Do the library and the pencil agree? The pencil is four loops.

# %%
def by_pencil():
    for i, (side, stride) in enumerate(zip(SSD300_ANCHORS.feature_maps, SSD300_ANCHORS.strides, strict=True)):
        for line in range(side):
            for column in range(side):
                x, y = (column + 0.5) * stride, (line + 0.5) * stride
                for width, height in SSD300_ANCHORS.shapes(i):
                    yield x - width / 2, y - height / 2, x + width / 2, y + height / 2


grid = anchors.default_boxes()
assert torch.allclose(grid, torch.tensor(list(by_pencil())), atol=1e-4)
print("equal:", tuple(grid.shape), "corners in px of the canvas")

# %% [markdown]
# (And with Caffe's own? The tests of this project compare them with boxes of the released configuration, to a
# ten-thousandth of a pixel.)
#
# Since the order is fixed, a number is a place. Here is anchor 5,776, and the last anchor of the 10 x 10 map:

# %%
rows = []
for index in (0, 5775, 5776, 8541):
    at = anchor_browser.place_of(index)
    rows.append((index, at.map, at.row, at.column, at.shape, *grid[index].tolist()))
head = ("anchor", "map", "row", "column", "shape", "xmin", "ymin", "xmax", "ymax")
tables.table(rows, head, form=("", "", "", "", "", ".1f", ".1f", ".1f", ".1f"))

# %% [markdown]
# ## The same on a photograph
#
# A photograph is seldom square. It is squeezed to the canvas, the anchors are laid on it, and results are stretched
# back. What does an anchor look like then?

# %% alt="A square anchor of 111 x 111 px on the squeezed picture, and the same anchor on the original, where it is no square any more"
photograph = voc.read_photograph(scene.example.path)
square = torch.tensor([[90.0, 90, 201, 201]])
figure = figures.stretched(scene, photograph, square)

# %% [markdown]
# On a photograph that isn't square a square anchor becomes a rectangle, and its area is no s² any more.
# **Shapes belong to the canvas.** That is the one convention of this course: sizes, ratios and areas are pixels of the
# square canvas, and nothing else is called a ratio.
#
# Books that write sizes as parts of the photograph have to choose: is a width s√r parts of the picture's width, or of
# its height? One book changed its formula from the one to [the other](https://github.com/d2l-ai/d2l-zh/pull/1190) and
# [back](https://github.com/d2l-ai/d2l-en/pull/2480), and readers
# [measured](https://github.com/d2l-ai/d2l-en/pull/442) boxes that
# [didn't agree](https://github.com/d2l-ai/d2l-zh/issues/1357) with it. On a square canvas the question doesn't arise.
#
# It has a consequence for data of your own: count its shapes *after* squeezing. A lamp post seven times as high as
# wide on a 1920 x 1080 photograph is twelve times as high as wide on the canvas
# ([ssd_keras 72](https://github.com/pierluigiferrari/ssd_keras/issues/72)).

# %%
print(f"7 : 1 becomes {7 * 1920 / 1080:.1f} : 1")

# %% [markdown]
# ## Over the border
#
# How many anchors reach beyond the picture?

# %%
out = anchor_browser.crossing(grid)
print("by map", [int(part.sum()) for part in out.split(SSD300_ANCHORS.per_map)], " together", f"{int(out.sum()):,}")

# %% [markdown]
# One in three, and the released code **leaves them as they are**. An object at the border needs an anchor there; cut
# anchors would have another shape at the border than in the middle, for the same weights. Clipping was on at first,
# says the author, and without it the network is
# [less disturbed by shifts, and slightly better](https://github.com/weiliu89/caffe/issues/526). Someone trained both ways
# years later, one run each: [77.1 mAP with anchors that cross the border, 76.2 with anchors cut
# there](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/95). (mAP is the score of a detector,
# see the [glossary](glossary.md).)
#
# Other codes do clip, but not what you would expect. Some clamp the four numbers *centre and size*. That cuts nothing
# at the border. It moves the last row and column of the 10 x 10 map from 304 to 300, and it shortens the few boxes
# that are longer than the picture. torchvision clamps the size alone.

# %%
rows = []
for clip, who in (("center", "amdegroot, lufficc"), ("size", "torchvision")):
    differ = other_anchors.changed(anchors.default_boxes(clip=clip))
    by_map = [int(part.sum()) for part in differ.split(SSD300_ANCHORS.per_map)]
    rows.append((clip, who, sum(by_map), *by_map))
tables.table(rows, head=("clipped", "by", "boxes that differ", *maps))

# %% [markdown]
# The argument `clip` is there for weights that were trained so. To train, leave it at "none".
#
# ## Why these? What anchors cover
#
# An object that overlaps no anchor by half is left with a single anchor, often a bad one (chapter 03). So here is a
# measure for a set of anchors: **coverage**, the share of objects that have an anchor with IoU .5 or more.
#
# The objects are real. `course/facts` holds how many objects of VOC 07+12 have which width and height on the canvas:
# 47,223 of them, in bins of 5 pixels. It doesn't say where they lie. So each shape is laid at 49 places, spread evenly
# over the picture, and the share of places where it is covered counts. No chance is involved, and it takes
# milliseconds.

# %%
table = voc_facts.shapes()
share = coverage.coverage(SSD300_ANCHORS, table)
print(f"{int(table.sum()):,} objects, {100 * share:.1f} % covered")

# %% [markdown]
# Is that estimate any good? With the annotations at hand, each object at its real place, the number was counted:

# %%
known = voc_facts.counted()
counted = 1 - known["best_iou_below_threshold"] / known["objects"]
print(f"counted {100 * counted:.1f} %, estimated {100 * share:.1f} %")

# %% [markdown]
# They differ by two objects in a thousand. Where are the others, those that nobody covers?

# %% alt="Left: heat map of widths and heights of VOC's objects, most of them small, with the anchor shapes as markers in a fan and a green line around what they cover; the corner of small objects and two narrow strips lie outside. Right: bars of coverage by size: one percent below 20 px, over 80 above"
figure = figures.shapes_of_voc()

# %% [markdown]
# First, the small ones. The smallest square has a side of 30 pixels. A square object inside it reaches IoU .5 only if its
# side is at least 30 / √2 = 21.2 pixels. Second, the very long ones, outside the green line. In between the markers open
# like a fan, and reach nearly everything.
#
# Are the ratios worth it? Take them away:

# %%
rows = []
for name, ratios in anchor_browser.RATIOS.items():
    spec = replace(SSD300_ANCHORS, aspect_ratios=ratios)
    rows.append((name, sum(spec.per_map), coverage.coverage(spec, table)))
tables.table(rows, head=("ratios", "anchors", "objects covered"), form=("", "", ".1%"))

# %% [markdown]
# The paper trained such networks (table 2): 71.6 mAP with squares only, 73.7 with 2 and 1/2, 74.3 with all. So the
# numbers go the same way, but mAP falls much less than coverage. An object without a good anchor still gets one anchor
# in matching, and the network moves and stretches it. Coverage is a reason to look closer. It is not mAP.
#
# ## Move it
#
# Click a cell, or click the picture and walk with the arrow keys. The sliders change the numbers that everything is
# made from; the table beside the picture compares yours with the released ones. *Say before you look* what will happen:
#
# - **The edge**: on the 10² map go right until the end. Where is the centre? Let it *show also* what clipping changes.
# - **The border**: on the 38² map show all that cross the border. How wide is the frame they make?
# - **Small objects**: first percent 5. Which line of the coverage wins, and which one pays for it?
# - **Squares only**: which sizes suffer most? Why do the largest objects suffer least?
# - **The contest**: 8,732 anchors, ratios as released. Can you get above 90 %?

# %%
explorer = anchor_browser.AnchorBrowser(scene.pixels)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried. Whoever asked to *see* anchors, in
# [py-faster-rcnn](https://github.com/rbgirshick/py-faster-rcnn/issues/671),
# [yolact](https://github.com/dbolya/yolact/issues/154) or elsewhere: here they are.)
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold.
#
# ### 2.1 Sizes · easy · 5 minutes
#
# Return the sizes in px on a canvas of 300, as a list: one for each map, and the one more at the end. `first` is the
# percent of the first map, `low` and `high` are the range of the others, `maps` says how many maps there are.
#
# *Building block:* with 2.2 and 2.3 it lays out the 8,732 anchors of chapter 13.

# %% tags=["exercise"]
def sizes(first, low, high, maps):
    # solution
    step = floor((high - low) / (maps - 2))
    percents = [first] + [low + step * i for i in range(maps)]
    return [300 * percent / 100 for percent in percents]

# %%
check.sizes(sizes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Six maps: the first has its own percent, the other five have four gaps. So the divisor is maps - 2.
# </details>
# <details><summary>Hint 2</summary>
#
# `floor` is imported. The list has maps + 1 numbers: `first`, then low, low + step ... , maps of them.
# </details>
# <!-- solution -->
#
# ### 2.2 The shapes of a cell · the heart of the chapter · 10 minutes
#
# `small` is the size of the map, `following` the next size, `ratios` is like `(2, 3)` and may be empty. Return a list of
# pairs (width, height) in px in the order 1, 1', 2, 1/2, 3, 1/3. Don't round.
#
# *Building block:* with 2.1 and 2.3 it lays out the 8,732 anchors of chapter 13.

# %% tags=["exercise"]
def shapes(small, following, ratios):
    # solution
    large = sqrt(small * following)
    found = [(small, small), (large, large)]
    for ratio in ratios:
        found.append((small * sqrt(ratio), small / sqrt(ratio)))
        found.append((small / sqrt(ratio), small * sqrt(ratio)))
    return found

# %%
check.shapes(shapes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two squares first. The side of the large one is the root of a product.
# </details>
# <details><summary>Hint 2</summary>
#
# For each ratio two pairs, the lying one first. Their areas are small · small.
# </details>
# <!-- solution -->
#
# ### 2.3 Centres · easy · 5 minutes
#
# Return the centres of a map with `cells` a side: a tensor (cells · cells, 2) of x and y in px, row by row from the
# top, each row from the left.
#
# *Building block:* with 2.1 and 2.2 it lays out the 8,732 anchors of chapter 13.

# %% tags=["exercise"]
def centres(cells, stride):
    # solution
    found = []
    for line in range(cells):
        for column in range(cells):
            found.append([(column + 0.5) * stride, (line + 0.5) * stride])
    return torch.tensor(found)

# %%
check.centres(centres)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two loops. The outer one is over rows; which of x and y stays the same along a row?
# </details>
# <!-- solution -->
#
# ### 2.4 How many? · on paper · 5 minutes
#
# SSD512 has seven maps of 64, 32, 16, 8, 4, 2 and 1 cells a side. The ratios are `[2]` on the first map and on the last
# two, `[2, 3]` on the four between. How many anchors are there? (Python wants numbers without a comma in them.)

# %% tags=["exercise"]
how_many = 64**2 * 4 + (32**2 + 16**2 + 8**2 + 4**2) * 6 + (2**2 + 1) * 4  # solution

# %%
check.count512(how_many)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `[2]` means 1, 1', 2, 1/2.
# </details>
# <!-- solution -->
#
# ### 2.5 Where is anchor number ...? · medium · 10 minutes
#
# Given the number of an anchor of SSD300, 0 to 8,731, return a tuple of four whole numbers, all counted from 0: map, row,
# column, shape in the cell. `SSD300.per_map`, `SSD300.boxes_per_cell` and `SSD300.feature_maps` are there for you.

# %% tags=["exercise"]
def where(index):
    # solution
    level = 0
    while index >= SSD300_ANCHORS.per_map[level]:
        index -= SSD300_ANCHORS.per_map[level]
        level += 1
    cell, shape = divmod(index, SSD300_ANCHORS.boxes_per_cell[level])
    line, column = divmod(cell, SSD300_ANCHORS.feature_maps[level])
    return level, line, column, shape

# %%
check.place(where)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the map: take whole maps off the number while it is large enough to contain them.
# </details>
# <details><summary>Hint 2</summary>
#
# `divmod(a, b)` gives how often b fits into a, and the rest. You need it twice.
# </details>
# <!-- solution -->
#
# ### 2.6 Across the border · easy · 5 minutes
#
# Given a tensor of (n, 4) corners in px of the canvas, return how many boxes reach beyond the canvas, 300 x 300 px. A
# box that ends exactly at the border doesn't. n may be 0.

# %% tags=["exercise"]
def across(boxes):
    # solution
    outside = (boxes < 0) | (boxes > 300)
    return int(outside.any(dim=1).sum())

# %%
check.crossing(across)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `(boxes < 0) | (boxes > 300)` says it for each corner. `any(dim=1)` makes one answer a box.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# ... you took weights trained with these anchors and other anchors to go with them? This happens whenever weights
# travel from one code to another. There is no error: the shapes of all tensors are right.
#
# The network of `recordings/mini` looks at 48 scenes of the mini VOC, once. Its answers are then read with the anchors it
# was trained with, and with seven others. For each: how many anchors differ, how many objects are found, how many
# detections are *wrong*, and how well the right ones fit.

# %% tags=["nbval-ignore-output"]
answers = other_anchors.ask_network()
rows = []
for name, other in other_anchors.variants().items():
    rows.append((name, int(other_anchors.changed(other).sum()), *answers.score(other)))
tables.table(rows, head=("read with", "anchors that differ", "found", "wrong", "mean IoU"))

# %% [markdown]
# Read it from the top.
#
# - **Sizes by equation 4**: a hundredth or two larger or smaller, and the table doesn't show it.
# - **Clipped**: nothing happens on these scenes. The boxes that differ lie at the edge or are larger than the picture,
#   and none of these detections came from them. A silent difference can stay silent for years.
# - **Centres by the paper's formula**: as many objects are found, but every box is a little off, and the mean IoU falls. A
#   threshold of .5 hides that.
# - **The order with 3 before 1/2**, as in [sgrvinod's tutorial](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection):
#   nearly all objects are still found, by their squares. But there are far more wrong boxes, because two kinds of
#   answers are read with each other's shape.
# - **Height for width**: the same, and worse.
# - **Columns before rows**: nearly everything is lost. Of all these mistakes it is the kindest, because you notice.
#
# Here is one scene. Blue and solid is right, in class and in place; red and dashed is wrong in one of them, or both.

# %% tags=["nbval-ignore-output"] alt="One scene three times: read rightly, each object has a solid blue box; with the order changed and with height for width, long dashed red boxes lie across the same objects"
chosen = ("as trained", "order 1 1' 2 3 1/2 1/3", "ratio read as h / w")
figure = figures.detections(answers, chosen, scene=25)

# %% [markdown]
# A red box that stands in all three is the network's own mistake. The long ones are not. They are *good* answers of
# anchors with a ratio: offsets that fit, applied to an anchor of another shape.
#
# That tutorial isn't wrong: it trains with its own order, sizes and centres, and reaches 77.2 mAP. What is wrong is to
# mix. How far are its anchors from the released ones?

# %%
theirs = other_anchors.reordered(anchors.default_boxes(other_anchors.LetterSpec()), (0, 1, 2, 4, 3, 5))
print(f"up to {(theirs - grid).abs().max():.1f} px")
print(f"covered: {100 * coverage.coverage(other_anchors.LetterSpec(), table):.1f} % against {100 * share:.1f} %")

# %% [markdown]
# ### Questions that come up
#
# - **How do I choose sizes and ratios for my own data?** Asked in
#   [weiliu89 1039](https://github.com/weiliu89/caffe/issues/1039), [chainercv 666](https://github.com/chainer/chainercv/issues/666),
#   [ssd_keras 369](https://github.com/pierluigiferrari/ssd_keras/issues/369) and many more. Squeeze, count widths and
#   heights, compute coverage by size, move the percents. The functions above take any (60, 60) table: heights in lines,
#   widths in columns, in bins of 5 px of the canvas.
# - **Which ratios go on which map?** ([ssd_keras 82](https://github.com/pierluigiferrari/ssd_keras/issues/82)) Those that
#   objects *of that map's size* have. Look at the heat map along the fan.
# - **Where do min_sizes and max_sizes come from?** (amdegroot [212](https://github.com/amdegroot/ssd.pytorch/issues/212),
#   [221](https://github.com/amdegroot/ssd.pytorch/issues/221), [493](https://github.com/amdegroot/ssd.pytorch/issues/493))
#   From three percents, above. They are sizes of anchors; objects may be smaller or larger.
# - **Does `[0.5]` differ from `[2]`?** Only in the order: each ratio brings its inverse along. Weights then don't fit.
# - **How many for each cell?** ([weiliu89 338](https://github.com/weiliu89/caffe/issues/338)) Two squares, and two for each
#   ratio in the list.
# - **What is 'variance', which stands beside these settings?** Nothing about anchors: it scales offsets. Chapter 04.
# - **Can I change the anchors of trained weights?** You have just seen it. Train again.
#
# ## Self-test

# %%
SelfTest("anchors")

# %% [markdown]
# ## Recap
#
# - Percents 10 and 20, 37, 54, 71, 88, 105: steps of floor(17.5). Of 300 px: 30, 60, 111, 162, 213, 264, 315.
# - In a cell: small square, √(size · next) square, then each ratio lying and standing, all of area size².
# - Centres at (i + ½) · stride, strides 8, 16, 32, 64, 100, 300; the last of conv6_2 lies at 304.
# - 8,732 in all, row by row; 2,869 cross the border and stay.
# - They cover 88 of 100 objects of VOC; most of the others are small, some very long.
# - Anchors and weights belong together: sizes, centres, order, clipping.
#
# Paper, section 2.2 "Choosing scales and aspect ratios for default boxes"; the numbers are those of Caffe's
# `ssd_pascal.py` and `prior_box_layer.cpp`.
