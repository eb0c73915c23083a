# %% [markdown]
# # 06 · Augmentation
#
# **In one sentence:** every time a photograph is shown, random numbers choose a crop, perhaps a horizontal flip and new
# colours; one resampling step then produces the 300 x 300 input, and the boxes move with the pixels.
#
# | | |
# |---|---|
# | time | 60 minutes, half of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 01: boxes and IoU; for a few remarks and for *What would go wrong if* also chapters 02 to 04 |
# | new modules | `augment`, `batches` |
#
# At the end of this page you will be able to
#
# - read the handful of numbers that describe one random version of a photograph, and say what it will look like,
# - decide for any crop which samplers would accept it and which objects stay,
# - say what zoom-out does to the sizes of objects, and how much,
# - recognise five bugs, most of them from published code, by what they do to the boxes.

# %%
import time
from dataclasses import replace

import torch

from course.augmentation import augmentation_player, check, figures, single_draws
from course.boxes import voc_facts
from course.kit import free_photographs, opening
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from ssdlib import anchors, box_ops, coding, loss, matching, records
from ssdlib.data import augment, batches, store, voc

# %% [markdown]
# ## The picture
#
# In the paper, a network that sees every photograph only as it is and mirrored reaches 65.5 mAP; with random crops as
# well it reaches 74.3. This page shows how those crops are chosen, what else changes at random, and what happens to
# the boxes.
#
# Here is the scene of [chapter 00](00_start_here.ipynb) in eight random versions, which is what the network could see of
# it in eight epochs, that is, in eight passes over the training set. The orange boxes are what the network is told.

# %% alt="Eight versions of a scene with a car, a dog and a person: cropped, shrunk on a plain background, flipped, in other colours, each with the boxes of the objects that are kept; one shows a head and has no box"
example = opening.example()
photograph = voc.read_photograph(example.path)
chance = augment.uniforms(8, torch.Generator().manual_seed(6))
figure = figures.versions(batches.make_batch([example] * 8, [photograph] * 8, chance, augment.STEPS))

# %% [markdown]
# The person of the second version has no box, for a reason that *Kept by its centre* gives below. That scene is
# drawn; on a photograph you see better how much this asks of the network. All four of the next images are the same
# cat. The first shows two eyes from close by, the second a face the size of a stamp, the third is red and the fourth
# is green.

# %% alt="Four versions of a photograph of a cat's face: its eyes, the whole face small on a plain background, the nose in red, the face flipped and in green"
cat = free_photographs.example("chelsea")
face = voc.read_photograph(cat.path)
chance = augment.uniforms(8, torch.Generator().manual_seed(2))[[1, 6, 3, 5]]
figure = figures.versions(batches.make_batch([cat] * 4, [face] * 4, chance, augment.STEPS))
figure = free_photographs.add_credit(figure, ["chelsea"])

# %% [markdown]
# ## What it is worth
#
# The gain can only be measured by full trainings, each of which takes hours on a GPU. **This course hasn't run that
# comparison.** The numbers below are other people's. They are mAP on VOC07 test, the score of a detector that
# [chapter 00](00_start_here.ipynb) introduced and [chapter 11](11_evaluation.ipynb) computes. (*07+12* stands for the
# training and validation images of VOC 2007 and 2012 together.)
#
# | training | mAP | source |
# |---|---|---|
# | only the original picture and its mirror | 65.5 | paper, table 2 |
# | with the paper's sampling strategy | 74.3 | paper, table 2; in table 1 as 07+12 |
# | with zoom-out as well, and twice as many steps | 77.2 | paper, table 6 and section 3.6 |
# | amdegroot/ssd.pytorch without any augmentation | 58.12 | its README |
# | amdegroot/ssd.pytorch with it | 77.43 | its README |
#
# So the sampling strategy, which is the random choice of a crop, was worth 8.8 points of mAP in the paper. The 2.9
# points of the third line come from zoom-out **and** a doubled schedule together, because section 3.6 asks for both
# and the paper doesn't separate them. The rest of this page is about the exact rules behind these lines.
#
# ## The words
#
# Two terms carry the whole page.
#
# - The **300 x 300 input** is the image that the network gets.
# - The **crop** is the rectangle that fills the 300 x 300 input. Its corners are in px of the photograph, and it may
#   reach beyond the photograph.
#
# Two more words say where a crop comes from.
#
# - **Zoom-out**, also called **expansion**, pastes the photograph on a larger area of the mean colour before a crop is
#   chosen. The mean is subtracted from every input, so the network gets zeros there. We call the result the *padded
#   photograph*; without zoom-out it is the photograph itself.
# - A **sampler** is a rule that looks for a crop of the padded photograph.
#
# The library's code uses shorter names for the same things:
#
# | name in the code | what it is |
# |---|---|
# | `draw` | the function that makes all random choices for a batch; its result, a `Draw`, holds crop, flip, colours and boxes |
# | `warp` | the function that resamples photographs to 300 x 300 inputs, following a `Draw` |
# | `window` | the crop |
# | `plane` | the padded photograph |
# | `patch` | a crop that a sampler has found in the padded photograph |
# | *canvas* | the 300 x 300 input |
#
# Published code augments in a chain: change the colours, paste on a larger area, crop, resize, flip. Each link of
# that chain makes a new image and moves the boxes once more. The chain can be shortened, because pasting, cropping,
# resizing and flipping together only say *which rectangle fills the input, and which way round*. The library
# therefore chooses the numbers first and reads the pixels once. The next section computes the first half, the
# numbers, with a pencil.
#
# ## By hand
#
# A photograph is 400 x 300 px. The crop is (100, 60, 300, 260), and the result is flipped horizontally, that is,
# mirrored. There are two objects, one at (120, 90, 240, 210) and one at (270, 200, 350, 260), all corners as (xmin,
# ymin, xmax, ymax). Where do the boxes go?
#
# 1. *Does the object stay?* The centre of the first is (180, 150), which lies inside the crop. The centre of the second
#    is (310, 230), and 310 is to the right of 300, so this object is dropped, although a part of it is in view.
# 2. *Shift.* Subtract the crop's upper left corner from the box: (20, 30, 140, 150).
# 3. *Scale.* The crop is 200 px wide and high and the input 300, so multiply by 1.5: (30, 45, 210, 225).
# 4. *Clip* what lies beyond 0 and 300. Here that changes nothing.
# 5. *Flip.* Each x becomes 300 - x, and the left and right edges change places: (90, 45, 270, 225).

