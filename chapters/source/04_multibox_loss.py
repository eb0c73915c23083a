# %% [markdown]
# # 04 · Multibox loss
#
# **In one sentence:** every positive anchor is penalised for a wrong class and a wrong box, three times as many of the
# worst background anchors are penalised for false alarms, and the sum is divided by the number of positives.
#
# | | |
# |---|---|
# | time | 85 minutes, 50 of them for the exercises |
# | hardware | any laptop; no GPU; a pocket calculator is welcome |
# | you need | chapter 03: which anchor is assigned to which object |
# | new modules | `coding`, `loss` |
#
# At the end of this page you will be able to
#
# - compute by hand every number of the loss of one image,
# - say what the "variances" 0.1 and 0.2 do, and what they don't,
# - choose the hard negatives of an image, and say why three for each positive,
# - tell which first and last loss to expect, and why the losses of two programs can't be compared.

# %%
import torch

from course.kit import experiment_figures, experiments, opening, pictures, places
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from course.loss import check, figures, loss_anatomy
from course.matching import matcher
from ssdlib import anchors, box_ops, coding, loss, matching, records
from ssdlib.data import voc
from ssdlib.training import runlog

# %% [markdown]
# ## The picture
#
# Training needs one number that it can lower, but a network gives 8,732 answers about every image, and nearly all of
# them are about background. A network that called everything background would be right about more than 99 % of the
# anchors and find nothing, so they can't all count alike. In this step of training, only the anchors drawn below decide
# the number, because all the others are left out of the sum. Why these, and what does each of them add?

# %% alt="A scene with objects in orange, the anchors assigned to them in blue, and the hard negatives in dashed red"
scenes = loss_anatomy.some_scenes()
scene, wanted = scenes[0], loss_anatomy.targets_of(scenes[:1])
predicted = loss_anatomy.predict(scenes[:1])
found = loss_anatomy.loss_terms(predicted, wanted)
decisive = int((found.positive | found.chosen).sum())
title = f"{decisive} of 8,732 anchors decide the loss, {found.multibox:.4f}"
figure = figures.draw_negatives(scene, found.positive[0], {title: found.chosen[0]})

# %% [markdown]
# The objects are orange. The blue anchors are the **positives**, each assigned to an object: dark blue for one of the
# objects, light blue for the others. The red dashed ones are the **hard negatives**, the background anchors that this
# network is least sure are background. Some of them are drawn as boxes, and all of them as dots at their centres. The
# title gives the loss, and further down this page you can check that number with a calculator.
#
# > **Note:** the network is the narrow one that `make train` trains on the mini VOC in 5 to 20 minutes, depending on
# > the CPU. This page uses its recorded weights. Genuine photographs, if you have them, are new to it, so its loss on
# > them is high.
#
# ## The loss in one line
#
# Everything on this page is one equation, and each of its parts gets a section. $N$ is the number of positives, $t$ are
# the offsets that an anchor should give and $\hat t$ those that it gives, and $p$ are its class probabilities:
#
# $$
# L = \frac{1}{N} \Bigl(
# \textcolor{#009E73}{\sum_{\text{positives}} \; \sum_{x, y, w, h} \text{smooth L1}(\hat t - t)}
# \; \textcolor{#0072B2}{- \sum_{\text{positives}} \ln p(\text{class})}
# \; \textcolor{#D55E00}{- \sum_{\text{hard negatives}} \ln p(\text{background})}
# \Bigr)
# $$
#
# The colours are those of the explorer further down: green is the localisation, and blue and red together are the
# confidence.
#
# ## The words
#
# - **Offsets**: four numbers without a unit, how an anchor has to move and grow to become a box. (Caffe: *loc*.)
# - **Logits**: 21 numbers for each anchor, before the softmax turns them into probabilities; number 0 is background.
#   (Caffe: *conf*.)
# - **Smooth L1**: what a wrong offset costs. **Cross-entropy**: what a wrong class costs, -ln p of the right class. All
#   logarithms here are natural ones, *ln* on a calculator.
# - **Localisation** and **confidence**: the sums of the two, divided by N. (amdegroot: `loss_l`, `loss_c`.)
# - **Hard negative mining**: taking into the sum only those background anchors that cost most.
# - **N**: the number of positives, by which the sums are divided.
#
# What the network says and what it should have said are passed around in two records:

# %%
source(records.Predictions, records.Targets)

