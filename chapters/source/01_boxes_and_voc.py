# %% [markdown]
# # 01 · Boxes and VOC
#
# **In one sentence:** two boxes are compared by the area that they share, divided by the area that they cover
# together, and the four numbers of a box mean nothing until you know how to read them.
#
# | | |
# |---|---|
# | time | 70 minutes, more than half of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | PyTorch tensors, and [chapter 00](00_start_here.ipynb) |
# | new modules | `records`, `box_ops`, `voc`, and a look into `store` |
#
# At the end of this page you will be able to
#
# - compute an IoU on paper and in one line, and say what doesn't change it,
# - read an annotation of Pascal VOC by hand, with its quirks,
# - tell four notations of a box apart, and change one into another,
# - say what SSD300 is trained and tested on, in numbers,
# - find the box that would turn a loss into NaN, before training begins.

# %%
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import torch

from course.boxes import check, overlap, voc_facts
from course.kit import box_figures, free_photographs, pictures
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from ssdlib import anchors, box_ops, coding, matching, records
from ssdlib.data import store, voc
from ssdlib.records import LABELS

# %% [markdown]
# ## When is a box right?
#
# A detector's boxes are never exactly those that an annotator drew, so when is one of them right? The question comes
# back all through this course: in chapter 03, where anchors are assigned to objects, in chapter 10, where second boxes
# on the same object are removed, and in chapter 11, where detections are judged. The answer is one number each time,
# and by the end of this page you will have written the function that computes it.
#
# Here is what a detector has to give back for one image: boxes, each with a class. A dashed box is marked *difficult*,
# a flag that *An annotation by hand* explains. Predict first: which two of these boxes overlap most, and by how much?
# The answer is in *Objects that overlap*.

# %% alt="One image with the boxes of its annotation: solid boxes with their class, a dashed one for a difficult object"
found = overlap.worth_reading(pictures.test_set())
example = found[0]
photograph = voc.read_photograph(example.path)
figure = box_figures.annotated([example], [photograph], "Which two boxes overlap most?", size=(5, 4.5))

# %% [markdown]
# The number is called **IoU**, *intersection over union*, or *Jaccard overlap*. It is the area that two boxes share,
# divided by the area that they cover together:
#
# > IoU = area of the intersection / area of the union
#
# It is 0 for boxes that share nothing and 1 for two boxes that are the same. VOC counts a detection as right if its IoU
# is 0.5 or more.
#
# The first half of this page computes it: on paper, by counting, and with the library. The second half settles what an
# IoU takes for granted, namely where an object ends and what its four numbers mean. Its example is *Pascal VOC*, the
# dataset that SSD300 is trained and tested on. The trouble is worth it, because a single box whose edges are exchanged
# can turn a loss into NaN, *not a number*, and end a training. In one project it took three days to find such boxes
# ([What people ask about SSD](../docs/faq.md)).
#
# ## The words
#
# - A **box** is the smallest upright rectangle around the visible part of an object. It has four numbers.
# - An **annotation**, also called *ground truth*, is what people wrote down about an image: its objects, each with a
#   class and a box.
# - A **format** says what the four numbers mean. Ours is **xyxy**: `xmin, ymin, xmax, ymax` in pixels, with y pointing
#   down. The other one you will meet in code is **cxcywh**: centre, width, height.
# - The **300 x 300 input** is the square image that the network receives, because every photograph is resampled to that
#   size, whatever its shape. The code calls its side `canvas`.
#
# ## IoU by hand
#
# Two boxes lie on squared paper: A is (1, 1, 5, 4) and B is (3, 2, 6, 5), both as xmin, ymin, xmax, ymax. Count squares
# before you read on: how many do they share, and how many do they cover together?

# %% alt="Two boxes on squared paper, A solid and B dashed, with a dot in each of the four squares they share"
a, b = torch.tensor([1.0, 1, 5, 4]), torch.tensor([3.0, 2, 6, 5])
figure = overlap.on_squared_paper(a, b)