# %%
window, uncropped = torch.tensor([100.0, 60, 300, 260]), torch.tensor([0.0, 0, 400, 300])
two = torch.tensor([[120.0, 90, 240, 210], [270, 200, 350, 260]])
found = single_draws.judge(window, two, uncropped)
print("flipped:", box_ops.flip(found.moved[found.kept], 300).tolist())
table({"object": (1, 2), "stays": found.kept.tolist(), "in view": found.visible.tolist()}, form=("", "", ".1%"))

# %% [markdown]
# The computer agrees with the pencil. The next two sections show the functions that do this for a whole batch: `draw`
# makes the choices and moves the boxes, and `warp` reads the pixels.
#
# ## In the library: `draw`
#
# `draw` decides for a whole batch at once, and it touches no pixel. This is what it returns.

# %%
source(augment.Draw)

# %% [markdown]
# All randomness comes from outside, because `draw` is given a row of random numbers between 0 and 1 for each photograph,
# and each step has its own part of the row. If you switch one step off, the other steps' numbers therefore stay as they
# were, and you can look at one step at a time. In the table below, *expand* is zoom-out and *distort* changes the colours.

# %%
rows = []
for steps in (("flip",), ("expand",), ("expand", "crop"), augment.STEPS):
    drawn = single_draws.single_draw(example, seed=29, steps=steps).drawn
    place = [round(x) for x in drawn.window[0].tolist()]
    rows.append((" ".join(steps), place, drawn.flip.item(), drawn.hue.item()))
used = ", ".join(f"{name} {count}" for name, count in augment.NEEDS.items())
table(rows, head=("steps", "crop, px of the photograph", "flipped", "hue, °"), form=("", "", "", "+.0f"), note=f"Random numbers of each step: {used}.")

# %% [markdown]
# Negative corners lie beyond the photograph. The last two lines have the same crop, because colours and flip use numbers of
# their own. The boxes are moved by `_move`, which does steps 1 to 5 of the example by hand.

# %%
source(augment._move)

# %%
moved, stay = augment._move(two[None], torch.tensor([[7, 7]]), window[None], flip=torch.tensor([True]))
print("the library on the example by hand:", moved[0].tolist())

# %% [markdown]
# These are the numbers from the example by hand. Once crop, flip and boxes are known, only the pixels are missing.
#
# ## In the library: `warp`
#
# For every pixel of the input, `warp` computes where in the photograph it comes from, and reads the colour there by
# [bilinear interpolation](https://en.wikipedia.org/wiki/Bilinear_interpolation), a weighted mean of the four nearest pixels.
# Resizing, cropping, zoom-out and flipping differ in the crop and the flip alone, so one function does all four:

# %% alt="The scene four times: the whole of it, a part enlarged, shrunk on a plain background, flipped"
plain = augment.draw(torch.tensor([example.size]), example.boxes[None], example.labels[None], steps=())
width, height = example.size
inner = torch.tensor([[100.0, 20, 400, 320]])
outer = torch.tensor([[-width / 2, -height, 1.5 * width, height]])
draws = {"the whole: resize": plain, "inside: crop": replace(plain, window=inner)}
draws |= {"outside: zoom-out": replace(plain, window=outer)}
draws |= {"the whole: flip": replace(plain, flip=torch.tensor([True]))}
figure = figures.strip({name: single_draws.pixels(photograph, one) for name, one in draws.items()}, columns=4)

