# %% [markdown]
# # 12 · Your own images
#
# **In one sentence:** new classes need new images and six new layers, and most of the work is done before the first
# training step, by looking at the boxes.
#
# An aerial photograph shows 574 tree crowns, each with its box. Stretched to SSD's 300 x 300 input, not one of them is
# large enough for an anchor to overlap it by half, so no amount of training can do much about that. From another
# folder, a program reads the boxes in the wrong format. Nine of ten come out with a width or height below zero, and the
# program drops them. The others are still boxes, mostly in the wrong places, and it trains on these without an error
# message. Both faults can be seen before you train, and this page shows where to look.
#
# | | |
# |---|---|
# | time | 75 minutes, two thirds of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 02: the 8,732 anchors; chapter 03: matching; chapter 04: hard negatives |
# | new modules | `formats`, `own`, `survey`, `published`, `show`, `onnx`, `exported` |
#
# At the end of this page you will be able to
#
# - make a dataset of a folder with Pascal XML, COCO JSON, YOLO text or LabelMe JSON, and say what was left out and why,
# - say before training which of your objects the anchors can detect well, and what to do about the others,
# - say what changes for other classes and what doesn't,
# - train, detect in images and videos, and hand the detector to somebody who has no PyTorch.

# %%
import json
import tempfile
from pathlib import Path

import torch

from course.kit import places
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from course.own_images import check, example_datasets, figures, film_player, tile_bench
from ssdlib import box_ops, loss, model, plots
from ssdlib.cli.show import Writer, show
from ssdlib.data import own
from ssdlib.data.store import Jpegs
from ssdlib.interop import onnx, published
from ssdlib.interop.exported import Exported
from ssdlib.records import Predictions, Targets
from ssdlib.training import inference
from ssdlib.training.runs import RunError

place = places.runs_folder() / "zoo"

# %% [markdown]
# ## The picture
#
# Suppose you are given this folder, *the zoo*: images of six animals that Pascal VOC doesn't know, with boxes. They are
# painted, as those of the mini VOC are. The page takes it all the way to a detector that you can hand on; *For your
# folder*, near the end, has the same way in five commands for images of your own.

# %% alt="Two painted images with boxes around penguins, turtles, a butterfly, an octopus and an elephant"
folder = example_datasets.folder("xml")
found = own.read_folder(folder)
few = figures.full(found.examples, least=4, count=2)
figure = plots.examples(few, Jpegs(few), columns=2, classes=found.classes)
title = figure.suptitle("Two images of the zoo: each animal has a box and a class")

# %% [markdown]
# (Glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0.)
#
# ## The words
#
# - The **class list** gives each label its name: label 1 is the first name. Label 0 is the background and has no name.
# - An **annotation** is what an annotation tool has stored about one image: its objects, each with class and box.
# - The **split** says which images are for training and which for testing.
# - An object is **covered** if at least one anchor overlaps it with an IoU of 0.5 or more.
# - To **fine-tune** is to continue training from weights that were trained on something else.
# - To **export** is to write the network into a file that runs without the program that trained it.
#
# ## By hand
#
# Take one object in an image of 400 x 300 px. Its left edge lies 100 px from the left border and its right edge 300;
# its upper edge lies 50 px from the top and its lower edge 200. Three tools write this down in three ways:
#
# | | numbers | counted in | what they are |
# |---|---|---|---|
# | Pascal XML | 101, 51, 300, 200 | px from 1 | corners |
# | COCO JSON | 100, 50, 200, 150 | px from 0 | upper left corner, width, height |
# | YOLO text | 0.5, 0.4167, 0.5, 0.5 | fractions of the image's sides | centre, width, height |
#
# Four numbers don't say which format they are in. If they are read in another one, they sometimes still make a box,
# but a wrong one.
#
# **Does XML count from 1?** In VOC it does: a box over the whole image reads 1, 1, 400, 300. Many tools write XML that
# counts from 0, though, and a single box doesn't show which it is. The library therefore looks at the whole dataset: if
# some box begins at 0, the dataset counts from 0; if none does, it is read as VOC's. At worst this is wrong by one
# pixel.
#
# You don't have to convert by hand, though: the library does it, and says what it had to decide.
#
# ## In the library
#
# `own.read_folder` finds out which of these three formats a folder has; it also knows LabelMe's JSON and darknet's
# lists. You don't have to write lists of images or classes. It counts what it has found:

# %%
figures.contents(found)

