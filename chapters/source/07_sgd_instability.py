# %% [markdown]
# # 07 · SGD instability
#
# **In one sentence:** the same training, started ten times, is smooth, slow or broken; mostly the learning rate
# decides which, near an edge chance does, and you can measure why.
#
# | | |
# |---|---|
# | time | 100 minutes, 60 of them for the exercises |
# | hardware | any laptop; no GPU; three cells train or measure for some seconds |
# | you need | chapter 04: the loss and its negatives |
# | new modules | `engine`: its update and its learning rate |
#
# At the end of this page you will be able to
#
# - read the first hundred steps of a loss curve, and compute the two levels on which it rests,
# - say which anchors keep a loss on its plateau,
# - estimate from the curvature which learning rate is too large, and how far to trust that,
# - follow a NaN back to the step where it began,
# - choose a remedy and know what it costs.

# %%
import inspect
from dataclasses import replace

import torch

from course.instability import check, curvature, figures, replay, starts, watched_start
from course.kit import pictures
from course.kit.self_test import SelfTest
from course.kit.tables import table
from ssdlib import anchors, loss, matching
from ssdlib.training import engine

# %% [markdown]
# ## The picture
#
# One network, one data set, one program. Only the random seed differs: it decides the first weights, the order of
# the pictures and which of them are mirrored. Three learning rates, ten starts each (mind the different axes of
# steps).

# %% alt="Three panels of ten loss curves each. At rate .001 all fall to a first dotted level, linger there and then fall to a second one. At .01 and .02 curves jump up and down; at .01 three of ten, at .02 all ten end in a cross"
figure = figures.ten(["paper", "near", "beyond"])

# %%
print(starts.made([s for name in ("paper", "near", "beyond") for s in starts.arm(name)]))

# %% [markdown]
# This is **recorded**: it was run once, by `data_scripts/restarts.py`, and every number of it lies in
# `chapters/recordings/restarts`, the broken starts included. Nothing was edited or left out. (Start 0 of some ways
# was recorded for more steps than the other nine.) Where this page runs something itself, it says *here and now*.
#
# ## The claims
#
# The author of ssd_keras, whose published run this course retraces, wrote in the
# [summary](https://github.com/pierluigiferrari/ssd_keras/blob/master/training_summaries/ssd300_pascal_07%2B12_training_summary.md)
# of his training what he saw when he started again and again: with SGD the first steps look very different each time.
# One time the loss falls smoothly from the start, which is what happened in the published run. Another time it rests on a
# plateau for a couple of hundred steps, and yet another time it blows up and becomes NaN. After 1,000 steps the loss was
# anything between about 10 and 15. As long as it doesn't become NaN, the loss at the end depends little on the
# beginning, in his experience, and it only takes longer to get there. Adam varies less and is, he writes, evidently the
# superior optimiser. Users whose loss was NaN he advised to [just try
# again](https://github.com/pierluigiferrari/ssd_keras/issues/136).
#
# The curves of those starts were never published, and we found no others. So here are ours. They aren't those of the
# full network: ours is the narrow one of chapter 00, without batch norm, with random weights instead of VGG16's, on
# the mini VOC, with batches of 8. What carries over is the way to look; the numbers belong to this network.
#
# ## The words
#
# - **Start**: one training from its first step on. A **seed** is the number that all its chance comes from.
# - **Rate**: the learning rate. **Step**: one update of the weights.
# - **Momentum** m: a step is the gradient plus m times the step before. So a gradient that comes once is carried on,
#   in all 1 + m + m² + ... times.
# - **Plateau**: many steps in which the loss hardly changes.
# - **Curvature**: how fast the slope of the loss changes along a direction. A narrow valley has a large one.
# - **Edge**: the rate beyond which steps across such a valley grow instead of shrinking.
# - **To diverge**: to go away from every valley. The loss becomes infinite, then NaN, *not a number*.
# - **Dead channel**: one that is 0 at every place of every picture of a batch, because its ReLU always gets less
#   than 0.
# - **Warm-up**: beginning with a small rate and raising it. **Gradient clipping**: shortening a gradient that is too
#   long.
#
# ## By hand, part one: two levels
#
# Only the confidence part of the loss is drawn above; the localisation adds some 3.5 at first and 2.4 at the end.
# Look at the two dotted lines. Both can be computed without any network.
#
# **No opinion.** All 21 classes are equally likely for all anchors. Each positive costs ln 21 = 3.04, and each of
# its three negatives the same: 4 · 3.04 = **12.18**. (That was exercise 4.6.)
#
# **Background only.** Now the network knows one thing: of the four anchors that count, three are background. It
# still doesn't look at the picture and says p(background) = .75 everywhere; the rest, .25, is shared by 20 classes.
#
# | | p | costs -ln p | how often | sum |
# |---|---|---|---|---|
# | a negative | .75 | .288 | 3 | .863 |
# | a positive | .25 / 20 = .0125 | 4.382 | 1 | 4.382 |
# | | | | | **5.245** |
#
# No other p does better. That is the end of what can be had without looking.