# %% [markdown]
# Is the resampling exact? A crop of 300 x 300 px at whole positions needs no interpolation, so the input must then be a
# slice of the photograph, equal in every pixel.

# %%
x1, y1, x2, y2 = inner[0].int().tolist()
cut = single_draws.pixels(photograph, draws["inside: crop"])
print("equal to a slice:", torch.equal(cut, photograph[y1:y2, x1:x2]))

# %% [markdown]
# So far the crop was given. How is it chosen?
#
# ## The samplers
#
# There are seven candidates for a crop. The first is the whole padded photograph (*no crop* in the figure below),
# and it always succeeds. The six others come from samplers, each of which tries at most 50 random crops and keeps the
# first one that it may accept.
#
# - The **scale** of a crop, the square root of its share of the area, is drawn from 0.3 to 1. The **aspect** (width to
#   height, both as shares of the padded photograph's) is drawn from 0.5 to 2 and then limited so that the crop fits in.
#   The position is anywhere in the padded photograph.
# - The sampler with the bound 0.5 accepts a crop if its IoU with **any one object** is at least 0.5. Five of the
#   samplers have such a bound: 0.1, 0.3, 0.5, 0.7 and 0.9. The sixth, labelled *any crop*, accepts every crop,
#   provided that the image has an object at all.
#
# All six try. Then **one of the candidates that succeeded is drawn, each with the same probability.**

# %% alt="Seven columns, one for each candidate: above the padded photograph with a blue crop, below the input that the crop gives; the higher the bound, the closer the crop follows an object"
large = single_draws.mixed()
figure = figures.candidates(large, voc.read_photograph(large.path))

# %% [markdown]
# The image of this figure has one large object, so that the samplers with a high bound succeed, too. The upper row
# shows the crop in blue on the padded photograph, and the lower row the input that it gives. Objects with a dashed
# box are dropped because their centres lie outside the crop. All columns come from the same random numbers, except
# one with a star: with these numbers its sampler found nothing, so its crop comes from others.
#
# The higher the bound, the closer the crop follows one object, until that object fills the input. Low bounds may cut
# objects off, and *any crop* may leave out even the largest one.
#
# It matters that one object is enough for a sampler. If all objects had to reach the bound, an image with several of
# them could hardly be cropped at all.
#
# How often does each sampler find a crop? That depends on the objects. The next table takes four images with a single
# object and 500 random versions of each, zoom-out included, and counts how often each candidate succeeds. *Side* is
# the object's width and height as shares of the image's, so the object covers from 1 to 81 percent of the area.

# %%
rows = []
for side in (0.1, 0.3, 0.6, 0.9):
    succeeded = single_draws.successes(single_draws.alone(side), range(500))
    rows.append((side, *succeeded.double().mean(dim=0)))
names = list(single_draws.SAMPLERS)
table(rows, head=("side", *names), form=(".1f", *[".0%"] * len(names)), heat=names)

# %% [markdown]
# A small object can't have a large IoU with a crop that covers at least 9 percent of the padded photograph. In an image
# with small objects most samplers therefore fail, and the whole padded photograph is chosen more often: with probability
# 1/7 if all six samplers succeed, and up to 1/2 if only *any crop* does.
#
# **The scale is a side, not an area**, so a scale of 0.3 is 9 percent of the area. Here paper and code disagree. The
# paper (section 2.2) says that a patch's size is "[0.1, 1] of the original image size", while the released code draws
# a side from 0.3 to 1. Here are the areas of the library's crops, without zoom-out, on 800 training images of the
# mini VOC ([chapter 00](00_start_here.ipynb)):

# %%
train = single_draws.training(800)
sizes = torch.tensor([e.size for e in train])
truth, classes = batches.padded(train)
luck = [augment.uniforms(len(train), torch.Generator().manual_seed(seed)) for seed in range(5)]
cropped = augment.draw(sizes, truth, classes, luck[0], ("crop",))
share = ((cropped.window[:, 2:] - cropped.window[:, :2]) / sizes).prod(dim=1)[cropped.patch > 0]
head = ("images", "of which cropped", "smallest area", "largest area")
table([(len(train), len(share), share.min(), share.max())], head, form=("", "", ".3f", ".3f"), note="Areas as shares of the photograph's.")