# %% [markdown]
# We now compute each part of the equation on paper and then in code. The offsets come first, because the localisation
# compares offsets, not boxes.
#
# ## By hand, part one: an object as four offsets
#
# An anchor has its centre at (150, 150) and is 60 px wide and 120 px high. Its object has its centre at (162, 159) and
# is 72 px wide and 108 px high. What should the network say?
#
# | | difference | in units of the anchor | divided by | offset |
# |---|---|---|---|---|
# | x | 162 - 150 = 12 px | 12 / 60 = 0.2 | 0.1 | **2** |
# | y | 159 - 150 = 9 px | 9 / 120 = 0.075 | 0.1 | **0.75** |
# | width | 72 against 60 | ln(72 / 60) = 0.182 | 0.2 | **0.912** |
# | height | 108 against 120 | ln(108 / 120) = -0.105 | 0.2 | **-0.527** |
#
# In general, with the object $g$ and the anchor $a$ given by centre, width and height:
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
# Blue is the *shift* and red the *growth*, here and in the picture below, where the anchor is dashed and the object
# orange. The shift is measured in widths and heights of the *anchor*, so the same number means the same for a small
# and a large anchor: an offset of 1 in x, for example, is a tenth of the anchor's width.
# The growth is a logarithm, so twice as wide and half as wide are equally far away, +0.69 and -0.69 before the
# division, and no offset can give a box of negative width. In code:

# %%
anchor, box = torch.tensor([120.0, 90, 180, 210]), torch.tensor([126.0, 105, 198, 213])
offsets = coding.encode(box, anchor)
print("offsets", [round(x, 4) for x in offsets.tolist()])
print("and back", coding.decode(offsets, anchor).tolist())

# %% alt="An anchor, dashed, and its object in orange, twice: blue arrows from centre to centre with the offsets 2 and 0.75, and double arrows along the sides with the offsets 0.91 and -0.53"
figure = figures.offsets_drawn(anchor, box)

# %%
source(coding.encode)

# %% [markdown]
# ## What are the "variances"?
#
# The divisors 0.1 and 0.2 aren't in the paper, but the released code has them and calls them variances. Users of one
# port after another have asked what they are, and the author answers that their major goal is to scale the gradient
# (the [FAQ](../docs/faq.md) has the threads, under *Loss*). We can measure what they do. These are the offsets of all
# anchors that are assigned to an object in the first 200 test images, before and after the division:

# %%
variances, divided = torch.tensor(coding.VARIANCES), []
for one in pictures.test_set()[:200]:
    size = torch.tensor([300 / one.size[0], 300 / one.size[1]] * 2)  # to px of the 300 x 300 input
    targets = matching.make_targets((one.boxes * size)[None], one.labels[None], anchors.default_boxes())
    divided.append(targets.offsets[targets.labels > 0])
divided = torch.cat(divided)
undivided = divided * variances

# %% alt="Two histograms of the four offsets: before the division growths are spread about twice as widely as shifts; after it, all four have about the same spread"
figure = figures.spread(undivided, divided)

# %%
rows = [
    ("mean before", *undivided.mean(dim=0)),
    ("mean after", *divided.mean(dim=0)),
    ("standard deviation before", *undivided.std(dim=0)),
    ("standard deviation after", *divided.std(dim=0)),
]
table(rows, head=(f"{len(divided):,} assigned anchors", *"xywh"))

# %% [markdown]
# Before the division, the standard deviation is between 0.1 and 0.2 for shifts and between 0.2 and 0.3 for growths.
# After it, all four are about the same, somewhat above 1. So the divisors are, roughly, standard *deviations*, whose
# squares would be the variances. They are constants, fixed before training, and nothing estimates them.
#
# What they change is how much the boxes weigh in the loss. Here are the same network and the same boxes, with and
# without the division:

# %%
error = (predicted.offsets - wanted.offsets)[found.positive]
rows = []
for name, factor in (("divided", 1.0), ("not divided", variances)):
    cost = torch.nn.functional.smooth_l1_loss(error * factor, 0 * error, reduction="sum")
    rows.append((name, cost / found.n))
table(rows, head=("", "localisation"), form=("", ".4f"))

# %% [markdown]
# Without the division the boxes would hardly count beside the classes, whose part of this loss is 2.32. The divisors
# also belong to the weights, because the code that turns offsets back into boxes has to multiply by the same numbers: a
# checkpoint that was trained with other divisors gives wrong boxes with these. Now that an object is four offsets, we
# need the cost of getting one wrong.
#
# ## By hand, part two: smooth L1
#
# With d = predicted - target, the cost is **0.5 d²** if |d| < 1, and **|d| - 0.5** otherwise.
#
# | | x | y | width | height | sum |
# |---|---|---|---|---|---|
# | predicted | 1.6 | 0.75 | -0.588 | 0.473 | |
# | target | 2 | 0.75 | 0.912 | -0.527 | |
# | d | -0.4 | 0 | -1.5 | 1 | |
# | cost | 0.08 | 0 | 1 | 0.5 | **1.58** |
#
# Near 0 the curve is a parabola whose slope is d, so small errors pull gently. Beyond 1 it is straight with slope 1, so
# however wrong an offset is, it pulls no harder. The two parts meet at 1, where both are 0.5. In the figure, smooth L1
# is the thick blue line; the parabola and |d| are drawn on for comparison:

# %% alt="Three curves over the error: plain L1, the parabola, and smooth L1 that follows the parabola near zero and the straight line beyond one"
figure = figures.smooth_l1_drawn()

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
# The divisors give d = 1 a meaning: the centre is off by a tenth of the anchor's width, or the box is too wide by a
# factor of e^0.2 = 1.22. That was the cost of a wrong box, and the cost of a wrong class comes next.
#
# ## By hand, part three: cross-entropy
#
# An anchor's logits for three classes are 2, 1, 0. The softmax raises e to each and divides by the sum: e² = 7.389,
# e¹ = 2.718 and e⁰ = 1 are together 11.107, so p = 0.665, 0.245, 0.090.
#
# | it should be | p | costs -ln p |
# |---|---|---|
# | background, class 0 | 0.665 | **0.408** |
# | class 1 | 0.245 | **1.408** |
# | class 2 | 0.090 | **2.408** |
#
# The cost -ln p is 0 for p = 1 and grows without limit as p approaches 0. If all 21 classes are equally likely, an
# anchor costs ln 21 = 3.04.

# %%
logits = torch.tensor([2.0, 1, 0])
rows = [("p", *logits.softmax(dim=0)), ("-ln p", *-logits.log_softmax(dim=0))]
table(rows, head=("class", "0", "1", "2"), form=("", *[".3f"] * 3))

# %% [markdown]
# Every anchor has a class to get right, if only *background*. With thousands of background anchors for a handful of
# positives, which of them should be in the sum?
#
# ## By hand, part four: the hard negatives
#
# Here are twelve anchors, two of them positive (marked +), with -ln p(background) for each:

# %%
losses, positive = check.TOY, check.TOY_POSITIVE
marks = ["+" * p for p in positive[0].tolist()]
rows = [("-ln p(background)", *losses[0]), ("positive", *marks)]
table(rows, head=("anchor", *map(str, range(12))), form=("", *[".1f"] * 12))

# %% [markdown]
# Three negatives for each of two positives are six. Cross out the positives, because they are assigned to objects
# whatever their number says. Of the ten that are left take the six largest: anchors 4, 7, 2, 10, 8, 11. The other
# background anchors count for nothing in this step, although the next step may rank them differently.
#
# Four rules are at work:
#
# - anchors are ranked by **-ln p(background)**, however the rest of p is spread over the objects,
# - positives are taken out **before** the ranking,
# - each **image** is ranked by itself,
# - the count is 3 times the positives *of that image*, and where there are fewer negatives, all are taken.
#
# ### The naive version: a sort of a sort
#
# In code, many programs, ssd.pytorch among them, sort twice. The first sort gives the *order*: which anchor comes
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
# Anchor 4 is first in the order, so `rank[4]` is 0. Comparing the *order* with 6 instead gives other anchors, without
# any error message:

# %%
print("order < 6:       ", (order < 6).nonzero()[:, 1].tolist())

# %% [markdown]
# ## In the library
#
# One sort is enough, because `scatter` can write True at the first places of the order. It needn't sort everything
# either: of 8,732 anchors some dozens to a few hundred are wanted in nearly every image, and `topk` finds just those,
# in order. On one CPU thread that takes a sixth of the time. On a GPU (where `is_cuda` stands) the code ranks all
# anchors, because reading the count back would stall the GPU: the CPU would have to wait for the answer in every step.

# %%
source(loss.hard_negatives, fold="The fast version, in the library: <code>hard_negatives</code>")

# %% [markdown]
# Those are the negatives. The loss itself adds up the two sums, localisation over the positives and confidence over the
# positives and the hard negatives. `computed_where` gives the places of these anchors, so that a CPU computes nothing
# for the others. (`num_matched` and `negative` are for a batch that is computed in parts, as in chapter 09, and are
# None here. `IGNORED` is a label that `cross_entropy` leaves out.)

# %%
source(loss.multibox_loss, start="positive = targets.labels > 0")

# %% [markdown]
# The last line divides both sums by N, as the equation does. Does the library choose what the pencil chose? We check
# the twelve anchors, and compare with plain loops on two thousand random pairs of images:

# %%
random = torch.Generator().manual_seed(0)
assert check.library_agrees(losses, positive)
for _ in range(2000):
    some = torch.rand(2, 12, generator=random) * 3 + 0.01
    assert check.library_agrees(some, torch.rand(2, 12, generator=random) < 0.2)
