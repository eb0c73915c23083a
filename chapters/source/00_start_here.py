# %% [markdown]
# # 00 · Start here
#
# **In one sentence:** on this page you watch a detector find objects, and then you train a small one yourself;
# you can read every line of its code.
#
# You see a car behind a person and you know at once: a car, there, half hidden. A detector has to turn the
# pixels of an image, which are nothing but numbers, into the same answer: a box and a class for each object.
# This course takes one such detector apart, SSD300, until you have written its main steps yourself. Today you
# only see it work, train it, and find your way around.
#
# | | |
# |---|---|
# | time | 20 minutes, half of them for three exercises and four questions; your computer works about two |
# | hardware | any laptop; no GPU |
# | you need | Python, and to have seen a convolutional network before |
#
# At the end of this page you will be able to
#
# - say what goes into SSD300, what comes out, and what happens between,
# - train it for a minute and read its loss curve,
# - find the file of the library that answers a question of yours.
#
# Run the cells from top to bottom with <kbd>Shift</kbd>+<kbd>Enter</kbd>. You can't break anything here for
# good.

# %%
import sys
import tempfile
from pathlib import Path

import torch

from course.detection.photographs import free_drawn, judged
from course.kit import box_figures, free_photographs, pictures, places
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from course.welcome import check, figures
from course.welcome.live_detector import LiveDetector
from ssdlib import anchors, loss, plots
from ssdlib.data import store, voc
from ssdlib.training import engine, inference, runlog, runs

# %% [markdown]
# ## Drag the car
#
# Run the cell above and the one below, then drag the car. After every move a trained network looks at the scene again.
# Orange marks where an object is. Blue is what the network finds, with the class and the *score*, which says how sure
# it is. The light blue boxes are *anchors*, fixed boxes from which the network starts. Of those that report the object
# in your hand the five surest are drawn. (*IoU* says how well two boxes agree, from 0 to 1; chapter 01 computes it.
# *Suppression*, or NMS, leaves one box for each object.)
#
# - Drag the car across the scene. Where does the score fall? Where does it become a bus?
# - Make it larger and smaller at a corner. Why do other anchors light up?
# - Hide it behind the person. Which of the two is still found?

# %%
explorer = LiveDetector()
explorer

# %% [markdown]
# Every later chapter answers one part of *how did it do that?* The row under the title shows the parts, and
# which of them a chapter is about. You will meet this scene again in chapters 02 to 06 and in chapter 10.
#
# > Note: the network was trained for five minutes, on two threads of a CPU, on 800 painted scenes, of which
# > this isn't one. It is far from perfect, which is why dragging is worth your while. The glyphs are
# > [OpenMoji](https://openmoji.org), CC BY-SA 4.0.
#
# ## Detection, and where SSD stands
#
# Painted scenes are good to learn with, but a detector is made for photographs: it says what is in them and
# where, with one box for each object.

# %% alt="Four photographs: a cat's face and two persons, each in an orange box with its class, and a rocket without a box"
figure = free_photographs.draw_photographs(columns=2)
figure = box_figures.titled(figure, "A box and a class for each object of VOC's twenty classes")

# %% [markdown]
# (Four photographs that come with the package scikit-image. We drew the boxes by hand, following the rules of *Pascal
# VOC*, the dataset that SSD300 was made for, with twenty classes; the rocket has no box, because none of the twenty
# fits it.)
#
# And this is what SSD300 says about them, with its scores, after a training that took two CPU cores some hours;
# chapter 09 shows it. The cat and both persons are found, and the rocket is taken for nothing. But the cat is
# also taken for a dog, with a lower score, and something behind the man with the camera for a car.

# %% alt="Four photographs: the cat with cat 0.55 and dog 0.34 in one place, the astronaut with person 0.80, the man with a camera with person 0.58 and a false car 0.35, the rocket without a box"
figure = free_drawn(judged(), "The cat and both persons are found; the dog and the car are false", score=0.3)

