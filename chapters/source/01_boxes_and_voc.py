# %% [markdown]
# # 01 · Boxes and VOC
#
# **In one sentence:** an object is a class and four numbers, those numbers mean nothing until somebody says how to
# read them, and two boxes are compared by the area they share, divided by the area they cover together.
#
# | | |
# |---|---|
# | time | 70 minutes, more than half of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | PyTorch tensors, and the page "start here" |
# | new modules | `records`, `box_ops`, `voc`, and a look into `store` |
#
# At the end of this page you will be able to
#
# - read an annotation of Pascal VOC by hand, with its quirks,
# - tell four notations of a box apart, and change one into another,
# - compute an IoU on paper and in one line, and say what doesn't change it,
# - say what SSD300 is trained and tested on, in numbers,
# - find the box that would turn a loss into NaN, before training begins.

# %%
import inspect
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import torch

from course.boxes import check, overlap, voc_facts
from course.kit import free_photographs, pictures, tables
from course.kit.self_test import SelfTest
from ssdlib import anchors, box_ops, coding, matching, plots, records
from ssdlib.data import store, voc
from ssdlib.records import LABELS

# %% [markdown]
# ## The picture
#
# This is what a detector has to give back: boxes with a class. A dashed box is marked *difficult*; more about that
# soon.

# %% alt="One picture with the boxes of its annotation: solid boxes with their class, a dashed one for a difficult object"
found = overlap.worth_reading(pictures.test_set())
example = found[0]
photograph = voc.read_photograph(example.path)
figure = plots.examples([example], [photograph])
figure.set_size_inches(5, 3.9)

# %% [markdown]
# ## The words
#
# - A **box** is the smallest upright rectangle around the visible part of an object. It has four numbers.
# - An **annotation** is what people wrote down about a picture: its objects, each with class and box. Also called
#   *ground truth*.
# - A **format** says what the four numbers mean. Ours is **xyxy**: `xmin, ymin, xmax, ymax` in pixels, with y pointing
#   down. The other one you will meet is **cxcywh**: centre, width, height.
# - **IoU**, *intersection over union*, says how much two boxes agree: 0 is not at all, 1 is the same box. Also called
#   *Jaccard overlap*.
# - The **canvas** is the 300 x 300 square that the network sees. Every photograph is squeezed to it.
#
# ## Where does an object end?
#
# Somebody has to decide that for every box. Predict first: does the helmet belong to the person, do whiskers belong to the
# cat, and what becomes of an object that the picture cuts off? Then compare with the boxes that we drew.

# %% alt="Two photographs: an astronaut in a box that holds her suit but only a part of the helmet in front of her, and a cat's face in a box that ends at an ear and at three borders of the picture"
figure = free_photographs.draw_photographs(["astronaut", "chelsea"])

# %% [markdown]
# VOC's guidelines for its annotators say that a box holds all that can be seen of an object, so where the picture ends,
# the box ends too. Clothes belong to the person. A few pixels that would make the box much larger, such as a car's
# aerial, may be left out; we took whiskers for such pixels. That the helmet is left out is a decision of ours: it is held
# and not worn.
#
# Two annotators will differ by some pixels, and sometimes by more. That is why VOC counts a detection as right from an
# IoU of 0.5 on and doesn't ask for more.
#
# ## An annotation by hand
#
# VOC keeps one XML file for each photograph. Here is the part that matters of the file for the picture above: its
# size and the first object.

# %%
annotation = example.path.parents[1] / "Annotations" / f"{example.image_id}.xml"
text = annotation.read_text()
print(text[text.index("<size>") : text.index("</object>")].replace("\t", "  "))

# %% [markdown]
# Read it with your finger. `name` is the class and `bndbox` the box; `pose` isn't used here. Two flags are left:
#
# - `truncated`: the object goes on outside of its box, often because the picture ends. This library doesn't look at it.
# - `difficult`: hard to recognise, even for people. Such objects are trained on, but **judged by nobody**: finding one
#   is no success, missing one is no failure. Chapter 11 shows the rule.
#
# Python's own XML reader needs a few lines for the same.

