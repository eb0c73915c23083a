# %% [markdown]
# # 04 · Multibox loss
#
# **In one sentence:** every positive pays for a wrong class and a wrong box, three times as many of the worst
# background anchors pay for seeing something, and the sum is divided by the number of positives.
#
# | | |
# |---|---|
# | time | 85 minutes, 50 of them for the exercises |
# | hardware | any laptop; no GPU; a pocket calculator is welcome |
# | you need | chapter 03: which anchor answers for which object |
# | new modules | `coding`, `loss` |
#
# At the end of this page you will be able to
#
# - compute by hand every number of the loss of one picture,
# - say what the "variances" .1 and .2 do, and what they don't,
# - choose the hard negatives of an image, and say why three for each positive,
# - tell which first and last loss to expect, and why the losses of two programs can't be compared.

# %%
import inspect

import matplotlib.pyplot as plt
import torch

from course.kit import pictures, places
from course.kit.self_test import SelfTest
from course.kit.tables import table
from course.loss import check, figures, loss_anatomy
from course.matching import matcher
from ssdlib import anchors, box_ops, coding, loss, matching, plots, records
from ssdlib.data import voc
from ssdlib.training import runlog

# %% [markdown]
# ## The picture
#
# One picture, one step of training. A network has answered 8,732 times. These anchors decide its loss. All the
# others count for nothing in this step.

# %% alt="A scene with objects in orange, the anchors that match them in blue, and dashed red anchors that were chosen as hard negatives"
scenes = loss_anatomy.some_scenes()
scene, wanted = scenes[0], loss_anatomy.targets_of(scenes[:1])
predicted = loss_anatomy.predict(scenes[:1])
found = loss_anatomy.loss_terms(predicted, wanted)
figure = loss_anatomy.draw_negatives(scene, found.positive[0], {f"loss {found.multibox:.4f}": found.chosen[0]})

# %% [markdown]
# Blue: **positives**. They answer for an object. Red and dashed: **hard negatives**, the background anchors that this
# network is least sure are background. It is the narrow network that `make train` trains on the mini VOC in 5 to 20
# minutes, by processor, as it was recorded; genuine photographs, if you have them, are new to it, and its loss on them
# is high. At the end of this page you can check the number in the title with a calculator.
#
# ## The loss in one line
#
# Everything on this page is one equation, of which each part gets a section. $N$ is the number of positives, $t$ are
# the offsets that an anchor should give and $\hat t$ those that it gives, $p$ are its class probabilities:
#
# $$
# L = \frac{1}{N} \Bigl(
# \textcolor{#009E73}{\sum_{\text{positives}} \; \sum_{x, y, w, h} \text{smooth L1}(\hat t - t)}
# \; \textcolor{#0072B2}{- \sum_{\text{positives}} \ln p(\text{class})}
# \; \textcolor{#D55E00}{- \sum_{\text{hard negatives}} \ln p(\text{background})}
# \Bigr)
# $$
#
# The colours are those of the explorer at the end: green is the localisation, blue and red together are the
# confidence.
#
# ## The words
#
# - **Offsets**: four numbers without a unit, how an anchor has to move and grow to become a box. (Caffe: *loc*.)
# - **Logits**: 21 numbers for each anchor, before the softmax; number 0 is background. (Caffe: *conf*.)
# - **Smooth L1**: what a wrong offset costs. **Cross-entropy**: what a wrong class costs, -log p of the right class.
#   (Logarithms are natural ones, *ln* on a calculator.)
# - **Localisation** and **confidence** are the sums of the two, divided by N. (amdegroot: `loss_l`, `loss_c`.)
# - **Hard negative mining**: taking into the sum only those background anchors that cost most.
# - **N**: the number of positives; the sums are divided by it.
#
# What the network says and what it should have said travel in two records:

# %%
print(inspect.getsource(records.Predictions))
print(inspect.getsource(records.Targets))