# %% [markdown]
# Most detectors belong to one of four families:
#
# - **Sliding windows**, until 2013: a classifier looked at tens of thousands of windows, cut from the image at
#   many places and sizes, one after the other.
# - **Two stages**, R-CNN in 2013 and Faster R-CNN in 2015: the first stage proposes some hundreds or thousands
#   of regions that may hold an object, and the second classifies and corrects each of them.
# - **One pass**, YOLO and SSD, both first published in 2015: one pass of one network answers for all places at once.
#   SSD does so on six feature maps, each for objects of another size, which made it as accurate as Faster R-CNN on VOC
#   and several times as fast. RetinaNet (2017) also has anchors all over the image. But where SSD trains only on the
#   hardest of the background anchors, RetinaNet keeps them all and gives the easy ones little weight in its loss.
# - **A set of boxes**, DETR in 2020: a transformer predicts the boxes as a set, without anchors and without the
#   step that removes duplicates (*non-maximum suppression*).
#
# Today you would use SSD on a phone or a small board, where a light version of it is still a common choice. You
# would also use it to understand detectors, because matching, offsets, mining and suppression, the subjects of
# this course, live on in most of them. For the highest accuracy, take a recent member of the YOLO or the DETR
# family.
#
# > Note: where scikit-image isn't installed, painted scenes take the photographs' places, here and in later
# > chapters. `pip install scikit-image` brings them.
#
# To train a detector you need thousands of objects with boxes, so the data comes next.
#
# ## The images
#
# SSD300 was made for *Pascal VOC*: photographs in which every object of twenty classes, from *aeroplane* to
# *tvmonitor*, has a box drawn around it. These photographs are a download of three gigabytes. Until you want
# them, you work on the **mini VOC**: a thousand scenes painted by a script, in exactly the same folders and
# files. `make lab` has painted them already; if not, the next cell does, in half a minute.

# %%
devkit = pictures.devkit()
test = voc.read_sets(devkit, ["2007-test"])
train = voc.read_sets(devkit, ["2007-trainval", "2012-trainval"])
print(f"{len(train)} scenes to learn from, {len(test)} to be tested on")

# %% [markdown]
# Here are four of the test scenes with their annotated boxes. A dashed box marks an object as *difficult*: a large part
# of it is covered or outside the image, or it is very faint, so it doesn't count in a detector's score. Things without
# a box belong to no class; they are there as distractors, to be mistaken for objects.

# %% alt="Four painted scenes, objects in orange boxes with their class; a dashed box marks a difficult object"
chosen = [30, 105, 135, 170, 25, 50, 80, 150]  # the first four are drawn
few = [test[i] for i in chosen]
photographs = [voc.read_photograph(example.path) for example in few]
figure = box_figures.annotated(few[:4], photographs[:4], "Every object of the twenty classes has a box")

# %% [markdown]
# *Glyphs: [OpenMoji](https://openmoji.org), CC BY-SA 4.0.*
#
# In numbers, one annotation looks like this. A box is `xmin, ymin, xmax, ymax` in pixels, with y pointing down,
# here and everywhere in this course.

# %%
example = few[0]
names = [voc.CLASSES[label] for label in example.labels.tolist()]
rows = [(name, *box) for name, box in zip(names, example.boxes.int().tolist())]
table(rows, head=("class", "xmin", "ymin", "xmax", "ymax"), caption="The first scene")

# %% [markdown]
# ## What a trained detector finds
#
# You know what is in these scenes, so you can judge what a network finds in them. The folder `recordings/mini`
# holds the weights of a real run of `make train`, and a file beside them says on which machine, when, from
# which commit and with which random seed it was trained. You can make your own in a few minutes. Blue boxes are
# what the network found, with class and score; the orange ones are the annotations, which it never saw. *Predict
# first:* which of the objects above will it miss?

# %% alt="The same four scenes: blue boxes with class and score where the trained network found something, annotations in orange; a bus and a bird have no blue box, and a horse is called a dog"
recorded = places.recording("mini")
model, config, step = runs.load_run(recorded)
found = inference.detect_in(model, photographs, config)
says = "Most objects are found, some are missed, others get a wrong class"
figure = box_figures.detected(few[:4], photographs[:4], found[:4], says)