# %%
root = ElementTree.parse(annotation).getroot()
rows = []
for node in root.findall("object"):
    corners = [int(node.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    rows.append((node.findtext("name"), node.findtext("difficult"), *corners))
tables.table(rows, head=("name", "difficult", "xmin", "ymin", "xmax", "ymax"))

# %% [markdown]
# And this is what the library made of the same file. It is a **record**: a bundle of values that nobody changes.

# %%
print("id", example.image_id, " size", example.size)
for box, label, difficult in zip(example.boxes, example.labels, example.difficult):
    print(box.tolist(), label.item(), difficult.item())

# %%
print(inspect.getsource(records.Example))

# %% [markdown]
# Compare the numbers: `xmin` and `ymin` went down by one, `xmax` and `ymax` didn't. Names became labels. Let us look at
# both.
#
# ### Labels: 1 to 20, and 0 is nobody

# %%
for start in range(0, 21, 7):
    print("".join(f"{i:>3} {voc.CLASSES[i]:<12}" for i in range(start, start + 7)))

# %% [markdown]
# There are twenty classes, in alphabetical order. The network has **twenty-one** answers, because *background* is one of
# them and has the label 0. Some code numbers the classes 0 to 19 in the data set and adds 1 later, in matching.
# If the 1 is added twice, an index is out of range
# ([amdegroot #17](https://github.com/amdegroot/ssd.pytorch/issues/17)); if it is forgotten, aeroplanes become background
# ([PytorchSSD #7](https://github.com/lzx1413/PytorchSSD/issues/7)). And "how many classes have I?" has two answers, with
# and without background ([ssd_keras #45](https://github.com/pierluigiferrari/ssd_keras/issues/45),
# [amdegroot #427](https://github.com/amdegroot/ssd.pytorch/issues/427)). In this library labels are 0 to 20 everywhere,
# and C, the number of classes, is 21.
#
# ### Corners: VOC counts pixels from 1
#
# In VOC the first pixel of a line is number 1, and a box names its first and its last pixel, both inclusive. Here are
# six times four pixels with VOC's numbers, and a box that VOC writes as (2, 2, 5, 3).

# %% alt="A grid of six by four pixels, each with VOC's number inside, our coordinates along the edges, and a shaded box"
figure = overlap.pixels_and_edges((2, 2, 5, 3))

# %% [markdown]
# We don't number pixels, we number the **lines between them**, at the edge of the drawing. The shaded box begins at
# line 1 and ends at line 5, so for us it is (1, 1, 5, 3): one off the two minima, nothing off the maxima. Its width is
# 5 - 1 = 4, and you can count four pixels.
#
# Not everybody does that. This is what becomes of a box over a whole 500 x 375 picture, which VOC writes as
# (1, 1, 500, 375):

# %%
whole_voc = torch.tensor([1.0, 1, 500, 375])
readers = {
    "Caffe, ssd_keras: as written": torch.zeros(4),
    "amdegroot, lufficc, chainercv, sgrvinod: -1 on all": torch.ones(4),
    "here: -1 on the minima": torch.tensor([1.0, 1, 0, 0]),
}
rows = [(name, *(whole_voc - taken).int().tolist(), box_ops.area(whole_voc - taken)) for name, taken in readers.items()]
tables.table(rows, head=("reader", "xmin", "ymin", "xmax", "ymax", "area, px²"), form=("", "", "", "", "", ",.0f"))

# %% [markdown]
# (Caffe: `src/caffe/util/io.cpp`; amdegroot: `data/voc0712.py`.) One pixel is not much for a large object. What hurts is
# a **mix**: training with one reading and judging with another, or taking 1 off numbers that already count from 0, so
# that a box starts at -1
# ([vod-converter #26](https://github.com/umautobots/vod-converter/issues/26),
# [YOLOX #1417](https://github.com/Megvii-BaseDetection/YOLOX/issues/1417)). So find out of every labelling tool where it
# begins to count, as somebody did for labelImg ([#4](https://github.com/HumanSignal/labelImg/issues/4)).
#
# ### A box inside an object
#
# For some persons VOC also notes head, hands and feet, as `part`s *inside* the object. A reader that collects every
# `bndbox` of a file finds too many.

# %%
corners = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>".format
head = f"<part><name>head</name>{corners(82, 32, 118, 80)}</part>"
person = f"<object><name>person</name><difficult>0</difficult>{corners(40, 30, 160, 290)}{head}</object>"
file = Path(tempfile.mkdtemp()) / "person.xml"
file.write_text(f"<annotation><size><width>300</width><height>300</height></size>{person}</annotation>")
print("every bndbox:", len(list(ElementTree.parse(file).iter("bndbox"))), "boxes")
print("the library: ", voc.read_example(file, Path("person.jpg"), "person").boxes.tolist())

# %% [markdown]
# ### The pixels
#
# An `Example` has no pixels, only the path of its JPEG. Training shows each photograph hundreds of times, so the module
# `store` decodes all of them once into one file, and gives back a view into it.

# %%
folder = Path(tempfile.mkdtemp()) / "store"
opened = store.open_store(folder, found[:3])
print(len(opened), "photographs,", (folder / store.PIXELS).stat().st_size, "bytes")
print(tuple(opened[0].shape), opened[0].dtype, " same pixels:", torch.equal(opened[0], photograph))

# %% [markdown]
# Note the shape: height comes first in a tensor of pixels, width comes first in `size` and in a box. Whoever uses one
# where the other belongs swaps x and y, and every box is mirrored at the diagonal.
#
# ## Four notations of one box

# %%
written = overlap.notations(example.boxes[0], example.size)
rows = [(name, ", ".join(overlap.NOTATIONS[name]), overlap.written(numbers)) for name, numbers in written.items()]
tables.table(rows, head=("notation", "its numbers", "this box"))

# %% [markdown]
# - **Corners in px** travel between the modules of this library. Always.
# - **Centre in px** lives inside functions: where anchors are made, and where
#   [offsets](glossary.md) are computed (`coding`).
# - **Unit**: divided by width and height of the picture. Caffe and many others compute in it.
# - **VOC**: in the XML files and in result files.
#
# Nothing in a tensor says which one it holds. So the rule here is: without a suffix it is xyxy in px, anything else is
# in the name, as in `anchors_cxcywh`. Two functions lead from one of the first two to the other: `to_cxcywh`, below,
# and `to_xyxy`, which you will write yourself.

# %%
print(inspect.getsource(box_ops.to_cxcywh))

# %% [markdown]
# What people ask, and the answers:
#
# | question | answer |
# |---|---|
# | *VOC has corners, but the model is set to "centroids". Wrong?* [ssd_keras #92](https://github.com/pierluigiferrari/ssd_keras/issues/92), [#86](https://github.com/pierluigiferrari/ssd_keras/issues/86) | No. What goes in and comes out is corners. Centre form is only how the offsets are computed inside. |
# | *And "minmax"?* (the same threads) | The same edges in another order: xmin, xmax, ymin, ymax. |
# | *Which four numbers does Caffe give me?* [weiliu89/caffe #528](https://github.com/weiliu89/caffe/issues/528) | xmin, ymin, xmax, ymax, in unit coordinates: multiply x by the width and y by the height of *your* picture. |
# | *What are x and y in a YOLO file?* [labelImg #576](https://github.com/HumanSignal/labelImg/issues/576) | The centre, and all four numbers are in unit coordinates. |
#
# ## IoU by hand
#
# Two boxes on squared paper: A is (1, 1, 5, 4), B is (3, 2, 6, 5). Count squares.

# %% alt="Two boxes on squared paper, A solid and B dashed, with a dot in each of the four squares they share"
a, b = torch.tensor([1.0, 1, 5, 4]), torch.tensor([3.0, 2, 6, 5])
figure = overlap.on_squared_paper(a, b)

# %% [markdown]
# *Areas.* A has 4 · 3 = 12 squares, B has 3 · 3 = 9.
#
# *Intersection.* It starts at the larger of the two left edges, 3, and ends at the smaller of the two right edges, 5: 2
# wide. In y from 2 to 4: 2 high. So 4 squares, those with a dot.
#
# *Union.* 12 + 9 = 21 counts the dots twice. Minus 4 is 17.
#
# *IoU.* 4 / 17 = .235.
#
# ## In the library
#
# The same steps, for any number of boxes at once.

# %%
print(inspect.getsource(box_ops.iou))

# %% [markdown]
# `movedim` only turns a list of boxes into four columns, and an underscore at the end of a name means that the result
# is written where the input was. `clamp_(min=0)` is for boxes that don't meet: their "intersection" would be negative
# in width. `torch.where` is for boxes without area, which would give 0 / 0. `extent` comes later.

# %%
print(f"{box_ops.iou(a, b):.4f}", f"{4 / 17:.4f}")

# %% [markdown]
# Is the formula right? Pencil and paper counted squares; so can Python, one pixel at a time, with sets.

# %%
def by_counting(first, second):
    def squares(box):
        x1, y1, x2, y2 = box
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    return len(squares(first) & squares(second)) / len(squares(first) | squares(second))


# %%
draw = torch.Generator().manual_seed(1)
pairs = torch.randint(0, 30, (500, 2, 4), generator=draw)
pairs[..., 2:] = pairs[..., :2] + 1 + pairs[..., 2:] % 20
counted = torch.tensor([by_counting(*pair) for pair in pairs.tolist()])
computed = box_ops.iou(pairs[:, 0].float(), pairs[:, 1].float())
assert torch.allclose(counted, computed)
print(f"500 pairs, {(counted > 0).sum()} of them overlap: equal")

# %% [markdown]
# A second witness, for boxes with any corners: torchvision. Its `box_iou` always makes the table of all pairs. Ours
# compares the first with the first, the second with the second and so on. It makes the table if you give it one more
# dimension: `first[:, None]`.

# %%
from torchvision.ops import box_iou

first, second = (torch.rand(n, 4, generator=draw) * 300 for n in (40, 60))
first[:, 2:] += first[:, :2]
second[:, 2:] += second[:, :2]
table = box_ops.iou(first[:, None], second)
assert torch.allclose(table, box_iou(first, second))
print(tuple(table.shape), "equal")

# %% [markdown]
# ## On the picture
#
# How much do the objects of the picture at the top overlap each other? On the diagonal every object meets itself.

# %%
names = [voc.CLASSES[label] for label in example.labels.tolist()]
overlaps = box_ops.iou(example.boxes[:, None], example.boxes).tolist()
tables.table([(name, *line) for name, line in zip(names, overlaps)], head=("IoU with", *names), heat=True)

# %% [markdown]
# ## Why there is no "+1", and where there is
#
# In VOC's evaluation code (`VOCevaldet.m` of the development kit) every width is `xmax - xmin + 1`. That is right
# *there*: pixel 3 to pixel 5, both inclusive, is three pixels. With lines instead of pixels there is nothing to add.
# Both are the same IoU, each in its own numbers:

# %%
a_voc, b_voc = a + torch.tensor([1.0, 1, 0, 0]), b + torch.tensor([1.0, 1, 0, 0])
print(f"our numbers, no +1:  {box_ops.iou(a, b):.4f}")
print(f"VOC's numbers, +1:   {box_ops.iou(a_voc, b_voc, extent=1):.4f}")
print(f"our numbers with +1: {box_ops.iou(a, b, extent=1):.4f}   wrong")

# %% [markdown]
# `extent` is that 1. Only the module `evaluate` sets it to 1. In unit coordinates a +1 would be worse: it would add a whole
# picture to each side.
#
# ## Why squeezing does no harm to IoU
#
# The network wants 300 x 300. A photograph of 500 x 375 is squeezed by .6 in x and by .8 in y, so shapes change: a square
# becomes upright.

# %%
pair = torch.tensor([[100.0, 100, 200, 200], [140, 120, 240, 220]])
small = box_ops.scale(pair, 300 / 500, 300 / 375)
rows = []
for name, (one, other) in (("photograph", pair), ("canvas", small)):
    rows.append((name, *(one[2:] - one[:2]).tolist(), box_ops.area(one), box_ops.iou(one, other)))
tables.table(rows, head=("", "width", "height", "area", "IoU"), form=("", ".0f", ".0f", ",.0f", ".4f"))

# %% [markdown]
# Each area is multiplied by .6 · .8 = .48, the intersection and the union alike. In the fraction it cancels. So one may
# match objects with anchors on the canvas and judge detections on the photograph, and mean the same by ".5".
#
# The *shapes* that anchors have to fit are those on the canvas, though. That is for
# [chapter 02](02_anchors.ipynb).
#
# ## The data set in numbers
#
# SSD300 is trained on VOC2007 and VOC2012 *trainval* together, called 07+12, and tested on VOC2007 *test*. The next
# numbers were counted on the genuine annotations by `data_scripts/count_facts.py`, whatever pictures you have on disk.

# %%
classes = voc_facts.classes()
counts = []
for name, rows in classes.items():
    images, objects, easy = (rows["all"][key] for key in ("images", "objects", "objects_easy"))
    assert voc.COUNTS[name] == (images, objects, objects - easy)
    counts.append((name, images, objects, objects - easy))
tables.table(counts, head=("set", "pictures", "objects", "difficult"))

# %% [markdown]
# Caffe, ssd_keras and sgrvinod train on all objects, and so do we. amdegroot, lufficc and chainercv leave the difficult
# ones out, and train on 15 % fewer.

# %%
training = [classes[name]["all"] for name in ("2007-trainval", "2012-trainval")]
images, objects, easy = (sum(r[key] for r in training) for key in ("images", "objects", "objects_easy"))
print(f"07+12: {images:,} pictures, {objects:,} objects, {easy:,} of them not difficult")
print(f"left out by some: {100 * (1 - easy / objects):.0f} %")

# %% [markdown]
# The classes are far from equal.

# %% alt="Bars of the number of objects of each class in VOC 07+12 trainval, person by far the most, difficult ones hatched"
figure = voc_facts.classes_drawn()

# %% [markdown]
# mAP, the score of a detector (chapter 11), is the mean over *classes*. So the bus counts as much as the person, with far
# fewer examples to learn from.
#
# Tables of VOC count only what isn't difficult. If your count for a class is larger than theirs, this is why:

# %%
for name in ("bus", "person"):
    row = classes["2007-trainval"][name]
    print(f"2007-trainval, {name}: {row['images']:,} pictures, {row['objects']:,} objects;", end=" ")
    print(f"not difficult: {row['images_easy']:,} and {row['objects_easy']:,}")

# %% [markdown]
# How many objects are there in a picture, and how large are they once the picture is squeezed?

# %% alt="Left, bars of pictures by their number of objects, falling from one; right, histograms of width and height on the canvas"
figure = voc_facts.sizes_drawn()

# %%
table, counts = voc_facts.shapes(), voc_facts.per_image()
single = counts[1] / sum(counts.values())
print(f"pictures with exactly one object: {100 * single:.0f} %, most in one: {max(counts)}")
for side in (20, 30, 50):
    print(f"less than {side} px wide and high on the canvas: {100 * voc_facts.smaller_than(side, table):.1f} %")

# %% [markdown]
# Thirty pixels is the side of the smallest square anchor. The bars at the right end of the histogram are objects as wide
# or as high as the picture.
#
# One case never occurs: no picture of the three sets has **zero** objects, not even when the difficult ones are left
# out.

# %%
print("fewest objects in a training picture:", min(counts))
for name, rows in classes.items():
    print(f"{name}: {rows['all']['images'] - rows['all']['images_easy']} pictures with only difficult ones")

# %% [markdown]
# That is why so much code has never met an empty picture, and stops at the first one in your own data:
# [sgrvinod #104](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/104),
# [lufficc #168](https://github.com/lufficc/SSD/issues/168). Here R, the number of objects, may be 0 everywhere:

# %%
nothing = torch.zeros(1, 0, 4)
answer = matching.match(nothing, torch.zeros(1, 0, dtype=torch.int64), anchors.default_boxes())
print("IoU with nothing:", tuple(box_ops.iou(nothing[0, :, None], example.boxes).shape))
print("anchors that are background:", f"{(answer == -1).sum():,}")

# %% [markdown]
# ## Move it
#
# Drag A or B, or one of their corners. Green and dashed is the intersection, everything shaded is the union. The buttons
# say in which notation the numbers are written. Say before you look:
#
# - **half shifted**: is the IoU one half?
# - **one inside the other**: all of B is shared. Why is the IoU so low? Make B larger until it is .5.
# - **touching edge**: what is the IoU, and what would it be with a +1?
# - **one pixel wide**: how much does one pixel matter to a very small object? Click B, then use the arrow keys.
# - **squeezed to 300 x 300**: tick the box. Which numbers change, and which one doesn't?

# %%
explorer = overlap.Overlaps(photograph)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold. A check that says *not right*
# shows where.
#
# ### 1.1 The way back · easy · 5 minutes
#
# You saw corners become centre form. Go back: `boxes_cxcywh` has the shape (..., 4), so it may be one box, R boxes or
# a batch of them. Return a tensor of corners with the same shape.
#
# *Building block:* chapter 13 turns its anchors and its decoded boxes into corners with it.

# %% tags=["exercise"]
def to_corners(boxes_cxcywh):
    # solution
    cx, cy, w, h = boxes_cxcywh.unbind(dim=-1)
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1)

# %%
check.to_corners(to_corners)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The left edge is half a width left of the centre.
# </details>
# <details><summary>Hint 2</summary>
#
# `t.unbind(dim=-1)` gives the four columns whatever stands before them, and `torch.stack([...], dim=-1)` puts four
# together again. `t[..., 0]` also works; `t[:, 0]` doesn't for one box or for a batch.
# </details>
# <!-- solution -->
#
# ### 1.2 Which format is this? · a drill · 8 minutes
#
# A picture is 500 px wide and 375 px high. Seven programs wrote down the same object of it. Which format does each use?
# Choose from `xyxy`, `cxcywh`, `xywh` (upper left corner, width, height), `yxyx` (corners, y before x), `voc`,
# `unit xyxy`, `unit cxcywh`. Each occurs once. Give a list of seven names in quotes, for A to G.

# %%
for letter, numbers in check.WRITTEN.items():
    print(letter, numbers)

# %% tags=["exercise"]
formats = ["xywh", "unit cxcywh", "voc", "cxcywh", "unit xyxy", "xyxy", "yxyx"]  # solution

# %%
check.which(formats)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with the two whose numbers are below 1. Multiply them by 500, 375, 500, 375.
# </details>
# <details><summary>Hint 2</summary>
#
# F has 200 - 100 = 100 and 300 - 75 = 225. Two others contain 100 and 225 themselves.
# </details>
# <!-- solution -->
#
# In real life you have only one of the seven. Then guess, draw the boxes of five pictures, and look whether they fit.
#
# ### 1.3 VOC's corners · easy · 5 minutes
#
# `corners_voc`, a tensor of shape (..., 4), holds numbers as they stand in the XML file: pixels from 1, inclusive.
# Return our corners, in the same shape. Leave the tensor that you were given as it is.

# %% tags=["exercise"]
def from_voc(corners_voc):
    # solution
    return corners_voc - torch.tensor([1.0, 1, 0, 0])

# %%
check.from_voc(from_voc)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Look at the drawing of six by four pixels: at which line does pixel 2 begin, and at which does pixel 5 end?
# </details>
# <details><summary>Hint 2: it says that you changed what you were given</summary>
#
# `corners_voc[..., :2] -= 1` writes into the caller's tensor. Subtract a tensor of four numbers instead.
# </details>
# <!-- solution -->
#
# ### 1.4 IoU · the heart of the chapter · 15 minutes
#
# `first` and `second` are tensors of corners, each (..., 4), in shapes that broadcast. Return their IoU, one number for
# each pair: two times (R, 4) gives (R,), while (2, 1, 4) and (3, 4) give the table (2, 3). A pair that shares nothing
# gets 0, and so does a box without area. Don't use `box_ops.iou`.
#
# *Building block:* in chapter 13 it compares objects with anchors, and detections with each other.

# %% tags=["exercise"]
def iou(first, second):
    # solution
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    both = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (first, second)]
    return torch.where(both > 0, both / (areas[0] + areas[1] - both), 0.0)