# %% [markdown]
# ## By hand, part one: an object as four offsets
#
# An anchor has its centre at (150, 150) and is 60 px wide, 120 px high. Its object has its centre at (162, 159) and
# is 72 px wide, 108 px high. What should the network say?
#
# | | difference | in units of the anchor | divided by | offset |
# |---|---|---|---|---|
# | x | 162 - 150 = 12 px | 12 / 60 = .2 | .1 | **2** |
# | y | 159 - 150 = 9 px | 9 / 120 = .075 | .1 | **.75** |
# | width | 72 against 60 | ln(72 / 60) = .182 | .2 | **.912** |
# | height | 108 against 120 | ln(108 / 120) = -.105 | .2 | **-.527** |
#
# In general, with the object $g$ and the anchor $a$ as centre, width and height:
#
# $$
# \begin{aligned}
# \textcolor{#0072B2}{t_x} &= \textcolor{#0072B2}{\frac{g_x - a_x}{a_w}} \cdot \frac{1}{0.1} &
# \textcolor{#0072B2}{t_y} &= \textcolor{#0072B2}{\frac{g_y - a_y}{a_h}} \cdot \frac{1}{0.1} \\
# \textcolor{#D55E00}{t_w} &= \textcolor{#D55E00}{\ln \frac{g_w}{a_w}} \cdot \frac{1}{0.2} &
# \textcolor{#D55E00}{t_h} &= \textcolor{#D55E00}{\ln \frac{g_h}{a_h}} \cdot \frac{1}{0.2}
# \end{aligned}
# $$
#
# Blue is the *shift*, red the *growth*, here and in the picture below.
#
# The shift is measured in widths and heights of the *anchor*. So the same four numbers mean the same for a small and a
# large anchor: move by a tenth of your width. With the logarithm, twice as wide and half as wide are equally far
# away, +.69 and -.69, and no offset can give a box of negative width.

# %%
anchor, box = torch.tensor([120.0, 90, 180, 210]), torch.tensor([126.0, 105, 198, 213])
offsets = coding.encode(box, anchor)
print("offsets", [round(x, 4) for x in offsets.tolist()])
print("and back", coding.decode(offsets, anchor).tolist())

# %% alt="An anchor, dashed, and its object in orange, twice: blue arrows from centre to centre with the offsets 2 and 0.75, and double arrows along the sides with the offsets 0.91 and -0.53"
figure = figures.offsets_drawn(anchor, box)

# %%
print(inspect.getsource(coding.encode))

# %% [markdown]
# ## What are the "variances"?
#
# The divisors .1 and .2 aren't in the paper. The released code calls them variances. People have asked about them
# in one port of SSD after another
# ([weiliu89/caffe 75](https://github.com/weiliu89/caffe/issues/75),
# [155](https://github.com/weiliu89/caffe/issues/155),
# [342](https://github.com/weiliu89/caffe/issues/342),
# [ssd.pytorch 39](https://github.com/amdegroot/ssd.pytorch/issues/39),
# [rykov8/ssd_keras 53](https://github.com/rykov8/ssd_keras/issues/53),
# [lufficc/SSD 40](https://github.com/lufficc/SSD/issues/40)).
# The author's answer in the first: their major goal is to scale the gradient.
#
# Let us measure. These are the offsets of all anchors that match an object, before and after the division:

# %%
raw = []
for one in pictures.test_set()[:200]:
    size = torch.tensor([300 / one.size[0], 300 / one.size[1]] * 2)  # to px of the canvas
    right = matching.make_targets((one.boxes * size)[None], one.labels[None], anchors.default_boxes())
    raw.append(right.offsets[right.labels > 0] * torch.tensor(coding.VARIANCES))
raw = torch.cat(raw)
scaled = raw / torch.tensor(coding.VARIANCES)

# %% alt="Two histograms: before the division growths are spread about twice as widely as shifts; after it, all four have about the same spread"
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.6), sharey=True, layout="constrained")
for ax, values, title in zip(axes, (raw, scaled), ("before", "after dividing by .1 and .2")):
    for i, (name, color) in enumerate(zip("xywh", (plots.BLUE, plots.SKY, plots.RED, plots.ORANGE))):
        style = "--" if i > 1 else "-"
        ax.hist(values[:, i].numpy(), 60, histtype="step", color=color, linestyle=style, label=name)
    ax.set(title=title, xlabel="offset", yticks=())
legend = axes[1].legend(frameon=False)

# %%
rows = [(f"mean, {name}", *values.mean(dim=0).tolist()) for name, values in (("before", raw), ("after", scaled))]
rows += [(f"deviation, {name}", *values.std(dim=0).tolist()) for name, values in (("before", raw), ("after", scaled))]
table(rows, head=(f"{len(raw):,} matched anchors", *"xywh"))

# %% [markdown]
# Before, the standard deviation is between .1 and .2 for shifts and between .2 and .3 for growths. After dividing it is
# about the same for all four, somewhat above 1. That is all. The divisors are, roughly, standard
# *deviations*; a variance would be their square. The author of ssd_keras reads them in this way too
# ([ssd_keras 148](https://github.com/pierluigiferrari/ssd_keras/issues/148)).
#
# They are constants, fixed before training; nothing estimates them. What do they change? How much the boxes weigh
# in the loss. Here are the same network and the same boxes, with and without the division:

# %%
error = (predicted.offsets - wanted.offsets)[found.positive]
rows = []
for name, divisor in (("divided", 1.0), ("not divided", torch.tensor(coding.VARIANCES))):
    cost = torch.nn.functional.smooth_l1_loss(error * divisor, 0 * error, reduction="sum")
    rows.append((name, cost / found.n))
table(rows, head=("", "localisation"), form=("", ".4f"))

# %% [markdown]
# Without the division the boxes would hardly count beside the classes. And the divisors belong to the weights: whoever
# turns offsets back into boxes has to multiply by the same numbers. A checkpoint that was trained with other divisors
# gives wrong boxes with these.
#
# ## By hand, part two: smooth L1
#
# What does a wrong offset cost? With d = predicted - target: **.5 d²** if |d| < 1, else **|d| - .5**.
#
# | | x | y | width | height | sum |
# |---|---|---|---|---|---|
# | predicted | 1.6 | .75 | -.588 | .473 | |
# | target | 2 | .75 | .912 | -.527 | |
# | d | -.4 | 0 | -1.5 | 1 | |
# | cost | .08 | 0 | 1 | .5 | **1.58** |
#
# Near 0 it is a parabola: its slope is d, so small errors pull gently. Beyond 1 it is straight, with slope 1: however
# wrong an offset is, it pulls no harder. The two parts meet at 1, where both are .5.

# %% alt="Three curves over the error: plain L1, the parabola, and smooth L1 that follows the parabola near zero and the straight line beyond one"
d = torch.linspace(-3, 3, 241)
figure, ax = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
ax.plot(d, torch.nn.functional.smooth_l1_loss(d, 0 * d, reduction="none"), color=plots.BLUE, linewidth=3)
ax.plot(d, 0.5 * d * d, "--", color=plots.ORANGE)
ax.plot(d, d.abs(), ":", color=plots.BLACK)
ax.legend(["smooth L1", ".5 d²", "|d|"], frameon=False)
limits = ax.set(ylim=(0, 3), xlabel="error d of an offset", ylabel="cost")

# %% [markdown]
# As one equation, with the parabola in orange as in the figure:
#
# $$
# \text{smooth L1}(d) = \begin{cases}
# \textcolor{#9C6600}{\frac{1}{2} d^2} & \text{if } |d| < 1 \\
# |d| - \frac{1}{2} & \text{otherwise}
# \end{cases}
# $$
#
# With the divisors d = 1 has a meaning: the centre is off by a tenth of the anchor's width, or the box is too wide by
# a factor of e^.2 = 1.22.
#
# ## By hand, part three: cross-entropy
#
# An anchor's logits for three classes are 2, 1, 0. The softmax makes probabilities of them: e² = 7.389, e¹ = 2.718,
# e⁰ = 1, together 11.107. So p = .665, .245, .090.
#
# | it should be | p | costs -ln p |
# |---|---|---|
# | background, class 0 | .665 | **.408** |
# | class 1 | .245 | **1.408** |
# | class 2 | .090 | **2.408** |
#
# -ln p is 0 for p = 1 and grows without end as p goes to 0. Without any knowledge, all 21 classes equally likely, an
# anchor costs ln 21 = 3.04.

# %%
logits = torch.tensor([2.0, 1, 0])
rows = [("p", *logits.softmax(dim=0)), ("-ln p", *-logits.log_softmax(dim=0))]
table(rows, head=("class", "0", "1", "2"), form=("", *[".3f"] * 3))

# %% [markdown]
# ## By hand, part four: the hard negatives
#
# Twelve anchors, two of them positive (marked +). For each you see -ln p(background).

# %%
losses, positive = check.TOY, check.TOY_POSITIVE
marks = ["+" if p else "" for p in positive[0].tolist()]
rows = [("-ln p(background)", *losses[0]), ("positive", *marks)]
table(rows, head=("anchor", *map(str, range(12))), form=("", *[".1f"] * 12))

# %% [markdown]
# Two positives, three negatives for each: six. Cross out the positives; they answer for objects, whatever their
# number says. Of the ten that are left take the six largest: anchors 4, 7, 2, 10, 8, 11. The others count for nothing in
# this step. In the next step the ranking may be another one.
#
# Four rules hide in this:
#
# - ranked is by **-ln p(background)**, however the rest of p is spread over the objects,
# - positives are taken out **before** the ranking
#   ([rykov8/ssd_keras 5](https://github.com/rykov8/ssd_keras/issues/5) is a port where they weren't),
# - each **image** is ranked by itself,
# - the count is 3 times the positives *of that image*; where there are fewer negatives, all are taken.
#
# ### The sort of a sort
#
# Programs like ssd.pytorch sort twice, and their readers ask why
# ([ssd.pytorch 43](https://github.com/amdegroot/ssd.pytorch/issues/43),
# [torchcv 46](https://github.com/kuangliu/torchcv/issues/46)). The first sort gives the *order*: which anchor comes
# first, second, third. What we need is the *rank*: at which place anchor 0 comes, at which anchor 1. The rank is the
# order read backwards, and sorting the order does just that.