# %% [markdown]
# It misses the small bus in the first scene and the large bird in the last, for instance, and it takes the
# horse for a dog. How good is that? *Average precision*, AP, says it in one number for each class: 100 means
# that every object of the class was found, and that every false detection had a lower score than all of them.
# Its mean over the classes is **mAP**, the number that everybody quotes and that you will compute at the end of
# chapter 11. Here are the best class, the worst one and the mean, on all 200 test scenes.

# %%
rows = [row.split(",") for row in (recorded / "ap.csv").read_text().split()[1:]]
ap = {name: 100 * float(value) for name, value in rows}
chosen_few = (max(ap, key=ap.get), min(ap, key=ap.get), "mean")
table([(name, ap[name]) for name in chosen_few], head=("class", "AP"), form=("", ".0f"))

# %% [markdown]
# ## The same from the inside
#
# How did the network find these boxes? Three steps lead from an image to them.
#
# 1. The network looks at the image, resized to 300 x 300 pixels, **once**. It answers for 8,732 *anchors*, the
#    boxes that lit up around the car: they are laid over every image in the same way, whatever it shows.
# 2. For each anchor it gives twenty-one numbers, *how much does this look like class ...*, where background is
#    one of the classes, and four more, *by how much the anchor has to move and grow* to fit the object.
# 3. Answers with a low score are dropped, and of those that claim the same object only the best stays.

# %%
grid = anchors.default_boxes()
image = torch.zeros(1, 3, 300, 300)
with torch.inference_mode():
    answer = model(image)
parts = {"anchors": grid, "class numbers": answer.logits, "moves": answer.offsets}
table([(name, str(tuple(part.shape))) for name, part in parts.items()], head=("tensor", "shape"))

# %% [markdown]
# The name says it: **S**ingle **S**hot (one look), Multi**B**ox (many anchors), **D**etector ([Liu et al.,
# 2016](https://arxiv.org/abs/1512.02325)). *MultiBox* is an earlier method by Erhan, Szegedy and others
# ([2014](https://arxiv.org/abs/1312.2249)), from which SSD takes the first step of its matching and the shape
# of its loss.
#
# Training leaves these steps as they are. It improves only the numbers of step 2, and you can do that yourself.
#
# ## Train it yourself
#
# Training repeats three things: show images, compare the answer for each anchor with what it should have been,
# and change all weights a little so that the error gets smaller. The error as one number is the *loss*, and the
# *learning rate* says how large each change is. The network here is SSD300 with an eighth of the channels, so
# that a laptop can train it. Its anchors, loss and training loop are those of the full one.
#
# ### Eight scenes by heart
#
# You begin with something that a small network can do in half a minute: it learns eight scenes by heart. It
# starts from random weights and sees the same eight 80 times. *Predict first:* will it find what is in them?
# And in others?

# %%
from dataclasses import replace

eight = train[:8], store.Jpegs(train[:8])
pixels = [voc.read_photograph(example.path) for example in eight[0]]
heart = replace(config, steps=80, drops=(60,), warmup=20, augment=(), val_every=0, checkpoint_every=20)
work = tempfile.TemporaryDirectory()

# %% [markdown]
# The square button above the page interrupts a cell. If you run the cell again, it goes on from the last
# *checkpoint*, a file with everything that the run needs, which is saved every 20 steps here.

# %% tags=["nbval-ignore-output"]
with interruptible(Path(work.name) / "by_heart", recorded) as mine:
    mine.table = engine.train(heart, eight, eight, out=mine.out, resume=True, bar=mine.bar)

