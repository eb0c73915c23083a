# %% [markdown]
# # 07 · SGD instability
#
# **In one sentence:** the same training, started ten times, is smooth, slow or broken; mostly the learning rate
# decides which of these it is, chance decides only near an edge, and you can measure why.
#
# | | |
# |---|---|
# | time | 105 minutes: 45 for reading, 60 for the exercises. The optional parts, *the edge* and *31 or 32?*, are 16 of the 45 and 27 of the 60 |
# | hardware | any laptop; no GPU; three cells train or measure for some seconds |
# | you need | chapter 04: the loss and its negatives |
# | new modules | `engine`: its update and its learning rate |
#
# At the end of this page you will be able to
#
# - read the first hundred steps of a loss curve, and compute the two levels at which it rests,
# - say which anchors keep a loss on its plateau,
# - follow a NaN back to the step where it began,
# - choose a remedy and know what it costs,
# - after the optional part: estimate from the curvature which learning rate is too large, and how far to trust that.

# %%
from dataclasses import replace

import torch

from course.instability import check, curvature, figures, replay, starts, watched_start
from course.kit import pictures
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from course.training import growth
from ssdlib import anchors, loss, matching
from ssdlib.training import engine

# %% [markdown]
# ## The picture
#
# You start a training, and its loss becomes NaN, *not a number*. You start it again without changing anything, and it
# works. Was that luck, or was something wrong?
#
# In the figure below, one network was trained on one dataset with one program, and only the random seed differs between
# the curves of a panel. The random seed decides the first weights, the order of the images and which of them are
# mirrored. There are three learning rates with ten starts each. **Predict first:** how many of the ten break at each
# learning rate?

# %% alt="Three panels of ten loss curves each. At learning rate 0.001 all fall to a first dotted level, linger there and then fall to a second one. At 0.01 and 0.02 curves jump up and down; at 0.01 three of ten, at 0.02 all ten end in a cross"
figure = figures.ten(["paper", "near", "beyond"], "The larger the learning rate, the more of ten starts break")

# %%
print(starts.made([s for name in ("paper", "near", "beyond") for s in starts.arm(name)]))

# %% [markdown]
# Each cross is a start that ended in NaN; in the right panel two pairs of crosses coincide. The panels have different
# step axes, because the starts on the right don't last long. At 0.001 none of the ten starts breaks, at 0.01 three
# do, and at 0.02 all of them do.
#
# > Note: these curves are **recorded**: the starts were run once, by `data_scripts/restarts.py`, and every number
# > lies in `chapters/recordings/restarts`, the broken starts included. Nothing was edited or left out. Start 0 of some
# > configurations was recorded for more steps than the others. Where this page runs something itself, it says *here
# > and now*.
#
# <a id="claims"></a>
#
# ## What was claimed, and what we found
#
# The published run that this course retraces was trained with ssd_keras. Its author started it more than once, and
# described in the
# [summary](https://github.com/pierluigiferrari/ssd_keras/blob/master/training_summaries/ssd300_pascal_07%2B12_training_summary.md)
# of his training what he saw: with SGD, the first steps can look very different each time.
# [Adam](https://arxiv.org/abs/1412.6980), an optimiser that scales the step of each weight by the size of that weight's
# own gradients, varied less for him. He advised users whose loss became NaN to [just try
# again](https://github.com/pierluigiferrari/ssd_keras/issues/136). The curves of his starts were never published and we
# found no others, so we recorded our own. These are his claims and our verdicts:
#
# | claim | verdict |
# |---|---|
# | ten starts look different at the beginning | **confirmed** for the timing, not for the shape |
# | by chance, the loss falls smoothly, rests on a plateau, or blows up and becomes NaN | **different**: mostly the learning rate decides |
# | a plateau lasts a couple of hundred steps | **confirmed** for the first of two plateaus |
# | unless the loss becomes NaN, its end depends little on the start; it only takes longer to get there | **half of it**: with the usual number of steps a start that nearly breaks costs more than half of the mAP, with twice as many most of that comes back |
# | after 1,000 steps the loss is anything between about 10 and 15 | **not here**: our ten starts have met by then |
# | Adam varies less | **confirmed**, if compared at the same stage |
# | if the loss is NaN, just try again | **only near the edge** |
# | the configuration is that of the original, but for a batch of 31 | not quite |
#
# Two more claims are **not tested** here: that the published run fell smoothly from the start, and that Adam is
# evidently the superior optimiser.
#
# The evidence for each claim is collected <a href="#verdicts">near the end of the page</a>. Until then the page
# explains the two things in the picture: why a loss rests, and why it breaks.
#
# > Note: our starts aren't those of the full network. Ours is the narrow network of chapter 00, trained on the mini
# > VOC in batches of 8, with random weights instead of VGG16's. It has no [batch
# > norm](https://arxiv.org/abs/1502.03167), a layer that brings each channel to the same mean and spread over a batch.
# > The way to look carries over to other networks; the numbers belong to this one.
#
# ## The words
#
# - A **start** is one training from its first step on. Its **random seed** is the number that decides all its chance.
# - A **step** is one update of the weights. **SGD**, stochastic gradient descent, steps against the gradient of one
#   batch. The **learning rate** is the factor between the gradient and the step.
# - **Momentum** m adds m times the step before to each new step. A gradient that occurs once is therefore carried on,
#   in all 1 + m + m² + ... times.
# - A **plateau** is a stretch of many steps in which the loss hardly changes.
# - To **diverge** is to leave every valley of the loss, so that the loss grows until it is infinite and then NaN.
# - The **edge** is the learning rate beyond which steps across a valley grow instead of shrinking.
#
# With these words we can take up the first question, at which heights a loss rests.
#
# ## By hand: the two levels
#
# The figure at the top of the page shows only the confidence part of the loss; the localisation part adds 3.2 to 4.8
# in the first step and about 2.4 at step 290. The two dotted lines in that figure are levels that you can compute
# without any network.
#
# **No opinion.** Suppose all 21 classes are equally likely for every anchor. Then each positive costs ln 21 = 3.04, and
# so does each of its three negatives, which gives 4 · 3.04 = **12.18**. (That was exercise 4.6.)
#
# **Background only.** Now suppose the network has learned one thing: of the four anchors that count, three are
# background. It still doesn't look at the image, so it says p(background) = 0.75 everywhere, and the other 20 classes
# share the remaining 0.25.
#
# | | p | costs -ln p | how often | sum |
# |---|---|---|---|---|
# | a negative | 0.75 | 0.288 | 3 | 0.863 |
# | a positive | 0.25 / 20 = 0.0125 | 4.382 | 1 | 4.382 |
# | | | | | **5.245** |
#
# No other p does better, as the next cell checks, so this is the lowest loss for a network that gives every anchor the
# same answer and treats the 20 classes alike.

# %%
p = torch.linspace(0.05, 0.99, 95)
cost = -3 * p.log() - ((1 - p) / 20).log()
print(f"best p(background) {p[cost.argmin()]:.2f}, cost {cost.min():.3f}")
print(f"levels: no opinion {starts.NO_OPINION:.2f}, background only {starts.BACKGROUND_ONLY:.2f}")