# %% [markdown]
# *Areas.* A has 4 · 3 = 12 squares, and B has 3 · 3 = 9.
#
# *Intersection.* It starts at the larger of the two left edges, 3, and ends at the smaller of the two right edges, 5,
# so it is 2 wide. In y it goes from 2 to 4 in the same way, so it is 2 high. That makes 4 squares, those with a dot.
#
# *Union.* 12 + 9 = 21 counts the squares with a dot twice, so we subtract them once: 21 - 4 = 17.
#
# *IoU.* 4 / 17 = 0.235.
#
# Python can count squares, too, one pixel at a time: a box is a *set* of squares, `&` gives those that two sets share,
# and `|` those that are in at least one of them.

# %%
def by_counting(first, second):
    def squares(box):
        x1, y1, x2, y2 = box
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    return len(squares(first) & squares(second)) / len(squares(first) | squares(second))


print(f"{by_counting((1, 1, 5, 4), (3, 2, 6, 5)):.4f}")

# %% [markdown]
# That is IoU exactly as it is defined, but it needs whole numbers and visits every pixel. Matching compares thousands of
# boxes at a time, with any corners, so the steps that you took on paper have to be written for tensors.
#
# ## In the library
#
# The function takes those steps for any number of boxes at once. "Boxes that broadcast" means that PyTorch repeats
# a dimension of size 1 until two shapes fit ([its
# rules](https://docs.pytorch.org/docs/stable/notes/broadcasting.html)).

# %%
source(box_ops.iou)

# %% [markdown]
# Three details need a word. `movedim` only turns a list of boxes into four columns, and an underscore at the end of a
# name means that the result is written where the input was. `clamp_(min=0)` is for boxes that don't meet, because their
# "intersection" would have a negative width or height. `torch.where` is for boxes without area, which would give 0 / 0.
# The section on "+1" below explains `extent`, which is 0 until then.
#
# First the two boxes of the squared paper:

# %%
print(f"{box_ops.iou(a, b):.4f}")

# %% [markdown]
# Is the formula right for other boxes, too? Counting is slow, but it is a check that shares no code with the formula.

# %%
draw = torch.Generator().manual_seed(1)
pairs = torch.randint(0, 30, (500, 2, 4), generator=draw)
pairs[..., 2:] = pairs[..., :2] + 1 + pairs[..., 2:] % 20
counted = torch.tensor([by_counting(*pair) for pair in pairs.tolist()])
computed = box_ops.iou(pairs[:, 0].float(), pairs[:, 1].float())
assert torch.allclose(counted, computed)
print(f"500 pairs, {(counted > 0).sum()} of them overlap: equal")

# %% [markdown]
# The squares need whole numbers. For boxes with any corners there is a second check, torchvision. Its `box_iou` always
# makes the table of all pairs, whereas ours compares the first with the first, the second with the second and so on. It
# makes the table if you give it one more dimension: `first[:, None]`.

# %%
from torchvision.ops import box_iou

first, second = (torch.rand(n, 4, generator=draw) * 300 for n in (40, 60))
first[:, 2:] += first[:, :2]
second[:, 2:] += second[:, :2]
all_pairs = box_ops.iou(first[:, None], second)
assert torch.allclose(all_pairs, box_iou(first, second))
print(tuple(all_pairs.shape), "equal")

# %% [markdown]
# The formula agrees with two computations that don't share its code, so let us use it on an image.
#
# ## Objects that overlap
#
# At the top of this page you predicted which two boxes overlap most, and by how much. The table has the IoU of every
# box with every other, in the order of the file. On the diagonal every box meets itself.

# %%
names = [voc.CLASSES[label] for label in example.labels.tolist()]
overlaps = box_ops.iou(example.boxes[:, None], example.boxes).tolist()
table([(name, *line) for name, line in zip(names, overlaps)], head=("IoU with", *names), heat=True)

# %% [markdown]
# In the painted image it is the sofa and the large bird, the last row, with 0.28. That is little for a bird whose box
# lies mostly inside the sofa's. But the union contains the whole of both boxes, and the sofa's is large.
#
# These boxes lie on the image as it was stored, but the network never sees it in that shape. Does an IoU survive the
# resampling?
#
# ## Why resampling to 300 x 300 leaves IoU as it is
#
# The network receives 300 x 300 pixels. A photograph of 500 x 375 is scaled by 0.6 in x and by 0.8 in y, so shapes
# change: a square becomes taller than wide. Predict first: does the IoU of two boxes change as well?