# %% [markdown]
# And it reports what it ignored, repaired or guessed:

# %%
figures.notes(found)

# %% [markdown]
# Read this report before anything else, because nearly every folder has something wrong with it. In the zoo five faults
# were put in on purpose:
#
# - **An image without XML.** Either nobody has annotated it yet or there is nothing in it, and the folder can't tell us
#   which, so the library leaves it out. An XML file without objects says that the image is empty. In YOLO's format a
#   missing text file means *empty*, so there the two cases look the same.
# - **An annotation without image**, and an image file that **breaks off**: both are left out and counted.
# - **A box that reaches out of its image** is cut off at the border. If this happens often, the numbers probably don't
#   mean what you think.
# - **An image whose pixels are stored turned by 90 degrees**, with a note about it in its EXIF data: see *Turned images*
#   below.
#
# The row *guessed* is the question of the section before: some box begins at 0, so the zoo's XML counts from 0. What
# the line *split* means is explained in *A split that stays*.
#
# What the library reads should not depend on the format. Here is the same dataset, read from each of the three formats.
# A number in the upper rows is a count of images or objects, and one in the lower rows says how often something was
# noted:

# %%
others = {name: own.read_folder(example_datasets.folder(name.lower())) for name in ("COCO", "YOLO")}
figures.readings({"XML": found} | others)

# %% [markdown]
# YOLO's version has one image more, because the one without annotation now counts as empty. COCO's class list has one
# name more, `animals`, which no object has; some annotation tools add such a heading, and the library leaves it out.
# Are the boxes the same?

# %%
rows = [(name, *example_datasets.compared(found, other)) for name, other in others.items()]
table(rows, head=("beside XML", "images in both", "boxes differ at most by, px"), form=("", "", ".4f"))

# %% [markdown]
# Three readers, written separately, agree. The 0.0002 px come from rounding, since YOLO's text files give six decimals.
#
# ### Turned images
#
# A phone often stores the pixels lying on their side and notes beside them, in the
# [EXIF](https://en.wikipedia.org/wiki/Exif) data, how it was held. A browser turns the image before it shows it, and so
# do most annotation tools, but not all. If the tool and the training program disagree, the boxes of some images lie
# beside their objects, as on the left below. The library decides by the image size that the annotation states. If the
# annotation states none, as in YOLO's format, the library turns the image.

# %% alt="One image twice: lying on its side with boxes beside the animals, and upright with boxes that fit"
turned = next(e for e in found.examples if e.upright)
figure = figures.turned(turned, found.classes)

# %% [markdown]
# ## A split that stays
#
# Now that the boxes can be trusted, which fifth of the images is for testing? Suppose the library drew it at random
# each time. Then images would change sides whenever you add others. A network that starts from an earlier one would be
# tested on images which that one was trained on, and its AP would be too high. So the *path below the folder* decides: a
# [hash](https://en.wikipedia.org/wiki/Hash_function) turns it into a number between 0 and 1 that looks random but is
# always the same, and an image with a number below 0.2 is for testing.

# %%
source(own.share_of)

# %%
names = [found.examples[i].image_id for i in (0, 1, 2, 9)]
shares = [own.share_of(name) for name in names]
sides = ["test" if share < own.TEST_SHARE else "train" for share in shares]
table({"image": names, "number": shares, "side": sides})

# %% [markdown]
# The number stays as long as the path does: if you rename an image or move it to another sub-folder, it may change
# sides. If one folder is called `train` and another `val`, `valid` or `test`, these decide instead of the hash. One of
# them alone doesn't count.
#
# A hash has one weakness: it doesn't know which images belong together. Two frames of one video are nearly the same
# image, so if one is in the training set and the other in the test set, the test is too easy. Put each video as a whole
# into `train/` or `test/`; exercise 12.2 does so by name.
#
# ## What to change, and what not
#
# The data is ready. What has to change in the network for six animals instead of twenty classes? Compare the shapes of
# two networks, one with 20 classes and the background, one with 6 and the background:

# %%
theirs, ours = (model.SSD300(num_classes).state_dict() for num_classes in (21, 7))
changed = [name for name in theirs if theirs[name].shape != ours[name].shape]
print(len(changed), "of", len(theirs), "tensors have another shape:", *sorted({n.split(".")[0] for n in changed}))
numbers = [sum(tensor.numel() for tensor in state.values()) for state in (theirs, ours)]
table({"classes": ["VOC's 20", "the zoo's 6"], "parameters": numbers})