# %%
hardness = losses.masked_fill(positive, -torch.inf)
order = hardness.argsort(dim=1, descending=True)
rank = order.argsort(dim=1)
print("order:", order[0].tolist())
print("rank: ", rank[0].tolist())
print("chosen, rank < 6:", (rank < 6).nonzero()[:, 1].tolist())

# %% [markdown]
# Read it: anchor 4 is first in the order, and so `rank[4]` is 0. Whoever compares the *order* with 6 gets other
# anchors, without any error:

# %%
print("order < 6:       ", (order < 6).nonzero()[:, 1].tolist())

# %% [markdown]
# ## In the library
#
# One sort is enough: write True at the first places of the order (`scatter`). And it needn't be a whole one: of 8,732
# anchors some hundred are wanted, and `topk` finds those, in order, in a sixth of the time. Where `is_cuda` stands, a
# GPU isn't asked how many: the processor would have to wait for the answer in every step.

# %%
print(inspect.getsource(loss.hard_negatives))

# %%
print(inspect.getsource(loss.multibox_loss))

# %% [markdown]
# Does it choose what the pencil chose? On the toy, and on two thousand random images against loops:

# %%
random = torch.Generator().manual_seed(0)
assert check.library_agrees(losses, positive)
for _ in range(2000):
    some = torch.rand(2, 12, generator=random) * 3 + 0.01
    assert check.library_agrees(some, torch.rand(2, 12, generator=random) < 0.2)
print("equal")

# %% [markdown]
# ## The same on the picture
#
# Now the picture at the top. The first of its positives, offset by offset:

# %%
k = found.positive[0].nonzero()[0, 0]
caption = f"anchor {k}: {matcher.describe(int(k))}, answers for: {voc.CLASSES[wanted.labels[0, k]]}"
said, right = predicted.offsets[0, k], wanted.offsets[0, k]
rows = list(zip("xywh", said, right, said - right, found.smooth_l1[0, k]))
head = ("offset", "predicted", "target", "error", "smooth L1")
table(rows, head, form=("", ".4f", ".3f", ".3f", ".4f"), caption=caption)

# %% [markdown]
# All positives, one a line. `p` is the probability of the class it should be.


# %%
def line(k):
    cost = found.class_loss[0, k]
    return k, voc.CLASSES[wanted.labels[0, k]], (-cost).exp(), cost


rows = [(*line(k), *found.smooth_l1[0, k]) for k in found.positive[0].nonzero()[:, 0]]
head = ("anchor", "class", "p", "-ln p", "smooth L1 of x", "of y", "of w", "of h")
table(rows, head, form=("d", "", ".3f", *[".4f"] * 5))

# %% [markdown]
# The ten hardest negatives, and what the network takes each for. IoU is that with the nearest object: under a half, or
# they would be positives.

# %%
touch = box_ops.iou(scene.boxes[:, None], anchors.default_boxes()).max(dim=0)[0]
rows = []
for k in found.rank[0].argsort()[:10]:
    best = predicted.logits[0, k, 1:].argmax() + 1
    rows.append((*line(k), voc.CLASSES[best], touch[k]))
table(rows, head=("anchor", "class", "p", "-ln p", "taken for", "IoU"), form=("d", "", ".3f", ".4f", "", ".2f"))

# %% [markdown]
# Those with an IoU near .5 lie on an object, only not well enough. Those near 0 see something where there is nothing.
#
# And the -ln p(background) of *all* chosen negatives, by rank:

# %%
for part in found.class_loss[0][found.chosen[0]].sort(descending=True)[0].split(11):
    print(*(f"{x:.4f}" for x in part.tolist()))

# %% [markdown]
# No number of this picture's loss is hidden now. Add up the columns, divide by N, and compare with the library:

# %%
localisation, objects, background = found.sums()
library = loss.multibox_loss(predicted, wanted)
rows = [
    ("smooth L1 of the positives", localisation),
    ("-ln p of the positives", objects),
    ("-ln p of the negatives", background),
    (f"sum / {found.n}", (localisation + objects + background) / found.n),
    ("the library", library.multibox),
]
table(rows, form=("", ".4f"))
assert abs(found.multibox - float(library.multibox)) < 1e-5 * found.multibox