print("equal")

# %% [markdown]
# ## The same on the scene
#
# With all parts at hand, we compute the number in the title of the first figure. Its first positive, offset by offset:

# %%
k = found.positive[0].nonzero()[0, 0]
caption = f"anchor {k}: {matcher.describe(int(k))}, assigned to: {voc.CLASSES[wanted.labels[0, k]]}"
said, right = predicted.offsets[0, k], wanted.offsets[0, k]
rows = list(zip("xywh", said, right, said - right, found.smooth_l1[0, k]))
head = ("offset", "predicted", "target", "error", "smooth L1")
table(rows, head, form=("", ".4f", ".3f", ".3f", ".4f"), caption=caption)

# %% [markdown]
# All positives, one to a line; `p` is the probability of the class that it should be:


# %%
def line(k):
    cost = found.class_loss[0, k]
    return k, voc.CLASSES[wanted.labels[0, k]], (-cost).exp(), cost


rows = [(*line(k), *found.smooth_l1[0, k]) for k in found.positive[0].nonzero()[:, 0]]
head = ("anchor", "class", "p", "-ln p", "smooth L1 of x", "of y", "of w", "of h")
table(rows, head, form=("d", "", ".3f", *[".4f"] * 5))

# %% [markdown]
# The ten hardest negatives, and what the network takes each for. The last column is the IoU with the object that the
# anchor overlaps most. It is below 0.5, or the anchor would be positive:

# %%
touch = box_ops.iou(scene.boxes[:, None], anchors.default_boxes()).max(dim=0)[0]
rows = []
for k in found.rank[0].argsort()[:10]:
    best = predicted.logits[0, k, 1:].argmax() + 1
    rows.append((*line(k), voc.CLASSES[best], touch[k]))
table(rows, head=("anchor", "class", "p", "-ln p", "taken for", "IoU"), form=("d", "", ".3f", ".4f", "", ".2f"))

# %% [markdown]
# Those with an IoU near 0.5 lie on an object, but not well enough to be assigned to it. Those near 0 are false alarms:
# in the painted scene, the ones taken for a bottle lie on the corn cob, which belongs to none of the twenty classes.
# The -ln p(background) of *all* chosen negatives, by rank:

# %%
for part in found.class_loss[0][found.chosen[0]].sort(descending=True)[0].split(11):
    print(*(f"{x:.4f}" for x in part.tolist()))

# %% [markdown]
# Now every number of this image's loss is on the page. Add up the columns, divide by N, and compare with the library:

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
assert abs(found.multibox - float(library.multibox)) < 1e-5 * found.multibox
table(rows, head=("sum over the image", ""), form=("", ".4f"))

# %% [markdown]
# The calculator and the library agree. What has only been stated so far is the number three.
#
# ## Why three to one?
#
# The paper says (section 2.2) that at most 3:1 made training faster and more stable. Here is what can be seen of it
# without training. Take a network whose logits are all 0, so that all classes are equally likely, and let all anchors
# share one number that is added to their background logits, the *bias* of that class. How hard does the gradient pull
# at it, for each positive? (+ is towards background, - away from it.)

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
# **Ratio 0**: the only pull is *away* from background, so the network may call every anchor an object without any
# penalty. **All negatives**: each positive pulls towards its own class with a strength below 1, against a pull of
# hundreds, so saying *background* everywhere would remove nearly all of the loss. **Three**: background is still the
# stronger side, as it should be, and the objects still count.
#
# This is one gradient. A comparison of trained networks comes a little further down.
#
# And what is lost by leaving out the rest? With the recorded network, the hardest negatives hold this much of the loss
# of all negatives:

# %%
hardest = found.class_loss[0].masked_fill(found.positive[0], 0).sort(descending=True)[0]
held = [(n, n * found.n, hardest[: n * found.n].sum() / hardest.sum()) for n in (1, 3, 10, 100)]
table(held, head=("ratio", "negatives", "their share of the loss of all"), form=("", "", ".0%"))

# %% [markdown]
# The ratio of 3 as a picture, on the scene of chapter 00: on the left all background anchors, on the right those that
# mining keeps. Each is a dot at its centre, the larger the more it costs:

# %% alt="The scene of chapter 00 twice with a dot for each background anchor, larger where it costs more: dots all over the image before mining, and after it a few, the largest on the car, the dog and the person"
first = opening.scene()
terms = loss_anatomy.loss_terms(loss_anatomy.predict([first]), loss_anatomy.targets_of([first]))
figure = figures.mining_drawn(first, terms)