# %% [markdown]
# The two levels are heights on the axis of the loss. The next question is whether real starts stop there, and for how
# long.
#
# ## Ten starts at the paper's learning rate
#
# The paper and the published run begin with a learning rate of 0.001. The table shows when each of our ten starts left
# the first level for good, which we define as the point from which the mean loss of ten steps stays below four fifths
# of that level. The column *first step* is a single step; the other losses are means of ten steps from that step on.

# %%
rows, at = [], (20, 100, 200, 290)
for start in starts.arm("paper"):
    means = [start["confidence"][s : s + 10].mean() for s in at]
    rows.append((start.seed, start["confidence"][0], *means, start.left))
table(rows, head=("start", "first step", *(f"step {s}" for s in at), "left the first level after"))

# %% [markdown]
# So a plateau does exist here, and its height is the level of no opinion. All ten starts fall to it within some ten
# steps, sink slowly through it, leave it at different times, and approach the second level.
#
# ### What does the network find meanwhile?
#
# Nothing, and the second level shows best why. The recipe *mini* of chapter 00, which has batch norm, comes near that
# level within 150 steps, and until step 350 its confidence loss only sinks from 5.8 to 5.2. Every 50 steps it was asked
# for the objects in the scene of chapter 00, which it isn't trained on:

# %% alt="Four times the scene of chapter 00: at step 50 no box, at 200 and 400 a few pale boxes and none of 0.5 or more, at 600 the first object is found, person 0.69"
figure = growth.opening_at((50, 200, 400, 600), "While the loss rests near its second level, nothing is found")

# %% [markdown]
# On the second level a network says *background* everywhere with the same confidence, and no other class gets a score
# worth mentioning. Only at step 600, when the loss is well below the level, does the first detection reach 0.5.
#
# ### Why does the loss rest?
#
# The network does learn in the meantime. The next table shows, for start 0, what it says about background on each of
# the six feature maps: the mean logit of background over all anchors of that feature map. A logit of ln 60 = 4.09,
# with 0 for all other classes, would mean p = 0.75.

# %%
start = starts.arm("paper")[0]
maps = [f"{side} x {side}" for side in anchors.SSD300_ANCHORS.feature_maps]
rows = [(step, *found["background"], start["confidence"][step]) for step, found in start.by_map.items()]
table(rows, head=("step", *maps, "confidence loss"), heat=maps, caption="Mean logit of background on each feature map")

# %% [markdown]
# The 38 x 38 feature map learns *background* within ten steps, and it has 5,776 of the 8,732 anchors. Yet the loss
# falls no further than to the first level, because only the **hardest** background anchors count, and those now lie
# on the other feature maps:

# %% alt="Stacked bars of the feature maps that mined negatives come from. Left, learning rate 0.001: first the 38 x 38 map, from step 10 on the small maps, from 150 on the 10 x 10 and 19 x 19 maps. Right, with background known: from step 10 on mostly 19 x 19 and 10 x 10"
panels = {"learning rate 0.001": start, "background known from the start": starts.arm("prior")[0]}
figure = figures.mined_by_map(panels)

# %% [markdown]
# The figure shows from which feature map the mined negatives come. Its left panel explains the plateau. From step 10
# to step 60, some nine in ten mined negatives or more lie on the feature maps from 10 x 10 down, which have learned
# next to nothing yet, so each of them costs about ln 21. The 10 x 10, 5 x 5 and 3 x 3 feature maps have 786 anchors
# in each image, more than enough to supply all the negatives. The 38 x 38 map supplies hardly any during this time.
# Only its positives still count, and its background logit sinks again, from 3.4 to 1.0. Then, between steps 100 and
# 200, all feature maps but the last rise together, and the plateau ends. The 1 x 1 map is later still, but its four
# anchors are too few to hold up the loss.
#
# The small feature maps are late because they lie behind many layers, and what comes out of these layers is close to 0
# at first.
#
# If this explanation is right, a network that knows about background from the beginning should have no first plateau.
# The right panel is that **control**: five of the same starts at the same learning rate, but with the bias of every
# background logit set to ln 60 before the first step, so that all feature maps say p = 0.75. The hardest anchors move
# to other feature maps there too, but each of them costs 0.29 instead of 3.04:

# %% alt="Two panels of loss curves at learning rate 0.001: on the left they rest on the first level, on the right, with background known, they go to the second level at once"
figure = figures.ten(["paper", "prior"], "Starts that know background leave out the first plateau", top=22)

# %%
left = {name: [s.left for s in starts.arm(name)] for name in ("paper", "prior")}
rows = [(starts.ARMS[name], *steps, *[None] * (10 - len(steps))) for name, steps in left.items()]
table(rows, head=("left the first level after", *(f"start {i}" for i in range(10))))

# %%
assert max(s.left for s in starts.arm("prior")) < min(s.left for s in starts.arm("paper"))

# %% [markdown]
# The plateau at the first level is gone, so its cause was the background. (RetinaNet starts its classifier with such a
# bias for this reason: [section 4.1 of its paper](https://arxiv.org/abs/1708.02002).) These five starts go to the
# second level at once and rest there to the end of the recording, some 170 steps. From that level on, the network has
# to look at the images, and this takes longer.
#
# ### The same at full width, on photographs
#
# Perhaps the plateau is a fault of a narrow network with random weights? To find out, we started the full network
# four times on genuine photographs, once from random weights and three times from the 13 convolutions that VGG16
# learned on ImageNet. fc6 and fc7 aren't among those 13, so they begin with random weights even then. These three
# starts differ in how large fc6 and fc7 begin: as [He's rule](https://arxiv.org/abs/1502.01852) makes them, which draws
# weights so that a signal keeps its size from layer to layer, or smaller.

# %% alt="Confidence loss of four starts of the full network: from random weights NaN in step 6, with fc6 and fc7 by He's rule NaN in step 18, with both scaled at learning rate 0.001 near 13 and rising at step 60, at 0.0005 with a warm-up resting at 12 from step 30 to 80, then falling, and resting at 5.5 from step 160"
figure = figures.full_width()

# %% [markdown]
# - **Random weights, the paper's learning rate**: NaN in step 6.
# - **ImageNet's convolutions, fc6 and fc7 by He's rule**: NaN in step 18. ImageNet's features at conv5_3 have a
#   standard deviation of 6.6, which He's rule passes on, so the heads begin with logits in the tens.
# - **fc6 and fc7 scaled to outputs of unit standard deviation, the same learning rate**: it survives, but its loss is
#   rising at step 60, where it was stopped.
# - **fc6 smaller by a factor of ten, half the learning rate, a warm-up of 60 steps**: the loss falls to the level of
#   **no opinion** within 30 steps, rests there for 50, leaves it between steps 80 and 110, and arrives at the second
#   level, **background only**. (A **warm-up** begins with a small learning rate and raises it.)
#
# Of the four starts only the last one reaches the levels, and both its plateaus have the heights that you computed by
# hand. The levels therefore come with the loss and its mining, not with the narrow network. These are single runs
# with points ten steps apart, so they show *that* it happens and not how often.
#
# > Note: recorded on an AMD EPYC, random seed 0: the first start on 2026-11-27 with batch 32 on 700 photographs,
# > the others on 2026-11-29 with batch 8 on 3,752 or 3,952 of a split of our own;
# > `chapters/recordings/photographs_broken` and `full_width`.
#
# This explains why a loss rests. The second half of the page is about why it breaks. The optional part comes first and
# derives how large a step may be at all; if you are short of time, go on at <a href="#anatomy">Anatomy of a NaN</a>.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ## Optional, 10 minutes: the edge
#
# Exercises 7.2 and 7.3 belong to this part and take 19 minutes more. Nothing after it needs its cells, which JupyterLab
# and Notebook 7 hide until you press the arrow beside the heading.