# %% [markdown]
# A crop of the photograph itself can only enlarge what it shows. The step that makes objects smaller is zoom-out.
#
# ## Zoom-out
#
# With probability 1/2 a photograph is pasted on an area of the mean colour that has up to 4 times its width and
# height, which is up to 16 times its area. The crop is then chosen in *that*. What does this do to the objects? The
# figure shows the objects of the same 800 images with different steps switched on. (*Size* is √(width · height), the
# side of a square of the same area.)

# %% alt="Four curves of the share of objects below a size: with crops alone objects are larger than in the photographs, with zoom-out alone much smaller, with both they spread widely"
ways = {"only resized": (), "crop": ("crop",), "zoom-out": ("expand",), "zoom-out and crop": ("expand", "crop")}
sides = {}
for name, steps in ways.items():
    drawn = augment.draw(sizes, truth, classes, luck[0], steps)
    sides[name] = box_ops.area(drawn.boxes[drawn.labels > 0]).sqrt()
figure = figures.size_curves(sides)

# %% [markdown]
# A curve further to the right has larger objects. Crops make objects larger, zoom-out makes them smaller, and both
# together do both, so the network sees each object at many sizes. Crops alone would show it few small objects.
# Compare the curves at the grey line, 30 px, the side of the smallest square anchor: about a tenth of the objects are
# smaller than that when images are only resized, only a twentieth with crops alone, a third with zoom-out alone and a
# quarter with both.
#
# The effect of zoom-out alone can be computed for the genuine VOC 07+12 without a single photograph, because it
# divides every side by the **ratio** of the padded width to the photograph's, wherever the photograph lies in the
# padded one. `course/facts` holds the shapes of all objects. The last line of the table is the mean over the random
# choices: half of the images have ratio 1, the others one between 1 and 4.

# %%
rows = [(f"ratio {ratio}", single_draws.genuine_below(30, ratio)) for ratio in (1, 2, 4)]
enlarged = sum(single_draws.genuine_below(30, 1 + 3 * (i + 0.5) / 60) for i in range(60)) / 60
rows.append(("mean over the random choices", (single_draws.genuine_below(30) + enlarged) / 2))
table(rows, head=("zoom-out", "objects with a size below 30 px"), form=("", ".1%"))

# %% [markdown]
# Zoom-out alone thus nearly doubles the share of small objects, from 16.7 to 30.0 percent. A crop decides not only
# how large an object appears, but also whether the network is told about it at all. That is the next rule.
#
# ## Kept by its centre
#
# An object stays if the centre of its whole box lies in the crop. Its box is then clipped at the border. What about
# an object whose centre lies outside? It may still be in view, **and the network isn't told that it is there**. How
# often does that happen? We count over five random versions of each of the 800 images.

# %%
seen, stays = [], []
for numbers in luck:
    window = augment.draw(sizes, truth, classes, numbers).window
    visible, kept = single_draws.in_view(truth, window[:, None])
    seen.append(visible[classes > 0])
    stays.append(kept[classes > 0])
seen, stays = torch.cat(seen), torch.cat(stays)

# %%
fates = {"kept": stays, "dropped, out of view": ~stays & (seen == 0)}
fates |= {"dropped, but in view": ~stays & (seen > 0), "dropped, over a quarter in view": ~stays & (seen > 0.25)}
rows = [(name, which.double().mean()) for name, which in fates.items()]
most = f"The most one sees of a dropped object: {seen[~stays].max():.1%}."
table(rows, head=("an object is", "how often"), form=("", ".1%"), note=most)

# %% [markdown]
# A dropped object never shows half of itself, because if its centre is to the left of the crop, so is more than half of its
# area. A kept one may show less than that, for instance when it is larger than the crop. To the loss a dropped object
# is background, even where it is in view, so a few of the targets are wrong. The rule is that of the paper (section 2.2) and
# of its code.
#
# This completes the geometry. What remains are the colours, which move no box.
#
# ## Colours
#
# There are four changes, each switched on by its own coin toss, so that on average one image in 16 keeps its colours.
# **Brightness** adds -32 to 32. **Contrast** multiplies all three channels by 0.5 to 1.5. **Saturation** is multiplied
# by 0.5 to 1.5, and **hue** is turned on the colour circle by -36 to 36 degrees; both are coordinates of
# [HSV](https://en.wikipedia.org/wiki/HSL_and_HSV), where a colour is described by its hue, its saturation and its
# value. A fifth toss says whether contrast comes before saturation or last.

# %% alt="The scene in ten colourings: as it is, darker, brighter, less and more contrast, less and more saturation, hue turned both ways, and everything at once"
ends = dict(brightness=(-32, 32), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=(-36, 36))
shown = {"as it is": single_draws.coloured(photograph)}
for name, pair in ends.items():
    shown |= {f"{name} {end:g}": single_draws.coloured(photograph, **{name: end}) for end in pair}