# %%
p = torch.linspace(0.05, 0.99, 95)
cost = -3 * p.log() - ((1 - p) / 20).log()
print(f"best p(background) {p[cost.argmin()]:.2f}, cost {cost.min():.3f}")
print(f"levels: no opinion {starts.NO_OPINION:.2f}, background only {starts.BACKGROUND_ONLY:.2f}")

# %% [markdown]
# ## Ten starts at the paper's rate
#
# The paper and the published run begin with rate .001. When did each of our ten starts leave the first level for
# good, so that the mean of ten steps stayed below four fifths of it? The first column is a single step, the others
# are means of ten steps from that step on.

# %%
rows, at = [], (20, 100, 200, 290)
for start in starts.arm("paper"):
    means = [start["confidence"][s : s + 10].mean() for s in at]
    rows.append((start.seed, start["confidence"][0], *means, start.left))
table(rows, head=("start", "first step", *(f"step {s}" for s in at), "left the first level after"))

# %% [markdown]
# So a plateau is real here, and it has a height: it is the level of no opinion. All ten starts fall to it within
# some ten steps, sink through it slowly, leave it at different times, and come to the second level.
#
# ### Why does it rest?
#
# The network does learn meanwhile. Here is what it says of background, as the mean logit over all anchors of each of
# the six maps. A logit of ln 60 = 4.09, with 0 for all others, would mean p = .75.

# %%
start = starts.arm("paper")[0]
maps = [f"{side} x {side}" for side in anchors.SSD300_ANCHORS.feature_maps]
rows = [(step, *found["background"], start["confidence"][step]) for step, found in start.by_map.items()]
table(rows, head=("step", *maps, "confidence loss"), heat=maps, caption="Mean logit of background on each map")

# %% [markdown]
# The 38² map learns *background* within ten steps. It has 5,776 of the 8,732 anchors. The loss doesn't care: of the
# background anchors only the **hardest** count, and they are now on the other maps.

# %% alt="Stacked bars of the maps that mined negatives come from. Left, rate .001: first the 38² map, from step 10 on the small maps, from 150 on the 10² and 19² maps. Right, with background known: from step 10 on mostly 19² and 10²"
panels = {"SGD, rate .001": start, "background known from the start": starts.arm("prior")[0]}
figure = figures.mined_by_map(panels)

# %% [markdown]
# Left: from step 10 on nearly all mined negatives lie on maps that have not learned anything yet. Each costs ln 21.
# The 10², 5² and 3² maps have 786 anchors in each picture, more than enough to supply them. The 38² map is out of
# it: no negatives are mined there, only its positives go on counting, and its logit sinks again, from 3.4 to 1.0.
# Then, between steps 100 and 200, all maps but the last rise together, and the plateau ends. (The 1² map is later
# still, but its four anchors are too few to hold up the loss.)
#
# Why are the small maps late? They lie behind many layers, and what comes out there is near 0 at first.
#
# Right is the **control**. Five of the same starts, the same rate, but before the first step the bias of every
# background logit was set to ln 60. Now all maps say p = .75 from the beginning. The hardest anchors lie on other
# maps there, too; but they cost .29 each and not 3.04:

# %% alt="Two panels of loss curves at rate .001: on the left they rest on the first level, on the right, with background known, they go to the second level at once"
figure = figures.ten(["paper", "prior"], top=22)

# %%
left = {name: [s.left for s in starts.arm(name)] for name in ("paper", "prior")}
rows = [(starts.ARMS[name], *steps, *[None] * (10 - len(steps))) for name, steps in left.items()]
table(rows, head=("left the first level after", *(f"start {i}" for i in range(10))))

# %%
assert max(s.left for s in starts.arm("prior")) < min(s.left for s in starts.arm("paper"))

# %% [markdown]
# No plateau on the first level. So it was the background. (RetinaNet starts its classifier with such a bias, for
# this reason: [section 4.1 of its paper](https://arxiv.org/abs/1708.02002).) They go to the second level at once and
# rest there to the end of the recording, some 170 steps: from here on one has to look at pictures, and that takes
# longer.
#
# ### The same at full width, on photographs
#
# Is the plateau a fault of a narrow network that starts from random weights? The full network was started four times on
# genuine photographs: once from random weights, three times from the 13 convolutions that VGG16 learned on ImageNet. Its
# fc6 and fc7 aren't among those. They begin random, by He's rule or with smaller weights.

# %% alt="Confidence loss of four starts of the full network: from random weights NaN in step 6, with fc6 and fc7 by He's rule NaN in step 18, with both scaled at rate .001 near 13 and rising at step 60, at rate .0005 with a warm-up resting at 12 from step 30 to 80, then falling, and resting at 5.5 from step 160"
figure = figures.full_width()