# %% [markdown]
# Only the six classification heads (`conf`) differ, each in its weights and its biases. With what is outside of the
# network the list is this:
#
# | changes | stays |
# |---|---|
# | the class list | the input of 300 x 300, the mean that is subtracted |
# | the six classification heads | the body and the six localisation heads |
# | the images | the 8,732 anchors, the variances, matching, mining |
# | the number of steps, and when the learning rate drops | the two thresholds of detection |
#
# **Why not the anchors?** You could choose anchors whose sizes are closer to your objects. But the trained localisation
# heads predict offsets *from these anchors*, so with others their predictions no longer fit. The paper did choose
# smaller anchors for COCO, and trained its heads for them. This library trains with the paper's anchors for VOC only.
# There is something better to change first: the size at which the network sees your objects. So measure that size.
#
# ## Your boxes under the anchors
#
# An image of any size is stretched to the 300 x 300 input, which the library's code calls the *canvas*. What counts
# is how large an object is *there*. As in chapter 11, *size* means the square root of the area. The module `survey` sorts
# the objects by it and asks which of them are covered:

# %%
figures.under_anchors(found.examples)

# %% [markdown]
# Of the 114 objects that aren't covered, 108 are butterflies. Such an object gets only one anchor, by [step one of
# matching](03_matching.ipynb), whatever the overlap, whereas a covered one usually gets several. The network learns
# little from a single anchor.
#
# The smallest anchors have a size of 30 px. A smaller object reaches an IoU of 0.5 only if it has at least half of an
# anchor's area, which means a size of 30 · √½, or 21 px.
#
# The butterflies are a mild case. A hard one is real: four aerial photographs with 951 tree crowns. Here are the sizes
# of the photographs, and then the same survey of the crowns:

# %%
crowns = example_datasets.crowns()
rows = [(*example.size, len(example.labels)) for example in crowns]
table(rows, head=("width of the photograph, px", "height, px", "crowns"))

# %%
figures.under_anchors(crowns)

# %% [markdown]
# > Note: only the boxes are part of this course. They come with the Python package `deepforest`, MIT licence; the
# > photographs are by the National Ecological Observatory Network. `data_scripts/get_crowns.py` gets two
# > of them, cut into tiles.
#
# Nine of ten crowns are not covered. The largest photograph, with 574 of the 951 crowns, is 2,299 px wide and is shrunk
# to 300, so that a crown of 40 px becomes one of 5 px. None of its crowns is covered, and no network and no number of
# training steps can do much about that. There are two remedies, smaller anchors and cutting the photographs into parts,
# and they can be compared before any training. **Predict first:** which of the two helps the crowns more?

# %%
figures.remedies({"the zoo": found.examples, "tree crowns": crowns})

# %% [markdown]
# Smaller anchors help the crowns a little, up to 24 %, and then soon fail for the larger animals of the zoo: the
# smallest anchors cover only half of its animals. **Cutting** helps far more, up to 92 % of the crowns. Each
# photograph is divided into several **tiles**, and each tile is stretched to 300 x 300. With 8 x 8 tiles the crown of
# the example is about 40 px large in the input instead of 5, and every weight of a trained network can still be used.
#
# Cutting has two costs. It takes 64 forward passes instead of one, and it cuts objects that lie on a border between
# tiles, at 8 x 8 more than a third of the crowns. For that reason people let the tiles overlap, and apply non-maximum
# suppression once more to the detections of all tiles together.
#
# The library has no command that cuts. Write a script that cuts images and boxes, with exercise 12.6 as its core and
# `data_scripts/get_crowns.py` as an example, and cut in the same way before you detect. (That script has another rule
# than the exercise: each tile that holds at least 40 % of a crown gets it.) `python -m ssdlib look --data FOLDER`
# prints the report and this survey for your folder. The survey counts objects; the explorer below shows what happens to
# a single one.
#
# ## Move it
#
# The orange box is an object in a photograph, and the blue box is the tile that it lies in, at first the whole
# photograph. Drag the object with the mouse or with the arrow keys; <kbd>Shift</kbd> and an arrow resizes it. The
# dashed green box is the nearest anchor, drawn as large as it is in the photograph. *Predict first*:
#
# - Grow the object in the first photograph until an anchor covers it. How large is it then in the input?
# - Choose **phone, 4000 x 3000**: into how many tiles a side do you have to cut until the object is covered?
# - Drag it across the border between two tiles. What becomes of it?
# - Choose **panorama**: what does the stretching do to its shape? Which feature map's anchor is the nearest?
#
# <details><summary>Answers</summary>
#
# - Its size is then 21 to 23 px, depending on its shape and on how the anchors lie under it: 18 x 25 px are enough.
# - 3. With 2 x 2 tiles its lower end is cut off: it is 18 x 20 px large in the input, and the best IoU is 0.40; with 3
#   x 3 it is 27 x 33 px, and eight anchors cover it.
# - It belongs to the tile that holds its centre. What lies beyond the border is cut off, and the line below *in the
#   input* says how much of it is left.
# - 200 x 400 px become 20 x 120: twice as tall as wide in the photograph, six times as tall as wide in the input. The
#   nearest anchor is one of `fc7`, 35 x 104 px, with an IoU of 0.53.
#
# </details>

