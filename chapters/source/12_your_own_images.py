# %% [markdown]
# # 12 · Your own images
#
# **In one sentence:** other classes need other pictures and six other layers, and most of the work is done before the
# first step, by looking.
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
# - make a data set of a folder with Pascal XML, COCO JSON, YOLO text or LabelMe JSON, and say what was left out and why,
# - say before training which of your objects an anchor can answer for, and what to do about the others,
# - say what changes for other classes and what doesn't,
# - train, detect in pictures and videos, and hand the detector to somebody who has no PyTorch.

# %%
import inspect
import json
import tempfile
from pathlib import Path

import torch

from course.kit import places
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.tables import table
from course.own_images import check, example_datasets, figures, film_player, tile_bench
from ssdlib import box_ops, loss, model, plots
from ssdlib.cli.show import Writer, show
from ssdlib.data import own, survey
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
# Here is a folder that somebody brings along: pictures of six animals that Pascal VOC doesn't know, with boxes. (They
# are painted, as the mini VOC is. At the end of the page stands the command for your own folder.)

# %% alt="Four painted pictures with boxes around butterflies, penguins, turtles and other animals"
folder = example_datasets.folder("xml")
found = own.read_folder(folder)
few = [e for e in found.examples if len(e.labels) >= 4][:4]
figure = plots.examples(few, Jpegs(few), classes=found.classes)

# %% [markdown]
# (Glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0.)
#
# ## The words
#
# - The **class list** gives each label its name: label 1 is the first name. 0 is the background and has none.
# - An **annotation** is what a tool noted about one picture.
# - The **split** says which pictures are for training and which for testing.
# - An object is **covered** if some anchor overlaps it by .5 or more.
# - To **fine-tune** is to go on from weights that were trained on something else.
# - To **export** is to write the network into a file that runs without the program that trained it.
#
# ## By hand
#
# One object in a picture of 400 x 300 px: its left edge lies 100 px from the left, its right edge 300, its upper edge
# 50 px from the top, its lower edge 200. Three tools write it down:
#
# | | numbers | counted in | what they are |
# |---|---|---|---|
# | Pascal XML | 101, 51, 300, 200 | px from 1 | corners |
# | COCO JSON | 100, 50, 200, 150 | px from 0 | upper left corner, width, height |
# | YOLO text | .5, .4167, .5, .5 | parts of the picture | centre, width, height |
#
# None of these formats says which one it is. Read as another it sometimes still gives a box, a wrong one.
#
# **Does XML count from 1?** VOC does: a box over the whole picture reads 1, 1, 400, 300. Many tools write XML that counts
# from 0. One can't tell from one box. The library looks at the whole set: if some box begins at 0, the set counts from
# 0. If none does, it is read as VOC's. The worst that can happen is an error of one pixel.
#
# ## In the library
#
# `own.read_folder` finds out which format a folder has: one of these three, LabelMe's JSON or darknet's lists. It reports what it
# ignored, repaired and guessed. You don't have to write lists of images or of classes.

# %%
print(found)

# %% [markdown]
# Read the report before anything else. Something is wrong with every folder. Here it was put in on purpose:
#
# - A picture **without XML**: has nobody looked at it yet, or is nothing in it? Nobody knows, so it is left out. An XML
#   without objects says that the picture is empty. (In YOLO's format a missing text means *empty*. There one can't tell
#   the two apart.)
# - An annotation **without picture**, and a picture that **breaks off**: left out, and counted.
# - A box that **reaches out** of its picture: cut off at the border. If that happens often, the numbers are not what
#   you think they are.
# - A picture that the camera held **upright and stored lying** (EXIF). More about that below.
#
# The same folder in the other two formats:

# %%
for kind in ("coco", "yolo"):
    print(own.read_folder(example_datasets.folder(kind)), end="\n\n")

# %% [markdown]
# YOLO's has one picture more: the one without annotation now counts as empty. Are the boxes the same?

# %%
by_name = {kind: {e.image_id: e for e in own.read_folder(example_datasets.folder(kind)).examples} for kind in ("xml", "coco", "yolo")}
both = set.intersection(*(set(examples) for examples in by_name.values()))
for kind in ("coco", "yolo"):
    pairs = [(by_name["xml"][i], by_name[kind][i]) for i in both]
    assert all(torch.equal(a.labels, b.labels) for a, b in pairs)
    apart = max(float((a.boxes - b.boxes).abs().max()) for a, b in pairs if len(a.labels))
    print(f"{kind}: {len(pairs)} pictures, boxes within a hundredth of a pixel: {apart < 0.01}")