# %% [markdown]
# - Random weights at the paper's rate: NaN in step 6.
# - ImageNet's convolutions, fc6 and fc7 by He's rule: NaN in step 18. ImageNet's features at conv5_3 have a deviation of
#   6.6, which He's rule hands on, so the heads begin with logits in the tens.
# - fc6 and fc7 scaled to outputs of unit deviation, the same rate: it lives, but at step 60, where it was stopped, it
#   climbs.
# - fc6 smaller by a factor of ten, half the rate, a warm-up of 60 steps: the loss falls to the level of **no opinion** within 30
#   steps, rests there for 50, leaves it between steps 80 and 110, and comes to the second level, **background only**.
#
# Both plateaus of the last start have the heights that you computed by hand. So they come with the loss and its mining,
# not with the narrow network. One run each and points ten steps apart: they say *that* it happens, not how often.
# (Recorded on an AMD EPYC, random seed 0: the first on 2026-11-27 with batch 32 on 700
# photographs, the others on 2026-11-29 with batch 8 on 3,752 or 3,952 of a split of our own;
# `chapters/recordings/photographs_broken` and `full_width`.)
#
# ## By hand, part two: the edge
#
# Why does a larger rate break what a smaller one learns? One weight w, and a loss that is a parabola with curvature
# c: the slope at w is c · w. A step of SGD makes w - rate · c · w of it, that is, **(1 - rate · c) · w**.
#
# | rate · c | factor | from 1 the weight goes to |
# |---|---|---|
# | .5 | .5 | .5, .25, .125: falls |
# | 1 | 0 | 0: there in one step |
# | 1.9 | -.9 | -.9, .81, -.73: jumps back and forth, and falls |
# | 2.05 | -1.05 | -1.05, 1.10, -1.16: jumps back and forth, and grows |
#
# The edge is at rate · c = **2**. Beyond it each step is larger than the one before, and nothing in the formula ends
# that. With momentum m it lies at **2 · (1 + m)**, 3.8 for .9 (Polyak's heavy ball; we don't prove it). With
# momentum the first jumps may grow even inside the edge; it is the end that counts:

# %% alt="Two panels of a weight over the steps. Without momentum the product 1.9 dies out and 2.05 grows; with momentum .9 the product 3.6 dies out and 3.9 grows"
figure = figures.parabolas({0: (0.5, 1.9, 2.05), 0.9: (0.5, 3.6, 3.9)})

# %% [markdown]
# Our network has 779,550 weights, and a curvature in every direction. The largest decides: the steepest valley is
# the first one to be left. To find it one doesn't need all second derivatives. It is enough to know how the
# *gradient* changes along a direction v, called H · v, and autograd gives that for the price of two backward passes.
# Then: turn v to H · v, again and again. Each turn brings it nearer to the direction that bends most.

# %%
print(inspect.getsource(curvature.largest_curvature))

# %% [markdown]
# Here and now: start 0 at rate .001, made again, after one step. Five turns, some seconds. (The factors: biases
# learn at twice the rate. The choice of negatives is held fixed.)

# %%
mine = watched_start.again(starts.arm("paper")[0])
first = next(mine.steps(1))
value, parts = curvature.of_network(mine.model, *mine.batch(1), mine.factors, rounds=5)
recorded = figures.bends("paper", 0)[1].curvature
assert abs(first.confidence - float(start["confidence"][0])) < 0.01  # the same start
assert 0.5 < value / recorded < 1.5
allowed = curvature.edge(value, 0.9)
print(f"curvature about {round(value, -3):.0f}")
for rate in (0.001, 0.012):
    print(f"rate {rate} is", "inside" if rate < allowed else "beyond", "the edge")

# %% [markdown]
# And recorded, twelve turns, along the whole start (`data_scripts/curvature.py`):

# %%
rows = []
for bend in figures.bends("paper", 0):
    allowed = f"{curvature.edge(bend.curvature, 0.9):.4f}" if bend.curvature > 0 else "none: a ridge"
    rows.append((bend.step, bend.loss, bend.curvature, allowed))
table(rows, head=("step", "loss", "curvature", "edge for momentum 0.9"), form=("", ".1f", ",.0f"))

# %% alt="The rate that the curvature allows over the steps. Start 0 at .001: near .003 at step 1, .03 to .16 from step 5 to 140, down to .005 at 200. The same start at .012 jumps between .002 and .14. Dotted lines mark the rates that were used"
tracks = {"start 0 at .001": figures.bends("paper", 0), "start 0 at .012": figures.bends("edge", 0)}
figure = figures.edges_along(tracks)

# %%
bent = [b for b in figures.bends("edge", 0) if b.curvature > 0]
over = [b.step for b in bent if b.rate > curvature.edge(b.curvature, 0.9)]
print("start 0 at .012 was beyond the edge at", over, "of the steps", [b.step for b in bent], "(0 and 8: ridges)")