highest = {name: high for name, (_, high) in ends.items()}
shown["all at their highest"] = single_draws.coloured(photograph, **highest)
figure = figures.strip(shown)

# %% [markdown]
# **Why 36 degrees if the configuration says 18?** The original works on OpenCV's 8-bit images, where hue is stored in half
# degrees, 0 to 179, so 18 of those are 36 degrees. Some PyTorch ports hold hue in floats, 0 to 360, and kept the number 18,
# which means that they turn it half as far.
#
# **Does the order matter?** Only where numbers leave 0 to 255 and are clipped. Here is how much that is in the scene
# above, with contrast, saturation and hue at their highest:

# %%
strong = dict(contrast=1.5, saturation=1.5, hue=36)
early, late = (single_draws.coloured(photograph, last, **strong) for last in (False, True))
apart = (early.int() - late.int()).abs().float()
print(f"pixels that differ: {(apart.amax(dim=-1) > 1).double().mean():.0%}, mean difference: {apart.mean():.1f} of 255")

# %% [markdown]
# Crop, flip and colours have now been described as Caffe's released program makes them. Two programs depart from it
# in details: this library, and ssd_keras, with which *the published run* was trained, the training that this course
# retraces ([chapter 07](07_sgd_instability.ipynb)).
#
# ## What differs from the original
#
# In this library the distribution of the random choices is the original's, and `tests/data/test_augment.py` compares it
# with a slow simulation. The pixels differ slightly: nothing is re-encoded as JPEG, colours change after the resampling,
# crops aren't rounded to whole pixels, and there is one interpolation instead of five.
# [What differs from the released Caffe program](../docs/differences_from_caffe.md) has the whole list with the reasons.
#
# The published run departs further, because the author of ssd_keras wrote these steps anew. He draws one bound after
# another instead of letting all samplers try, his sampler without a bound accepts only crops that touch an object,
# his crops and boxes have whole pixels, and he computes contrast and hue in another way. Our recipe for that run
# follows him (`rule="ssd_keras"`, tested in the same way), and the page linked above compares the two rules line by
# line. The table counts what that changes on the genuine annotations of VOC 07+12 trainval, each image augmented once
# by each rule. (*Assigned anchors* are those that [chapter 03](03_matching.ipynb) gives to an object.)

# %%
kinds = ("emptied", "objects", "anchors", "whole")
rows = [(rule, *(row[k] / row["pictures"] for k in kinds)) for rule, row in voc_facts.by_rule().items()]
head = ("rule", "left without object", "objects an image", "assigned anchors an image", "not cropped")
table(rows, head, form=("", ".1%", ".2f", ".1f", ".1%"))

# %% [markdown]
# So the published run saw about half as many images without an object, and about a twentieth more assigned anchors.
# How much of its mAP that explains has not been measured.
#
# Whichever rule is used, a training has to repeat these choices exactly when it is interrupted or split over processes.
# How the library makes that possible is the next section.
#
# ## A batch is a function of the seed and the step
#
# `BatchMaker` chooses which photographs make up step t, calls `draw`, and then `warp`. It carries no random state along,
# because the random seed and the number of the step determine all of its random numbers.

# %%
source(batches.BatchMaker.__call__)

# %% [markdown]
# So you can ask for the same batch twice, a program that was killed can ask for it again after a restart, and two processes
# can each make their half. The next two cells try all three.

# %%
def equal(first, second):
    return all(torch.equal(vars(first)[name], vars(second)[name]) for name in ("images", "boxes", "labels"))


jpegs = store.Jpegs(train)
maker = batches.BatchMaker(train, jpegs, batch_size=4, seed=0)
first = maker(60_000)
del maker  # killed
again = batches.BatchMaker(train, jpegs, batch_size=4, seed=0)
print("step 60,000 again:", equal(first, again(60_000)), "  another step:", equal(first, again(60_001)))

# %%
halves = [batches.BatchMaker(train, jpegs, batch_size=4, seed=0, share=(i, 2))(60_000) for i in range(2)]
print("two halves make the whole:", torch.equal(torch.cat([half.images for half in halves]), first.images))

# %% [markdown]
# The halves are equal to the whole, so two processes show the network the same images as one. How long does a batch
# take?
#
# ## What it costs
#
# For each image `draw` makes 300 crops, 50 for each of six samplers. That is cheap, because they are only
# numbers; the pixels are what takes time. The lower line of the table is geometry alone, so the difference between
# the lines is what colours cost.
#
# > Note: the times are milliseconds for a batch of 32 on the CPU that ran this page, the best of five.

# %% tags=["nbval-ignore-output"]
def milliseconds(job, *arguments):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        result = job(*arguments)
        times.append(1e3 * (time.perf_counter() - start))
    return min(times), result