# %%
explorer = tile_bench.TileBench()
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still image. Tried in JupyterLab 4.)
#
# ## Images without objects
#
# The survey counts objects, but 30 images of the zoo have none, and people ask whether SSD can learn from those. The
# loss answers it. Of the two images below the first has no objects and the second has one, to which four anchors are
# matched. In both, the network raises the same false alarm at every anchor:

# %%
alarmed = torch.zeros(2, 8732, 7)
alarmed[..., 3] = 1.0
labels = torch.zeros(2, 8732, dtype=torch.int64)
labels[1, 100:104] = 2  # four anchors of the second image have an object
goal = Targets(torch.zeros(2, 8732, 4), labels, labels - 1)

# %%
rows = []
for mining in loss.MININGS:
    chosen = loss.hard_negatives(alarmed, labels > 0, mining, 3).sum(dim=1).tolist()
    value = loss.multibox_loss(Predictions(torch.zeros(2, 8732, 4), alarmed), goal, mining)
    rows.append((mining, *chosen, float(value.confidence)))
table(rows, head=("mining per", "negatives in the empty image", "in the other one", "confidence loss"))

# %% [markdown]
# With the paper's rule, mining per **image**, the empty image adds *nothing* to the loss: three negatives are chosen
# for each positive, and it has no positive. So its false alarms are not penalised. If your network raises false alarms
# in empty images, add such images and train with `--mining batch`, which chooses the twelve negatives from both images
# together. Whether that helps was not measured here.
#
# > Note: in this example all negatives are equally wrong, so the twelve come from the first image. A batch of empty
# > images alone has N = 0: the loss then divides by 1 and is 0, so there is no gradient, although [momentum and weight
# > decay](07_sgd_instability.ipynb) continue to act.
#
# ## Classes that are rare
#
# Whole classes can be nearly missing, too. These are the objects in the zoo's training images:

# %%
every = torch.cat([example.labels for example in found.part("train")])
counts = every.bincount()[1:].tolist()  # label 0 is the background
table({"class": found.classes, "objects": counts, "": ["█" * (count // 8) for count in counts]})

# %% [markdown]
# Four of ten animals are penguins, and there are few crabs. The loss does nothing about it: each matched anchor counts
# the same, so penguins move the weights more than ten times as often as crabs. The [mean AP](11_evaluation.ipynb), on
# the other hand, counts each class the same, so a rare class with an AP of 0 costs as much as a frequent one.
#
# What helps, in this order: collect more images of crabs, show the images with crabs more often (exercise 12.7), and
# report each class by itself. You can also weight the loss, but that moves the scores of all classes. None of these was
# measured here.
#
# ## Start from what is there
#
# Because the whole zoo is small, it matters what the network knows before the first step. The recorded network of the
# mini VOC has never seen an elephant, but its body knows edges, outlines and textures, and its localisation heads know
# how a box has to move to fit an object. The module `published` takes over what fits.
#
# In a classification head it takes single rows. The channels of such a head stand anchor after anchor (`boxes` in the
# code) and, for each anchor, class after class, so the code can view them as a table with a row for each class. Rows of
# classes that the old network doesn't know come from `fresh`, the new network's own random numbers:

# %%
source(published.take)

# %%
STEPS = 80
config = example_datasets.recipe(found, STEPS)
state, said = example_datasets.started(config)
print(said)

# %% [markdown]
# The mini VOC has none of the six animals, so of each classification head only the background's row could be taken.
# Now two networks are trained on the zoo for the same number of steps, one from these weights and one from random ones.
#
# > Note: each takes about half a minute on two cores. With 80 steps of eight images the network sees each image
# > little more than twice, which is far too few for a good detector. If you interrupt one of them, the page goes on with
# > what was recorded, and says so.

# %% tags=["nbval-ignore-output"]
with interruptible(place / "tuned", recorded=places.recording("tuned", "from_mini")) as mine:
    mine.table = example_datasets.train(config, found, folder, mine.out, state, mine.bar)

# %% tags=["nbval-ignore-output"]
from_nothing = example_datasets.recipe(found, STEPS, learning_rate=0.03)
with interruptible(place / "scratch", recorded=places.recording("tuned", "from_random")) as other:
    other.table = example_datasets.train(from_nothing, found, folder, other.out, bar=other.bar)

# %% tags=["nbval-ignore-output"]
tuned, scratch = map(example_datasets.table_of, (mine, other))
rows = [(name, 100 * tuned.ap[name], 100 * scratch.ap[name]) for name in found.classes]
rows.append(("mean", 100 * tuned.mean, 100 * scratch.mean))
table(rows, head=("AP", "from the mini VOC's weights", "from random weights"), form=("", ".1f", ".1f"), heat=True)

# %%
print("starting from other classes is better by 40 points or more:", 100 * (tuned.mean - scratch.mean) > 40)

# %% [markdown]
# > Note: the table differs a little from machine to machine, since sums are rounded differently. The random network
# > got three times the learning rate, the one of the recorded mini run, which also began at random.
#
# In the fine-tuned network, too, the rows of the six animals began at random, but everything else had a good start. This
# is why people fine-tune, and on a small dataset it is worth more than any trick. The table doesn't say what the random
# network would reach in the end: 80 steps are few for one that has to learn everything. With the full network the way is
# the same, with other weights (*For your folder*, below).
#
# ## Leave the first layers as they are
#
# The first layers look for edges and textures, which animals share with the classes of VOC. So you can fine-tune
# without training these layers: `--freeze conv3_3` leaves the body up to and including conv3_3 as it came, and neither
# the gradient nor weight decay nor momentum changes it.

# %%
source(model.SSD300.freeze)

# %% [markdown]
# A step becomes cheaper, because no gradient is computed there. In the full network the layers up to conv3_3 do more
# than half of the arithmetic of a forward pass, because their maps are large. Freezing them saves a third of the
# arithmetic of a training step. (torchvision's SSD300 freezes conv1_1 and conv1_2 by default if its body is
# pretrained.)
#
# **Predict first:** how much worse is the zoo's detector if everything up to conv3_3 stays as the mini VOC left it? And
# if all of VGG16's convolutions stay, up to conv5_3? `data_scripts/freezing.py` repeated the training above with
# three random seeds for each:

# %%
figures.frozen()

# %% [markdown]
# Here nothing is lost. With everything up to conv3_3 frozen, the results differ by no more than the random seeds differ
# among themselves, and a step takes a third less CPU time. With all layers up to conv5_3 frozen, the detector is better
# for each of the three random seeds, and a step takes less than half the time. A possible reason, which was not tested:
# in 80 steps those layers can't become better, but at this learning rate they can become worse.
#
# > Note: this is one case: few steps, and images painted like those which the weights come from. The less your
# > images look like those (X-rays, say) and the longer you train, the more the frozen layers may miss. That was not
# > measured. Frozen layers need weights to start from: `--freeze` without `--init` is refused, because random layers
# > would stay random.
#
# ## Detect
#
# Back to the network that was fine-tuned on this page. Here is what it finds in four test images, at scores of 0.4 and
# more:

# %% alt="Four test images of the zoo with orange annotations and blue detections"
network, settings = example_datasets.load(mine.out)
shown = figures.full(found.part("test"), least=3)
pixels = list(Jpegs(shown))
seen = inference.detect_in(network, pixels, settings)
figure = plots.detections(shown, pixels, seen, score=0.4, columns=2, classes=settings.classes)
title = figure.suptitle(f"{figures.says(found, settings)}\n(blue: found, orange: annotated)")

# %% [markdown]
# Look for the mistakes, too. In the figure as it comes with this page, a house is called a penguin, one butterfly is
# reported twice, once as a penguin, and two small butterflies are missed, as the survey made likely. [Chapter
# 10](10_detection.ipynb) shows what another threshold than 0.4 costs.
#
# `python -m ssdlib detect` does this for single images, for a folder and for videos. For SSD a video is only a sequence
# of images, because the network doesn't remember the frame before. Here is a video of twelve frames, made by a window
# that wanders over one of the images:

# %%
work = Path(tempfile.mkdtemp())
film = Writer(work / "walk.mp4", rate=12)
for i in range(12):
    film.add(pixels[1][i * 4 : i * 4 + 240, i * 6 : i * 6 + 280])
film.close()
told = show(network, settings, [str(work / "walk.mp4")], work / "found", score=0.4)
print("files:", sorted(p.name for p in (work / "found").iterdir()))
print("seconds of its 12 frames:", [frame["seconds"] for frame in told[0]["frames"]])

# %%
explorer = film_player.Film.of(work / "found" / told[0]["picture"], told[0]["frames"])
explorer

# %% [markdown]
# The JSON file holds class, score and box of every detection in every frame, and the MP4 shows them. Frames are read
# and written by [PyAV](https://pyav.org); if it is missing, the error message says `pip install av`.
#
# ## Hand it on
#
# All of this ran inside the library, but the people who are to use your detector may not have PyTorch.
# [ONNX](https://onnx.ai) is a file format for networks that many programs can run. The exported file contains the
# network, the softmax and the decoding. Thresholds and non-maximum suppression stay outside, so that the user can still
# change them.

# %%
source(onnx.Answering)

# %%
apart = onnx.export(network, settings.classes, work / "zoo.onnx")
print("boxes within 0.01 px:", apart[0] < 0.01, "  scores within a ten-thousandth:", apart[1] < 1e-4)

# %% [markdown]
# The module `exported` reads that file. It has some hundred lines that use numpy, Pillow and onnxruntime but nothing
# else of this library, and it repeats the six steps of [chapter 10](10_detection.ipynb). Does it find the same? Two
# results for an image count as the same if they have as many boxes, each within a tenth of a pixel of the other's:

# %%
detector, test = Exported(work / "zoo.onnx"), found.part("test")[:40]
by_run = inference.detect_in(network, list(Jpegs(test)), settings)
by_file = [detector(photograph.numpy()) for photograph in Jpegs(test)]
same = [example_datasets.agree(a, b[0]) for a, b in zip(by_run, by_file, strict=True)]
print("the same detections in at least 39 of 40 images:", sum(same) >= 39)
print("more than 500 detections in all:", sum(map(len, by_run)) > 500)

# %% [markdown]
# > Note: your own run and its file may differ in the third digit. Where the CPU has units for it, a run computes in
# > [bfloat16](https://en.wikipedia.org/wiki/Bfloat16_floating-point_format), a 16-bit format of low precision, but the
# > file in float32. For this comparison the run was told `precision="float32"`.
#
# ## For your folder
#
# That was the whole way with the zoo. For your own images it is five commands, typed in a terminal in the course's
# folder after `source .venv/bin/activate`:
#
# ```
# python -m ssdlib look --data my_pictures
# python -m ssdlib train --data my_pictures --recipe mini --init chapters/recordings/mini --learning-rate 0.01 --out runs/mine
# python -m ssdlib evaluate --checkpoint runs/mine --data my_pictures
# python -m ssdlib detect --checkpoint runs/mine --out found picture.jpg a_folder film.mp4
# python -m ssdlib export --checkpoint runs/mine --out mine.onnx
# ```
#
# Before you train, look at twenty images with their boxes, as this page did with two. In Python:
#
# ```python
# from ssdlib import plots
# from ssdlib.data import own
# from ssdlib.data.store import Jpegs
#
# mine = own.read_folder("my_pictures")
# some = mine.examples[:20]
# plots.examples(some, Jpegs(some), classes=mine.classes).savefig("look.png")
# ```
#
# On a GPU, use the recipe `paper`, with `--init` naming VGG16's weights or a trained SSD300, and set `--steps` and
# `--drops` for the size of your dataset. The paper's run looks at each image 230 times, which for 2,000 images means
# 2,000 · 230 / 32, or about 14,400 steps. Its drops come after two thirds and five sixths of the steps, here `--drops
# 9600 12000`. If you leave them out, they stay at 80,000 and 100,000, where this run never comes.
#
# ## Exercises
#
# Each exercise has a cell to fill in, a check right below, hints, and a folded solution. A check that says *not
# right* shows where.
#
# ### 12.1 Three formats · medium · 10 minutes
#
# Convert one box of any of the three formats. You are given `kind`, which is "xml", "coco" or "yolo"; `numbers`, the
# four numbers in that format; and `size`, the (width, height) of the image in px. XML counts from 1 here, as VOC does.
# Return a list of the four coordinates xmin, ymin, xmax, ymax in px, counted from 0 and not rounded.

# %% tags=["exercise"]
def corners(kind, numbers, size):
    # solution
    a, b, c, d = numbers
    width, height = size
    if kind == "xml":
        return [a - 1, b - 1, c, d]
    if kind == "coco":
        return [a, b, a + c, b + d]
    return [(a - c / 2) * width, (b - d / 2) * height, (a + c / 2) * width, (b + d / 2) * height]

# %%
check.corners(corners)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The table in *By hand* gives one box three times. Your function has to return 100, 50, 300, 200 for each of them.
# </details>
# <details><summary>Hint 2</summary>
#
# For YOLO: from the centre, go half of the box's width to the left and to the right. Then multiply by the image's width. For
# y likewise.
# </details>
# <!-- solution -->
#
# ### 12.2 A split that stays · medium · 5 minutes
#
# Keep all frames of a video on the same side of the split. You are given `names`, a list of file names of frames:
# `gate_0017.jpg` is a frame of the video `gate`, `gate_night_0003.jpg` one of `gate_night`; the number may have any
# number of digits. A video is for testing if `own.share_of` of its name is below 0.2. Return the list of those names
# that are for testing, in the order given.

# %% tags=["exercise"]
def to_test(names):
    # solution
    return [name for name in names if own.share_of(name.rpartition("_")[0]) < 0.2]

# %%
check.to_test(to_test)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `text.rpartition("_")` cuts a text at its last underscore, into three parts.
# </details>
# <!-- solution -->
#
# ### 12.3 Outputs of a head · on paper · 3 minutes
#
# The map `fc7` has six anchors in each cell. How many output channels does its classification head have for the six
# animals of the zoo? Write the number into the cell.

# %% tags=["exercise"]
channels = 6 * (6 + 1)  # solution

# %%
check.outputs(channels)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Each anchor gets a score for each class. Which class has no name in the list?
# </details>
# <!-- solution -->
#
# ### 12.4 Rows of the new head · medium · 5 minutes
#
# Say which rows of a trained classification head can be reused. You are given the class lists `old` and `new`, without
# background. Return a list with one entry for each row of the new head, background first: the row of the old head that
# it is taken from, or -1 if there is none. For old = bird, cat, dog and new = dog, fox the list is 0, 3, -1.

# %% tags=["exercise"]
def rows(old, new):
    # solution
    return [0] + [old.index(name) + 1 if name in old else -1 for name in new]

# %%
check.rows(rows)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Row 0 is the background in both. The first name of a list stands in row 1. `old.index(name)` counts from 0.
# </details>
# <!-- solution -->
#
# ### 12.5 Coverage · easy · 5 minutes
#
# Compute the share in the last row of the survey. You are given the objects, `places` (n, 4) with n at least 1, and the
# anchors, `anchors` (K, 4), both in px of the 300 x 300 input. Return which share of the objects, from 0 to 1, at least
# one anchor overlaps with an IoU of 0.5 or more.

# %% tags=["exercise"]
def covered(places, anchors):
    # solution
    best = box_ops.iou(places[:, None], anchors).amax(dim=1)
    return float((best >= 0.5).float().mean())

# %%
check.covered(covered)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `box_ops.iou(places[:, None], anchors)` is a table with a row for each object and a column for each anchor. What do you
# need of each row?
# </details>
# <!-- solution -->
#
# ### 12.6 Into the tile · the heart of the chapter · 12 minutes
#
# A photograph of `size` (width, height) px is cut into `cut` x `cut` tiles of the same size. You are also given `box`
# (4,), an object in px of the photograph. It goes to the tile that holds its centre and is cut off at that tile's
# border; then the tile is stretched to 300 x 300. Return the box (4,) in px of that input, as a tensor.

# %% tags=["exercise"]
def in_tile(box, size, cut):
    # solution
    tile = torch.tensor(size) / cut
    centre = (box[:2] + box[2:]) / 2
    corner = (centre / tile).floor() * tile
    inside = (box - corner.repeat(2)).clamp(min=0).minimum(tile.repeat(2))
    return inside * (300 / tile).repeat(2)

# %%
check.in_tile(in_tile)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `torch.tensor(size) / cut` is width and height of a tile. Divide the centre by it and round down: that is the number of
# the tile, across and down.
# </details>
# <details><summary>Hint 2</summary>
#
# The number times the tile's size is the tile's upper left corner. Subtract it from both corners of the box. `t.repeat(2)`
# makes four numbers of two.
# </details>
# <details><summary>Hint 3</summary>
#
# Cut off before you stretch: `clamp(min=0)` for the left and upper border, `minimum(...)` for the other two.
# </details>
# <!-- solution -->
#
# ### 12.7 Rare classes · medium · 8 minutes
#
# Compute how often to show each image. You are given `images`, which lists for each image the names of the animals in
# it, with repetitions (a list may be empty), and a share, `enough`. A class that is in at least that share of all
# images is frequent enough. A class that is in a smaller share f of them should be shown √(enough / f) times as often.
# An image counts for the rarest class in it, and is shown at least once. Return a list with one number for each image,
# which a training loop would round up or down at random.

# %% tags=["exercise"]
def repeats(images, enough):
    # solution
    def times(name):
        share = sum(name in names for names in images) / len(images)
        return max(1.0, (enough / share) ** 0.5)

    return [max([1.0] + [times(name) for name in names]) for names in images]

# %%
check.repeats(repeats)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First a number for each class: in which share of the images is it? `name in names` is true or false, and `sum` counts
# how often it is true.
# </details>
# <details><summary>Hint 2</summary>
#
# `max([1.0] + [...])` is at least 1, also if the list behind it is empty.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# **... COCO's numbers were read as corners?** COCO writes x, y, width, height. Suppose a program takes them for xmin,
# ymin, xmax, ymax:

# %%
whole = json.loads((example_datasets.folder("coco") / "annotations.json").read_text())
given = torch.tensor([entry["bbox"] for entry in whole["annotations"]]).float()
right = torch.cat([given[:, :2], given[:, :2] + given[:, 2:]], dim=1)
possible = (given[:, 2:] > given[:, :2]).all(dim=1)
overlap = box_ops.iou(given[possible], right[possible])
print(f"{len(given)} boxes; still a box if read as corners: {possible.float().mean():.0%}")
print(f"of these, overlapping the true one by 0.5 or more: {(overlap >= 0.5).float().mean():.0%}")

# %% [markdown]
# (There are two boxes more than in the report, since those of the missing and of the broken image count here, too.)
#
# Most boxes get a width or height below zero, so a program that checks stops at the first. A program that leaves out
# what it can't use goes on without a message and learns from the others, most of which lie in the wrong place. So look
# at twenty images *with their boxes* before you train, which takes a minute with the lines of *For your folder*.
#
# **... the class list were in another order?** If somebody reverses `classes.txt` between training and detection, every
# box is right and every name is wrong:

# %%
backwards = list(settings.classes)[::-1]
every = torch.cat([detections.above(0.4).labels for detections in seen]).tolist()
still = sum(settings.classes[i - 1] == backwards[i - 1] for i in every)
print("some detections:", len(every) > 0, "   names that are still right:", still)

# %% [markdown]
# To prevent this, a run keeps its class list in the checkpoint, an exported file carries its own, and a run can't be
# resumed with another order.
#
# **... a name were misspelled?** `Penguin` in some annotations and `penguin` in the others makes two classes, each with
# a part of the examples. The library refuses names that differ only in case. It can't know that `pengiun` is wrong, but
# the report shows such a name as a class of few objects.

# %%
try:
    example_datasets.recipe(found, 10, classes=("crab", "penguin", "Penguin"))
except RunError as error:
    print(error)

# %% [markdown]
# ## Self-test

# %%
SelfTest("own_images")

# %% [markdown]
# ## Recap
#
# - All formats are read into the same kind of dataset. The report says what was left out, so read it first.
# - The path of an image below its folder decides its side of the split, until you rename or move the image.
# - For other classes six layers change their shape. Everything else can be taken over from a trained network, and
#   should be.
# - What counts is the size in the 300 x 300 input. Below 21 px (30 · √½) nothing is covered: cut large photographs into
#   tiles.
# - With mining per image an empty image adds nothing to the loss.
# - An exported network finds the same: in this comparison to a tenth of a pixel, in at least 39 of 40 images.
#
# Paper, section 3: the same body is trained for VOC, COCO and ILSVRC; for COCO with smaller anchors (3.4).