# %% [markdown]
# Read it from the left.
#
# - At step 0 the direction that bends most bends *downwards*: a ridge. There may be valleys too; this method doesn't
#   see them, so there is no edge to compare with.
# - At step 1 it is in a steep valley. Its edge lies at a few thousandths. Rate .001 is inside, .012 and .02 are not.
# - On the plateau the curvature is ten times smaller. There .02 would be allowed.
# - When the start leaves the plateau, from step 150 on, the curvature rises seven- to tenfold, and the edge comes
#   down to a few thousandths once more. Learning something makes the valley steep again.
#
# So there are **two** steep places, the first steps and the end of the plateau. At .012 the start is clearly beyond
# the edge at steps 1, 12 and 30, and lives; at 50, nine steps before it breaks, it was well inside. Beyond the edge
# a step is too long, but the loss is no parabola: the jump may end in a flatter place, and then all is well, or in a
# steeper one. Such an estimate is good for the order of magnitude, not for the digit, and the curvature at some
# steps doesn't say when a start breaks. At .012 six of ten did, after 14 to 67 steps.
#
# ## Anatomy of a NaN
#
# Start 0 at rate .02 breaks after 13 steps. Here it is once more, with every layer watched (recorded by
# `data_scripts/anatomy.py`, which makes the start again from its settings). On the left the largest number that
# comes out of each layer, on the right how far the step moves its kernel, relative to the length of the kernel:

# %% alt="Two maps of layers over thirteen steps. On the left numbers grow from step 9 on; at step 13 conv5_1 is infinite and all layers behind it are NaN. On the right steps reach the length of the kernel at step 10 and are far off the scale at step 12"
steps = figures.watched_steps("beyond", 0)
figure = figures.layers_drawn(steps)

# %% [markdown]
# (White on the right: the last step was not taken.) Now step back, tensor by tensor. The loss is NaN in step 13, so
# the error should be in step 13. Is it?

# %%
rows = []
for s in steps:
    name, layer = max(s.layers.items(), key=lambda item: item[1].update if s.finite else item[1].output)
    moved = (layer.update, name.removesuffix(".0")) if s.finite else (None, "none")
    rows.append((s.step, s.localisation + s.confidence, s.gradient, s.layers["conf.fc7"].output, *moved))
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
#    ends at 3.4 · 10³⁸.
# 4. The kernels are so long because step 12 moved them by up to ten million times their length. Its gradient was 8 ·
#    10¹⁰.
# 5. That gradient belongs to a loss of 4 · 10⁹, **a number**, because step 11 moved kernels by many times their
#    length.
# 6. Step 11 did so because step 10 was the first to move a kernel by more than its whole length.
# 7. Step 10's loss is 113, because the head on fc7, which said 9 at most in step 8, says 82 in step 9 and 1,190 in
#    step 10.
#
# And what pushed it there? Look at the first steps. The gradient of step 1 was 239 long; the next one is a quarter
# of that, and by step 7 it is 9. But the kernels go on moving:

# %%
rows = [[s.step] for s in steps[1:13]]
for name in ("body.conv1_1.0", "conf.fc7"):
    moved = [s.layers[name].update for s in steps[1:13]]
    for row, before, after in zip(rows, [None, *moved], moved):
        row += [after, before and after / before]
head = ("step", "conv1_1 moves by", "by the last", "conf.fc7 moves by", "by the last")
table(rows, head, form=("", ".3g", ".2g", ".3g", ".2g"), caption="Relative steps, each divided by the one before it")

# %% [markdown]
# Each step of conv1_1 is .9 times the one before, almost exactly, to the end, whatever the loss does. That is no
# gradient any more, that is **momentum**: the first two gradients, carried on, in all 1 + .9 + .81 + ... = 10 times
# their own step. It coasts through a landscape that it doesn't look at. conf.fc7 slows down a little faster; there
# new gradients push back, until step 9.
#
# The **control**: five of the same starts, the same rate, no momentum, 100 steps.

# %%
rows = []
for name in ("beyond", "no_momentum"):
    ended = [len(s) if s.broke else None for s in starts.arm(name)]
    rows.append((starts.ARMS[name], *ended, *[None] * (10 - len(ended))))
note = "In steps. No number: there was no such start, or it didn't break."
table(rows, head=("broke after", *(f"start {i}" for i in range(10))), note=note)

# %% [markdown]
# On a parabola the edge without momentum is *nearer*, 2 instead of 3.8, so these starts should fare worse. They
# don't. So to be beyond the edge isn't enough to break. But two things are different here: nothing is carried on,
# and in the long run that is a tenth of the rate. This control doesn't tell them apart. Clipping, below, shortens
# only the long gradients.
#
# ### An alarm
#
# In the table above a kernel moved by more than its own length, and three steps later all was over. Is that a sign
# one can rely on? Here is every recorded start: the first step that moved some kernel by more than half of its
# length, and what came of it.

