# %% [markdown]
# # 02 · Anchors
#
# **In one sentence:** before the network looks at any image, SSD lays the same 8,732 boxes over it; a few percentages,
# six strides and two ratios determine where each box lies and how large it is, and this page derives every one of these
# numbers.
#
# Take a trained detector and exchange width and height in the ratios of its anchors, which is an easy slip when weights
# travel from one program to another. All tensors keep their shapes, no error is raised and most of what was found is
# still found, but long wrong boxes lie across the image. Because no message points to such a mistake, you will compute
# every anchor here with a pencil, and at the end you will see this mistake happen.
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
# - derive 30, 60, 111, 162, 213, 264 and 315 from three percentages, and 8,732 from six maps,
# - say which anchor number 5,776 is, where its centre lies and how wide it is,
# - name the four places where published programs differ (sizes, centres, order, clipping), and what each difference
#   does to trained weights,
# - judge a set of anchors by the objects it covers, for VOC and for data of your own.

# %%
from dataclasses import astuple, replace
from math import floor, sqrt

import torch

from course.anchors import anchor_browser, check, coverage, figures, other_anchors, places
from course.boxes import voc_facts
from course.kit import free_photographs, opening, pictures, tables
from course.kit.self_test import SelfTest
from course.kit.source import source
from ssdlib import anchors
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import voc

# %% [markdown]
# ## The picture
#
# Here is the image of chapter 00 three times, each time with one cell and the anchors of that cell. The cross marks the
# centre of the cell, and every dot is a centre that carries such a set of anchors.

# %% alt="The same scene three times with a grid of dots: a cell of the 38 x 38 map with four small anchors, a cell of the 10 x 10 map with six large ones, and the last cell of that map, whose centre lies outside the image"
scene = pictures.scene(opening.example())
figure = figures.of_cells(scene, ((0, 19, 12), (2, 4, 6), (2, 9, 9)))

# %% [markdown]
# Left: on the finest map the centres lie 8 pixels apart, and each has four small boxes. Middle: on the 10 x 10 map they
# lie 32 pixels apart, and each has six large ones. Right: the last cell of that map has its centre *outside* the image.
# That is no mistake of this page, as the section on centres explains.
#
# The network answers once for each of these boxes: what is in it, and how the box has to move and grow to fit. So every
# object should find a box nearby that has about its size and its shape. The next figure shows one object on a
# photograph, in orange, and in blue the anchor of each map that fits it best.

# %% alt="The same photograph six times, one for each map: the object in an orange box, and in blue the anchor that overlaps it most, with its IoU"
cat = pictures.scene(free_photographs.example("chelsea"))
figure = free_photographs.add_credit(figures.best_of_each_map(cat), ["chelsea"])

# %% [markdown]
# A face that fills the photograph is a task for the last maps, because the best anchor of the first map is hardly
# larger than an eye, and no small correction could turn it into the box of the whole cat. For a small object it is the
# other way round. So the anchors need many sizes, and the next sections derive them.
#
# ## The words
#
# - An **anchor** is a box that is fixed before the network sees the image. Caffe calls it a *prior* and the paper a
#   *default box*, and all three are the same thing.
# - The **300 x 300 input** is the square of pixels to which every image is resampled, squeezed if it isn't square; the
#   code calls it `canvas`. All lengths on this page are pixels of this input.
# - A **map** is the grid of **cells** that a layer of the network gives, a *feature map* in full. Six maps answer, with
#   38, 19, 10, 5, 3 and 1 cells a side, and on this page *map* means one of these six. In this order they are the
#   outputs of the layers conv4_3, fc7, conv6_2, conv7_2, conv8_2 and conv9_2, so conv6_2 is the 10 x 10 map.
# - The **stride** of a map is the number of pixels between the centres of two neighbouring cells. Caffe calls it
#   *step*.
# - The **size** of a map is the side of its small square. Caffe calls it *min_size*.
# - An **aspect ratio** is width / height, here and in Caffe. A box of ratio 2 is wide ("lying" in the library's
#   comments), and one of ratio 1/2 is tall ("standing").
#
# ## By hand: seven sizes
#
# Each map is responsible for objects of its own size. The released code sets the sizes by three numbers, in percent of
# 300:
#
# - 10, for the first map alone,
# - 20 and 90, the range for the other five maps.
#
# *The step.* Five maps have four gaps between them, and (90 - 20) / 4 = 17.5. The code rounds this down to **17**.
#
# *The percentages.* They are 10, then 20, 37, 54, 71, 88. The last isn't 90, because four steps of 17 make 68 and not
# 70. One more step gives 105, which belongs to no map but is needed for the last map's large square.
#
# *The sizes.* 37 percent of 300 pixels are 111. Do the other six on paper, then look.