# %% [markdown]
# ## Why three to one?
#
# The paper says (section 2.2) that at most 3:1 made training faster and more stable. Here is what you can see of it.
# Take a network without any opinion, all logits 0. All anchors together pull at one number, the bias of the
# background class. How hard, for each positive? (+ is towards background, - away from it.)

# %%
none = loss_anatomy.predict(scenes[:1], loss_anatomy.EQUAL)
rows = []
for ratio in (0, 1, 3, 10, 8732):
    bias = torch.zeros(21, requires_grad=True)
    cost = loss.multibox_loss(
        records.Predictions(none.offsets, none.logits + bias), wanted, negative_ratio=ratio
    )
    (pull,) = torch.autograd.grad(cost.confidence, bias)
    share = cost.negatives / (cost.negatives + cost.positives)
    rows.append((ratio, cost.negatives, -pull[0], share))
head = ("ratio", "negatives", "pull at the background bias", "share of background in the confidence")
table(rows, head, form=("", ",.0f", "+.2f", ".1%"))

# %% [markdown]
# **Ratio 0**: the only pull is *away* from background. The network may call every anchor an object and pays nothing
# for it. **All negatives**: each positive pulls towards its own class with a strength below 1, and against it stands a
# pull of hundreds. Saying *background* everywhere would end nearly all of the loss. **Three**: background is
# still the stronger side, as it should be, and objects are heard.
#
# And what is lost by leaving out the rest? Here is how much of the loss of all negatives the hardest hold, with the
# recorded network:

# %%
hardest = found.class_loss[0].masked_fill(found.positive[0], 0).sort(descending=True)[0]
held = [(n, n * found.n, hardest[: n * found.n].sum() / hardest.sum()) for n in (1, 3, 10, 100)]
table(held, head=("ratio", "negatives", "their share of the loss of all"), form=("", "", ".0%"))

# %% [markdown]
# The same at a ratio of 3 as a picture. Each background anchor is a dot at its centre, the larger the more it costs:

# %% alt="The scene twice with a dot for each background anchor, larger where it costs more: dots all over the picture before mining, and after it a few, nearly all on the objects"
figure = figures.mining_drawn(scene, found)

# %% [markdown]
# A few hold much of it. The rest is spread over thousands of anchors that are nearly right already, and when
# one of them goes wrong it moves up the ranking. (This network was trained with mining. One without an opinion finds
# all equally hard.)
#
# ### Per image or per batch
#
# Caffe ranks each image by itself. ssd_keras, and so the run that this course retraces, ranks all images of a batch
# together: the negatives for one picture's positives may then come from another picture. `mining="batch"` does that.

# %%
everything = loss_anatomy.targets_of(scenes)
several = loss_anatomy.predict(scenes)
rows = []
for way in loss.MININGS:
    mined = loss_anatomy.loss_terms(several, everything, mining=way)
    rows.append((f"per {way}", *mined.chosen.sum(dim=1).tolist(), mined.multibox))
head = ("negatives", *(f"picture {i}" for i in range(len(scenes))), "loss")
table(rows, head, form=[""] * (1 + len(scenes)) + [".4f"])

# %% [markdown]
# The fourth of these pictures is plain, it has no object. Ranked by itself it never brings a negative. Ranked with the
# others it may.
#
# ## N, and pictures without objects
#
# N is the number of **positives**, of all images of the batch together. Negatives don't count in it. A picture without
# objects has no positives and 3 x 0 negatives. It has no part in the loss:

# %%
alone = loss.multibox_loss(loss_anatomy.predict(scenes[3:]), loss_anatomy.targets_of(scenes[3:]))
print("a plain picture:", alone.multibox.item(), "with", alone.positives.item(), "positives")

# %% [markdown]
# 0, not 0/0, because N is at least 1. Ports without that line give NaN or stop with an error
# ([torchcv 35](https://github.com/kuangliu/torchcv/issues/35); earlier, in matching:
# [sgrvinod 104](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection/issues/104),
# [lufficc 168](https://github.com/lufficc/SSD/issues/168)). If you want your empty pictures to teach anything, rank
# per batch; the original [doesn't use them](https://github.com/weiliu89/caffe/issues/592).
#
# ## Move it
#
# On the left the picture, on the right every term of its loss as a bar: positives above, negatives by rank below. The
# filled area is the sum. Black and thick is the term that you look at; for a positive the purple dots show the box
# that the network means. Click an anchor or a bar, or walk with the arrow keys. Drag the ratio. *Say before you look*:
#
# - Trained network: how does the loss change from ratio 3 to 10? Why so little?
# - *All classes equally likely*: what does the loss do from ratio 3 to 4? Which anchors are chosen, and why those?
# - *Random weights*: why is the loss so far above that of *equally likely*?
# - The picture without an object, mining per batch: when does it get its first negative?