# %%
everyone = [s for name in starts.ARMS for s in starts.arm(name)]
broken, alive = ([s for s in everyone if bool(s.broke) == wanted] for wanted in (True, False))
warned = sorted(len(s) - s.alarm() for s in broken if s.alarm() is not None)
print(f"{len(broken)} starts broke; {len(warned)} had the alarm, {warned[0]} to {warned[-1]} steps before the end")
false = [f"{s.arm} {s.seed}" for s in alive if s.alarm() is not None]
quiet = [float(s["update_ratio"].max()) for s in alive if s.alarm() is None]
print(f"{len(alive)} did not break; {len(false)} of them had the alarm: {', '.join(false)}")
print(f"the largest step of a kernel among the {len(quiet)} others was {max(quiet):.2f} of its length")
assert len(warned) == len(broken) and len(false) == 2

# %% [markdown]
# Every start that broke had it, and two of those that didn't: you meet them below. A loss above 60 would have caught
# the same starts, sometimes a step earlier, sometimes later. The kernels need no scale of the loss, and they name
# the layer. (The half was chosen on these same starts. Take it as a rule of thumb.) A healthy step moves a kernel by
# a thousandth to some hundredths of its length.
#
# ### Again, on your machine
#
# Here and now: the same start again. The first loss is the recorded one; that it breaks is to be expected, in which
# step is not: rounding differs from processor to processor, and here every step makes a difference larger.

# %%
doomed = watched_start.again(starts.arm("beyond")[0])
seen = list(doomed.steps(100))
assert abs(seen[0].confidence - steps[0].confidence) < 0.01
print("a number to the end" if seen[-1].finite else "the loss isn't a number any more")

# %% [markdown]
# ## Where the edge lies depends on how you write the network
#
# In all starts so far the pixels, 0 to 255 minus the mean, were divided by 64 before they entered. Leave that out
# and divide the first kernel by 64 instead. For every picture the network gives the same answers as before, to the
# last digit that matters. Only the training differs:
#
# - the gradient of the first kernel is 64 times as large, because its inputs are,
# - the kernel is a 64th as long,
# - so its step is 64 · 64 = **4,096** times as large, relative to the kernel.

# %%
rows = []
for one, other in zip(starts.arm("paper"), starts.arm("pixels")):
    losses, moved = ([s[what][0] for s in (one, other)] for what in ("confidence", "update_ratio"))
    rows.append((one.seed, *losses, *moved, *(len(s) if s.broke else None for s in (one, other))))
what = ("first loss", "largest first step", "broke after")
head = ("start", *(f"{name}{of}" for name in what for of in ("", ", undivided")))
note = "The step is relative to the length of a kernel. No number: the start didn't break."
table(rows, head, form=("", ".2f", ".2f", ".3g", ".3g"), note=note)

# %% [markdown]
# Is it really that? The anatomy above knows how far the first step moved the first kernel at rate .02 with divided
# pixels. A twentieth of it, for rate .001, times 4,096:

# %%
moved = steps[0].layers["body.conv1_1.0"].update
seen_there = float(starts.arm("pixels")[0]["update_ratio"][0])
print(f"expected {moved / 20 * 4096:.2f}, recorded with undivided pixels {seen_there:.2f}")
assert abs(moved / 20 * 4096 / seen_there - 1) < 0.02

# %% [markdown]
# The same function, the same rate, and eight of ten starts are gone within five steps. The first step replaces the
# first kernel by one that is 4 to 29 times as long and has nothing to do with it. (The other two are the false
# alarms from above. We didn't look into why they live.)
#
# The edge isn't a property of the function, but of the weights you chose to write it with. Batch norm, the scaling
# of inputs, the initial size of each layer and the factor 20 behind conv4_3 are all such choices. (VGG16's own
# weights go with pixels of 0 to 255; they aren't random, and what they do to the edge is not tested here.)
#
# ## Remedies, on the same starts
#
# Rate .02 and the same seeds, with one thing changed each time. (Batch norm: five seeds, and its pixels aren't
# divided. Adam has its usual rate of .001.)

# %% alt="Four panels of loss curves. Warm-up: they fall, jump up again between steps 100 and 200, and two end in a cross. Clipping and batch norm: they jump, and all live. Adam: all fall smoothly"
figure = figures.ten(["warmup", "clipped", "batch_norm", "adam"])

# %%
names = ("beyond", "warmup", "clipped", "batch_norm", "adam", "safe", "paper")
head = ("way", "NaN", "left level 1 for good after", "confidence loss", "dead channels")
note = "Confidence loss and dead channels are means of steps 190 to 199, from the smallest start to the largest."
table([starts.summary(name).cells() for name in names], head, note=note)