# %% [markdown]
# A few anchors hold much of the loss. The rest is spread over thousands of anchors that are nearly right already, and
# when one of them goes wrong it moves up the ranking. This network was trained with mining, though; one that gives all
# classes the same probability finds all anchors equally hard.
#
# ### Trained with other ratios
#
# **In our recordings 3:1 beats 10:1, and with all negatives the detector finds little; whether 1:1 is better or worse
# than 3:1 can't be told.** Before you look at the figure, here is one more way, for contrast. It makes no choice among
# the anchors. *Focal loss* ([Lin et al.](https://arxiv.org/abs/1708.02002)) lets all anchors take part, but one that is
# nearly right counts for next to nothing, because its -ln p is multiplied by (1 - p)². A second factor, alpha, weighs
# objects with 0.25 and background with 0.75:

# %%
def focal_loss(logits, labels, gamma=2.0, alpha=0.25):
    """(B, K, C) logits and (B, K) labels of the anchors -> their focal loss (B, K). No anchor is left out."""
    log_p = logits.log_softmax(dim=-1).gather(-1, labels[..., None])[..., 0]  # of the right class
    share = torch.where(labels > 0, alpha, 1 - alpha)  # of objects and of background
    return -share * (1 - log_p.exp()) ** gamma * log_p


each = focal_loss(predicted.logits, wanted.labels)
plain = torch.nn.functional.cross_entropy(predicted.logits.transpose(1, 2), wanted.labels, reduction="none")
is_object = wanted.labels > 0
rows = [
    ("-ln p of all anchors", plain[is_object].sum(), plain[~is_object].sum()),
    ("focal loss", each[is_object].sum(), each[~is_object].sum()),
]
table(rows, head=("sum over the image", "objects", "background"), form=("", ".2f", ".2f"))

# %% [markdown]
# The background of this image has nearly the weight of its objects when every anchor counts in full, and less than half
# of it under focal loss. The recipe was trained in each of these ways from three random seeds. Nothing else was changed,
# except that the network under focal loss begins with p(background) = 0.99, as its authors advise:

# %% alt="Left the mAP of three runs each: 0.672 to 0.732 with 1:1, 0.662 to 0.686 with 3:1, 0.623 with 10:1, 0.137 to 0.169 with all negatives and 0.309 to 0.341 with focal loss; right the differences from 3:1, of which only that of 1:1 can't be told"
names = {"1 : 1": "negatives_1", "3 : 1": "recipe", "10 : 1": "negatives_10", "all": "negatives_all", "focal": "focal"}
maps = {name: {seed: run.map for seed, run in experiments.runs(arm).items() if seed < 3} for name, arm in names.items()}
pairs = [(name, "3 : 1") for name in names if name != "3 : 1"]
verdicts = [experiments.paired(maps[one], maps[other]).verdict for one, other in pairs]
assert verdicts == ["can't be told", "less", "less", "less"]
figure = experiment_figures.arms(maps, pairs, "More than three negatives for each positive cost mAP")

# %% [markdown]
# The table of pulls in *Why three to one?* offers a reason, which wasn't tested: with all negatives the pull towards
# background is some four hundred times that towards an object, so in 2,500 steps hardly any score rises far enough.
#
# What these runs can't show is the paper's case. The paper trained for 60,000 or 120,000 steps where we train for
# 2,500, with batches of 32 and not of 8, from pretrained weights, on photographs, whose backgrounds are harder than
# ours, and it gives no mAP for other ratios. Focal loss was made for a detector with some 100,000 anchors, and its two
# numbers are its authors'; neither they nor the learning rate were tuned here. So take from this that the ratio
# matters, and not that focal loss is bad.
#
# > **Note:** question 5 of [experiments.md](../docs/experiments.md): the narrow network of the recipe `mini`, random seeds 0
# > to 2, bfloat16, one thread of an AMD EPYC, 2026-11-29 and 30, commit e003bcadce.
#
# ### Per image or per batch
#
# Caffe ranks each image by itself. ssd_keras, and so the run that this course retraces, ranks all images of a batch
# together, so the negatives for the positives of one image may come from another. `mining="batch"` does that:

# %%
everything = loss_anatomy.targets_of(scenes)
several = loss_anatomy.predict(scenes)
rows = []
for way in loss.MININGS:
    mined = loss_anatomy.loss_terms(several, everything, mining=way)
    rows.append((f"per {way}", *mined.chosen.sum(dim=1).tolist(), mined.multibox))
head = ("negatives", "scene 1", "scene 2", "scene 3", "scene 4", "loss")
table(rows, head, form=("", "", "", "", "", ".4f"))