# %%
explorer = loss_anatomy.LossAnatomy(scenes)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# ## Which loss to expect
#
# *My loss is stuck at 2 or 3*: is the network any good? So ask two threads
# ([caffe 589](https://github.com/weiliu89/caffe/issues/589),
# [ssd.pytorch 96](https://github.com/amdegroot/ssd.pytorch/issues/96)). In the second of these threads the same reader
# then reports 76.9 mAP on VOC07 test, with a localisation loss of about 1 and a confidence loss of about 2. That is a
# good detector. The author's answer in the first thread: the value itself is not very meaningful, it depends on how you
# normalise.
#
# **At the start.** If all classes are equally likely, each positive comes with three negatives, and each of the four
# costs ln 21: 12.18 for the confidence. Random weights aren't without opinion. They have wrong ones, and mining
# looks for the worst:

# %%
rows = []
for state in (loss_anatomy.EQUAL, loss_anatomy.UNTRAINED, loss_anatomy.TRAINED):
    parts = loss.multibox_loss(loss_anatomy.predict(scenes, state), everything)
    rows.append((state, parts.confidence, parts.localisation))
table(rows, head=("network", "confidence", "localisation"))

# %% [markdown]
# The recorded run of the mini VOC, means over ten steps:

# %%
log = [row for row in runlog.read_log(places.recording("mini")) if "multibox" in row]
chosen = [row for row in log if row["step"] in (10, 100, 500, 1000, 2500)]
rows = [(row["step"], row["multibox"], row["keras_equivalent"]) for row in chosen]
table(rows, head=("step", "multibox", "with the L2 term"))

# %% [markdown]
# **What others report** for SSD300 on VOC 07+12, without an L2 term:
#
# | source | at the start | later |
# |---|---|---|
# | [ssd.pytorch 337](https://github.com/amdegroot/ssd.pytorch/issues/337) | 26 to 31 | 6.2 to 6.8 near step 1,000 |
# | lufficc/SSD, its figure of the losses | 8.7, first point drawn | 3.1 at 10,000, 1.9 at the end |
# | [caffe 706](https://github.com/weiliu89/caffe/issues/706), the released model | | 2.43 when training goes on from it |
# | [caffe 589](https://github.com/weiliu89/caffe/issues/589), users | | 1.5 to 3 at the end |
#
# ## Why losses can't be compared
#
# The same picture, the same network, the same boxes and classes. Only the bookkeeping differs:

# %%
network = pictures.recorded_network()
total, used = localisation + objects + background, int((found.positive | found.chosen).sum())
plain = (predicted.offsets - wanted.offsets)[found.positive].abs().mean()
rows = {
    "this course, Caffe: sums / positives": total / found.n,
    "divided by all anchors used": total / used,
    "plain L1, mean over the coordinates": float(plain) + (objects + background) / found.n,
    "plus L2: what ssd_keras reports": total / found.n + float(loss.l2_penalty(network)),
}
table(list(rows.items()), head=("bookkeeping", "loss"), form=("", ".4f"))

# %% [markdown]
# - **Divided by all used**: a quarter, as long as each positive gets its three negatives. That is the author's example in caffe 589: Faster R-CNN
#   divides so. Its gradient is a quarter too; a learning rate goes with a convention.
# - **Mean over the coordinates**: boxes weigh a quarter. So does the
#   [tutorial of sgrvinod](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection), with plain L1.
# - **L2**: Keras adds 5e-4 · Σw² to the loss it reports. The curve of ssd_keras goes from about 10 (mean of its first
#   1,000 steps) to about 3.9 *with* it; where weights shrink, it falls without any better detection. SGD in PyTorch or
#   Caffe does the same through weight decay and reports nothing. Mind the factor: the gradient of 5e-4 · w² is
#   1e-3 · w, that of a weight decay of **1e-3**.

# %%
w = torch.tensor(3.0, requires_grad=True)
(slope,) = torch.autograd.grad(5e-4 * w**2, w)
print(f"gradient at w = 3: {slope:.4f}, weight decay 1e-3 gives {1e-3 * 3:.4f}")

# %% [markdown]
# Two more differences: N over the 8 pictures of one GPU or over all 32 (Caffe divides on each GPU), and what *step*
# means (32 pictures, 8, or 1). Compare mAP, not losses. Use the loss to compare a run with *itself*: is it a number,
# does it fall, does validation follow?
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold. A check that says *not right*
# shows where.
#
# ### 4.1 Offsets · easy · 8 minutes
#
# An object and its anchor, both as corners in px, four numbers each. Return the four offsets as in part one, in the
# order x, y, width, height.
#
# *Building block:* in chapter 13 it writes the targets that the network learns.