# %% [markdown]
# (The numbers are the smallest and the largest of the starts that are still running. *Dead* counts the channels of
# the body.)
#
# - **Warm-up** saves eight of ten. The other two break after 156 and 176 steps, when the rate has passed .015;
#   presumably the valley is steep there for the second time, but the curvature was not measured on these starts. All
#   eight were below the first level for the first time after 55 to 94 steps, and jumped back above it.
# - **Clipping** loses none. A gradient of 239 does no more than one of 10.
# - **Batch norm** loses none, and at step 190 has no dead channel. It is not only a remedy but another way to write
#   the network.
# - **Adam** loses none. All ten have left the first level after 17 to 24 steps; no other in the table has its
#   slowest start so early.
# - **A smaller rate**, .003, loses none, and at step 190 is as far as clipping at .02. At .001 it takes longer.
#
# *To survive is not to learn.* Look at the last column. Dead channels come with the rate: a tenth at .001, a quarter
# at .003, a third and more at .02, clipped or warmed up. Clipping keeps the start alive, not its channels.
#
# Why is Adam so quick on the plateau? A likely reason: it divides the step of each weight by the size of that
# weight's own gradients, so the size of a step no longer depends on the size of the gradient. Remember what the
# plateau waits for: the small maps, where little arrives.

# %%
rows = []
for name in ("paper", "adam"):
    for step in (10, 30, 60):
        rows.append((starts.ARMS[name], step, *starts.arm(name)[0].by_map[step]["background"]))
table(rows, head=("way", "step", *maps), heat=maps, caption="Mean logit of background on each map")

# %% [markdown]
# Under Adam five of the six maps say nearly the same by step 30, with logits of 2.4 to 3.2; under SGD the small ones stand at .2 at step 60.
#
# ## Move it
#
# Choose a way to start and one of its starts. Drag the step, or use the arrow keys on the picture: left and right
# one step, up and down ten. Thick and blue: this start, as far as you have come. Grey: the others. Both axes upwards
# are logarithmic. On the left a test scene: orange is what is there; blue and dashed are the ten best boxes that the
# network of that moment finds, strong where the score is high.
#
# **Pause and guess.** What will the confidence loss do in the next 50 steps? Choose an answer; the recording goes on
# and you see.
#
# - Rate .001: pause start 0 at steps 60, 100 and 130. What in the picture tells you that the plateau is about to
#   end?
# - Rate .012: take the starts one after the other and pause after 14 steps. (Start 7 gets no further.) Can you tell
#   which will break? By the loss? By the gradient?
# - Rate .02 with clipping: is the gradient ever short?
# - Adam against rate .001, start by start: which starts differ more after 20 steps, which after 190?
#
# <details><summary>What the recordings say</summary>
#
# - Start 0 at .001: it stays after 60 steps and falls after 100 and 130. The picture tells little; the curve bends.
# - At .012, in the 50 steps after step 14, five end in NaN and five fall, of which one breaks later. Neither loss
#   nor gradient tells them apart: start 1 has a gradient of 4 and breaks, start 9 one of 123 and lives. The alarm
#   comes a few steps before the end and not sooner. (Start 7 has exploded already.)
# - With clipping the curve shows the gradient before it is cut. It is longer than 10 in about four steps of ten.
# - After 20 steps Adam's starts differ more, because they are on their way down while the others all rest. After 190
#   it is the other way round.
#
# </details>

# %%
explorer = replay.Replay()
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4. VS
# Code and Colab have not been tried.)
#
# ## 31 or 32?
#
# The published run was to have batches of 32. With 32 its author ran out of memory occasionally, and so he trained with
# 31. What does a batch of another size change? The loss is divided by N, the positives of the batch. Here is N for batches of the
# test scenes, without augmentation:

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
# Between 32 and 31 there is no difference one could notice: N is three percent smaller, and so is the sum above it.
# Small batches are another matter. One picture may have three positives or 85, and each of the three then pulls 28
# times as hard. One explanation of trouble says just that: a batch with few positives has a large 1/N and so a
# long gradient. Is it so, in our recordings of batches of 8? The length of each gradient is compared with the steps
# around it, from step 20 on:

# %%
rows = []
for name in ("paper", "safe", "near", "clipped", "adam"):
    found = [starts.linked(s) for s in starts.arm(name) if not s.broke]
    rows.append((starts.ARMS[name], min(found), max(found)))
table(rows, head=("correlation of N and gradient", "from", "to"))