# %%
pair = torch.tensor([[100.0, 100, 200, 200], [140, 120, 240, 220]])
small = box_ops.scale(pair, 300 / 500, 300 / 375)
rows = []
for name, (one, other) in (("photograph", pair), ("300 x 300 input", small)):
    rows.append((name, *(one[2:] - one[:2]).tolist(), box_ops.area(one), box_ops.iou(one, other)))
table(rows, head=("the first box on the", "width", "height", "area", "IoU"), form=("", ".0f", ".0f", ",.0f", ".4f"))

# %% [markdown]
# It doesn't. Each area is multiplied by 0.6 · 0.8 = 0.48, the intersection and the union alike, so the factor cancels
# in the fraction. That is why you may match objects with anchors on the 300 x 300 input and judge detections on the
# photograph, and mean the same by "an IoU of 0.5".
#
# The *shapes* that anchors have to fit are those on the 300 x 300 input, though, and [chapter 02](02_anchors.ipynb) is
# about them. Which shapes and sizes these are depends on the dataset, so *The dataset in numbers* counts them.
#
# You have now seen IoU on paper, as code and as a table. To get a feeling for it, move two boxes yourself.
#
# ## Move it
#
# Drag A or B, or one of their corners. Green and dashed is the intersection, and everything shaded is the union. The
# buttons choose the notation in which the numbers are written; *Four notations of one box* explains them. Predict
# first, case by case:
#
# - **half shifted**: is the IoU one half?
# - **one inside the other**: all of B is shared. Why is the IoU so low? Make B larger until it is 0.5.
# - **touching edge**: what is the IoU? One line says what it would be with a +1, which *Why there is no "+1"* explains.
# - **one pixel wide**: how much does one pixel matter to a very small object? Click B, then use the arrow keys.
# - **resampled to 300 x 300**: tick the box. Which numbers change, and which one doesn't?

# %%
explorer = overlap.Overlaps(photograph)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# You can now compare any two boxes. The boxes of a dataset, however, were drawn by people and written into files, and
# both leave room for misunderstanding. The second half of this page follows one box from the photograph to the tensor.
#
# ## Where does an object end?
#
# An annotator has to decide that for every box. Predict first: does the helmet belong to the person, do whiskers belong
# to the cat, and what becomes of an object that the border of the photograph cuts off? Then compare with the boxes that
# we drew.

# %% alt="Two photographs: an astronaut in a box that holds her suit but only a part of the helmet in front of her, and a cat's face in a box that ends at an ear and at three borders of the photograph"
figure = free_photographs.draw_photographs(["astronaut", "chelsea"])
figure = box_figures.titled(figure, "A box holds what is visible of its object")

# %% [markdown]
# [VOC's guidelines](http://host.robots.ox.ac.uk/pascal/VOC/voc2007/guidelines.html) tell its annotators to draw a box
# around all that can be seen of an object, which means that the box ends where the photograph ends. Clothes belong to
# the person. A few pixels that would make the box much larger, such as a car's aerial, may be left out, and we took
# whiskers for such pixels. That the helmet is left out is a decision of ours, because it is held and not worn.
#
# Two annotators will differ by some pixels, and sometimes by more, which is why VOC asks for an IoU of 0.5 and not for
# more. What an annotator has decided is kept in a file, so let us read one.
#
# ## An annotation by hand
#
# VOC keeps one XML file for each photograph. Here is a part of the file for the image at the top: its size and its
# first object.

# %%
annotation = example.path.parents[1] / "Annotations" / f"{example.image_id}.xml"
text = annotation.read_text()
print(text[text.index("<size>") : text.index("</object>")].replace("\t", "  "))

# %% [markdown]
# Follow it with your finger. `name` is the class and `bndbox` is the box, while `depth`, `segmented` and `pose` aren't
# used here. Two flags of the object are left:
#
# - `truncated`: the object goes on outside its box, often because the photograph ends there. This library doesn't use
#   it.
# - `difficult`: the object is hard to recognise, even for people. The network is trained on such objects but **not
#   judged on them**, which means that finding one is no success and missing one is no failure. Chapter 11 shows the
#   rule.
#
# A few lines with Python's own XML reader collect all objects of the file.