# %% alt="Two of the eight scenes twice: before the training hundreds of boxes that all say aeroplane, afterwards one blue box with class and score on every object"
untrained, *_ = engine.build(heart, torch.device("cpu"))
before = inference.detect_in(untrained.eval(), pixels, heart)
learned = runs.load_run(mine.or_recorded(eight).folder)[0]
after = inference.detect_in(learned, pixels, heart)
says = "Untrained, it reports aeroplanes everywhere; trained, each object"
figure = figures.before_and_after(eight[0][:2], pixels[:2], before[:2], after[:2], title=says)

# %% [markdown]
# Before the training, random weights report *aeroplane* hundreds of times; four of these boxes are drawn.
# Afterwards there is one box on each object. That is a trained SSD, and you trained it. Now for your
# prediction: how many of these objects does it find, and how many in eight test scenes that it has never seen,
# the four from above and four others?

# %%
objects, hits = sum(len(example.labels) for example in eight[0]), figures.found_again(eight[0], after)
unseen = figures.found_again(few, inference.detect_in(learned, photographs, heart))
print("at least nine of ten objects are found in the scenes it has learned:", hits >= 0.9 * objects)
print("more than one of ten in scenes that are new to it:", unseen > 0.1 * sum(len(e.labels) for e in few))

# %% [markdown]
# It finds nearly everything in the scenes it knows and nearly nothing in those it doesn't, because it has
# learned eight images, and not what a sheep looks like. Learning by heart is called *overfitting*. It is a good
# test of a training loop, because a loop that can't even do this is broken. What helps against it is more
# images, and that takes longer.
#
# ### All training scenes, for a minute
#
# So now you train on all of them, from random weights again: 1,200 images drawn from these scenes, at a third
# of the recorded run's learning rate, because the full one needs a slower start than a minute allows. It takes
# about half a minute on a recent laptop; on an old one, get up and stretch.

# %%
short = replace(config, steps=150, learning_rate=0.01, drops=(120,), warmup=50)
short = replace(short, val_every=0, checkpoint_every=50)
data = (train, store.Jpegs(train)), (few, store.Jpegs(few))

# %% tags=["nbval-ignore-output"]
with interruptible(Path(work.name) / "run", recorded) as mine:
    mine.table = engine.train(short, *data, out=mine.out, resume=True, bar=mine.bar)

# %%
done = mine.or_recorded(data[1])
log = [row for row in runlog.read_log(done.folder) if "multibox" in row]
first, last = log[0]["multibox"], log[-1]["multibox"]
print("the loss fell to less than half:", last < first / 2)

# %% alt="Training loss and its two parts over 150 steps: a steep fall, then a slow one"
figure = plots.loss_curve(log, title="The loss falls steeply, then slowly")

# %% [markdown]
# The thick curve is the whole loss, called *multibox*. It is the sum of the two thin ones: *confidence* is the
# error of the class numbers, and *localisation* that of the moves. N, by which all three are divided, is the
# number of anchors that have an object to report. The learning rate drops to a tenth after step 120; the dotted
# line marks the first point recorded after that.
#
# The loss fell, steeply at first, because the network learned to give most anchors the class background. Next
# comes what it finds in two of the test scenes: little, perhaps nothing at all, although the figure shows
# everything with a score above 0.2 instead of 0.5. Telling a sheep from a sofa takes longer than a minute.

# %% alt="Two of the scenes with what your network found after a minute: few boxes with low scores, or none"
yours, settings, _ = runs.load_run(done.folder)
found = inference.detect_in(yours, photographs[:2], settings)
says = "After a minute it finds little"
figure = box_figures.detected(few[:2], photographs[:2], found, says, score=0.2)
work.cleanup()

# %% [markdown]
# The recorded run shows how much longer: here is its loss, over nearly seventeen times as many steps. After the
# steep start it falls slowly, and once more steeply after the first dotted line, where the learning rate drops
# to a tenth. Chapter 08 explains why that helps, and whether to do it early. The two points are the
# *validation* loss, measured on test scenes that the network isn't trained on; it is higher than the training
# loss, as is to be expected in scenes that the network hasn't learned from.