# %% [markdown]
# Hardly. A correlation no larger than .3 in size means that N explains less than a tenth of what makes one gradient
# longer than the next. With batches of one or two it may be otherwise; that was not recorded.
#
# If 32 don't fit, you needn't give up 32. Compute the batch in parts and take one step at the end. Two things have
# to be right: the gradients of the parts are *added*, and every part is divided by the N of the *whole* batch. Here
# and now, eight pictures at once against four times two:

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
# (With batch norm it isn't: each part is normalised by itself.) So the answer to an out-of-memory error is: keep 32,
# in parts of a size that fits. `python -m ssdlib train --microbatch 8` does it. If you do change the batch, users of
# other ports advise to change the rate in proportion ([ssd.pytorch
# 275](https://github.com/amdegroot/ssd.pytorch/issues/275), among others).
#
# ## The claims, one by one
#
# | the claim | on this page | recorded in |
# |---|---|---|
# | ten starts look different at the beginning | **confirmed**, in *when*, not in *what*: at .001 all ten fall, linger and fall again, but they leave the first level after 97 steps or after 191 | `paper` |
# | smooth, plateau or NaN, by chance | **different**: mostly the rate decides. All ten have a plateau at .001, all ten break at .02; in between, at .01, at .012 and with warm-up, chance does | `paper` `near` `edge` `beyond` `warmup` |
# | the published run was lucky: it fell smoothly from the start | **not tested**: its curve has a point for every thousand steps, so its first steps can't be seen. Of our ten starts at 0.001 none falls smoothly | `paper` |
# | a plateau lasts a couple of hundred steps | **confirmed** for the first one, which our starts leave after 97 to 191 steps at 0.001. How long the second one lasts isn't known: the starts with background known rest on it for 170 steps, to the end of the recording | `paper` `prior` |
# | after 1,000 steps the loss is between 10 and 15 | **not tested**: our starts end after 100 to 500 steps, if they don't break before, and the published figures contain an L2 term that ours don't (chapter 04) | |
# | as long as the loss isn't NaN, its end depends little on the start; it only takes longer to get there | **seen as far as we went**: the spread of the ten starts is largest when some have left the plateau and some haven't, and small again at step 290. Whole trainings from ten seeds were not run; NVIDIA's README of its own SSD300 (another network, COCO, with warm-up) gives a standard deviation of .0014 mAP over 15 seeds | `paper` |
# | Adam varies less | **confirmed** for when the first level is left and for step 190; at step 20 it is the other way round. Compare at the same place of the way, not at the same step. Nothing is said of the end | `adam` |
# | Adam is evidently the superior optimiser | **not tested**: our starts end after 200 steps. None of the ten with Adam breaks, and all leave the plateau early; which detector is better at the end of a training they can't say | `adam` |
# | if it is NaN, just try again | **only near the edge**: at .01 another seed helps, at .02 none of ten | `near` `beyond` |
# | the configuration is that of the original, but for a batch of 31 | **not quite**: read line by line, it decays weights twice as fast, has one rate for kernels and biases, mines over the batch, crops by other rules and begins its new layers with He's distribution ([chapter 09](09_full_training.ipynb), *The recipes*) | |
#
# What the summary says of the end of the training has its table in chapter 08.

# %%
def spread(name, step):
    means = [s["confidence"][step : step + 10].mean() for s in starts.arm(name)]
    return float(torch.stack(means).std())


rows = [(step, spread("paper", step), spread("adam", step)) for step in (20, 50, 100, 190)]
rows.append((290, spread("paper", 290), None))
table(rows, head=("step", "spread of ten starts at 0.001", "of ten under Adam"))

# %%
rows = [starts.summary(name).cells()[:3] for name in ("paper", "near", "beyond", "adam")]
table(rows, head=("way", "NaN", "left the first level after"))

# %% [markdown]
# ## Exercises
#
# ### 7.1 The second level · on paper · 5 minutes
#
# A network says p(background) = .75 for every anchor and shares the rest equally among the 20 classes of objects.
# Ratio 3, no image runs out of negatives. How large is the confidence part of the loss, divided by N? Two digits
# behind the point are enough. From memory, please.

# %% tags=["exercise"]
second_level = -3 * torch.log(torch.tensor(0.75)) - torch.log(torch.tensor(0.25 / 20))  # solution

# %%
check.level(second_level)

# %% [markdown]
# <details><summary>Hint</summary>
#
# One positive with its three negatives. What does each pay?
# </details>
# <!-- solution -->
#
# ### 7.2 The largest curvature · the heart of the chapter · 14 minutes
#
# `turn(v)` gives H · v, for a symmetric matrix H that you never see. `start` is a vector. In each of `rounds` rounds
# scale v to length 1, compute H · v, note v · (H · v), and go on with H · v. Return the last number noted. (Don't change
# `start`.)


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
# `v.norm()` is the length, `v @ turned` the product of two vectors.
# </details>
# <details><summary>Hint 2</summary>
#
# Why v · (H · v) and not the length of H · v? If v is a direction in which H only stretches, H · v = c · v, then v ·
# (H · v) = c, with its sign.
# </details>
# <!-- solution -->
#
# ### 7.3 The edge · easy · 5 minutes
#
# Which rate is just too large for a valley of this curvature, with this momentum? From memory, please.