# %% [markdown]
# Why does a larger learning rate break what a smaller one learns? Take a single weight w and a loss that is a parabola.
# Its **curvature** c says how fast the slope changes along a direction, so a narrow valley has a large one. The slope
# at w is c · w, and one step of SGD turns w into w - lr · c · w, which is **(1 - lr · c) · w**, where lr is the
# learning rate.
#
# | lr · c | factor | from 1 the weight goes to |
# |---|---|---|
# | 0.5 | 0.5 | 0.5, 0.25, 0.125: falls |
# | 1 | 0 | 0: there in one step |
# | 1.9 | -0.9 | -0.9, 0.81, -0.73: jumps back and forth, and falls |
# | 2.05 | -1.05 | -1.05, 1.10, -1.16: jumps back and forth, and grows |
#
# The edge is at lr · c = **2**. Beyond it each step is larger than the one before, and nothing in the formula stops
# that. With momentum m the edge lies at **2 · (1 + m)**, which is 3.8 for 0.9. (This is Polyak's heavy ball; we don't
# prove it.) With momentum the first jumps may grow even inside the edge, so judge by the end of each curve:

# %% alt="Two panels of a weight over the steps. Without momentum the product 1.9 dies out and 2.05 grows; with momentum 0.9 the product 3.6 dies out and 3.9 grows"
figure = figures.parabolas({0: (0.5, 1.9, 2.05), 0.9: (0.5, 3.6, 3.9)})

# %% [markdown]
# Our network has 779,550 weights and a curvature in every direction. The largest curvature decides, because the
# steepest valley is the first one that the weights leave. To find it we don't need all second derivatives, whose matrix
# H is called the Hessian. It is enough to know how the *gradient* changes along a direction v. This is the
# [Hessian-vector product](https://pytorch.org/docs/stable/generated/torch.autograd.functional.hvp.html) H · v, which
# autograd computes for the price of two backward passes. Then we replace v by H · v, again and again, and each round
# brings it nearer to the direction that bends most. The method is called power iteration:

# %%
source(curvature.largest_curvature)

# %% [markdown]
# Here and now, we make start 0 at learning rate 0.001 again and measure its curvature after one step. Five rounds take
# some seconds. Biases learn at twice the learning rate, which the factors in the code account for, and the choice of
# negatives is held fixed.

# %%
recorded = figures.bends("paper", 0)[1].curvature
value = recorded  # until yours is there
with interruptible(instead="the table shows the recorded curvature"):
    mine = watched_start.again(starts.arm("paper")[0])
    first = next(mine.steps(1))
    assert abs(first.confidence - float(start["confidence"][0])) < 0.01  # the same start
    value, _ = curvature.of_network(mine.model, *mine.batch(1), mine.factors, rounds=5)
assert 0.5 < value / recorded < 1.5
allowed = curvature.edge(value, 0.9)
rows = [(rate, "inside" if rate < allowed else "beyond") for rate in (0.001, 0.012)]
table(rows, head=("learning rate", "the edge"), form=(".3f",), note=f"The curvature is about {round(value, -3):,.0f}.")

# %% [markdown]
# The following table and figure are recorded, with twelve rounds, along the whole start (`data_scripts/curvature.py`):

# %%
rows = []
for bend in figures.bends("paper", 0):
    allowed = curvature.edge(bend.curvature, 0.9) if bend.curvature > 0 else None
    rows.append((bend.step, bend.loss, bend.curvature, allowed))
head, note = ("step", "loss", "curvature", "edge for momentum 0.9"), "No edge where the curvature is negative: a ridge."
table(rows, head, form=("", ".1f", ",.0f", ".4f"), note=note)

# %% alt="The learning rate that the curvature allows over the steps. Start 0 at 0.001: near 0.003 at step 1, 0.03 to 0.16 from step 5 to 140, down to 0.005 at 200. The same start at 0.012 jumps between 0.002 and 0.14. Dotted lines mark the learning rates that were used"
tracks = {"start 0 at 0.001": figures.bends("paper", 0), "start 0 at 0.012": figures.bends("edge", 0)}
figure = figures.edges_along(tracks)

# %%
bent = [b for b in figures.bends("edge", 0) if b.curvature > 0]
over = [b.step for b in bent if b.rate > curvature.edge(b.curvature, 0.9)]
print("start 0 at 0.012 was beyond the edge at", over, "of the steps", [b.step for b in bent], "(0 and 8: ridges)")

# %% [markdown]
# The dotted lines of the figure are the learning rates used. Where a curve lies below the dotted line of its own
# colour, that start is beyond the edge. Read table and figure together, from the first step on.
#
# - At step 0 the direction that bends most bends *downwards*, which makes it a ridge. There may be valleys too, but
#   this method doesn't see them, so there is no edge to compare with.
# - At step 1 the start is in a steep valley, whose edge lies at a few thousandths. A learning rate of 0.001 is inside,
#   0.012 and 0.02 are not.
# - On the plateau the curvature is ten times smaller, so 0.02 would be allowed there.
# - When the start leaves the plateau, from step 150 on, the curvature rises seven- to tenfold and the edge comes down
#   to a few thousandths once more. Learning something makes the valley steep again.
#
# So there are **two** steep places, the first steps and the end of the plateau. How well does this predict a break? At
# 0.012 the start is clearly beyond the edge at steps 1, 12 and 30, and survives; at step 50, nine steps before it
# breaks, it was well inside. Beyond the edge a step is too long, but the loss is no parabola. The jump may end in a
# flatter place, and then all is well, or in a steeper one. Such an estimate gives the order of magnitude and not the
# digit, and the curvature at some steps doesn't say when a start breaks. At 0.012 six of ten did, after 14 to 67 steps.
#
# **This is the end of the optional part.** Since the curvature doesn't tell when a start breaks, we now look inside one
# that does.

# %% [markdown]
# <a id="anatomy"></a>
#
# ## Anatomy of a NaN
#
# Start 0 at learning rate 0.02 breaks after 13 steps, numbered 0 to 12. Here it is once more, with every layer
# watched. The left panel shows the largest number that comes out of each layer, the right one how far the step moves
# its kernel, relative to the length of the kernel. Both colour scales are logarithmic. (Recorded by
# `data_scripts/anatomy.py`, which makes the start again from its settings.)

# %% alt="Layers over thirteen steps, twice. On the left numbers grow from step 9 on; at step 13 conv5_1 is infinite and all layers behind it are NaN. On the right steps reach the length of the kernel at step 10 and are far off the scale at step 12"
steps = figures.watched_steps("beyond", 0)
figure = figures.layers_drawn(steps)