# %% [markdown]
# Three readers, written apart, and one answer. (YOLO's six decimals are what is left of the difference.)
#
# **Turned pictures.** A phone often stores the pixels lying and notes beside them how it was held. A browser turns the
# picture before it shows it, and so do most annotation tools. Some don't. If the tool and the training disagree, the
# boxes lie beside the objects, in some of the pictures. The rule here: the size that the annotation states decides.
# Where it doesn't (YOLO states none), the picture is turned.

# %% alt="One picture twice: lying on its side with boxes beside the animals, and upright with boxes that fit"
turned = next(e for e in found.examples if e.upright)
figure = figures.turned(turned, found.classes)

# %% [markdown]
# ## A split that stays
#
# Which fifth is for testing? If chance decides anew each time, pictures change sides when others are added. Then the next
# network is tested on what an earlier one, from which it started, was trained on. So the *path below the folder*
# decides: a hash makes a number between 0 and 1 of it, and below .2 the picture is for testing.

# %%
print(inspect.getsource(own.share_of))
for e in found.examples[:3] + found.examples[9:10]:
    share = own.share_of(e.image_id)
    print(e.image_id, f"{share:.2f}", "test" if share < own.TEST_SHARE else "train")

# %% [markdown]
# Rename a picture or move it to another sub-folder, and it may change sides. If one folder is called `train` and another
# `val`, `valid` or `test`, these decide instead. One of them alone doesn't count: then the hash decides.
#
# A hash has one weakness: it doesn't know which pictures belong together. Two frames of one video are nearly the same
# picture. If one is trained on and the other tested on, the test is too easy. Exercise 12.2 is about that.
# For videos of your own: put each as a whole into `train/` or `test/`.
#
# ## What to change, and what not
#
# Six animals instead of twenty classes. What is different in the network?

# %%
theirs, ours = (model.SSD300(num_classes).state_dict() for num_classes in (21, 7))
changed = [name for name in theirs if theirs[name].shape != ours[name].shape]
print(len(changed), "of", len(theirs), "tensors have another shape:", *sorted({n.split(".")[0] for n in changed}))
print(f"parameters: {sum(x.numel() for x in theirs.values()):,} -> {sum(x.numel() for x in ours.values()):,}")

# %% [markdown]
# | changes | stays |
# |---|---|
# | the class list | the canvas of 300 x 300, the mean that is taken off |
# | the six classification heads | the body and the six localisation heads |
# | the pictures | the 8,732 anchors, the variances, matching, mining |
# | the number of steps, and when the rate drops | the two thresholds of detection |
#
# **Why not the anchors?** They could be moved closer to your objects. But localisation heads have learned to answer
# *from these anchors*. With other ones the old answers no longer fit. (The paper did take smaller ones for COCO,
# and trained its heads for them.) This library trains with the paper's anchors for VOC only. There is something better
# to change first.
#
# ## Your boxes under the anchors
#
# A picture of any size is stretched to 300 x 300. What counts is how large an object is *there*. (*Size* is the root of
# the area, as in chapter 11.)

# %%
print(survey.survey(*survey.on_canvas(found.examples)))

# %% [markdown]
# Nearly all that aren't covered are butterflies, 108 of 114. An object that isn't covered gets one anchor, by step one of matching, whatever the
# overlap. A covered one gets several. One anchor is little to learn from.
#
# Butterflies are a mild case. Here is a real one: four photographs taken from a plane, with 951 tree crowns. (The boxes
# alone are part of this course. They come with the Python package `deepforest`, MIT
# licence; photographs by the National Ecological Observatory Network. `data_scripts/get_crowns.py` gets the photographs.)

# %%
crowns = example_datasets.crowns()
print([example.size for example in crowns])
print(survey.survey(*survey.on_canvas(crowns)))

# %% [markdown]
# Nine of ten crowns are not covered. The largest photograph, with 574 of the 951 crowns, is 2,299 px wide and is shrunk
# to 300: not one of its crowns is covered. A crown of 40 px is left with 5. No network can do much about that, and no
# number of steps. What can you do?

# %%
rows = []
for name, examples in (("the zoo", found.examples), ("tree crowns", crowns)):
    for spec, share in survey.suggestions(*survey.on_canvas(examples)):
        rows.append((name, f"anchors of {' '.join(map(str, spec.percents))} percent", "whole", share))
    for cut in survey.CUTS:
        share = survey.survey(*survey.on_canvas(examples, cut)).covered.float().mean()
        rows.append((name, "the paper's", f"cut into {cut} x {cut}", share))