photographs = [jpegs[i] for i in range(32)]
given = sizes[:32], truth[:32], classes[:32], luck[0][:32]
rows = []
for steps in (augment.STEPS, ("expand", "crop", "flip")):
    thinking, drawn = milliseconds(augment.draw, *given, steps)
    rows.append((" ".join(steps), thinking, milliseconds(augment.warp, photographs, drawn)[0]))
table(rows, head=("steps", "draw, ms", "warp, ms"), form=("", ".0f", ".0f"))

# %% [markdown]
# With that the whole of augmentation is in place, and you can play with it.
#
# ## Move it
#
# On the left is the padded photograph with the crop in blue, in the middle the 300 x 300 input, and next to it the
# numbers of this version. Drag the crop or its corners; the text says which samplers would accept it and which
# objects stay. A dot marks the centre of each object, and a dashed box an object that is dropped. *Predict first*:
#
# - Press **next version** ten times (or <kbd>n</kbd> on the image) to get ten other random versions. In how many does
#   every object stay?
# - Drag the crop until the dot of the dog is outside. What happens to its box, and what do you still see of the dog?
# - Make a crop that the bound 0.3 accepts and 0.5 doesn't. Now make one that *any crop* accepts and that keeps no
#   object.
# - Choose the sampler **IoU ≥ 0.5** and press **next version** until it finds a crop. How long does it take? Why does
#   **IoU ≥ 0.7** take longer in this scene?
# - Switch **flip** off and on. Does anything else change? Why not?
#
# <details><summary>Answers</summary>
#
# - In six, if you press it ten times from the start (random seeds 30 to 39).
# - The box is dashed now and has gone from the input, where you still see something less than half of the dog.
# - For the first, make a crop of about two and a half times the dog's area around the dog; for the
#   second, choose a place with background only.
# - About every fourth version has a crop for 0.5, but only about every twentieth has one for 0.7. A crop covers at least
#   9 percent of the padded photograph, and the largest object, the dog, covers 12 percent of the photograph and even less
#   of the padded one. So only a small crop that lies close around the dog reaches 0.7.
# - Only image and boxes are mirrored. Crop and colours stay, because they use random numbers of their own.
# </details>

# %%
explorer = augmentation_player.Player(example, photograph, seed=29)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# ## Exercises
#
# You have seen the rules at work; now you write them. The first four exercises build the geometry of this chapter piece
# by piece, and the last one is done on paper. Each has a cell to fill in, a check right below, hints, and a solution in
# a fold. A check that says *not right* shows where. As in the library, the argument `window` is the crop.
#
# ### 6.1 From the photograph to the input · the heart of the chapter · 8 minutes
#
# Write steps 2 to 4 of *By hand* (shift, scale, clip) as one function for all objects of an image.
#
# - *Given:* the tensors `objects` (R, 4) and `window` (4,), both (xmin, ymin, xmax, ymax) in px of the photograph. The
#   crop needn't be a square, and it may reach beyond the photograph.
# - *Return:* a tensor (R, 4) with the boxes in px of the 300 x 300 input, clipped at its border. Return all R of them,
#   also those that would be dropped, and don't flip them.
# - *For instance:* the box (120, 90, 240, 210) and the crop (100, 60, 300, 260) give (30, 45, 210, 225).
#
# *Building block:* in chapter 13 it moves the boxes of every image that is cropped.

# %% tags=["exercise"]
def move(objects, window):
    # solution
    corner, extent = window[:2].repeat(2), (window[2:] - window[:2]).repeat(2)
    return ((objects - corner) * 300 / extent).clamp(0, 300)

# %%
check.move(move)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Shift, scale, clip. The factors for x and y may differ.
# </details>
# <details><summary>Hint 2</summary>
#
# `window[:2].repeat(2)` is (x1, y1, x1, y1): what has to be subtracted from the four numbers of a box.
# </details>
# <!-- solution -->
#
# ### 6.2 Which objects stay · easy · 5 minutes
#
# Your function of 6.1 returns a box for every object, also for those far outside. Now write step 1 of *By hand*, the
# decision which of them the network is told about.
#
# - *Given:* `objects` (R, 4) and `window` (4,) as before. R may be 0.
# - *Return:* a tensor (R,) of True and False that says for each object whether it stays, which means that the centre of
#   its whole box lies in the crop. A centre on the border counts as inside.
# - *For instance:* of the two objects of *By hand* the first stays and the second doesn't.
#
# *Building block:* in chapter 13 it decides which objects a cropped image keeps.

# %% tags=["exercise"]
def keep(objects, window):
    # solution
    centre = (objects[:, :2] + objects[:, 2:]) / 2
    return ((centre >= window[:2]) & (centre <= window[2:])).all(dim=1)