# %%
check.iou(iou)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The intersection begins at the larger of the two minima and ends at the smaller of the two maxima: `torch.maximum`,
# `torch.minimum`.
# </details>
# <details><summary>Hint 2</summary>
#
# Clamp the width and the height each, before you multiply. And `torch.where(both > 0, ..., 0.0)`.
# </details>
# <details><summary>Help: it stops with an IndexError at "a table"</summary>
#
# There the first boxes have shape (2, 1, 4). Write `first[..., 0]`, not `first[:, 0]`.
# </details>
# <!-- solution -->
#
# ### 1.5 How far for one half · on paper · 5 minutes
#
# A box of 120 x 120 px is shifted to the right by d px. For which d is the IoU of the old and the new box exactly .5?

# %% tags=["exercise"]
distance = 40.0  # solution

# %%
check.shift(distance)

# %% [markdown]
# <details><summary>Hint</summary>
#
# They share 120 - d in width and cover 120 + d. Both areas have the height 120, so it cancels in the fraction.
# </details>
# <!-- solution -->
#
# ### 1.6 The mirror · a famous slip · 5 minutes
#
# A picture `width` px wide is mirrored left to right. Where are its boxes now? `boxes` are corners of shape (..., 4);
# return corners again, with xmin < xmax.
#
# *Building block:* in chapter 13 it takes the boxes along when a training picture is mirrored.