# %% [markdown]
# The last of these scenes, scene 4, has no object. Ranked by itself it never brings a negative, and ranked with the
# others it may. Such images raise a question about the division, which is the last part of the equation.
#
# ## N, and images without objects
#
# N is the number of **positives** of all images of the batch together, and negatives don't count in it. An image
# without objects has no positives and 3 x 0 negatives, so it has no part in the loss:

# %%
alone = loss.multibox_loss(loss_anatomy.predict(scenes[3:]), loss_anatomy.targets_of(scenes[3:]))
print("an image without objects:", alone.multibox.item(), "with", alone.positives.item(), "positives")

# %% [markdown]
# The result is 0, not 0/0, because N is at least 1; ports without that line give NaN (*not a number*, the result of
# 0/0) or stop with an error. The original doesn't use empty images, so if you want yours to teach anything, rank per
# batch. The [FAQ](../docs/faq.md) has threads about both. That completes the equation, and now you can change its
# parts.
#
# ## Move it
#
# On the left is the scene, on the right every term of its loss as a bar: positives above, negatives by rank below. The
# height of a bar is its term, and the filled bars are in the sum. (Negatives have narrower bars, so compare heights,
# not areas.) The term you look at is black and thick, and for a positive a dotted purple outline shows the box that the
# network means. Click an anchor or a bar, or use the arrow keys, and drag the ratio. *Predict first*:
#
# - Trained network: how does the loss change from ratio 3 to 10? Why so little?
# - *All classes equally likely*: what does the loss do from ratio 3 to 4? Which anchors are chosen, and why those?
# - *Random weights*: why is the loss so far above that of *equally likely*?
# - The scene without an object, mining per batch: when does it get its first negative?

# %%
explorer = loss_anatomy.LossAnatomy(scenes)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# <details><summary>Answers, for the painted scenes</summary>
#
# - From 3.61 to 3.74. Seven more negatives for each positive add only 0.13, because this network is already right about
#   nearly all of them.
# - It grows by ln 21 = 3.04, from 15.03 to 18.07: one more negative for each positive, and each costs ln 21. All
#   background anchors are equally hard, so the first in the list are taken, at the top left corner of the image.
# - It is 22.75 against 15.03. Mining looks for the anchors with the smallest p(background). With random weights these
#   cost 5.3 each on average, so their p is about 0.005, whereas it was 1/21 = 0.048.
# - At ratio 2. At ratio 1 its hardest anchor isn't among the 69 hardest of the batch.
# </details>
#
# ## Which loss to expect
#
# *My loss is stuck at 2 or 3. Is the network any good?* Two threads ask this, and in one of them the same user later
# reports 76.9 mAP on VOC07 test, with a localisation loss of about 1 and a confidence loss of about 2. (mAP, from 0 to
# 100 here, is the score of a detector; [chapter 11](11_evaluation.ipynb) computes it.) That is a good detector. The
# author's answer in [the other thread](https://github.com/weiliu89/caffe/issues/589): the value itself is not very
# meaningful, because it depends on how you normalise.
#
# **At the start**, if all classes are equally likely, each positive comes with three negatives and each of the four
# costs ln 21, which makes 12.18 for the confidence. Random weights start higher, because they give wrong classes a high
# probability here and there, and mining looks for the worst:

# %%
rows = []
for state in (loss_anatomy.EQUAL, loss_anatomy.UNTRAINED, loss_anatomy.TRAINED):
    parts = loss.multibox_loss(loss_anatomy.predict(scenes, state), everything)
    rows.append((state, parts.confidence, parts.localisation))
table(rows, head=("network", "confidence", "localisation"))

# %% [markdown]
# **During training**, the recorded run of the mini VOC gives these means over ten steps. The L2 term of the last column
# is explained below.

# %%
log = [row for row in runlog.read_log(places.recording("mini")) if "multibox" in row]
chosen = [row for row in log if row["step"] in (10, 100, 500, 1000, 2500)]
rows = [(row["step"], row["multibox"], row["keras_equivalent"]) for row in chosen]
table(rows, head=("step", "multibox", "with the L2 term"))

# %% [markdown]
# **What others report** for SSD300 on VOC 07+12, without an L2 term, begins between 8.7 and 31, depending on the
# program and on the first point it shows, and ends between 1.5 and 3 ([Losses that other programs
# report](../docs/differences_from_caffe.md)). Why do these numbers differ so much?
#
# ## Why losses can't be compared
#
# Part of the answer is bookkeeping. Here the scene, the network, the boxes and classes are the same, and only that
# differs:

# %%
network = pictures.recorded_network()
total, used = localisation + objects + background, int((found.positive | found.chosen).sum())
plain = float((predicted.offsets - wanted.offsets)[found.positive].abs().mean())
rows = [
    ("this course, Caffe: sums / positives", total / found.n),
    ("divided by all anchors used", total / used),
    ("plain L1, mean over the coordinates", plain + (objects + background) / found.n),
    ("plus L2: what ssd_keras reports", total / found.n + float(loss.l2_penalty(network))),
]
table(rows, head=("bookkeeping", "loss"), form=("", ".4f"))