# %% [markdown]
# The last column of the right panel is white because step 13 was not taken. The loss is NaN in step 13, so you would
# look for the error in step 13. Is it there? The next two tables show the numbers behind the figure. With them you
# can go back from the loss, tensor by tensor; the list below the tables does it.

# %%
rows = [
    (s.step, s.localisation + s.confidence, s.gradient, s.layers["conf.fc7"].output, *s.farthest) for s in steps
]
head = ("step", "loss", "gradient", "largest logit of fc7", "largest relative step", "of the kernel")
table(rows, head, form=("", ".3g", ".3g", ".3g", ".2g"))

# %%
last = steps[-1].layers
names = ("body.conv4_2.0", "body.conv4_3.0", "body.conv5_1.0", "body.conv5_2.0", "conf.fc7")
rows = [(name, last[name].output, last[name].weight) for name in names]
table(rows, head=("in step 13", "largest output", "length of the kernel"), form=("", ".3g", ".3g"))

# %% [markdown]
# 1. The loss is NaN because the logits are.
# 2. The logits are NaN because conv5_2 adds inf and -inf.
# 3. conv5_1 is infinite because the layers from conv3_3 to conv5_1 each multiply by some ten million, and float32
#    (32-bit floating point) ends at 3.4 · 10³⁸.
# 4. The kernels are so long because step 12 moved them by up to ten million times their length. Its gradient had a
#    length of 8 · 10¹⁰.
# 5. That gradient belongs to a loss of 4 · 10⁹, which still is **a number**. The loss was so large because step 11
#    moved kernels by many times their length.
# 6. Step 11 did so because step 10 was the first to move a kernel by more than its whole length.
# 7. Step 10 did so because its loss was 113: the largest logit of the head on fc7 was 9 in step 8, 82 in step 9 and
#    1,190 in step 10.
#
# So the NaN of step 13 began some steps earlier. But what pushed the head on fc7 that far? Look at the gradients of
# the first steps. That of step 1 was 239 long, that of step 2 only a quarter of it, and by step 7 it is 9. The
# kernels, however, go on moving, as this table shows for the first layer and for the head on fc7:

# %%
rows = [[s.step] for s in steps[1:13]]
for name in ("body.conv1_1.0", "conf.fc7"):
    moved = [s.layers[name].update for s in steps[1:13]]
    for row, before, after in zip(rows, [None, *moved], moved):
        row += [after, before and after / before]
head = ("step", "conv1_1 moves by", "by the last", "conf.fc7 moves by", "by the last")
table(rows, head, form=("", ".3g", ".2g", ".3g", ".2g"), caption="Relative steps, each divided by the one before it")

# %% [markdown]
# Each step of conv1_1 is 0.9 times the one before it, almost exactly, to the end, whatever the loss does. This is no
# longer the gradient but **momentum**: the first two gradients are carried on, in all 1 + 0.9 + 0.81 + ... = 10 times
# their own step. Momentum carries the weights on, whatever the current gradient. conf.fc7 slows down a little faster,
# because new gradients push back there, until step 9.
#
# If momentum is to blame, the same starts should survive without it. This is the **control**: five of them, the same
# learning rate, no momentum, 100 steps.

# %%
rows = []
for name in ("beyond", "no_momentum"):
    ended = [len(s) if s.broke else None for s in starts.arm(name)]
    rows.append((starts.ARMS[name], *ended, *[None] * (10 - len(ended))))
note = "In steps. No number: there was no such start, or it didn't break."
table(rows, head=("broke after", *(f"start {i}" for i in range(10))), note=note)

# %% [markdown]
# None of the five breaks. But the control changed two things at once: nothing is carried on, and in the long run that
# is also a tenth of the learning rate. It can't tell the two apart. Gradient clipping, <a href="#remedies">below</a>,
# keeps the momentum and shortens only the long gradients.
#
# > Note: if you read the optional part, this may surprise you. On a parabola the edge without momentum is *nearer*,
# > because learning rate times curvature may reach only 2 instead of 3.8, so these starts should fare worse. Being
# > beyond the edge is therefore not enough to break.
#
# ### An alarm
#
# In the anatomy a kernel moved by more than its own length, and three steps later the start was over. Can you rely on
# that sign? The next cell goes through every recorded start, looks for the first step that moved some kernel by more
# than half of its length, and counts what became of the start.

# %%
everyone = [s for name in starts.ARMS for s in starts.arm(name)]
rows = []
for outcome, broke in (("break", True), ("don't break", False)):
    chosen = [s for s in everyone if bool(s.broke) == broke]
    rows.append((outcome, len(chosen), sum(s.alarm() is not None for s in chosen)))
table(rows, head=("starts that", "in all", "with the alarm"))

# %%
before = [len(s) - s.alarm() for s in everyone if s.broke]
print(f"the alarm comes {min(before)} to {max(before)} steps before the end")
false = [f"{s.arm} {s.seed}" for s in everyone if s.alarm() is not None and not s.broke]
quiet = [float(s["update_ratio"].max()) for s in everyone if s.alarm() is None]
print(f"false alarms: {', '.join(false)}; the largest step of a kernel among the others: {max(quiet):.2f} of its length")

# %% [markdown]
# Every start that broke had the alarm, and so had two that didn't break; you meet these two in the next section. A loss
# above 60 would have caught the same starts, some up to five steps earlier and some up to three steps later. The
# movement of the kernels has two advantages: it doesn't depend on the scale of the loss, and it names the layer. A
# healthy step moves a kernel by a thousandth to some hundredths of its length.
#
# > Note: the threshold of one half was chosen on these same starts, so take it as a rule of thumb.
#
# ### Again, on your machine
#
# Here and now, we run the same start again. Its first loss is the recorded one. You can expect it to break, but you
# can't predict the step, because rounding differs from processor to processor and here every step makes a difference
# larger.

# %%
doomed = watched_start.again(starts.arm("beyond")[0])
with interruptible():
    seen = list(doomed.steps(100))
assert abs(seen[0].confidence - steps[0].confidence) < 0.01
print("a number to the end" if seen[-1].finite else "the loss isn't a number any more")

# %% [markdown]
# Both the alarm and the anatomy measure a step relative to the length of a kernel. That length is a choice of whoever
# writes the network, which leads to a surprise.
#
# ## The edge depends on how you write the network
#
# In all starts so far the pixels, 0 to 255 minus the mean, were divided by 64 before they entered the network. Suppose
# we leave the division out and divide the first kernel by 64 instead. For every image the network gives the same
# answers as before, to the last digit that matters. Only the training differs:
#
# - the gradient of the first kernel is 64 times as large, because its inputs are,
# - the kernel is a 64th as long,
# - so its step is 64 · 64 = **4,096** times as large, relative to the kernel.

# %%
rows = []
for one, other in zip(starts.arm("paper"), starts.arm("pixels")):
    losses, moved = ([s[what][0] for s in (one, other)] for what in ("confidence", "update_ratio"))
    rows.append((one.seed, *losses, *moved, *(len(s) if s.broke else None for s in (one, other))))