# %% tags=["exercise"]
def mirrored(boxes, width):
    # solution
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)

# %%
check.mirrored(mirrored)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The point x goes to width - x. Which edge of the new box is the old *right* edge?
# </details>
# <!-- solution -->
#
# ### 1.7 Who is judged · easy · 5 minutes
#
# Given an `Example` and the name of a class, return how many of its objects count when detections of that class are
# judged.

# %% tags=["exercise"]
def judged(example, name):
    # solution
    mine = example.labels == LABELS[name]
    return (mine & ~example.difficult).sum().item()

# %%
check.judged(judged)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `voc.LABELS["dog"]` is the label; `example.labels == label` is true for each object that has it.
# </details>
# <details><summary>Hint 2</summary>
#
# `~example.difficult` turns true and false around; `&` is *and*.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# ### ... a box had no width?
#
# Why did my loss become NaN? Four answers in `docs/faq.md` are about that. One of the causes sits in the
# annotations: a box whose left edge lies on its right edge, or beyond it. (In our numbers. In VOC's, `xmin` equal to `xmax` is still one
# pixel wide; but a program that takes 1 off both makes nothing of it.) In [amdegroot #373](https://github.com/amdegroot/ssd.pytorch/issues/373) somebody has
# tried many learning rates, momenta and batch sizes, until another says: look for boxes like that. In
# [lufficc #95](https://github.com/lufficc/SSD/issues/95) it took three days to find them. Here is what they do. A width
# goes into a logarithm:

# %%
anchor = torch.tensor([20.0, 20, 80, 80])
sick = {"healthy": [30.0, 20, 70, 80], "xmin = xmax": [50.0, 20, 50, 80], "xmin > xmax": [70.0, 20, 30, 80]}
offsets = {name: coding.encode(torch.tensor(box), anchor) for name, box in sick.items()}
tables.table([(name, *four.tolist()) for name, four in offsets.items()], head=("box", "x", "y", "width", "height"))

# %% [markdown]
# Note how healthy the other three numbers of a sick box are. Now the loss, and the gradient that it sends back:

# %%
rows = []
for name, four in offsets.items():
    answer = torch.zeros(4, requires_grad=True)
    loss = torch.nn.functional.smooth_l1_loss(answer, four, reduction="sum")
    loss.backward()
    rows.append((name, loss.item(), *answer.grad.tolist()))
tables.table(rows, head=("box", "loss", "gradient of x", "of y", "of the width", "of the height"))

# %% [markdown]
# A box without width makes the loss infinite, but its gradient is still a number: you see `inf` in the log, and a
# program that doesn't check goes on. A box inside out sends back NaN, into layers that all anchors share. After that step
# every answer is NaN.
#
# So the library doesn't let such a box in. In an XML file that means `xmax` smaller than `xmin`. It stops while *reading*,
# where it can still name the file:

# %%
file.write_text(file.read_text().replace("<xmax>160", "<xmax>20"))
try:
    voc.read_example(file, Path("person.jpg"), "person")
except voc.VOCError as error:
    print(str(error).replace(str(file), file.name))

# %% [markdown]
# Annotations aren't the only source of boxes without width. Take 1 off all four VOC numbers of a box one pixel wide, and
# you have one. Clip a box that lies outside of a picture or of a crop, and you have another
# ([mmdetection #2972](https://github.com/open-mmlab/mmdetection/pull/2972)):

# %%
print(box_ops.clip(torch.tensor([310.0, 20, 340, 80]), width=300, height=300).tolist())

# %% [markdown]
# ### ... we clipped in centre form?
#
# A box that sticks out of the picture is to be cut off at the border. In unit coordinates that means numbers between 0
# and 1, so it is tempting to clamp all four. With centre form that does nothing of the kind
# ([sgrvinod #94](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/94),
# [amdegroot #18](https://github.com/amdegroot/ssd.pytorch/issues/18)):

# %%
outside_cxcywh = torch.tensor([0.1, 0.5, 0.4, 0.6])
clamped = box_ops.to_xyxy(outside_cxcywh.clamp(0, 1))
clipped = box_ops.clip(box_ops.to_xyxy(outside_cxcywh), width=1, height=1)
print("clamped in centre form:", [round(x, 2) for x in clamped.tolist()])
print("clipped as corners:    ", [round(x, 2) for x in clipped.tolist()])