table(rows, head=("folder", "anchors", "pictures", "covered"), form=("", "", "", ".0%"), heat=True)

# %% [markdown]
# Smaller anchors help a little, and soon the large objects are lost. **Cutting** helps far more: each photograph becomes
# several tiles, each tile is stretched to 300 x 300. At 8 x 8 the same crown is 40 px on the canvas instead of 5. No weight of a trained
# network is lost. The price: as many times more pictures to look at, and objects that lie on a border are cut: at 8 x 8
# more than a third of the crowns. (People let the tiles overlap for that, and suppress once more over all of them.)
#
# The library has no command for this: cut pictures and boxes with a script of your own (exercise 12.6;
# `data_scripts/get_crowns.py` is an example), and cut in the same way before you detect.
#
# `python -m ssdlib look --data FOLDER` prints the report and this survey for your folder.
#
# ## Move it
#
# A photograph, and in it an object: orange. Drag it with the mouse or with the arrow keys;
# <kbd>Shift</kbd> and an arrow resizes it. Dashed green is the nearest anchor, as large as it is on the photograph.
# *Say before you look*:
#
# - Grow the object in the first photograph until an anchor covers it. How large is it then on the canvas?
# - **phone, 4000 x 3000**: how many tiles a side does the object need?
# - Drag it across a border of two tiles. What becomes of it?
# - **panorama**: what does the stretching do to its shape? Which map's anchor is the nearest?

# %%
explorer = tile_bench.TileBench()
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4.)
#
# ## Pictures without objects
#
# Some pictures of the zoo are empty, and people ask whether SSD can learn from them. Let us ask the loss. Two pictures,
# the first without objects, and a network that finds everywhere the same false alarm:

# %%
alarmed = torch.zeros(2, 8732, 7)
alarmed[..., 3] = 1.0
labels = torch.zeros(2, 8732, dtype=torch.int64)
labels[1, 100:104] = 2  # four anchors of the second picture have an object
goal = Targets(torch.zeros(2, 8732, 4), labels, labels - 1)
for mining in loss.MININGS:
    chosen = loss.hard_negatives(alarmed, labels > 0, mining, 3).sum(dim=1).tolist()
    value = loss.multibox_loss(Predictions(torch.zeros(2, 8732, 4), alarmed), goal, mining)
    print(f"mining {mining}: negatives chosen in each picture {chosen}, loss {float(value.confidence):.2f}")

# %% [markdown]
# With the paper's rule, per **image**, the empty picture adds *nothing* to the loss: three negatives for each positive,
# and it has no positive. Its false alarms are not punished here. If your network raises alarms in empty pictures, give it
# such pictures and train with `--mining batch` (not measured here): the twelve negatives of these two pictures are then
# chosen from both of them. (Here all are equally wrong, so they come from the first.) A batch of empty pictures alone
# has N = 0. The loss divides by 1 then and is 0: no gradient. (Momentum and decay go on.)
#
# ## Classes that are rare
#
# Of ten animals of the zoo four are penguins; of crabs there are few. What does the loss do about it? Nothing. Each
# matched anchor counts the same, and penguins move the weights more than ten times as often as crabs.