# %% tags=["exercise"]
def encode(box, anchor):
    g, p = box_ops.to_cxcywh(box), box_ops.to_cxcywh(anchor)  # centre x, centre y, width, height
    # solution
    shift = (g[:2] - p[:2]) / p[2:] / 0.1
    growth = (g[2:] / p[2:]).log() / 0.2
    return torch.cat([shift, growth])


# %%
check.encode(encode)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `g[:2]` is the centre of the object, `g[2:]` its width and height; `p` the same for the anchor.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.cat([shift, growth])` puts two tensors of two into one of four.
# </details>
# <!-- solution -->
#
# ### 4.2 Smooth L1 · easy · 5 minutes
#
# `error` is a tensor of any shape. Return the cost of each of its numbers, a tensor of the same shape. Write the
# formula; don't call `smooth_l1_loss`.
#
# *Building block:* in chapter 13 it is the localisation part of the loss.


# %% tags=["exercise"]
def smooth_l1(error):
    # solution
    far = error.abs()
    return torch.where(far < 1, 0.5 * far**2, far - 0.5)


# %%
check.smooth_l1(smooth_l1)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.where(condition, a, b)`; and think of errors below -1.
# </details>
# <!-- solution -->
#
# ### 4.3 -log p(background) · easy · 8 minutes
#
# `logits` has one line for each anchor, one column for each class; class 0 is background. Return -ln p(background) for
# each line. It has to be right for large logits too: `exp(100)` is infinite in float32.
#
# *Building block:* in chapter 13 it ranks the negatives.


# %% tags=["exercise"]
def background_loss(logits):
    # solution
    return -logits.log_softmax(dim=-1)[..., 0]


# %%
check.background_loss(background_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# -ln(e^z₀ / Σ e^z) = ln Σ e^z - z₀. PyTorch has `logsumexp` for the first part; or `log_softmax` for all of it.
# </details>
# <details><summary>Hint 2, if you want to write the sum yourself</summary>
#
# Take the largest logit *of the line* off before `exp`, and add it again after the logarithm.
# </details>
# <!-- solution -->
#
# ### 4.4 Hard negatives · the heart of the chapter · 15 minutes
#
# `losses` holds -ln p(background), a line for each image, a column for each anchor; `positive` is True where an anchor
# answers for an object. Return a tensor of the same shape, True at the hard negatives: `ratio` for each positive of
# the image. Loops are welcome.
#
# *Building block:* in chapter 13 it chooses the negatives of every batch.


# %% tags=["exercise"]
def hard_negatives(losses, positive, ratio):
    # solution
    order = losses.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True)
    rank = order.argsort(dim=1)
    wanted = ratio * positive.sum(dim=1, keepdim=True)
    return (rank < wanted) & ~positive


# %%
check.mining(hard_negatives)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `losses.masked_fill(positive, -torch.inf)` makes the positives come last.
# </details>
# <details><summary>Hint 2</summary>
#
# `order = x.argsort(dim=1, descending=True)`, then `rank = order.argsort(dim=1)`. How many are wanted in each image?
# `positive.sum(dim=1, keepdim=True)` is a column, and `rank < column` compares line by line.
# </details>
# <details><summary>Help: positives are chosen where negatives run out</summary>
#
# The count can be larger than the number of negatives. End with `& ~positive`.
# </details>
# <!-- solution -->
#
# ### 4.5 The whole loss · medium · 12 minutes
#
# One image with K anchors: predicted `offsets` (K, 4) and `logits` (K, C), wanted offsets (K, 4) and `labels` (K), and
# the chosen `negative` (K, True or False). Return the loss, one number; 0 if there is no positive. Use your `smooth_l1`;
# `torch.nn.functional.cross_entropy(logits, labels, reduction="sum")` does the other half.
#
# *Building block:* in chapter 13 it is the loss that is minimised.


# %% tags=["exercise"]
def multibox(offsets, logits, wanted, labels, negative):
    positive = labels > 0
    # solution
    localisation = smooth_l1(offsets[positive] - wanted[positive]).sum()
    used = positive | negative
    confidence = torch.nn.functional.cross_entropy(logits[used], labels[used], reduction="sum")
    return (localisation + confidence) / max(1, int(positive.sum()))


# %%
check.multibox(multibox)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Which anchors have a class to get right? The positives *and* the chosen negatives: `positive | negative`. Which have a
# box?
# </details>
# <details><summary>Hint 2</summary>
#
# Two sums, one division: by the number of positives, or by 1 if there are none.
# </details>
# <!-- solution -->
#
# ### 4.6 The first loss · on paper · 3 minutes
#
# A network says of all anchors that the 21 classes are equally likely. The ratio is 3, no image runs out of
# negatives. How large is the confidence part of the loss, divided by N? Two digits behind the point are enough.