# %% alt="Training loss of the recorded run over 2,500 steps: falls quickly, then slowly, with a step down where the learning rate drops"
says = "The loss falls once more where the learning rate first drops"
figure = plots.loss_curve(runlog.read_log(recorded), title=says)

# %% [markdown]
# To make this run yourself, type in a terminal in the course's folder:
#
# ```
# make train
# ```
#
# It writes its table, curves and a sheet of detections to `runs/mini`. You may stop it at any time, because the
# same command goes on from the last checkpoint, 200 steps back at most.
#
# > Note: once the genuine VOC is on your disk, `make train` means the full training of chapter 09. The mini run
# > is then `python -m ssdlib train --recipe mini --data data/mini/VOCdevkit --out runs/mini --resume`.
#
# You have now seen a detector work and learn. Where is the code that did it?
#
# ## The map
#
# Everything above was done by `ssdlib`, a library of small modules, each of which has one job. These are the
# main ones that an image passes through, in the order of the row under the title:
#
# | module | what it knows | chapter |
# |---|---|---|
# | `data.voc` | an image and its annotation | 01 |
# | `anchors` | where the 8,732 boxes come from | 02 |
# | `matching` `coding` | what each anchor should have answered | 03, 04 |
# | `model` | the network | 05 |
# | `loss` | how wrong an answer is, in one number | 04 |
# | `training.engine` | updating the weights, again and again | 07, 08, 09 |
# | `detect` | from answers to boxes | 10 |
# | `evaluate` | average precision, by the official rules | 11 |
#
# The others have smaller tasks, which `docs/library.md` lists. Most modules are a few screens long. Here is the heart
# of `loss`, which computed the curves above. You needn't understand it yet; chapter 04 leads up to it.

# %%
source(loss.multibox_loss, start="positive = targets.labels > 0")

# %% [markdown]
# ## The course
#
# The chapters take these modules one by one:
#
# | | chapter | what you will be able to do |
# |---|---|---|
# | **00** | **start here** | this page |
# | 01 | [boxes and VOC](01_boxes_and_voc.ipynb) | read an annotation by hand; know the dataset by its numbers |
# | 02 | [anchors](02_anchors.ipynb) | say why 8,732, and what changes when you change them |
# | 03 | [matching](03_matching.ipynb) | predict which anchor answers for which object |
# | 04 | [multibox loss](04_multibox_loss.ipynb) | compute the loss of an image with a pocket calculator |
# | 05 | [network](05_network.ipynb) | draw SSD300 from memory, receptive fields included |
# | 06 | [augmentation](06_augmentation.ipynb) | read a random draw as numbers; say what each step does to the objects |
# | 07 | [SGD instability](07_sgd_instability.ipynb) | tell a slow start from a broken one |
# | 08 | [learning-rate drops](08_learning_rate_drops.ipynb) | decide when to drop, and when not to |
# | 09 | [full training](09_full_training.ipynb) | train on VOC 07+12, stop and resume, on a GPU or here |
# | 10 | [detection](10_detection.ipynb) | set thresholds knowing what they cost |
# | 11 | [VOC07 evaluation](11_evaluation.ipynb) | compute AP by hand; explain why two people get different mAPs |
# | 12 | [your own images](12_your_own_images.ipynb) | train on images and classes of your own, and hand the detector on |
# | 13 | [your SSD](13_your_ssd.ipynb) | train a detector out of the functions that you wrote |
#
# **The plan.** Some exercises are marked as *building blocks*: IoU, the default boxes, matching, encoding, the
# loss and so on. Whenever the check of such an exercise says *right*, your function is kept in `my_ssd.py`, a
# file of your own beside the chapters. In chapter 13 these functions replace the library's, one by one, and
# train a detector.
#
# ## Does your machine have what it takes?
#
# Everything but the full training in chapter 09 runs on any laptop. The next cell lists what your machine has,
# and gives for whatever is missing the command that installs it.

# %% tags=["nbval-ignore-output"]
python = sys.executable
# !cd "{places.ROOT}" && "{python}" -m ssdlib doctor