# %%
batch = [e for e in found.part("train")]
counts = torch.cat([e.labels for e in batch]).bincount(minlength=len(found.classes) + 1)[1:]
rows = [(name, count, "█" * (count // 8)) for name, count in zip(found.classes, counts.tolist())]
table(rows, head=("class", "objects", ""))

# %% [markdown]
# The mean AP counts each class the same, so a rare class with an AP of 0 costs as much as a frequent one. What helps, in
# this order: more pictures of crabs; showing pictures with crabs more often (exercise 12.7); and to report each class by
# itself. Weights in the loss are another way, one that moves the scores of all classes. None of these was measured here.
#
# ## Start from what is there
#
# The recorded network of the mini VOC has never seen an elephant. But its body knows edges, outlines and textures, and
# its localisation heads know how a box moves to an object. `published` takes what fits:

# %%
print(inspect.getsource(published.take))

# %%
STEPS = 80
config = example_datasets.recipe(found, STEPS)
state, said = example_datasets.started(config)
print(said)

# %% [markdown]
# Now both are trained on the zoo for as many steps, one from these weights, one from random ones. (Half a minute each on
# two cores. 80 steps of eight pictures are little more than two looks at each: far too few to be good.)

# %%
with interruptible(place / "tuned"):
    tuned = example_datasets.train(config, found, folder, place / "tuned", state)

# %%
from_nothing = example_datasets.recipe(found, STEPS, learning_rate=0.03)
with interruptible(place / "scratch"):
    scratch = example_datasets.train(from_nothing, found, folder, place / "scratch")

# %% tags=["nbval-ignore-output"]
rows = [(name, 100 * tuned.ap[name], 100 * scratch.ap[name]) for name in found.classes]
rows.append(("mean", 100 * tuned.mean, 100 * scratch.mean))
table(rows, head=("AP", "from the mini VOC's weights", "from random weights"), form=("", ".1f", ".1f"), heat=True)

# %%
print("starting from other classes is better by 40 points or more:", 100 * (tuned.mean - scratch.mean) > 40)

# %% [markdown]
# (The table differs a little from machine to machine, since sums are rounded differently. The random network got three
# times the rate, that of the recorded mini run, which began at random, too.)
#
# The heads of the new classes began from chance. Everything else had a good start. This is the reason why people fine-tune, and on a small set
# it is worth more than any trick. With VOC's full network it is the same command, with other weights.
#
# ## Leave the first layers as they are
#
# The first layers look for edges and textures, which animals share with the classes of VOC. So you can fine-tune without
# training them: `--freeze conv3_3` leaves the body up to and including conv3_3 as it came. Neither the gradient nor weight
# decay nor momentum moves it.

# %%
print(inspect.getsource(model.SSD300.freeze))

# %% [markdown]
# Since no gradient is computed there, a step gets cheaper. In the full network the layers up to conv3_3 do more than half of a
# forward pass, because their maps are large. Freezing them saves a third of a step's arithmetic. (torchvision's SSD300
# freezes conv1_1 and conv1_2 unless you ask for something else.)
#
# **Predict first:** how much worse is the zoo's detector if everything up to conv3_3 stays as the mini VOC left it, or all
# of VGG16's convolutions, up to conv5_3? `data_scripts/freezing.py` repeated the training above with several random seeds:

# %%
facts, *recorded = map(json.loads, places.recording("freezing", "zoo.jsonl").read_text().splitlines())
rows = []
for layer in ("", "conv3_3", "conv5_3"):
    some = [row for row in recorded if row["freeze"] == layer]
    each, seconds = ([row[key] for row in some] for key in ("map", "seconds"))
    shown = " ".join(f"{100 * x:.1f}" for x in each)
    rows.append((layer or "nothing", shown, 100 * sum(each) / len(each), sum(seconds) / len(each)))
head = ("frozen up to", "mAP, by random seed", "mean", "CPU seconds of a step")
table(rows, head, form=("", "", ".1f"),
      note=f"Recorded: {facts['device']}, {facts['date']}, commit {facts['commit'][:7]}.")

# %% [markdown]
# Nothing is lost here. With everything up to conv3_3 frozen, the results differ by no more than the random seeds do among
# themselves, and a step takes a third less CPU time. With VGG16's convolutions frozen up to conv5_3, the detector is better
# for each of the three random seeds, and a step takes less than half the time. A possible reason, which was not tested: in
# 80 steps those layers can't become better, but at this learning rate they can become worse.
#
# > **Note.** This is one case: few steps, and a set that was painted like the one which the weights come from. The less your
# > images look like those (X-rays, say) and the longer you train, the more the frozen layers may miss. That was not
# > measured. Frozen layers need weights to start from: `--freeze` without `--init` is refused, because random layers would
# > stay random.
#
# ## Detect

# %% alt="Four test pictures of the zoo with orange annotations and blue detections"
network, settings = example_datasets.load(place / "tuned")
several = [e for e in found.part("test") if len(e.labels) >= 3]
room = [(e.boxes[:, 1] > 24).all() and (e.boxes[:, 0] < 0.6 * e.size[0]).all() for e in several]  # for captions
shown = [e for e, enough in zip(several, room) if enough][:4]
pixels = [Jpegs(shown)[i] for i in range(4)]
seen = inference.detect_in(network, pixels, settings)
figure = plots.detections(shown, pixels, seen, score=0.4, classes=found.classes)

# %% [markdown]
# `python -m ssdlib detect` does this for pictures, for a folder and for videos. A video is a row of pictures, and
# nothing more: SSD doesn't remember the frame before. Here is one of twelve frames, a window that wanders over a picture:

# %%
work = Path(tempfile.mkdtemp())
film = Writer(work / "walk.mp4", rate=12)
for i in range(12):
    film.add(pixels[0][i * 4 : i * 4 + 240, i * 6 : i * 6 + 280])
film.close()
told = show(network, settings, [str(work / "walk.mp4")], work / "found", score=0.4)
print(sorted(p.name for p in (work / "found").iterdir()), len(told[0]["frames"]), "frames")
print("seconds:", [frame["seconds"] for frame in told[0]["frames"]][:4], "...")

# %%
explorer = film_player.Film.of(work / "found" / told[0]["picture"], told[0]["frames"])
explorer

# %% [markdown]
# The JSON holds class, score and box of every frame; the MP4 shows them. Frames are read and written by
# [PyAV](https://pyav.org); if it is missing, the sentence says `pip install av`.
#
# ## Hand it on
#
# Whoever is to use the detector may not have PyTorch. ONNX is a file format for networks that many programs run. In the
# file are the network, the softmax and the decoding. Thresholds and suppression stay outside, so that one can still change
# them.

# %%
print(inspect.getsource(onnx.Answering))

# %%
apart = onnx.export(network, settings.classes, work / "zoo.onnx")
print("boxes within .01 px:", apart[0] < 0.01, "  scores within a ten-thousandth:", apart[1] < 1e-4)

# %% [markdown]
# `exported` is a file of some hundred lines that knows numpy, Pillow and onnxruntime and nothing else of this library. It does the six
# steps of chapter 10 again. Does it find the same?

# %%
detector = Exported(work / "zoo.onnx")
test = found.part("test")[:40]
everything = inference.detect_in(network, [p for p in Jpegs(test)], settings)
agree, count = 0, 0
for example, photograph, a in zip(test, Jpegs(test), everything):
    theirs = detector(photograph.numpy())
    agree += len(a) == len(theirs[1]) and bool((a.boxes - torch.from_numpy(theirs[0])).abs().max() < 0.1)
    count += len(a)
print("the same detections in at least 39 of 40 pictures:", agree >= 39, "   more than 500 in all:", count > 500)

# %% [markdown]
# (If yours differ in the third digit: a run computes in bfloat16 where the processor has units for it, the file in float32.
# For this comparison the run was told `precision="float32"`.)
#
# ## For your folder
#
# ```
# python -m ssdlib look --data my_pictures
# python -m ssdlib train --data my_pictures --recipe mini --init chapters/recordings/mini --learning-rate 0.01 --out runs/mine
# python -m ssdlib evaluate --checkpoint runs/mine --data my_pictures
# python -m ssdlib detect --checkpoint runs/mine --out found picture.jpg a_folder film.mp4
# python -m ssdlib export --checkpoint runs/mine --out mine.onnx
# ```
#
# Before you train, look at twenty pictures with their boxes, as this page did with four. In Python:
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
# On a GPU: the recipe `paper`, with `--init` naming VGG16's weights or a trained SSD300, and `--steps` and `--drops` for the
# size of your set. The paper's run looks at each picture 230 times; with 2,000 pictures that is about 15,000 steps of 32.
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold. A check that says *not right*
# shows where.
#
# ### 12.1 Three formats · medium · 10 minutes
#
# `kind` is "xml", "coco" or "yolo", `numbers` are the four numbers of that format, `size` is (width, height) of the
# picture in px. XML counts from 1 here, as VOC does. Return a list of the four corners in px, counted from 0: xmin, ymin,
# xmax, ymax.

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
# The table above gives one box three times. Your function has to give 100, 50, 300, 200 for all of them.
# </details>
# <details><summary>Hint 2</summary>
#
# For YOLO: from the centre, half of the size to the left and half of it to the right. Then times the picture's width (x)
# or height (y).
# </details>
# <!-- solution -->
#
# ### 12.2 A split that stays · medium · 5 minutes
#
# The pictures are frames of videos: `gate_0017.jpg` is a frame of the video `gate`, `gate_night_0003.jpg` one of
# `gate_night`. Return those `names` that are for testing, in their order. All frames of a video go to the same side: a
# video is for testing if `own.share_of` of its name is below .2.

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
# The map `fc7` has six boxes a cell. How many output channels has its classification head for the six animals of the
# zoo?

# %% tags=["exercise"]
channels = 6 * (6 + 1)  # solution

# %%
check.outputs(channels)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Each box gets a score for each class. Which class has no name in the list?
# </details>
# <!-- solution -->
#
# ### 12.4 Rows of the new head · medium · 5 minutes
#
# `old` and `new` are class lists, without background. Return a list with one entry for each row of the new head,
# background first: the row of the old head that it is taken from, or -1 if there is none. For old = bird, cat, dog and
# new = dog, fox it is 0, 3, -1.

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
# `places` (n, 4) are objects, `anchors` (K, 4) anchors, all in px of the canvas, n at least 1. Return the share of the
# objects, 0 to 1, that some anchor overlaps by .5 or more.

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
# `box_ops.iou(places[:, None], anchors)` is a table: a line for each object, a column for each anchor. What do you need of
# each line?
# </details>
# <!-- solution -->
#
# ### 12.6 Into the tile · the heart of the chapter · 12 minutes
#
# A photograph of `size` (width, height) px is cut into `cut` x `cut` tiles of the same size. `box` (4,) is an object in px of
# the photograph. It goes to the tile that holds its centre, and is cut off at that tile's border; then the tile is
# stretched to 300 x 300. Return the box (4,) in px of the canvas, as a tensor.

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
# The number times the tile's size is the tile's upper left corner. Take it off both corners of the box. `t.repeat(2)`
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
# `pictures` lists for each picture the names of the animals in it, with repetitions; a list may be empty. A class that is
# in at least the share `enough` of all pictures is frequent enough. One that is in a share f of them, fewer than that,
# should be shown √(enough / f) times as often. A picture counts for the rarest class in it, and is shown at
# least once. Return one number for each picture. (A training loop would round it by chance.)

# %% tags=["exercise"]
def repeats(pictures, enough):
    # solution
    def times(name):
        share = sum(name in names for names in pictures) / len(pictures)
        return max(1.0, (enough / share) ** 0.5)

    return [max([1.0] + [times(name) for name in names]) for names in pictures]

# %%
check.repeats(repeats)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First a number for each class: in which share of the pictures is it? `name in names` is true or false, and `sum` counts
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
# **COCO's numbers read as corners.** COCO writes x, y, width, height. What if a program takes them for xmin, ymin, xmax, ymax?

# %%
whole = json.loads((example_datasets.folder("coco") / "annotations.json").read_text())
given = torch.tensor([entry["bbox"] for entry in whole["annotations"]]).float()
right = torch.cat([given[:, :2], given[:, :2] + given[:, 2:]], dim=1)
possible = (given[:, 2:] > given[:, :2]).all(dim=1)
overlap = box_ops.iou(given[possible], right[possible])
print(f"{len(given)} boxes; still a box if read as corners: {possible.float().mean():.0%}")
print(f"of these, overlapping the true one by .5 or more: {(overlap >= 0.5).float().mean():.0%}")

# %% [markdown]
# Most have a width or height below zero, and a program that checks stops at the first. The others pass, quietly. A program
# that leaves out what it can't use would go on with those, and learn from them. So look at twenty pictures *with their
# boxes* before you train. It takes a minute, and "For your folder" has the lines.
#
# **The class list in another order.** Somebody reverses `classes.txt` between training and detection. Every box is right, every name
# is wrong:

# %%
backwards = list(settings.classes)[::-1]
every = torch.cat([detections.above(0.4).labels for detections in seen]).tolist()
still = sum(settings.classes[i - 1] == backwards[i - 1] for i in every)
print("some detections:", len(every) > 0, "   names that are still right:", still)

# %% [markdown]
# That is why a run keeps its class list in the checkpoint, an exported file carries its own, and a run can't be resumed with
# another order.
#
# **A slip of the pen.** `Penguin` in some annotations and `penguin` in the others makes two classes, each with half of
# the examples. The library refuses names that differ in case alone:

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
# - Three formats, one kind of answer. The report says what was left out; read it first.
# - The path of a picture below its folder decides on which side of the split it is, as long as it isn't renamed or moved.
# - For other classes six layers change their shape. Everything else can be taken over, and should be.
# - What counts is the size on the canvas. Below 21 px (30 · √½) nothing is covered: cut large photographs into tiles.
# - With mining per image an empty picture adds nothing to the loss.
# - An exported network finds the same: in this comparison to a tenth of a pixel, in at least 39 of 40 pictures.
#
# Paper, section 3: the same body is trained for VOC, COCO and ILSVRC; for COCO with smaller anchors (3.4).