head = ("start", "first loss", "undivided", "largest first step", "undivided", "broke after", "undivided")
note = "Undivided: with pixels that aren't divided. Steps are relative to the length of a kernel. No number: it didn't break."
table(rows, head, form=("", ".2f", ".2f", ".3g", ".3g"), note=note)

# %% [markdown]
# Is this factor really the cause? We can check, because the anatomy recorded how far the first step moved the first
# kernel at learning rate 0.02 with divided pixels. For a learning rate of 0.001 take a twentieth of it, and multiply by
# 4,096:

# %%
moved = steps[0].layers["body.conv1_1.0"].update
seen_there = float(starts.arm("pixels")[0]["update_ratio"][0])
print(f"expected {moved / 20 * 4096:.2f}, recorded with undivided pixels {seen_there:.2f}")
assert abs(moved / 20 * 4096 / seen_there - 1) < 0.02

# %% [markdown]
# The prediction is right. The function is the same and so is the learning rate, but eight of ten starts are gone within
# five steps. The first step replaces the first kernel by one that is 4 to 29 times as long and has nothing to do with
# it. (The other two starts are the two false alarms from above. We didn't look into why they survive.)
#
# The edge is therefore not a property of the function, but of the weights you chose to write it with. Batch norm, the
# scaling of inputs, the initial size of each layer and the factor of 20 after conv4_3 are all such choices.
#
# > Note: VGG16's own weights go with pixels of 0 to 255. They aren't random, and what they do to the edge is not
# > tested here.
#
# If you can move the edge, you can also choose to stay away from it. How much does that cost?
#
# <a id="remedies"></a>
#
# ## Remedies, on the same starts
#
# All panels have the random seeds of the starts that broke at 0.02, each with one remedy:
#
# - **warm-up**: the learning rate rises to 0.02 over the first 200 steps,
# - **gradient clipping**: a gradient longer than 10 is shortened to 10,
# - **batch norm**: five random seeds, and pixels that aren't divided,
# - **Adam**: instead of SGD, with its usual learning rate of 0.001.
#
# The table below the figure adds two smaller learning rates, and it counts **dead channels**. A
# [ReLU](https://pytorch.org/docs/stable/generated/torch.nn.ReLU.html) replaces negative numbers by 0. A channel is dead
# if it is 0 at every place of every image of a batch, because its ReLU always receives less than 0.

# %% alt="Four panels of loss curves. Warm-up: they fall, jump up again between steps 100 and 200, and two end in a cross. Clipping and batch norm: they jump, and all live. Adam: all fall smoothly"
figure = figures.ten(["warmup", "clipped", "batch_norm", "adam"], "Three remedies lose no start, warm-up loses two of ten")

# %%
names = ("beyond", "warmup", "clipped", "batch_norm", "adam", "safe", "paper")
head = ("configuration", "NaN", "left the first level after", "confidence loss", "dead channels")
note = "Confidence loss and dead channels are means of steps 190 to 199, from the smallest start to the largest."
table([starts.summary(name).cells() for name in names], head, note=note)

# %% [markdown]
# The numbers give the smallest and the largest of the starts that are still running, and *dead channels* is the share
# among the channels of the body.
#
# - **Warm-up** saves eight of ten. The other two break after 156 and 176 steps, when the learning rate has passed
#   0.015; presumably the valley is steep there for the second time, but the curvature was not measured on these starts.
#   All eight were below the first level for the first time after 55 to 94 steps, and jumped back above it.
# - **Clipping** loses none. With it a gradient of 239 does no more than one of 10.
# - **Batch norm** loses none, and at step 190 has no dead channel. It is not only a remedy but also another way to
#   write the network.
# - **Adam** loses none. All ten have left the first level after 17 to 24 steps; no other row of the table has its
#   slowest start so early.
# - **A smaller learning rate**, 0.003, loses none, and at step 190 it is as far as clipping at 0.02. At 0.001 it takes
#   longer.
#
# *To survive is not to learn*, as the last column shows. Without batch norm, the larger the learning rate, the more
# channels are dead: under SGD 9 to 17 percent at 0.001, 16 to 30 at 0.003, and 27 to 47 at 0.02, whether clipped or
# warmed up. Clipping keeps the start alive but not its channels.
#
# Why does Adam leave the plateau so quickly? A likely reason is that it divides the step of each weight by the size of
# that weight's own gradients, so the size of a step no longer depends on the size of the gradient. Remember that the
# plateau waits for the small feature maps, where little arrives:

# %%
rows = []
for name in ("paper", "adam"):
    for step in (10, 30, 60):
        rows.append((starts.ARMS[name], step, *starts.arm(name)[0].by_map[step]["background"]))
table(rows, head=("configuration", "step", *maps), heat=maps, caption="Mean logit of background on each feature map")

# %% [markdown]
# Under Adam five of the six feature maps say nearly the same by step 30, with logits of 2.4 to 3.2. Under SGD the 10
# x 10, 5 x 5 and 3 x 3 feature maps still stand at 0.2 at step 60.
#
# You have now seen all the recordings as a whole. In the next section you watch single starts and test whether you can
# tell what comes next.
#
# ## Move it
#
# Choose a configuration and one of its starts. Drag the step, or use the arrow keys on the image: left and
# right move by one step, up and down by ten. The thick blue curve is this start as far as you have come, the grey
# curves are the other starts, and both vertical axes are logarithmic. On the left you see a test scene: orange boxes
# are the objects, dashed blue boxes are the ten best that the network of that moment finds, drawn strongly where the
# score is high.
#
# **Pause and predict.** What will the confidence loss do in the next 50 steps? Choose an answer; the recording goes on
# and shows what happened.
#
# - Learning rate 0.001: pause start 0 at steps 60, 100 and 130. What in the curves tells you that the plateau is about
#   to end?
# - Learning rate 0.012: take the starts one after the other and pause each after 14 steps. (Start 7 gets no further.)
#   Can you tell which will break? By the loss? By the gradient?
# - Learning rate 0.02 with clipping: is the gradient ever short?
# - Adam against SGD at 0.001, start by start: which starts differ more after 20 steps, and which after 190?
#
# <details><summary>What the recordings say</summary>
#
# - In the 50 steps after step 60 start 0 at 0.001 stays on the plateau; in those after steps 100 and 130 it falls.
#   There is little to go by except that the curve bends.
# - At 0.012, in the 50 steps after step 14, five starts end in NaN and five fall, of which one breaks later. Neither
#   the loss nor the gradient tells them apart: start 1 has a gradient of 4 and breaks, start 9 has one of 123 and
#   survives. The alarm comes a few steps before the end and not sooner. (Start 7 has exploded already.)
# - With clipping the curve shows the gradient before it is shortened. It is longer than 10 in about four steps of ten.
# - After 20 steps Adam's starts differ more, because they are on their way down while the others all rest. After 190
#   steps it is the other way round.
#
# </details>