# %% tags=["exercise"]
def edge(curvature, momentum):
    # solution
    return 2 * (1 + momentum) / curvature


# %%
check.edge(edge)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Part two: at the edge rate · curvature is 2 without momentum, 3.8 with .9.
# </details>
# <!-- solution -->
#
# ### 7.4 Warm-up · easy · 6 minutes
#
# `step` counts the updates that are done: 0 before the first. Over the first `steps` updates the rate rises in a
# straight line; the first of them has the rate `peak / steps`, the last of them `peak`, and so have all that follow. With `steps` 0 there is no
# warm-up.
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
# 200 steps: the first update has 1/200 of the peak, the hundredth a half.
# </details>
# <!-- solution -->
#
# ### 7.5 Clipping · medium · 10 minutes
#
# `gradients` is a list of tensors of any shapes, together one long vector. If that vector is longer than `limit`,
# make it `limit` long without changing its direction. Return a list of tensors.


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
# The length of the whole is the root of the sum of all squares, over all tensors.
# </details>
# <details><summary>Hint 2</summary>
#
# One factor for all tensors keeps the direction.
# </details>
# <!-- solution -->
#
# ### 7.6 Off the plateau · medium · 12 minutes
#
# `losses` is a list of numbers, one a step. From which step on is the mean of `window` steps (that step and those
# after it) below `level` and stays there to the end? None if there is no such step.


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
# First all means, as a list. There are `len(losses) - window + 1` of them, perhaps none.
# </details>
# <details><summary>Hint 2</summary>
#
# Walk through the means. Remember the first one below; forget it whenever one is not below.
# </details>
# <!-- solution -->
#
# ### 7.7 A batch in parts · easy · 8 minutes
#
# `parts` is a list of pairs, one for each microbatch: the sum of all its terms (not yet divided), and its number of
# positives. Return the loss of the batch they make up.


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
# ... we skipped the batches whose loss is NaN? *If the loss is not finite, go on with the next batch* stands in many
# training loops, and it is the first idea of everyone who sees one NaN among thousands of numbers. Take the start
# that broke above, here and now. It took no step on the broken batch, just as that line would have it. Let it go on
# with the next five:

# %%
after = []
for step in range(len(seen), len(seen) + 5):
    batch, targets = doomed.batch(step)
    with torch.no_grad():
        after.append(bool(loss.multibox_loss(doomed.model(batch.images), targets).multibox.isfinite()))
weights = all(bool(p.isfinite().all()) for p in doomed.model.parameters())
print("weights are numbers:", weights, "· losses of the next five batches are numbers:", after)
assert not any(after)

# %% [markdown]
# Every batch is NaN from here on; the loop would run for days and learn nothing. It wasn't the batch. The damage was
# done some steps earlier, when the loss was still a number. What helps is to stop, to say where, and to go back to a
# checkpoint from before: the library raises `Diverged`, names step, rate and the last finite loss, and never
# overwrites a checkpoint with weights that aren't numbers (chapter 09).
#
# Four more, each with its sign:
#
# - **NaN in the confidence alone, with good weights**: a softmax with one maximum for the whole batch ([ssd.pytorch
#   483](https://github.com/amdegroot/ssd.pytorch/issues/483); chapter 04).
# - **NaN in the localisation alone**: a box without width ([lufficc 95](https://github.com/lufficc/SSD/issues/95);
#   chapter 04). No learning rate cures it.
# - **NaN after some steps on fewer GPUs or with a small batch, at an unchanged rate**: too large a rate for that
#   batch ([ssd.pytorch 300](https://github.com/amdegroot/ssd.pytorch/issues/300)).
# - **A loss that stays at 12 for thousands of steps**: no plateau of this kind lasts so long; look whether the
#   weights move at all.
#
# ## Self-test

# %%
SelfTest("instability")

# %% [markdown]
# ## Recap
#
# - The confidence loss rests on two levels: 4 · ln 21 = 12.18, no opinion, and 5.245, background only.
# - On the first level mining looks where nothing has been learned: at the small maps, which are slow. Tell the
#   network about background before it starts, and there is no such plateau.
# - Beyond 2 · (1 + momentum) / curvature a step grows instead of shrinking. The curvature is large in the first
#   steps and again at the end of the plateau. The loss is no parabola, so the edge is an order of magnitude.
# - One long gradient is carried on ten times by a momentum of .9.
# - A NaN begins some steps earlier. A step that moves a kernel by more than half of its length is a good alarm.
# - The edge depends on how the function is written: pixels divided by 64 or not, that is a factor of 4,096.
# - Clipping, batch norm, Adam or a smaller rate keep all starts alive. Look at the dead channels, too.
# - Too little memory: keep the batch, compute it in parts, one N for all.
#
# Paper, section 3 (training); Caffe's `ssd_pascal.py` has neither warm-up nor clipping.