# %% [markdown]
# - **Divided by all used**: the loss is a quarter, as long as each positive gets its three negatives. The author's
#   example in the thread above is Faster R-CNN, which divides so. The gradient is a quarter too, so a learning rate
#   suits only the convention that it was chosen for.
# - **Mean over the coordinates**: the four offsets are averaged instead of added, so boxes weigh a quarter. The
#   [tutorial of sgrvinod](https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection) does this, with plain L1.
# - **L2**: Keras adds 5e-4 · Σw², a penalty on the squares of the weights w of all convolutions, to the loss it
#   reports. The curve of ssd_keras goes from about 10 (mean of its first 1,000 steps) to about 3.9 *with* it, and where
#   weights shrink, it falls without any better detection. SGD in PyTorch or Caffe has the same effect through *weight
#   decay*, which shrinks each weight a little in every step and doesn't appear in the reported loss. Mind the factor of
#   two: the gradient of 5e-4 · w² is 1e-3 · w, which is a weight decay of **1e-3**, as the next cell checks.

# %%
w = torch.tensor(3.0, requires_grad=True)
(slope,) = torch.autograd.grad(5e-4 * w**2, w)
print(f"gradient at w = 3: {slope:.4f}, weight decay 1e-3 gives {1e-3 * 3:.4f}")