# %%
explorer = replay.Replay()
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4.
# VS Code and Colab have not been tried.)
#
# ## What a start leaves behind
#
# **Result:** a start that nearly breaks costs this network more than half of its mAP at the end of the recipe. Twice as
# many steps bring most of that back. Whether a plateau costs anything, two pairs can't tell.
#
# The summary of the published run says that the loss is anything between about 10 and 15 after 1,000 steps, and that
# its end depends little on the start, unless it becomes NaN. Until now we have looked at 300 steps. Therefore the ten
# starts at 0.001 were made again and went on to step 1,000. The end was tested with the recipe of chapter 00, which has
# batch norm and a warm-up, because it is the one that learns to detect. It was trained to its end from three kinds of
# start, with two random seeds each: *as it is*; *on a plateau*, made by a tenth of the learning rate for the first 300
# of its 2,500 steps; and *nearly broken*, made by three times the learning rate for the first 100.
#
# The rule was written down before the first run: the end *hardly depends* on the start if all six mAPs lie within the
# range of ten random seeds of the recipe, 61.3 to 68.6 ([chapter 08](08_learning_rate_drops.ipynb)). **Predict first:**
# from which of the two bad starts does the training recover?

# %% alt="Left, ten loss curves at learning rate 0.001 over 1,000 steps: all fall to 14, leave it at different steps and meet at 7, where they stay. Right, final mAPs: ten random seeds between 0.61 and 0.69; as it is two within; on a plateau one within and one at 0.59; nearly broken 0.30 and 0.22"
figure = figures.ends("Ten starts meet at 1,000 steps; a nearly broken start is far behind at the end")
late = figures.late()  # losses of steps 900 to 1,000
assert 7.05 < late.mean(dim=1).min() and late.mean(dim=1).max() < 7.45  # what is said below
assert 6.55 < late.min() and late.max() < 7.95

# %% [markdown]
# **After 1,000 steps** the ten starts are alike. Their mean losses over the last hundred steps lie between 7.1 and 7.4,
# and single steps between 6.6 and 7.9. (The published figures contain an L2 term, ours don't.) But they are alike
# because all of them have arrived at the second level and none has left it, which says little about the end.
#
# **After 2,500 steps** of the recipe three of the six runs lie below the range of ten random seeds, so the rule says
# no. With a plateau the mAP is 2 and 8 points lower, which two pairs can't tell from chance. Both nearly broken starts
# end far below:

# %%
figures.left_behind()

# %% [markdown]
# The last column names a suspect. In both nearly broken runs, 11 or 12 of the 64 channels of conv4_3 are dead at the
# end: in 24 test scenes their ReLU lets nothing through anywhere, and a ReLU that always gives 0 passes no gradient
# back either. In the other four runs not one channel of conv4_3 is dead. The heads on conv4_3 have the smallest
# anchors, and small objects do suffer most: their AP falls by 51 and 57 points, that of large ones by 17 and 18.
#
# All of this fits, but it has only been seen *together*. To find out what causes what, you have to **intervene**, which
# means to change one thing and to leave everything else as it is. So the nearly broken starts were made again, with the
# same numbers in their logs to the last digit, and at step 300 a part of the network began anew, as it was before the
# first step. There were three suspects: the batch norm of the dead channels; the confidence head on conv4_3, whose
# weights had become more than twice as long; and conv4_3 with all that reads it. In a last pair nothing was changed but
# the time: both drops of the learning rate and the end came 2,500 steps later. **Predict first:** which of them brings
# the mAP back?

# %%
figures.mended()

# %% [markdown]
# **None of the suspects is the cause.** Reviving the dead channels changes the mAP by -1.6 and +3.6 points, a new head
# by -4.5 and +3.9, and with everything around conv4_3 new it only falls, by 14.3 and 2.5 points. (New weights meet the
# full learning rate without a warm-up, which may be another bad start. And some of the revived channels died again.)
#
# **Time brings most of it back:** 30.1 and 32.7 points, to an mAP of 60.6 and 54.8. A nearly broken start isn't lost,
# it is *late*. It rests on the level *background only* until about step 700. At step 1,900, just before the recipe's
# first drop, its confidence loss is still at 4.1 to 4.2, where the recipe is by step 900. The drop then ends the fast
# learning at a stage at which most is still to be learned. With 2,500 steps more at the high learning rate that doesn't
# happen, and most of the AP of small objects comes back, although 7 channels of conv4_3 are still dead.
#
# Both mAPs remain below the range of the ten. These runs end with a *lower* training loss than the recipe (1.87 and
# 2.05 against 2.31 and 2.35) and a *higher* validation loss (4.20 and 4.48 against 3.76 and 3.84), so they know the 800
# training scenes better and others worse. Whether that comes from the bad start or from the many steps can't be told,
# because the recipe itself was not trained for 5,000 steps.
#
# So the summary's sentence has two halves. "It only takes longer" explains most of what we see. "The end depends little
# on the start" holds only if you give it that time.
#
# > Note: recorded on an AMD EPYC on 2026-11-29 and 30, commits e003bcadce, 3b597ecf49, dd842ac3b6 and c62b4f1d6a, one
# > thread; the questions with their rules are in [docs/experiments.md](../docs/experiments.md). The paper says nothing
# > about its starts. The published claim is about the full network, which begins with VGG16's weights and has no batch
# > norm; two random seeds of a narrow network on painted scenes can't refute it.
#
# So far every start of the narrow network had batches of 8, while the published run had 31. What does the size of the
# batch change? A second optional part answers that; without it, go on at <a href="#verdicts">The claims, one by one</a>.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ## Optional, 6 minutes: 31 or 32?
#
# Exercise 7.7 belongs to this part and takes 8 minutes more. Nothing after it needs its cells.

# %% [markdown]
# The published run was to have batches of 32. Because its author occasionally ran out of memory with that, he took 31
# instead. The loss is divided by N, the number of positives in the batch. Here is N for batches of the test scenes,
# without augmentation:

# %%
scenes = [pictures.scene(example) for example in pictures.test_set()[:200]]
grid = anchors.default_boxes()
targets_each = [matching.make_targets(s.boxes[None], s.labels[None], grid) for s in scenes]
each = torch.tensor([int((targets.labels > 0).sum()) for targets in targets_each])
chance = torch.Generator().manual_seed(0)
rows = []
for size in (1, 4, 8, 31, 32):
    n = each[torch.randint(len(each), (2000, size), generator=chance)].sum(dim=1).double()
    rows.append((size, n.mean(), n.min(), n.max(), n.std() / n.mean()))
table(rows, head=("batch", "mean N", "smallest", "largest", "spread / mean"), form=("", ",.0f", ",.0f", ",.0f"))

# %% [markdown]
# Between 32 and 31 you couldn't notice a difference: N is three percent smaller, and so is the sum that it divides.
# Small batches are another matter. A single image may have 3 positives or 85, and each of the 3 pulls 28 times as
# hard as one of the 85. One explanation of trouble says just that: a batch with few positives has a large 1/N and
# therefore a long gradient. Is it so in our recordings with batches of 8? The next cell compares the length of each
# gradient with the steps around it, from step 20 on, and correlates that with N:

# %%
rows = []
for name in ("paper", "safe", "near", "clipped", "adam"):
    found = [starts.linked(s) for s in starts.arm(name) if not s.broke]
    rows.append((starts.ARMS[name], min(found), max(found)))
table(rows, head=("correlation of N and gradient", "from", "to"))