# %% tags=["exercise"]
first_loss = 4 * torch.log(torch.tensor(21.0))  # solution

# %%
check.start(first_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What does one anchor cost? How many anchors come on one positive?
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# ... we took the logarithm of a sum with *one* maximum? exp(100) is too large for float32, so every program takes a
# maximum off before `exp`. amdegroot's port takes the largest logit of the *whole batch*
# ([ssd.pytorch 483](https://github.com/amdegroot/ssd.pytorch/issues/483),
# [85](https://github.com/amdegroot/ssd.pytorch/issues/85)). All goes well until one anchor of one picture is far
# above the others: then their exp is 0, and log 0 is -inf.

# %%
rows = []
for kind, powers in ((torch.float32, (-100.0, -104.0)), (torch.float16, (-17.0, -18.0))):
    rows += [(str(kind), f"exp({x:.0f})", torch.tensor(x, dtype=kind).exp()) for x in powers]
table(rows, head=("type", "", "is"), form=("", "", ".1e"))

# %% [markdown]
# So in float32 a logit has to lie 104 below the largest for its exp to be 0; in float16, 18 are enough. We take the recorded network's logits and raise a single
# number of a single anchor, number 5000, by 150:

# %% alt="Two pictures: on the left the right choice of negatives, spread over the picture; on the right, after one logit was raised, boxes crowded in the upper left corner of the picture"
wild = predicted.logits.clone()
wild[0, 5000, 7] += 150
right_choice = loss.hard_negatives(wild, found.positive, "image", 3)
one_maximum = check.mined_with_one_maximum(wild, found.positive)
bad_choice = one_maximum & ~found.positive
panels = {"a maximum for each anchor": right_choice[0], "one maximum for all": bad_choice[0]}
figure = loss_anatomy.draw_negatives(scene, found.positive[0], panels)

# %% [markdown]
# On the left is what should be chosen. On the right all others are -inf, and the ranking of equals is that of their
# numbers: the first anchors, in the upper left corner, are called hard. The positives, set to 0 in that code, are above
# -inf and take places too.

# %%
print("negatives chosen:", int(right_choice.sum()), "and", int(bad_choice.sum()))
print("in both:", int((right_choice & bad_choice).sum()), "(the anchor with the raised number)")

# %% [markdown]
# The loss itself is computed by another, correct function. So it stays a number, there is no error, and the network
# learns from the wrong anchors. The reader of issue 483 writes that the results were very poor and the cause took long
# to find. In the library a line's own maximum is taken off, by `log_softmax`.
#
# Four more, each with its sign:
#
# - **NaN at the first picture without objects**: 0 / 0, see above.
# - **NaN or inf in the localisation**: the logarithm of a box without width, or with corners in the wrong order
#   ([lufficc 95](https://github.com/lufficc/SSD/issues/95)). It is the data that is wrong:

# %%
empty_box, swapped = torch.tensor([130.0, 105, 130, 213]), torch.tensor([198.0, 105, 126, 213])
for name, wrong in (("no width", empty_box), ("swapped", swapped)):
    print(f"{name}: growth of the width {coding.encode(wrong, anchor)[2]}")

# %% [markdown]
# - **A loss a quarter of everybody's, and slow learning**: N counts the negatives.
# - **An error about shapes in the lines that choose negatives**, in old code on new PyTorch: a mask of (B, K) is put on
#   losses of (B · K, 1). Reshape the losses first
#   ([ssd.pytorch 173](https://github.com/amdegroot/ssd.pytorch/issues/173)).
#
# (NaN from a learning rate that is too high is another matter: chapter 07.)
#
# ## Self-test

# %%
SelfTest("loss")

# %% [markdown]
# ## Recap
#
# - An object is written as four offsets from its anchor: shift in units of the anchor, logarithm of the growth, divided
#   by .1 and .2. The "variances" are fixed scales.
# - Positives pay smooth L1 for four offsets and -ln p for their class.
# - Hard negatives: per image, three for each positive, those with the largest -ln p(background).
# - Everything is divided by N, the number of positives, at least 1. No objects: no loss.
# - Without an opinion the confidence starts at 4 · ln 21 = 12.18. A loss of 2 to 3 at the end can be a detector of
#   77 mAP. Compare mAP, not losses.
#
# Paper, section 2.2 "Training objective" and "Hard negative mining"; the rules are those of Caffe's
# `multibox_loss_layer.cpp` and `bbox_util.cpp`.