# %%
step = floor((90 - 20) / 4)
percents = [10, *range(20, 106, step)]
sides = [300 * percent // 100 for percent in percents]
maps = [f"{cells} x {cells}" for cells in SSD300_ANCHORS.feature_maps]
tables.table([("percent", *percents), ("size, px", *sides)], head=("", *maps, "one more"))

# %% [markdown]
# These numbers stand in many programs without a word on where they come from. With 7, 15 and 90 percent the same rule
# gives the other well-known row, the one for the COCO dataset: 21, 45, 99 and so on. Exercise 2.1 asks for a function
# that computes both rows.
#
# ### What the paper says
#
# The paper has equation 4 instead: equal steps from 20 to 90 percent, over m maps. It can be read in two ways, because
# section 3.1 sets the first map apart, so that m is 6 or 5. The table shows both, and the code.

# %%
all_six = [300 * (0.2 + 0.7 / 5 * k) for k in range(6)]
last_five = [30, *(300 * (0.2 + 0.7 / 4 * k) for k in range(5))]
the_code = SSD300_ANCHORS.min_sizes
rows = [("equation 4, m = 6", *all_six), ("equation 4, m = 5", *last_five), ("the code", *the_code)]
tables.table(rows, head=("sizes, px", *maps), form=("", *[".1f"] * 6))

# %% [markdown]
# The weights that were released with the paper's code were trained with the sizes in the last row, so this course uses
# them. The author later explained that the first map had been added as an extra, and called the best choice of sizes an
# open question ([FAQ](../docs/faq.md#anchors)). A size makes a square, so the next step is to give the boxes of a cell
# their shapes.
#
# ## By hand: the shapes of one cell
#
# Take conv6_2, the 10 x 10 map, with size s = 111. The next size is 162.
#
# 1. The **small square** is 111 x 111.
# 2. The side of the **large square** is the geometric mean of this size and the next, √(111 · 162) = 134.1. So 162
#    isn't the side of a box here, although Caffe calls it *max_size*. For the last map the next size is the 315 from
#    above.
# 3. The box of **ratio 2** is s · √2 wide and s / √2 high, 157.0 x 78.5. The same box upright has ratio **1/2**: 78.5 x
#    157.0.
# 4. **Ratio 3** and **1/3** follow in the same way: 192.3 x 64.1 and 64.1 x 192.3.
#
# Why the root? Width / height = (s√2) / (s/√2) = 2, as it should be, and width · height = s · s, which means that
# **every ratio box has the area of the small square**. Without the root the box would be 222 x 55.5, and its ratio 4.

# %%
named = zip(("1", "1'", "2", "1/2", "3", "1/3"), SSD300_ANCHORS.shapes(2), strict=True)
rows = [(name, width, height, width / height, width * height) for name, (width, height) in named]
tables.table(rows, head=("shape", "width", "height", "ratio", "area"), form=("", ".1f", ".1f", ".2f", ",.0f"))

# %% [markdown]
# The order of this list, **1, 1', 2, 1/2, 3, 1/3**, matters as much as its content, because it is the order of the
# network's output channels. The settings say only `[2, 3]`: the squares are always there, and each ratio counts twice,
# wide and tall. With the shapes of one cell known, the anchors can be counted.
#
# ## By hand: 8,732
#
# A map with f cells a side has f · f cells. Three maps have six shapes a cell. The other three have only `[2]`, so they
# have four; on the first map six would be too many, because it has 1,444 cells.

# %%
spec = SSD300_ANCHORS
rows = [(f"{n} x {n}", n * n, k, count) for n, k, count in zip(spec.feature_maps, spec.boxes_per_cell, spec.per_map)]
tables.table([*rows, ("together", None, None, sum(spec.per_map))], head=("map", "cells", "shapes", "anchors"))

# %% [markdown]
# The number is settled, but not yet where each of these boxes lies.
#
# ## By hand: the centres
#
# Cell i of a row has its centre at **(i + ½) · stride**: half a stride in, then one stride for each further cell.
#
# The strides are 8, 16, 32, 64, 100 and 300. The first four follow from the network, which halves the image three times
# before the first map, conv4_3, 2 · 2 · 2 = 8, and once more for each of the next three. The last two layers don't
# halve; their maps shrink because they have no padding. For these two the code divides the input by the number of
# cells: 300 / 3 and 300 / 1.
#
# The paper divides everywhere: (i + ½) / cells, as a fraction of the image. For ten cells and 300 pixels that is a
# distance of 30 and not 32, so the two disagree:

# %%
pairs = zip(SSD300_ANCHORS.feature_maps, SSD300_ANCHORS.strides, strict=True)
rows = [(cells, stride, (cells - 0.5) * stride, (cells - 0.5) * 300 / cells) for cells, stride in pairs]
tables.table(rows, head=("cells", "stride", "last centre: code", "paper"), form=("", "", ".1f", ".1f"))

# %% [markdown]
# In the third row, ten strides of 32 pixels make 320, more than the image has, so the last centre lies at 304, 19
# pixels from where the paper puts it. On the 5 x 5 map the two formulas differ by 18 pixels.
#
# Which is right? Neighbouring cells of conv6_2 do look at places 32 pixels apart, because the image was halved five
# times. So on the first four maps the *spacing* of the code's anchors is that of the network. Their *position* isn't
# always: the first cells of the 10 x 10, 5 x 5, 3 x 3 and 1 x 1 maps look at places around 8, 8, 72 and 136 px, as
# [chapter 05](05_network.ipynb) computes, whereas their anchors stand at 16, 32, 50 and 150. The network learns such a
# constant shift as part of its offsets, the four numbers by which it moves and stretches an anchor. So neither formula
# puts every anchor where its cell looks. What decides is that weights need the centres they were trained with, and the
# released weights were trained with the code's.
#
# Sizes, shapes, number and centres are now derived, and that is enough to lay out all anchors.
#
# ## All of them, with four loops
#
# Four loops, one inside the other, go over the maps, the rows of a map, the cells of a row and the shapes of a cell. The
# innermost turns a centre and a shape into two corners.

# %%
def by_loops():
    for i, (cells, stride) in enumerate(zip(SSD300_ANCHORS.feature_maps, SSD300_ANCHORS.strides, strict=True)):
        for row in range(cells):
            for column in range(cells):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                for width, height in SSD300_ANCHORS.shapes(i):
                    yield x - width / 2, y - height / 2, x + width / 2, y + height / 2


naive = torch.tensor(list(by_loops()))
print(f"{len(naive):,} anchors")

# %% [markdown]
# The library has to give the same boxes in the same order. It says the rules in three short functions and has tensors
# in place of the loops.
#
# ## In the library
#
# `AnchorSpec` holds what can be chosen, and everything else is computed from that. This is the rule for the
# percentages:

# %%
source(anchors.AnchorSpec.percents.func)

# %% [markdown]
# From the sizes that the percentages give, the next function makes the shapes of one cell:

# %%
source(anchors.AnchorSpec.shapes)

# %% [markdown]
# The last one lays out a whole map, as centre, width and height. `indexing="ij"` with y first makes x run fastest, so
# the boxes come row by row, each row from the left.

# %%
source(anchors._map_boxes)

# %% [markdown]
# `default_boxes` puts the six maps one after the other and turns centres and sizes into corners. Do the library and the
# loops agree?

# %%
grid = anchors.default_boxes()
assert torch.allclose(grid, naive, atol=1e-4)
print("equal:", tuple(grid.shape), "corners in px of the input")

# %% [markdown]
# > Note: the tests of this project also compare the anchors with boxes of the released Caffe configuration, to a
# > ten-thousandth of a pixel.
#
# Since the order is fixed, the number of an anchor says where it is. Here are the first anchor, the last of the 38 x 38
# map, number 5,776 and the last of the 10 x 10 map; map, row, column and shape are counted from 0.

# %%
rows = [(index, *astuple(places.place_of(index)), *grid[index].tolist()) for index in (0, 5775, 5776, 8541)]
head = ("anchor", "map", "row", "column", "shape", "xmin", "ymin", "xmax", "ymax")
tables.table(rows, head, form=("", "", "", "", "", ".1f", ".1f", ".1f", ".1f"))

# %% [markdown]
# All of this happened on the square input. The next section asks what it means on a photograph.
#
# ## The same on a photograph
#
# A photograph is seldom square. It is squeezed to 300 x 300 pixels, the anchors are laid on that input, and the results
# are stretched back. What does an anchor look like then? The figure shows a square anchor of size 111, in blue: on the
# left on the input, on the right on the image as it is stored, 500 x 375 pixels. The image is the painted scene of
# above; with a photograph it would be the same.

# %% alt="A square anchor of 111 x 111 px on the squeezed image, and the same anchor on the original, where it is a rectangle"
photograph = voc.read_photograph(scene.example.path)
square = torch.tensor([[90.0, 90, 201, 201]])
figure = figures.stretched(scene, photograph, square)

# %% [markdown]
# On a photograph that isn't square, a square anchor becomes a rectangle, and its area is no longer s². **Shapes belong
# to the 300 x 300 input.** That is the convention of this course: sizes, ratios and areas are measured in pixels of the
# square input, and nothing else is called a ratio. A textbook that writes sizes as fractions of the photograph has to
# say whether s√r is a fraction of its width or of its height, and one book changed its formula from one to the other
# and back ([FAQ](../docs/faq.md#anchors)). On a square input the question doesn't arise.
#
# The convention has a consequence for data of your own: count shapes *after* squeezing. A lamp post seven times as tall
# as wide on a 1920 x 1080 photograph is twelve times as tall as wide on the 300 x 300 input.

# %%
round(7 * 1920 / 1080, 1)

# %% [markdown]
# Squeezing makes every photograph fit the input, but the anchors themselves don't all fit into it.
#
# ## Over the border
#
# How many anchors reach beyond the image?

# %%
out = anchor_browser.crossing(grid)
rows = [("anchors", *SSD300_ANCHORS.per_map, len(grid)), ("across the border", *places.by_map(out), out.sum())]
tables.table(rows, head=("", *maps, "together"))

# %% [markdown]
# One in three does, and the released code **leaves them as they are**. An object at the border needs an anchor there,
# and clipped anchors would have another shape at the border than in the middle, for the same weights. The author says
# that clipping was on at first, and that without it the network is [less disturbed by shifts, and slightly
# better](https://github.com/weiliu89/caffe/issues/526). Years later a user trained another program both ways, one run
# each: [77.1 mAP with anchors that cross the border, 76.2 with anchors cut
# there](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/95). mAP is the score of a detector;
# see the [glossary](glossary.md).
#
# Other programs do have **clipping**, but of a kind that you wouldn't expect: some clamp the four numbers *centre and
# size*, which cuts nothing at the border, as [chapter 01](01_boxes_and_voc.ipynb) showed. Instead it moves the last row
# and column of the 10 x 10 map from 304 to 300, and it shortens the few boxes that are longer than the image.
# torchvision clamps the size alone.

# %%
rows = []
for clip, who in (("center", "amdegroot, lufficc"), ("size", "torchvision")):
    differ = other_anchors.changed(anchors.default_boxes(clip=clip))
    rows.append((clip, who, *places.by_map(differ), differ.sum()))
tables.table(rows, head=("clipped", "by", *maps, "together"), caption="Boxes that differ from the released ones")

# %% [markdown]
# The argument `clip` is there for weights that were trained so. When you train, leave it at "none".
#
# The anchors are now complete, with all their conventions. Whether they are a good choice is another question.
#
# ## Why these? What anchors cover
#
# An object that reaches an IoU of 0.5 with no anchor is left with a single anchor, often a bad one, as [chapter
# 03](03_matching.ipynb) shows. So here is a measure for a set of anchors: **coverage**, the share of objects that have
# an anchor with an IoU of 0.5 or more.
#
# The objects are real. `course/facts` holds the widths and heights on the 300 x 300 input of the 47,223 objects of VOC
# 07+12, counted in bins of 5 pixels. It doesn't say where the objects lie, so each shape is laid at 49 places, spread
# evenly over the image, and contributes the share of places where it is covered. No random numbers are involved, and
# the computation takes milliseconds.

# %%
objects = voc_facts.shapes()  # [i, j]: how many are 5i to 5i + 5 px high and 5j to 5j + 5 px wide
share = coverage.coverage(SSD300_ANCHORS, objects)
print(f"{int(objects.sum()):,} objects, {100 * share:.1f} % covered")

# %% [markdown]
# Is that estimate any good? The true number was counted from the annotations, with each object at its real place:

# %%
facts = voc_facts.counted()
counted = 1 - facts["best_iou_below_threshold"] / facts["objects"]
tables.table([("estimated", share), ("counted", counted)], head=("", "objects covered"), form=("", ".1%"))

# %% [markdown]
# The two differ by two objects in a thousand, so the estimate will do. Which objects does no anchor cover?

# %% alt="Left: heat map of widths and heights of VOC's objects, most of them small, with the anchor shapes as markers in a fan and a green line around what they cover; the corner of small objects and two narrow strips lie outside. Right: bars of coverage by size: 1 percent below 20 px, more than 80 percent above"
figure = figures.shapes_of_voc()

# %% [markdown]
# The *size* of an object is here √(width · height), the side of a square with the same area. (Chapter 01 asked for
# width and height both below 20 px, and so counted fewer.) What no anchor covers is of two kinds. The bars on the right
# show the first, small objects: of the 3,897 below 20 pixels only 1 % are covered. They are missed, because the
# smallest square has a side of 30 pixels, and a square object inside it reaches an IoU of 0.5 only if it fills half of
# its area (exercise 3.4 of the next chapter computes the side). The second kind are very long objects, which lie
# outside the green line on the left. Inside it the markers, the shapes of the anchors, open like a fan, and nearly
# everything is covered.
#
# Are the ratios worth it? Take them away:

# %%
rows = []
for name, ratios in anchor_browser.RATIOS.items():
    spec = replace(SSD300_ANCHORS, aspect_ratios=ratios)
    rows.append((name, sum(spec.per_map), coverage.coverage(spec, objects)))
tables.table(rows, head=("ratios", "anchors", "objects covered"), form=("", "", ".1%"))

# %% [markdown]
# The paper trained such networks (table 2): 71.6 mAP with squares only, 73.7 with 2 and 1/2, 74.3 with all ratios. The
# two measures move in the same direction, but mAP falls much less than coverage, because an object without a good
# anchor still gets one in matching, and the network moves and stretches it. So low coverage is a reason to look closer,
# but coverage is not mAP.
#
# The released anchors are one choice among many. In the explorer you can make another, and see what it covers.
#
# ## Move it
#
# Click a cell, or click the image and walk with the arrow keys. The sliders change the numbers that the anchors are
# made from, and the table beside the image compares yours with the released ones. *Predict first*:
#
# - **The edge**: on the 10² map go right until the end. Where is the centre? Let it *show also* what clipping changes.
# - **The border**: on the 38² map show all anchors that cross the border. How wide is the frame they make?
# - **Small objects**: set the first percentage to 5. Which row of the coverage gains, and which rows lose?
# - **Squares only**: which sizes suffer most? Why do the largest objects lose so little, and those below 20 px nothing?
# - **The contest**: with 8,732 anchors and the ratios as released, can you get above 90 %?

# %%
explorer = anchor_browser.AnchorBrowser(scene.pixels)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a folded solution.
#
# ### 2.1 Sizes · easy · 5 minutes
#
# Given are `first`, the percentage of the first map, `low` and `high`, the range of the other maps, and `maps`, the
# number of maps. Return a list of the sizes in px of a 300 x 300 input: one for each map, and at the end the one more
# that the last large square needs.
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
# Six maps: the first has its own percentage, and the other five have four gaps. So the divisor is maps - 2.
# </details>
# <details><summary>Hint 2</summary>
#
# `floor` is imported. The list has maps + 1 numbers: `first`, then low, low + step and so on, maps of them.
# </details>
# <!-- solution -->
#
# ### 2.2 The shapes of a cell · the heart of the chapter · 10 minutes
#
# Given are `small`, the size of the map, `following`, the next size, and `ratios`, a tuple like `(2, 3)` that may be
# empty. Return a list of pairs (width, height) in px, in the order 1, 1', 2, 1/2, 3, 1/3. Don't round.
#
# *Building block:* with 2.1 and 2.3 it lays out the 8,732 anchors of chapter 13.

# %% tags=["exercise"]
def shapes(small, following, ratios):
    # solution
    large = sqrt(small * following)
    found = [(small, small), (large, large)]
    for ratio in ratios:
        found.append((small * sqrt(ratio), small / sqrt(ratio)))  # wide
        found.append((small / sqrt(ratio), small * sqrt(ratio)))  # tall
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
# For each ratio append two pairs, the wide one first. Their areas are small · small.
# </details>
# <!-- solution -->
#
# ### 2.3 Centres · easy · 5 minutes
#
# Given are `cells`, the number of cells a side of a map, and its `stride` in px. Return the centres: a tensor (cells ·
# cells, 2) of x and y in px, row by row from the top, each row from the left.
#
# *Building block:* with 2.1 and 2.2 it lays out the 8,732 anchors of chapter 13.

# %% tags=["exercise"]
def centres(cells, stride):
    # solution
    found = []
    for row in range(cells):
        for column in range(cells):
            found.append([(column + 0.5) * stride, (row + 0.5) * stride])
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
# two, `[2, 3]` on the four between. How many anchors are there? Put the number, or the sum that gives it, into
# `how_many`, without a comma, because Python would read a tuple.

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
# Given the number of an anchor of SSD300, 0 to 8,731, return a tuple of four whole numbers, all counted from 0: map,
# row, column, and shape in the cell. Use `SSD300_ANCHORS.per_map`, `SSD300_ANCHORS.boxes_per_cell` and
# `SSD300_ANCHORS.feature_maps`, which each hold one number for each map.

# %% tags=["exercise"]
def where(index):
    # solution
    level = 0
    while index >= SSD300_ANCHORS.per_map[level]:
        index -= SSD300_ANCHORS.per_map[level]
        level += 1
    cell, shape = divmod(index, SSD300_ANCHORS.boxes_per_cell[level])
    row, column = divmod(cell, SSD300_ANCHORS.feature_maps[level])
    return level, row, column, shape

# %%
check.place(where)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the map: subtract whole maps from the number as long as it is large enough to contain them.
# </details>
# <details><summary>Hint 2</summary>
#
# `divmod(a, b)` gives how often b fits into a, and the rest. You need it twice.
# </details>
# <!-- solution -->
#
# ### 2.6 Across the border · easy · 5 minutes
#
# Given a tensor (n, 4) of corners in px, return the number of boxes that reach beyond the 300 x 300 input. A box that
# ends exactly at the border doesn't. n may be 0.

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
# `(boxes < 0) | (boxes > 300)` answers for each corner. `any(dim=1)` makes one answer for each box.
# </details>
# <!-- solution -->
#
# With the rules in your own code, you can judge what happens when two programs don't share them.
#
# ## What would go wrong if
#
# ... you took weights trained with these anchors and used them with other anchors? This happens whenever weights travel
# from one program to another, and no error is raised, because the shapes of all tensors are right.
#
# The trained network of `recordings/mini` looks once at 48 images of the mini VOC, which hold 134 objects. Its outputs
# are then decoded with the anchors it was trained with, and with seven other sets. For each set the table gives the
# number of anchors that differ, of objects found, and of *wrong* detections, those with a score of 0.5 or more that are
# wrong in class or place. The last column says how well the right detections fit.

# %% tags=["nbval-ignore-output"]
answers = other_anchors.ask_network()
rows = []
for name, other in other_anchors.variants().items():
    rows.append((name, int(other_anchors.changed(other).sum()), *answers.score(other)))
tables.table(rows, head=("read with", "anchors that differ", "found", "wrong", "mean IoU"))

# %% [markdown]
# Read the table from the top:
#
# - **Sizes by equation 4**: the sizes of the last four maps differ by 1 to 2 %, and with them the large square of the
#   19 x 19 map. The counts and the mean IoU stay the same.
# - **Clipped**, sizes or centres: nothing changes on these images. The boxes that differ lie at the edge or are larger
#   than the image, and none of these detections came from them. A silent difference can stay silent for years.
# - **Centres by the paper's formula**: as many objects are found, but nearly every box is a little off, so the mean IoU
#   falls. A threshold of 0.5 hides that.
# - **The order with 3 before 1/2**, as in [sgrvinod's
#   tutorial](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection): all but one of the 77 objects are
#   still found, thanks to their squares, but there are far more wrong boxes, because the outputs for two shapes are
#   each decoded with the other's shape.
# - **Height for width**: the same happens, only worse.
# - **Columns before rows**: nearly everything is lost. Of all these mistakes it is the kindest, because you notice.
#
# Here is one image. Solid blue boxes are right in class and in place; dashed red ones are wrong in at least one of the
# two.

# %% tags=["nbval-ignore-output"] alt="One scene three times: read rightly, each object has a solid blue box; with the order changed and with height for width, long dashed red boxes lie across the same objects"
chosen = ("as trained", "order 1 1' 2 3 1/2 1/3", "ratio read as h / w")
figure = figures.detections(answers, chosen, scene=25)

# %% [markdown]
# The red box *dog*, which stands in all three panels, is the network's own mistake, but the long ones are not. They are
# *good* outputs for anchors with a ratio: offsets that fit, applied to an anchor of another shape.
#
# The tutorial isn't wrong: it trains with its own order, sizes and centres, and reaches 77.2 mAP. What is wrong is to
# mix its anchors with weights from elsewhere. How far are its anchors from the released ones, and do they cover less?

# %%
letter = other_anchors.LetterSpec()
theirs = other_anchors.reordered(anchors.default_boxes(letter), (0, 1, 2, 4, 3, 5))
rows = [("released", 0, share), ("the tutorial's", (theirs - grid).abs().max(), coverage.coverage(letter, objects))]
tables.table(rows, head=("anchors", "largest difference, px", "objects covered"), form=("", ".1f", ".1%"))

# %% [markdown]
# The two sets cover nearly the same share of objects, although an edge of an anchor can lie up to 103.6 pixels away
# from that of the anchor with the same number in the other set. So the choice matters little for coverage, but weights
# trained with one set can't be used with the other.
#
# ### Questions that come up
#
# - **How do I choose sizes and ratios for my own data?** Squeeze, count widths and heights, compute coverage by size,
#   and move the percentages. The functions above take any (60, 60) table with heights in rows and widths in columns, in
#   bins of 5 px of the 300 x 300 input.
# - **Which ratios go on which map?** Those that objects *of that map's size* have. Look at the heat map along the fan.
# - **Does `[0.5]` differ from `[2]`?** Only in the order, because each ratio brings its inverse along. Weights trained
#   with the other order then don't fit.
# - **What is "variance", which stands beside these settings?** It has nothing to do with anchors: it scales offsets, as
#   [chapter 04](04_multibox_loss.ipynb) explains.
# - **Can I change the anchors of trained weights?** No, as you have just seen: train again.
#
# More questions, with the threads in which people asked them, are in the [FAQ](../docs/faq.md#anchors).
#
# ## Self-test

# %%
SelfTest("anchors")

# %% [markdown]
# ## Recap
#
# - The percentages are 10, then 20, 37, 54, 71, 88 and 105, in steps of floor(17.5). Of 300 px they make 30, 60, 111,
#   162, 213, 264, 315.
# - In a cell come the small square, the square with the side √(size · next), then each ratio wide and tall. A ratio box
#   has the area size².
# - Centres lie at (i + ½) · stride, with strides 8, 16, 32, 64, 100, 300; the last of conv6_2 lies at 304, outside the
#   image.
# - There are 8,732 anchors, row by row; 2,869 cross the border and stay.
# - They cover 88 of 100 objects of VOC; most of the others are small, some very long.
# - Anchors and weights belong together: sizes, centres, order, clipping.
#
# The boxes are laid out, but none of them knows yet what it has to find. [Chapter 03](03_matching.ipynb) decides which
# anchor has to find which object.
#
# The paper describes the anchors in section 2.2, "Choosing scales and aspect ratios for default boxes"; the numbers are
# those of Caffe's `ssd_pascal.py` and `prior_box_layer.cpp`.