# %% [markdown]
# Hardly. A correlation of at most 0.3 in size means that N explains less than a tenth of what makes one gradient longer
# than the next. With batches of one or two it may be otherwise; that was not recorded.
#
# If 32 images don't fit into memory, you needn't give up the batch of 32. Compute it in parts, called microbatches, and
# take one step at the end. Two things have to be right: the gradients of the parts are *added*, and every part is
# divided by the N of the *whole* batch. Here and now, we compare eight images at once with four times two:

# %%
first_start = starts.arm("paper")[0]
gradients = []
for part in (0, 2):
    half = watched_start.again(first_start)
    config = replace(half.config, microbatch=part)
    engine.update(half.model, half.optimizer, half.batch(0)[0], half.anchors, 0.0, config)
    gradients.append(torch.cat([p.grad.flatten() for p in half.model.parameters()]))
apart = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
assert apart < 1e-4
print("the same gradient, up to rounding")

# %% [markdown]
# The answer to an out-of-memory error is therefore to keep 32 and compute it in parts of a size that fits, which
# `python -m ssdlib train --microbatch 8` does. With batch norm the gradient isn't the same, because each part is
# normalised by itself. If you do change the batch size, users of other ports advise changing the learning rate in
# proportion ([one of several threads](https://github.com/amdegroot/ssd.pytorch/issues/275)).
#
# **This is the end of the optional part.** Now all the evidence is on the page, and we can return to the claims from its
# beginning.

# %% [markdown]
# <a id="verdicts"></a>
#
# ## The claims, one by one
#
# The <a href="#claims">table at the beginning</a> has the verdicts, and this one has the evidence behind them.
#
# | the claim | the evidence | recorded in |
# |---|---|---|
# | starts look different at the beginning | at 0.001 all ten fall, rest and fall again, but they leave the first level after as few as 97 steps or as many as 191: the timing differs, the shape doesn't | `paper` |
# | smooth, plateau or NaN, by chance | all ten have a plateau at 0.001, and all ten break at 0.02; chance decides only in between, at 0.01, at 0.012 and with warm-up | `paper` `near` `edge` `beyond` `warmup` |
# | a couple of hundred steps | the first plateau lasts for these 97 to 191 steps. The second one lasts longer: at step 1,000 all ten starts still rest on it | `paper` `restarts_1000` |
# | the end depends little on the start | with the start nearly broken, the mini recipe ends at 30.4 and 22.1, and with 2,500 steps more at 60.6 and 54.8; with a plateau at 66.1 and 58.6, where ten random seeds have 61.3 to 68.6 (*What a start leaves behind*). Where only the random seed differs, NVIDIA's README of its own SSD300 (another network, COCO, with warm-up) gives a standard deviation of 0.0014 around an mAP of 0.268, which is 0.14 points of 26.8, over 15 random seeds in mixed precision | `experiments` |
# | 10 to 15 after 1,000 steps | the ten starts have means of 7.1 to 7.4 over steps 900 to 1,000, and single steps of 6.6 to 7.9. Ours are losses without the L2 term, which the published figures contain (chapter 04) | `restarts_1000` |
# | Adam varies less | it does: all its starts leave the first level between steps 17 and 24, where SGD's need 97 to 191, and at step 190 their losses lie closer together. At step 20 it is the other way round. Compare starts at the same stage, not at the same step. Nothing is said of the end | `paper` `adam` |
# | just try again | at 0.01 another random seed helps, at 0.02 none of ten does | `near` `beyond` |
# | the original's configuration, but for 31 | read line by line, it has twice the weight decay, one learning rate for kernels and biases, mining over the batch, other rules for crops, and new layers that begin with He's distribution ([chapter 09](09_full_training.ipynb), *The recipes*) | |
#
# The last column names recordings in `chapters/recordings`, those without a folder of their own in `restarts`. This is
# why the other two claims are not tested:
#
# - *The published run fell smoothly*: its curve has a point for every thousand steps, so its first steps can't be seen.
#   Of our ten starts at 0.001 none falls smoothly.
# - *Adam is superior*: none of the ten starts with Adam breaks, and all leave the plateau early. But they end after 200
#   steps, so they can't say which detector is better at the end of a training.
#
# What the summary says of the end of the training has its table in [docs/experiments.md](../docs/experiments.md). The
# next two tables hold the numbers behind the rows about spread and about trying again:

# %%
def spread(name, step):
    means = [s["confidence"][step : step + 10].mean() for s in starts.arm(name)]
    return float(torch.stack(means).std())


rows = [(step, spread("paper", step), spread("adam", step)) for step in (20, 50, 100, 190)]
rows.append((290, spread("paper", 290), None))
table(rows, head=("step", "spread of ten starts at 0.001", "of ten under Adam"))

# %%
rows = [starts.summary(name).cells()[:3] for name in ("paper", "near", "beyond", "adam")]
table(rows, head=("configuration", "NaN", "left the first level after"))

# %% [markdown]
# ## Exercises
#
# So far you have read levels, edges and remedies off recordings. Now you compute them yourself: the second level on
# paper, the curvature and the edge (both for the optional part), two remedies, the column *left the first level
# after*, and the loss of a batch in parts. Each exercise has a cell to fill in, a check right below, hints, and a
# solution in a fold.
#
# ### 7.1 The second level · on paper · 5 minutes
#
# A network says p(background) = 0.75 for every anchor and shares the rest equally among the 20 classes of objects.
# There are three negatives for each positive, and no image runs out of negatives. Compute the confidence part of the
# loss, divided by N, and assign it to `second_level`. Two digits after the point are enough. Don't look it up above,
# but compute it.

# %% tags=["exercise"]
second_level = -3 * torch.log(torch.tensor(0.75)) - torch.log(torch.tensor(0.25 / 20))  # solution

# %%
check.level(second_level)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Take one positive with its three negatives. What does each of them cost?
# </details>
# <!-- solution -->
#
# ### 7.2 The largest curvature · hard, for the optional part · 14 minutes
#
# Write power iteration: in each round scale v to length 1, compute H · v, note the number v · (H · v), and go on with
# H · v.
#
# - *Given:* `turn`, a function whose `turn(v)` is H · v for a symmetric matrix H that you never see; `start`, the first
#   v; `rounds`, the number of rounds.
# - *Return:* the last number noted. Don't change `start`.


# %% tags=["exercise"]
def largest_curvature(turn, start, rounds):
    v = start
    # solution
    for _ in range(rounds):
        v = v / v.norm()
        turned = turn(v)
        value = float(v @ turned)
        v = turned
    return value


# %%
check.power(largest_curvature)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `v.norm()` is the length, and `v @ turned` is the product of two vectors.
# </details>
# <details><summary>Hint 2</summary>
#
# Why v · (H · v) and not the length of H · v? If v is a direction in which H only stretches, so that H · v = c · v, then
# v · (H · v) = c, with its sign.
# </details>
# <!-- solution -->
#
# ### 7.3 The edge · easy, for the optional part · 5 minutes
#
# Write the edge as a function. Try it from memory.
#
# - *Given:* the `curvature` of a valley and the `momentum`.
# - *Return:* the learning rate at the edge, beyond which steps grow.


# %% tags=["exercise"]
def edge(curvature, momentum):
    # solution
    return 2 * (1 + momentum) / curvature