# %% [markdown]
# Two more differences are whether N counts the 8 images of one GPU or all 32 (Caffe divides on each GPU), and what
# *step* means (32 images, 8, or 1). So compare mAP between programs, and use the loss to compare a run with *itself*:
# is it a number, does it fall, does the validation loss follow?
#
# Now that you have seen every part of the loss, write it yourself.
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold. A check that says *not right*
# shows where.
#
# ### 4.1 Offsets · easy · 8 minutes
#
# You are given an object `box` and its `anchor`, each a tensor of four corner coordinates in px. The first line already
# turns them into centre, width and height. Return a tensor of the four offsets as in part one, in the order x, y,
# width, height.
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
# `g[:2]` is the centre of the object, `g[2:]` its width and height; `p` is the same for the anchor.
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.cat([shift, growth])` puts two tensors of two into one of four.
# </details>
# <!-- solution -->
#
# ### 4.2 Smooth L1 · easy · 5 minutes
#
# You are given `error`, a tensor of any shape that holds predicted - target. Return the cost of each of its numbers, a
# tensor of the same shape. Write the formula of part two; don't call `smooth_l1_loss`.
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
# `torch.where(condition, a, b)` takes a where the condition holds and b elsewhere; and think of errors below -1.
# </details>
# <!-- solution -->
#
# ### 4.3 -log p(background) · easy · 8 minutes
#
# You are given `logits`, with one row for each anchor and one column for each class; class 0 is background. Return
# -ln p(background) for each row. It has to be right for large logits too, although `exp(100)` is infinite in float32.
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
# -ln(e^z₀ / Σ e^z) = ln Σ e^z - z₀. PyTorch has `logsumexp` for the first part, or `log_softmax` for all of it.
# </details>
# <details><summary>Hint 2, if you want to write the sum yourself</summary>
#
# Subtract the largest logit *of the row* before `exp`, and add it again after the logarithm.
# </details>
# <!-- solution -->
#
# ### 4.4 Hard negatives · the heart of the chapter · 15 minutes
#
# You are given `losses`, which holds -ln p(background) with a row for each image and a column for each anchor, and
# `positive` of the same shape, True where an anchor is assigned to an object. Return a third tensor of that shape, True
# at the hard negatives: `ratio` for each positive of the image, or all where there are fewer. Loops are welcome.
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
# `positive.sum(dim=1, keepdim=True)` is a column, and `rank < column` compares row by row.
# </details>
# <details><summary>Help: positives are chosen where negatives run out</summary>
#
# The count can be larger than the number of negatives. End with `& ~positive`.
# </details>
# <!-- solution -->
#
# ### 4.5 The whole loss · medium · 12 minutes
#
# You are given one image with K anchors: the predicted `offsets` (K, 4) and `logits` (K, C), the `wanted` offsets (K,
# 4) and `labels` (K), and the chosen `negative` (K, True or False). Return the loss, a tensor of one number (no
# `.item()`: training needs its gradient), which is 0 if there is no positive. Use your `smooth_l1` for the boxes;
# `torch.nn.functional.cross_entropy(logits, labels, reduction="sum")` does the classes.
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
# A network says of all anchors that the 21 classes are equally likely. The ratio is 3, and no image runs out of
# negatives. Set `first_loss` to the confidence part of the loss, divided by N; two decimals are enough.

# %% tags=["exercise"]
first_loss = 4 * torch.log(torch.tensor(21.0))  # solution

# %%
check.start(first_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What does one anchor cost? How many anchors are in the sum for each positive?
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# ... we subtracted *one* maximum from all logits? exp(100) is too large for float32, so every program subtracts a
# maximum before `exp`. amdegroot's port subtracts the largest logit of the *whole batch* ([ssd.pytorch
# 483](https://github.com/amdegroot/ssd.pytorch/issues/483)). All goes well until one anchor of one image is far above
# the others, because then the exp of the others is 0, and log 0 is -inf. How far is far?

# %%
rows = []
for kind, powers in ((torch.float32, (-100.0, -104.0)), (torch.float16, (-17.0, -18.0))):
    rows += [(str(kind), f"exp({x:.0f})", torch.tensor(x, dtype=kind).exp()) for x in powers]
table(rows, head=("type", "", "is"), form=("", "", ".1e"))

# %% [markdown]
# In float32 a logit has to lie 104 below the largest for its exp to be 0, and in float16, the half-precision format, 18
# are enough. We take the recorded network's logits and raise a single logit of a single anchor, number 5000, by 150:

# %% alt="The scene twice: on the left the right choice of negatives, spread over the image; on the right, after one logit was raised, boxes crowded in its upper left corner"
wild = predicted.logits.clone()
wild[0, 5000, 7] += 150
right_choice = loss.hard_negatives(wild, found.positive, "image", 3)
one_maximum = check.mined_with_one_maximum(wild, found.positive)
bad_choice = one_maximum & ~found.positive
panels = {"a maximum for each anchor": right_choice[0], "one maximum for all": bad_choice[0]}
figure = figures.draw_negatives(scene, found.positive[0], panels)

# %% [markdown]
# On the left is what should be chosen. On the right the -ln p(background) of all other anchors comes out as -inf. They
# are equal, so their order is that of their numbers, and the first anchors, in the upper left corner, are called hard.
# The positives, set to 0 in that code, are above -inf, so they take places too.

# %%
print("negatives chosen:", int(right_choice.sum()), "and", int(bad_choice.sum()))
print("in both:", int((right_choice & bad_choice).sum()), "(the anchor with the raised number)")

# %% [markdown]
# The loss itself is computed by another, correct function, so it stays a number, no error is raised, and the network
# learns from the wrong anchors. A user in that thread writes that the results were very poor and the cause took long
# to find. In the library, `log_softmax` subtracts each row's own maximum.
#
# Four more mistakes, each with its symptom; the [FAQ](../docs/faq.md) has threads about all but the third:
#
# - **NaN at the first image without objects**: 0 / 0, see *N, and images without objects*.
# - **NaN or inf in the localisation**: the logarithm of the width of a box without width, or with corners in the wrong
#   order. It is the data that is wrong:

# %%
empty_box, swapped = torch.tensor([130.0, 105, 130, 213]), torch.tensor([198.0, 105, 126, 213])
for name, wrong in (("no width", empty_box), ("swapped", swapped)):
    print(f"{name}: growth of the width {coding.encode(wrong, anchor)[2]}")

# %% [markdown]
# - **A loss a quarter of what others report, and slow learning**: N counts the negatives.
# - **An error about shapes in the lines that choose negatives**, in old code on new PyTorch: a mask of (B, K) is put on
#   losses of (B · K, 1). Reshape the losses first.
#
# (NaN from a learning rate that is too high is another matter: [chapter 07](07_sgd_instability.ipynb).)
#
# ## Self-test

# %%
SelfTest("loss")

# %% [markdown]
# ## Recap
#
# - An object is written as four offsets from its anchor: the shift in units of the anchor and the logarithm of the
#   growth, divided by 0.1 and 0.2. The "variances" are fixed scales.
# - Positives are penalised by smooth L1 for four offsets and by -ln p for their class.
# - Hard negatives: per image, three for each positive, those with the largest -ln p(background).
# - Everything is divided by N, the number of positives, at least 1. No objects: no loss.
# - With all classes equally likely the confidence starts at 4 · ln 21 = 12.18. A loss of 2 to 3 at the end can be a
#   detector of 77 mAP. Compare mAP, not losses.
#
# The loss judges 8,732 answers; the [next chapter](05_network.ipynb) builds the network that gives them.
#
# Sources: the paper, section 2.2 "Training objective" and "Hard negative mining"; the rules are those of Caffe's
# `multibox_loss_layer.cpp` and `bbox_util.cpp`.