# %%
check.keep(keep)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Compute a tensor (R, 2) of centres and compare it with `window[:2]` and `window[2:]`. Both coordinates have to fit, which is
# `.all(dim=1)`.
# </details>
# <!-- solution -->
#
# ### 6.3 Zoom-out as a crop · medium · 5 minutes
#
# Zoom-out needs no code of its own for pixels, because it is a crop that reaches beyond the photograph. Compute that
# crop.
#
# - *Given:* five numbers. The photograph has `width` x `height` px. It is pasted on an area `ratio` times as wide and
#   `ratio` times as high, `left` px from the left edge of that area and `top` px from its upper edge.
# - *Return:* the crop that shows the whole area, as four numbers xmin, ymin, xmax, ymax in px **of the photograph**,
#   whose upper left corner is (0, 0). Don't round.

# %% tags=["exercise"]
def zoom_out(width, height, ratio, left, top):
    # solution
    return [-left, -top, ratio * width - left, ratio * height - top]

# %%
check.zoom_out(zoom_out)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Draw it. If the photograph begins 200 px inside the larger area, where does that area begin, seen from the photograph?
# </details>
# <!-- solution -->
#
# ### 6.4 Does the sampler accept this crop? · medium · 7 minutes
#
# Write the decision that each sampler makes up to 50 times: may it accept this crop?
#
# - *Given:* `window` (4,), a crop that the sampler tries; `objects` (R, 4), the boxes of the image in the same
#   coordinates; `bound`, the sampler's IoU bound. R may be 0, and then no bound is met. `box_ops.iou(objects, window)`
#   gives R numbers.
# - *Return:* True if the sampler accepts the crop, else False; one answer, not one for each object.

# %% tags=["exercise"]
def accepts(window, objects, bound):
    # solution
    return bool((box_ops.iou(objects, window) >= bound).any())

# %%
check.accepts(accepts)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# How many of the objects have to reach the bound?
# </details>
# <details><summary>Help: it stops when there is no object</summary>
#
# `max()` of nothing is an error. `any()` of nothing is False.
# </details>
# <!-- solution -->
#
# ### 6.5 Left as it was · on paper · 3 minutes
#
# How often does the network see an image with its geometry left alone, that is, neither expanded nor cropped nor
# flipped? Suppose that all six samplers succeed for this image, and count the candidate *no crop* as not cropped.
# Colours don't matter here. Put the probability, a number between 0 and 1, into the cell: as a product of fractions, or
# with four digits after the point.

# %% tags=["exercise"]
probability = 1 / 2 * 1 / 7 * 1 / 2  # solution

# %%
check.untouched(probability)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Three independent events. Two have a coin, the third is one of seven.
# </details>
# <!-- solution -->
#
# Now that you have written the rules yourself, the next section breaks one after another. Most of these bugs were
# reported of published programs.
#
# ## What would go wrong if
#
# **... boxes were clipped before their centres are looked at?** After clipping, every centre lies in the crop, and
# objects far outside become boxes without width or height at its border. The offsets take the logarithm of a width,
# and the logarithm of 0 is -∞. A pull request [traces an infinite
# loss](https://github.com/amdegroot/ssd.pytorch/pull/116) to such boxes. How many there would be, and what one does
# to its offsets, the next two cells show, on one random version of each of the 800 images:

# %%
window = augment.draw(sizes, truth, classes, luck[0]).window[:, None]
low, high = window[..., :2].repeat(1, 1, 2), window[..., 2:].repeat(1, 1, 2)
rows = []
for name, objects in {"clipped first": truth.maximum(low).minimum(high), "centre first": truth}.items():
    stay = single_draws.in_view(objects, window)[1]
    flat = stay & (box_ops.area(objects) == 0)
    rows.append((name, *(which[classes > 0].double().mean() for which in (stay, flat))))
table(rows, head=("order", "objects that stay", "without width or height"), form=("", ".1%", ".1%"))

# %%
flat = torch.tensor([[300.0, 120, 300, 180]])
print("offsets of a flat box:", [round(x, 1) for x in coding.encode(flat, anchors.default_boxes()[:1])[0].tolist()])

# %% [markdown]
# **... the image were mirrored and the boxes forgotten?** On the left is what should be, on the right what would be.

# %% alt="The same flipped scene twice: left with its boxes on the objects, right with the boxes where the objects were before flipping"
numbers = augment.uniforms(1, batches.generator(29))  # with which the flip is chosen
good = batches.make_batch([example], [photograph], numbers, ("flip",))
both = torch.cat([good.boxes, box_ops.flip(good.boxes, 300)])
figure = figures.versions(records.Batch(good.images.repeat(2, 1, 1, 1), both, good.labels.repeat(2, 1)))

# %% [markdown]
# There is no error and no warning. A box in the middle hardly moves, so the network still learns something. How many
# boxes, after random crops, still have an IoU of 0.5 or more with their mirrored object?