# %%
check.edge(edge)

# %% [markdown]
# <details><summary>Hint</summary>
#
# At the edge, learning rate · curvature is 2 without momentum and 3.8 with 0.9.
# </details>
# <!-- solution -->
#
# ### 7.4 Warm-up · easy · 6 minutes
#
# Write the learning rate with a warm-up. Over the first `steps` updates it rises in a straight line: the first update
# has `peak / steps`, the last of them has `peak`, and so have all that follow. If `steps` is 0 there is no warm-up.
#
# - *Given:* `step`, the number of updates already done, which is 0 before the first; `peak`, the learning rate at the
#   end of the warm-up; `steps`, the length of the warm-up.
# - *Return:* the learning rate of the next update.
#
# *Building block:* with 8.1 it sets the learning rate of every step in chapter 13.


# %% tags=["exercise"]
def warm_up(step, peak, steps):
    # solution
    if step >= steps:
        return peak
    return peak * (step + 1) / steps


# %%
check.warmup(warm_up)

# %% [markdown]
# <details><summary>Hint</summary>
#
# With 200 steps, the first update has 1/200 of the peak and the hundredth has half of it.
# </details>
# <!-- solution -->
#
# ### 7.5 Clipping · medium · 10 minutes
#
# Write gradient clipping for a whole network.
#
# - *Given:* `gradients`, a list of tensors of any shapes, which together form one long vector, and `limit`.
# - *Return:* a list of tensors of the same shapes. If the vector is longer than `limit`, they are scaled so that its
#   length is `limit` and its direction stays; otherwise they are unchanged.


# %% tags=["exercise"]
def clip(gradients, limit):
    # solution
    length = sum(float((g**2).sum()) for g in gradients) ** 0.5
    if length <= limit:
        return gradients
    return [g * limit / length for g in gradients]


# %%
check.clip(clip)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The length of the whole vector is the root of the sum of all squares, over all tensors.
# </details>
# <details><summary>Hint 2</summary>
#
# One factor for all tensors keeps the direction.
# </details>
# <!-- solution -->
#
# ### 7.6 Off the plateau · the heart of the chapter · 12 minutes
#
# Write the function behind the column *left the first level after*.
#
# - *Given:* `losses`, a list with one number a step; a `level`; and `window`, the number of steps that a mean is taken
#   over, the step itself and those after it.
# - *Return:* the first step from which on the mean is below `level` and stays below it to the end; None if there is no
#   such step.
# - *For instance:* counted from 0, losses 5, 1, 5, 1, 1 with the level 2 and the window 1 give step 3, because at step 1 the loss is
#   below the level but doesn't stay there.


# %% tags=["exercise"]
def off_plateau(losses, level, window):
    # solution
    means = [sum(losses[i : i + window]) / window for i in range(len(losses) - window + 1)]
    first = None
    for i, mean in enumerate(means):
        if mean >= level:
            first = None
        elif first is None:
            first = i
    return first


# %%
check.plateau(off_plateau)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First compute all means, as a list. There are `len(losses) - window + 1` of them, perhaps none.
# </details>
# <details><summary>Hint 2</summary>
#
# Go through the means. Remember the first one below the level, and forget it whenever one is not below.
# </details>
# <!-- solution -->
#
# ### 7.7 A batch in parts · easy, for the second optional part · 8 minutes
#
# Put the loss of a batch together from its microbatches.
#
# - *Given:* `parts`, a list with a pair for each microbatch: the sum of all its loss terms, not yet divided, and its
#   number of positives.
# - *Return:* the loss of the whole batch. N, the number of positives of the whole batch, is taken as at least 1.


# %% tags=["exercise"]
def whole_loss(parts):
    # solution
    total = sum(terms for terms, _ in parts)
    positives = sum(count for _, count in parts)
    return total / max(1, positives)


# %%
check.accumulate(whole_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# N counts the positives of the whole batch, and is at least 1.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# The remedies above prevent a NaN. Many programs wait for it instead and step over it, which brings us to the last
# question.
#
# **... we skipped the batches whose loss is NaN?** *If the loss is not finite, go on with the next batch* is a line
# of many training loops, and it is the first idea of everyone who sees one NaN among thousands of numbers. Take the
# start that broke above, here and now. It took no step on the broken batch, just as that line would have it. We let
# it go on with the next five batches. **Predict first:** how many of the five losses are numbers?

# %%
after = []
for step in range(len(seen), len(seen) + 5):
    batch, targets = doomed.batch(step)
    with torch.no_grad():
        after.append(bool(loss.multibox_loss(doomed.model(batch.images), targets).multibox.isfinite()))
weights = all(bool(p.isfinite().all()) for p in doomed.model.parameters())
print("weights are numbers:", weights)
print("losses of the next five batches are numbers:", after)
assert not any(after)

# %% [markdown]
# Every batch gives NaN from here on, although the weights are numbers, so the loop would run for days and learn
# nothing. The batch was not to blame. The damage was done some steps earlier, when the loss was still a number. What
# helps is to stop, to say where, and to go back to an earlier checkpoint. The library raises `Diverged`, which names
# the step, the learning rate and the last finite loss, and it never overwrites a checkpoint with weights that aren't
# numbers (chapter 09).
#
# Four more failures look similar, and each has its own sign. The [FAQ](../docs/faq.md) has the threads about the first
# three.
#
# - **NaN in the confidence part alone, with good weights**: the softmax subtracts one maximum for the whole batch
#   (chapter 04).
# - **NaN in the localisation part alone**: a box without width (chapter 04). No learning rate cures it.
# - **NaN after some steps on fewer GPUs or with a small batch, at an unchanged learning rate**: the learning rate is
#   too large for that batch.
# - **A loss that stays at 12 for thousands of steps**: no plateau of this kind lasts so long, so look whether the
#   weights move at all.
#
# ## Self-test

# %%
SelfTest("instability")

# %% [markdown]
# ## Recap
#
# - The confidence loss rests on two levels: 4 · ln 21 = 12.18 is no opinion, and 5.245 is background only.
# - On the first level, mining looks where nothing has been learned yet, at the small feature maps, which are slow. If
#   you tell the network about background before it starts, there is no such plateau.
# - Optional part: beyond 2 · (1 + momentum) / curvature a step grows instead of shrinking. The curvature is large in
#   the first steps and again at the end of the plateau. Because the loss is no parabola, the edge is only an order of
#   magnitude.
# - A momentum of 0.9 carries one long gradient on, in all ten times its own step.
# - A NaN begins some steps earlier than it shows. A step that moves a kernel by more than half of its length is a good
#   alarm.
# - The edge depends on how the function is written: dividing pixels by 64 or not makes a factor of 4,096.
# - Clipping, batch norm, Adam or a smaller learning rate keep all starts alive.
# - A start that nearly breaks is late: if the learning rate drops as early as ever, more than half of the mAP is missing
#   at the end. Its dead channels fit as an explanation, but reviving them changes nothing.
# - If memory is too small, keep the batch and compute it in parts, with one N for all.
#
# The sources are the paper, section 3 (training), and Caffe's `ssd_pascal.py`, which has neither warm-up nor
# clipping.