# %% [markdown]
# ## Exercises
#
# Chapters end with exercises. Each has a cell to fill in, and right below it a check that says whether your
# answer is right and, if not, why. Run both cells; a cell that you leave empty doesn't stop the page. Here are
# three small ones to get to know them.
#
# ### 0.1 How large is the dog? · on paper · 2 minutes
#
# A detector says of a photograph, 500 px wide and 375 px high: `dog 0.93 [120, 60, 240, 300]`. How many pixels
# wide is the box, and how many high? Write your answer as `size = [width, height]`.

# %% tags=["exercise"]
size = [120, 240]  # solution

# %%
check.size(size)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The four numbers are xmin, ymin, xmax, ymax.
# </details>
# <!-- solution -->
#
# ### 0.2 Which ones are shown · easy · 4 minutes
#
# `found` is a list of pairs (class, score), such as `("dog", 0.93)`, and `threshold` is a number. Write
# `shown`, which returns a list: the classes of those pairs whose score is at least `threshold`, in their order.


# %% tags=["exercise"]
def shown(found, threshold):
    # solution
    return [name for name, score in found if score >= threshold]


# %%
check.shown(shown)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `for name, score in found:` goes through the pairs.
# </details>
# <!-- solution -->
#
# ### 0.3 Which module? · easy · 2 minutes
#
# Which module of the table in *The map* answers each of these questions?
#
# | | |
# |---|---|
# | A | An XML file of VOC has a box and the mark *difficult*. Who reads it? |
# | B | In training: is this anchor a dog or background? |
# | C | How wrong was the network's answer, in one number? |
# | D | Two boxes report the same dog. Who removes one of them? |
# | E | What is the mAP of what was found? |
#
# Write `modules`, a list of five names in quotes, in the order A to E. Write only the last part of a name: `"voc"` for
# `data.voc`.

# %% tags=["exercise"]
modules = ["voc", "matching", "loss", "detect", "evaluate"]  # solution

# %%
check.modules(modules)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The table in *The map* has all of them, with what they know. Write `voc` for `data.voc`.
# </details>
# <!-- solution -->
#
# ## Try it
#
# Change one thing, *predict first* what you expect, then run the cell again.
#
# 1. In the cell that showed the detections of the trained network, pass `score=0.1` to `box_figures.detected`.
#    What appears, and is it wrong?
# 2. Show other scenes: change the first four numbers in `chosen`.
# 3. Train the second network with `learning_rate=3.0, batch_norm=False`: three hundred times the learning rate,
#    and without *batch normalisation*, the layers that keep the size of the activations in check and would hide
#    the harm. Run from the cell that begins with `short` on. What does the page tell you?
# 4. Learn 16 scenes by heart instead of eight: change `train[:8]`, twice. How many of their objects does it
#    find?
#
# <details><summary>What you should have seen</summary>
#
# 1. More boxes, most of them wrong: other classes on the same object, and distractors. A lower threshold misses
#    fewer objects, but reports more that aren't there. Evaluation looks at all detections, down to a score of
#    0.01.
# 2. Nothing surprising, and that is the point: test scenes are unlike each other and unlike those trained on.
# 3. The run stops with a sentence that gives the step, the learning rate and the last loss that was a number.
#    Chapter 07 explains why.
# 4. Fewer: 80 steps show each of them half as often. With `steps=160, drops=(120,)` it knows them, too.
# </details>
#
# ## Self-test

# %%
SelfTest("welcome")

# %% [markdown]
# ## Recap
#
# - One look at a 300 x 300 image gives, for each of 8,732 anchors, twenty-one class numbers and four moves.
# - Training compares these with what the anchors should have said. Stopping and resuming costs a few steps, and
#   changes nothing in the result.
# - mAP says how good a detector is, so it is the number by which you can compare the recorded mini run with
#   yours.
#
# Next, [01 · Boxes and VOC](01_boxes_and_voc.ipynb) begins at the beginning: one image, one annotation, and one
# number that says how much two boxes have in common.