# %%
there = box_ops.area(cropped.boxes) > 0
mirrored = box_ops.iou(cropped.boxes, box_ops.flip(cropped.boxes, 300))[there]
print(f"{(mirrored >= 0.5).double().mean():.0%} of the boxes")

# %% [markdown]
# **... the boxes were mirrored without exchanging their left and right edges?** Then widths are negative, and their
# logarithm gives NaN, *not a number*. This is the kinder bug, because you notice it.
#
# **... a bound had no effect?** In amdegroot's PyTorch SSD a crop is refused only if its smallest IoU with an object
# is below the lower bound *and* its largest is above the upper one. The upper one is infinite, so no crop is ever
# refused ([issue 68](https://github.com/amdegroot/ssd.pytorch/issues/68)), and every sampler takes the first crop
# that holds some object's centre. How closely do crops then fit the object that they fit best? The table shows that
# rule beside the original, on 400 random versions of the image with one large object, from *The samplers*.

# %%
rows = []
for name, sampler in {"with an effect": None, "without": 6}.items():
    taken = [single_draws.single_draw(large, seed, ("expand", "crop"), sampler) for seed in range(400)]
    taken = [one for one in taken if one.drawn.patch > 0 and len(one.drawn.labels[0])]
    best = torch.stack([box_ops.iou(large.boxes, one.drawn.window[0]).max() for one in taken])
    rows.append((name, *((best >= bound).double().mean() for bound in (0.1, 0.5, 0.7))))
table(rows, head=("bounds", "crops with an IoU ≥ 0.1", "≥ 0.5", "≥ 0.7"), form=("", *[".1%"] * 3))

# %% [markdown]
# Close-ups of an object, for which the high bounds are there, become rarer: an IoU of at least 0.5 falls from 24.9 to
# 6.1 percent of the crops. That repository reports 77.43 all the same, so we don't know what the bounds are worth.
#
# > Note: Both lines count crops that keep an object; versions without a crop are left out.
#
# **... a crop left no object?** That happens, and it isn't a bug, because *any crop* may show only background.

# %%
empty = [(augment.draw(sizes, truth, classes, numbers).labels > 0).sum(dim=1) == 0 for numbers in luck]
print(f"{torch.cat(empty).double().mean():.1%} of the random versions have no object")

# %% [markdown]
# Code that takes a maximum over no objects stops with an error. Code that divides by the number of matched anchors
# divides by zero, and some people work around that with invented boxes. The [FAQ](../docs/faq.md) collects such
# reports. Our loss needs no invented box, as you see for a network that guesses on an image without an object:

# %%
grid = anchors.default_boxes()
targets = matching.make_targets(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), grid)
guess = torch.randn(1, len(grid), 25, generator=torch.Generator().manual_seed(0))
losses = loss.multibox_loss(records.Predictions(guess[..., :4], guess[..., 4:]), targets)
print("positives", losses.positives.item(), " negatives", losses.negatives.item(), " loss", losses.multibox.item())

# %% [markdown]
# Without positives no hard negatives are chosen either ([chapter 04](04_multibox_loss.ipynb)), since three times zero
# is zero. The image adds nothing to the loss and no gradient, so it wastes a little time and does no harm.
#
# **... your training stopped near 71 or 74 instead of 77?** Check these before you change the network:
#
# 1. Is zoom-out there, and are there enough steps for it?
# 2. Do you train on 07 **and** 12? One report of 41.9 mAP came from 07 alone and 60 epochs.
# 3. Do the IoU bounds have an effect, as above?
# 4. Do boxes move with the pixels? Draw a batch and look at it, as at the top of this page.
#
# The [FAQ](../docs/faq.md) links the threads behind these questions, and others whose reports, of 71 mAP at best, 64.8 and
# 43, have no settled cause. The other suspect is the evaluation, which [chapter 11](11_evaluation.ipynb) takes apart.
#
# ## Self-test

# %%
SelfTest("augmentation")

# %% [markdown]
# ## Recap
#
# - One random version of an image is a handful of numbers: a crop, a flip, colours. One resampling step makes the 300 x
#   300 input from them. Boxes are shifted, scaled and clipped.
# - All samplers try up to 50 times; a bound is met by any one object; one of the candidates that succeeded is drawn, each
#   with the same probability.
# - A scale of 0.3 to 1 is a side, so by area it is 0.09 to 1. Zoom-out is up to 4 by side and 16 by area.
# - An object stays if its centre is in the crop. A dropped one may be in view without a box.
# - A batch is a function of the random seed and the step, so it can be made again by any process at any time.
#
# The sources are the paper, section 2.2 "Data augmentation" and section 3.6, and Caffe's `sampler.cpp`,
# `im_transforms.cpp` and `annotated_data_layer.cpp`, whose rules these are.