# %%
root = ElementTree.parse(annotation).getroot()
rows = []
for node in root.findall("object"):
    corners = [int(node.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    rows.append((node.findtext("name"), node.findtext("difficult"), *corners))
table(rows, head=("name", "difficult", "xmin", "ymin", "xmax", "ymax"))

# %% [markdown]
# And this is what the library made of the same file: a label, the flag `difficult` and a box for each object.

# %%
columns = example.labels.tolist(), example.difficult.tolist(), example.boxes.int().tolist()
rows = [(label, str(difficult), *box) for label, difficult, box in zip(*columns)]
caption = f"id {example.image_id}, size {example.size}"
table(rows, head=("label", "difficult", "xmin", "ymin", "xmax", "ymax"), caption=caption)

# %%
source(records.Example)

# %% [markdown]
# The last cell shows the definition of `Example`. It is a **record**, an immutable bundle of values, which Python calls
# a [frozen dataclass](https://docs.python.org/3/library/dataclasses.html). R stands for the number of objects.
#
# Compare the numbers in the table with those of the XML file. The names have become labels, and `xmin` and `ymin` went
# down by one while `xmax` and `ymax` didn't. The next two sections explain these two changes, because programs differ
# in both of them.
#
# ### Labels: 1 to 20, and 0 for background

# %%
labels = [f"{i} {name}" for i, name in enumerate(voc.CLASSES)]
table([labels[start : start + 7] for start in range(0, 21, 7)])

# %% [markdown]
# There are twenty classes, in alphabetical order. The network has **twenty-one** answers, because *background* is one
# of them and has the label 0. "How many classes do I have?" therefore has two answers, with and without background.
# Some programs number the classes 0 to 19 in the dataset and add 1 later, in matching. If the 1 is added twice, an
# index is out of range, and if it is forgotten, aeroplanes become background. In this library labels are 0 to 20
# everywhere, and C, the number of classes, is 21.
#
# ### Corners: VOC counts pixels from 1
#
# In VOC the first pixel of each row is number 1, and a box names its first and its last pixel, both inclusive. Here are
# 6 x 4 pixels with VOC's numbers, and a box (blue) that VOC writes as (2, 2, 5, 3).

# %% alt="A grid of six by four pixels, each with VOC's number inside, our coordinates along the edges, and a shaded box"
figure = overlap.pixels_and_edges((2, 2, 5, 3))

# %% [markdown]
# We don't number the pixels, we number the **lines between them**, whose numbers stand along the edge of the drawing.
# The shaded box begins at line 1 and ends at line 5, so for us it is (1, 1, 5, 3): 1 comes off the two minima and
# nothing off the maxima. Its width is 5 - 1 = 4, and you can count four pixels.
#
# Not every program does that. The next table shows three ways to read a box over a whole 500 x 375 photograph, which
# VOC writes as (1, 1, 500, 375).

# %%
whole_voc = torch.tensor([1.0, 1, 500, 375])
readers = {
    "Caffe, ssd_keras: as written": torch.zeros(4),
    "amdegroot, lufficc, chainercv, sgrvinod: -1 on all": torch.ones(4),
    "here: -1 on the minima": torch.tensor([1.0, 1, 0, 0]),
}
rows = [(name, *(whole_voc - taken).int().tolist(), box_ops.area(whole_voc - taken)) for name, taken in readers.items()]
table(rows, head=("reader", "xmin", "ymin", "xmax", "ymax", "area, px²"), form=("", "", "", "", "", ",.0f"))

# %% [markdown]
# One pixel is not much for a large object. What does harm is a **mixture**: training with one reading and judging with
# another, or taking 1 off numbers that already count from 0, so that a box starts at -1. So find out for every
# labelling tool where it begins to count. [What people ask about SSD](../docs/faq.md) has threads about that, and [How
# other programs read VOC](../docs/differences_from_caffe.md) names the files to look at.
#
# ### Parts inside an object
#
# For some persons VOC also marks head, hands and feet, as `part`s *inside* the object. A reader that collects every
# `bndbox` of a file therefore finds too many boxes, as the next cell shows on a small file made for this purpose.

# %%
corners = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>".format
head = f"<part><name>head</name>{corners(82, 32, 118, 80)}</part>"
person = f"<object><name>person</name><difficult>0</difficult>{corners(40, 30, 160, 290)}{head}</object>"
file = Path(tempfile.mkdtemp()) / "person.xml"
file.write_text(f"<annotation><size><width>300</width><height>300</height></size>{person}</annotation>")
print("every bndbox:", len(list(ElementTree.parse(file).iter("bndbox"))), "boxes")
print("the library: ", voc.read_example(file, Path("person.jpg"), "person").boxes.tolist())

# %% [markdown]
# ### Pixels and their order
#
# You have read the boxes; what about the pixels? An `Example` has none, only the path of its JPEG. Because training
# shows each photograph hundreds of times, the module `store` decodes all photographs once into one file, and gives back
# a view of it.

# %%
folder = Path(tempfile.mkdtemp()) / "store"
opened = store.open_store(folder, found[:3])
print(len(opened), "photographs,", (folder / store.PIXELS).stat().st_size, "bytes")
print(tuple(opened[0].shape), opened[0].dtype, " same pixels:", torch.equal(opened[0], photograph))

# %% [markdown]
# Note the shape: height comes first in a tensor of pixels, whereas width comes first in `size` and in a box. If you use
# one where the other belongs, x and y are swapped and every box is mirrored across the diagonal.
#
# You have now seen one box in VOC's numbers and in ours. Two more notations are in use, so here are all four side by
# side.
#
# ## Four notations of one box

# %%
written = overlap.notations(example.boxes[0], example.size)
rows = [(name, ", ".join(overlap.NOTATIONS[name]), overlap.written(numbers)) for name, numbers in written.items()]
table(rows, head=("notation", "its numbers", "this box"))

# %% [markdown]
# - **Corners in px** are what the modules of this library pass to one another, always.
# - **Centre in px** is used inside functions only: where anchors are made, and where [offsets](glossary.md) are
#   computed (`coding`).
# - **Unit** coordinates are divided by the width and the height of the image. Caffe and many other programs compute in
#   them.
# - **VOC** coordinates stand in the XML files and in result files.
#
# Nothing in a tensor says which notation it holds. So the rule here is that a name without a suffix means xyxy in px,
# while anything else is said in the name, as in `anchors_cxcywh`. Two functions convert between the first two:
# `to_cxcywh`, which is shown below, and `to_xyxy`, which you will write yourself.

# %%
source(box_ops.to_cxcywh)

# %% [markdown]
# Other programs have other names for these formats. What "centroids" and "minmax" mean in `ssd_keras`, and which four
# numbers Caffe and YOLO write, is answered in [What people ask about SSD](../docs/faq.md). Now that the four numbers
# have a meaning, one habit of VOC's is left: how it computes a width.
#
# ## Why there is no "+1", and where there is
#
# In VOC's evaluation code (`VOCevaldet.m` of the development kit) every width is `xmax - xmin + 1`. That is right
# *there*, because pixel 3 to pixel 5, both inclusive, is three pixels. When corners are lines instead of pixels there
# is nothing to add. Both ways give the same IoU, each in its own numbers:

# %%
a_voc, b_voc = a + torch.tensor([1.0, 1, 0, 0]), b + torch.tensor([1.0, 1, 0, 0])
rows = [
    ("ours", "no", box_ops.iou(a, b), "right"),
    ("VOC's", "yes", box_ops.iou(a_voc, b_voc, extent=1), "right"),
    ("ours", "yes", box_ops.iou(a, b, extent=1), "wrong"),
]
table(rows, head=("numbers", "+1", "IoU of A and B", "which is"), form=("", "", ".4f"))

# %% [markdown]
# `extent` is that 1. Only the module `evaluate` sets it to 1. In unit coordinates a +1 would be worse, since it would
# add a whole image to every width and height.
#
# A +1 in the wrong place changes an IoU, as the last line shows. You can now read a box of VOC's and compare it with
# any other. How many such boxes are there, and how large are they?
#
# ## The dataset in numbers
#
# SSD300 is trained on VOC2007 and VOC2012 *trainval* together, called 07+12, and tested on VOC2007 *test*.
#
# > Note: the numbers of this section were counted on the genuine annotations by `data_scripts/count_facts.py`, whatever
# > images you have on disk.

# %%
classes = voc_facts.classes()
counts = []
for name, rows in classes.items():
    images, objects, easy = (rows["all"][key] for key in ("images", "objects", "objects_easy"))
    assert voc.COUNTS[name] == (images, objects, objects - easy)
    counts.append((name, images, objects, objects - easy))
table(counts, head=("set", "images", "objects", "difficult"))

# %% [markdown]
# The last column counts objects that are difficult. Caffe trains on all objects, and so do we, while other programs
# leave the difficult ones out ([which programs do what](../docs/differences_from_caffe.md)). How much do they lose?

# %%
training = [classes[name]["all"] for name in ("2007-trainval", "2012-trainval")]
images, objects, easy = (sum(r[key] for r in training) for key in ("images", "objects", "objects_easy"))
row = ("07+12", images, objects, easy, 1 - easy / objects)
table([row], head=("set", "images", "objects", "not difficult", "left out by some"), form=("", "", "", "", ".0%"))

# %% [markdown]
# They train on 15 % fewer objects. Neither the difficult objects nor the others are spread evenly over the classes:

# %% alt="Bars of the number of objects of each class in VOC 07+12 trainval, person by far the most, difficult ones hatched"
figure = voc_facts.classes_drawn()

# %% [markdown]
# mAP, the score of a detector (chapter 11), is the mean over *classes*. So the bus counts as much as the person, with a
# seventeenth of the examples to learn from.
#
# The tables that VOC publishes count only objects that aren't difficult. If your count for a class is larger than
# theirs, this is the reason:

# %%
columns = ("images", "images_easy", "objects", "objects_easy")
rows = [(name, *(classes["2007-trainval"][name][key] for key in columns)) for name in ("bus", "person")]
head = ("2007-trainval", "images", "images, not difficult", "objects", "objects, not difficult")
table(rows, head=head)

# %% [markdown]
# How many objects are there in an image, and how large are they on the 300 x 300 input?

# %% alt="Left, bars of images by their number of objects, falling from one; right, histograms of width and height on the 300 x 300 input, both highest below 50 px, with a bar of objects as large as the image"
figure = voc_facts.sizes_drawn()

# %% [markdown]
# The bars at the right end of the histogram are objects as wide or as high as the image. The next cell counts those at
# the other end. For comparison, the side of the smallest square anchor is 30 px.

# %%
shapes = voc_facts.shapes()
rows = [(f"less than {side} px", voc_facts.smaller_than(side, shapes)) for side in (20, 30, 50)]
table(rows, head=("width and height on the 300 x 300 input", "of all objects"), form=("", ".1%"))

# %% [markdown]
# One case never occurs: no image of the three sets has **zero** objects, not even when the difficult ones are left out.

# %%
counts = voc_facts.per_image()
print(f"training images: {min(counts)} object at least, {max(counts)} at most")
rows = [(name, of["all"]["images"] - of["all"]["images_easy"]) for name, of in classes.items()]
table(rows, head=("set", "images with difficult objects only"))

# %% [markdown]
# That is why so much code has never met an image without objects, and stops at the first one in your own data ([why,
# and what to do](../docs/faq.md)). In this library R, the number of objects, may be 0 in every function:

# %%
nothing = torch.zeros(1, 0, 4)
answer = matching.match(nothing, torch.zeros(1, 0, dtype=torch.int64), anchors.default_boxes())
print("IoU with nothing:", tuple(box_ops.iou(nothing[0, :, None], example.boxes).shape))
print("anchors that are background:", f"{(answer == -1).sum():,}")

# %% [markdown]
# You have met all that the exercises need. The fourth of them is the function that the first half was about.
#
# ## Exercises
#
# Each exercise has a cell to fill in, a check right below it, hints, and a folded solution. If a check says *not
# right*, it also shows where.
#
# ### 1.1 The way back · easy · 5 minutes
#
# You saw corners become centre form; now go back. You are given `boxes_cxcywh`, a tensor of shape (..., 4), so it may
# be one box, R boxes or a batch of them. Return a tensor of the same shape that holds corners.
#
# *Building block:* chapter 13 uses your function to turn its anchors and its decoded boxes into corners.

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
# `t.unbind(dim=-1)` gives the four columns whatever dimensions stand before them, and `torch.stack([...], dim=-1)` puts
# four together again. `t[..., 0]` also works; `t[:, 0]` doesn't for one box or for a batch.
# </details>
# <!-- solution -->
#
# ### 1.2 Which format is this? · a drill · 8 minutes
#
# An image is 500 px wide and 375 px high. Seven programs wrote down the same object in it, and the next cell prints
# their numbers, A to G. Which format does each of them use? Choose from `xyxy`, `cxcywh`, `xywh` (upper left corner,
# width, height), `yxyx` (corners, y before x), `voc`, `unit xyxy`, `unit cxcywh`; each occurs once. Set `formats` to a
# list of these seven names in quotes, in the order A to G.

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
# With data of your own you see only one of the seven. Guess which it is, draw the boxes of five images, and look
# whether they fit.
#
# ### 1.3 VOC's corners · easy · 5 minutes
#
# You are given `corners_voc`, a tensor of shape (..., 4) with numbers as they stand in the XML file: pixels from 1,
# inclusive. Return our corners in the same shape, and leave the tensor that you were given as it is.

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
# You are given `first` and `second`, tensors of corners, each (..., 4), in shapes that broadcast. Return their IoU, one
# number for each pair: two times (R, 4) gives (R,), while (2, 1, 4) and (3, 4) give the table (2, 3). A pair that
# shares nothing gets 0, and so does a box without area. Don't use `box_ops.iou`.
#
# *Building block:* in chapter 13 your function compares objects with anchors, and detections with one another.

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
# Clamp the width and the height separately, before you multiply them. Then `torch.where(both > 0, ..., 0.0)` takes care
# of boxes without area.
# </details>
# <details><summary>Help: it stops with an IndexError at "a table"</summary>
#
# There the first boxes have shape (2, 1, 4). Write `first[..., 0]`, not `first[:, 0]`.
# </details>
# <!-- solution -->
#
# ### 1.5 How far for one half · on paper · 5 minutes
#
# A box of 120 x 120 px is shifted to the right by d px. For which d is the IoU of the old and the new box exactly 0.5?
# Set `distance` to that number of pixels.

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
# ### 1.6 The mirror · a common mistake · 5 minutes
#
# An image `width` px wide is mirrored left to right. Where are its boxes now? You are given that `width` and `boxes`,
# corners of shape (..., 4). Return the corners of the mirrored boxes in the same shape, with xmin < xmax.
#
# *Building block:* chapter 13 uses your function to take the boxes along when a training image is mirrored.

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
# ### 1.7 Which objects count · easy · 5 minutes
#
# You are given an `Example` and the name of a class. Return, as a number, how many of its objects count when detections
# of that class are judged.

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
# `LABELS["dog"]` is the label of dogs; `example.labels == label` is true for each object that has it.
# </details>
# <details><summary>Hint 2</summary>
#
# `~example.difficult` exchanges true and false; `&` is *and*.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# ### ... a box had no width?
#
# Why did my loss become NaN? [*NaN*, not a number](https://en.wikipedia.org/wiki/NaN), is what arithmetic returns where
# no number is right, such as for the logarithm of a negative number. [What people ask about SSD](../docs/faq.md) has
# four answers, and one of them is in the annotations: a box whose left edge lies on its right edge, or beyond it. In
# [amdegroot #373](https://github.com/amdegroot/ssd.pytorch/issues/373) a user had tried many learning rates, momenta
# and batch sizes before another advised looking for boxes like that.
#
# Here is what such boxes do. The network learns a box as four [offsets](glossary.md) from an anchor, and one of the
# four holds the logarithm of the box's width. It is minus infinity for a width of 0, and doesn't exist for a negative
# one:

# %%
anchor = torch.tensor([20.0, 20, 80, 80])
sick = {"healthy": [30.0, 20, 70, 80], "xmin = xmax": [50.0, 20, 50, 80], "xmin > xmax": [70.0, 20, 30, 80]}
offsets = {name: coding.encode(torch.tensor(box), anchor) for name, box in sick.items()}
table([(name, *four.tolist()) for name, four in offsets.items()], head=("box", "x", "y", "width", "height"))

# %% [markdown]
# > Note: these are our numbers. In VOC's, `xmin` equal to `xmax` is still one pixel wide, but a program that takes 1
# > off both leaves it no width.
#
# The other three offsets of a sick box look healthy, which makes it hard to notice. The next cell computes the loss of
# a network that answers four zeros, and by *backpropagation* ([explained
# here](https://docs.pytorch.org/tutorials/beginner/blitz/autograd_tutorial.html)) the gradient, which says for each of
# the network's four outputs how the loss changes with it. The loss is [smooth L1](glossary.md), which chapter 04 is
# about.

# %%
rows = []
for name, four in offsets.items():
    answer = torch.zeros(4, requires_grad=True)
    loss = torch.nn.functional.smooth_l1_loss(answer, four, reduction="sum")
    loss.backward()
    rows.append((name, loss.item(), *answer.grad.tolist()))
table(rows, head=("box", "loss", "gradient of x", "of y", "of the width", "of the height"))

# %% [markdown]
# A box without width makes the loss infinite, but its gradient is still a number, so you see `inf` in the log, and a
# program that doesn't check goes on. A box inside out, with its left edge beyond its right one, sends back NaN into
# layers that all anchors share, so after that step every answer of the network is NaN.
#
# That is why the library doesn't let such boxes in. In an XML file a box is inside out if `xmax` is smaller than
# `xmin`, and the library stops while *reading*, where it can still name the file:

# %%
file.write_text(file.read_text().replace("<xmax>160", "<xmax>20"))
try:
    voc.read_example(file, Path("person.jpg"), "person")
except voc.VOCError as error:
    print(str(error).replace(str(file), file.name))

# %% [markdown]
# Annotations aren't the only source of boxes without width. If you take 1 off all four VOC numbers of a box one pixel
# wide, you have one. If you clip a box that lies outside an image or a crop, that is, cut it off at the border, you
# have another:

# %%
print(box_ops.clip(torch.tensor([310.0, 20, 340, 80]), width=300, height=300).tolist())

# %% [markdown]
# ### ... we clipped in centre form?
#
# Clipping also goes wrong in another way. In unit coordinates the image ends at 0 and 1, so it is tempting to clip a
# box that sticks out by clamping all four numbers to that range. In centre form that does nothing of the kind:

# %%
outside_cxcywh = torch.tensor([0.1, 0.5, 0.4, 0.6])
clamped = box_ops.to_xyxy(outside_cxcywh.clamp(0, 1))
clipped = box_ops.clip(box_ops.to_xyxy(outside_cxcywh), width=1, height=1)
print("clamped in centre form:", [round(x, 2) for x in clamped.tolist()])
print("clipped as corners:    ", [round(x, 2) for x in clipped.tolist()])

# %% [markdown]
# The left edge is still outside, at -0.1, because the centre 0.1 and the width 0.4 are both between 0 and 1 and were
# left alone. There is no error and no warning. The programs of sgrvinod and amdegroot clamped their anchors so, and by
# luck it did no harm: in [sgrvinod #95](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/95) a
# user trained both ways and got 77.1 mAP with anchors like this and 76.2 with anchors really clipped, one run each.
# Caffe doesn't clip its anchors at all, and neither do we.
#
# ## Self-test

# %%
SelfTest("boxes")

# %% [markdown]
# ## Recap
#
# - IoU is the shared area over the area covered together. Resampling to 300 x 300 doesn't change it; a +1 belongs to
#   pixel numbers.
# - Our boxes are xyxy in px, edges are lines, and the whole W x H image is (0, 0, W, H). Anything else has a suffix.
# - VOC numbers pixels from 1, inclusive, so 1 comes off the minima only. Parts of persons are not objects.
# - Labels are 1 to 20; 0 is background. Difficult objects are trained on and left out of the evaluation.
# - There are 16,551 images with 47,223 objects to train on and 4,952 to be tested on, and none of them is empty.
# - A box without width makes the loss infinite, and a box inside out makes it NaN. Stop them where they are read.
#
# You can now compare any two boxes. The network never starts from nothing, though: it corrects boxes that are laid over
# every image beforehand, and [chapter 02](02_anchors.ipynb) derives all 8,732 of them.
#
# Numbers: the documentation of VOC's development kits, counted again on the XML files. Paper: section 3.1.