# %% [markdown]
# The left edge is still outside, at -.1: centre .1 and width .4 are both between 0 and 1, and were left alone. There is no
# error and no warning. In those two programs it was the anchors that were clamped so, and by luck it did no harm:
# somebody trained both ways and got 77.1 mAP with anchors like this, 76.2 with anchors really clipped, one run each
# ([sgrvinod #95](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/95)). Caffe doesn't clip its
# anchors at all ([weiliu89/caffe #526](https://github.com/weiliu89/caffe/issues/526)), and neither do we.
#
# ## Self-test

# %%
SelfTest("boxes")

# %% [markdown]
# ## Recap
#
# - Our boxes are xyxy in px, edges are lines, the whole W x H picture is (0, 0, W, H). Anything else has a suffix.
# - VOC numbers pixels from 1, inclusive: 1 comes off the minima only. Parts of persons are not objects.
# - Labels are 1 to 20; 0 is background. Difficult objects are trained on and judged by nobody.
# - IoU is the shared area over the area covered together. Squeezing doesn't change it; +1 belongs to pixel numbers.
# - 16,551 pictures with 47,223 objects to train on, 4,952 to be tested on; none of them empty.
# - A box without width makes the loss infinite, a box inside out makes it NaN. Stop them where they are read.
#
# Numbers: the documentation of VOC's development kits, counted again on the XML files. Paper: section 3.1.
