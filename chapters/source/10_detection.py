# %% [markdown]
# # 10 · Detection
#
# **In one sentence:** of 218,300 numbers a handful of boxes is left, by six steps that are always done in the same
# order.
#
# | | |
# |---|---|
# | time | 80 minutes, two thirds of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 01: IoU; chapter 02: the 8,732 anchors; chapter 04: offsets and softmax |
# | new modules | `detect`, and `decode` in `coding` |
#
# At the end of this page you will be able to
#
# - turn offsets back into boxes, and say what each of the six steps is for,
# - do non-maximum suppression with a pencil,
# - say what .01, 400, .45 and 200 do, and which of them matters for AP,
# - find out why a trained network shows nothing.

# %%
import inspect

import torch

from course.detection import check, nms_bench, stages
from course.kit import free_photographs, pictures
from course.kit.self_test import SelfTest
from course.kit.tables import table
from ssdlib import box_ops, coding, detect, plots
from ssdlib.data import voc
from ssdlib.records import Predictions

# %% [markdown]
# ## The picture
#
# A small trained network comes with this course. Here is what it says about one of the 200 test scenes of the mini VOC:
# every box with a score above .01, what is left after suppression, and what one would show to somebody.

# %% alt="The same scene three times: covered by hundreds of boxes, by eighty boxes, and with four boxes that fit four objects"
seen = stages.recorded()
scene = pictures.scene(seen.examples[21])
ranking = stages.rank_image(seen.of(21), seen.anchors)
figure = stages.stages_drawn(scene.pixels, ranking)

# %% [markdown]
# (Glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0. The scenes are those of the mini VOC even if the genuine
# VOC is on your disk, because this network has never seen a photograph.)
#
# The network doesn't give the right picture. It gives the left one, and six steps make the right one of it.
#
# ## The words
#
# - **Logits**: 21 numbers for each anchor, one a class. The **softmax** makes **scores** of them, which add up to 1.
# - **Decoding** turns an anchor and four offsets into a box.
# - A **candidate** is a box of one class whose score is above the threshold. One anchor may be several candidates.
# - **NMS**, *non-maximum suppression*: a candidate goes if a better one that stays overlaps it too much. *Goes* means:
#   it is taken off the list, by that better one, its *suppressor*.
# - A **detection** is what is left: a class, a score, four corners on the photograph.
#
# ## The order
#
# | | step | number | what for |
# |---|---|---|---|
# | 1 | softmax over 21 classes; decode all boxes | | from numbers to scores and boxes |
# | 2 | in each of the 20 classes: only scores above the threshold | .01 | less work |
# | 3 | of these, the best of each class (*top-k*) | 400 | a limit to the work |
# | 4 | NMS within each class | .45 | one box for each object |
# | 5 | the best of the image, all classes together (*keep*) | 200 | a limit to the output |
# | 6 | cut off at the border, scale to the photograph | | from the canvas to px of the photograph |
#
# These are the rules and the numbers of Caffe's `detection_output_layer.cpp`; the paper has all but the 400, in section
# 3.7.
#
# ## By hand
#
# Five boxes of 160 x 160 px lie in one column: all have the same left edge, and each begins at another height. If one
# box lies s px below another, they share 160 - s rows of pixels, and together they cover 160 + s. So with s = 40 the
# IoU is 120 / 200 = .60.
#
# | | A dog .9 | B dog .8 | C dog .7 | D cat .6 | E dog .5 |
# |---|---|---|---|---|---|
# | top edge | 10 | 50 | 90 | 25 | 130 |
# | IoU with A | | .60 | .33 | .83 | .14 |
# | IoU with B | | | .60 | .73 | .33 |
# | IoU with C | | | | .42 | .60 |
#
# The threshold is .45. Go from the best score down.
#
# - **A** is the best: it stays.
# - **B** overlaps A by .60 and has the same class: A suppresses it.
# - **C** overlaps B by .60. But B is gone, and only boxes that stay can suppress. With A it has .33: C stays.
# - **D** overlaps A by .83. But it is a cat, and no other cat is there: D stays.
# - **E** overlaps C by .60, and C stays: C suppresses it.
#
# A, C and D are left. In Python, with two loops:

# %%
def by_pencil(places, scores, max_iou):
    kept = []
    for i in scores.argsort(descending=True).tolist():
        if all(box_ops.iou(places[i], places[j]) <= max_iou for j in kept):
            kept.append(i)
    return kept


column = torch.tensor([corners for _, _, corners in stages.FIVE])
scores = torch.tensor([score for _, score, _ in stages.FIVE])
dogs = torch.tensor([0, 1, 2, 4])
print("dogs that stay:", [("A", "B", "C", "E")[i] for i in by_pencil(column[dogs], scores[dogs], 0.45)])

# %% [markdown]
# This is **greedy**: from the best score down, and no decision is ever taken back. It isn't fair. Give A's score to B
# and B's to A. No box has moved, but now B suppresses A and C, and of three boxes one is left:

# %%
three = column[:3]
for order in ([0.9, 0.8, 0.7], [0.8, 0.9, 0.7]):
    print(order, "->", len(by_pencil(three, torch.tensor(order), 0.45)), "stay")

# %% [markdown]
# The result depends on the order, not only on the overlaps. A box in the middle with a high score
# suppresses its neighbours; the same box with a low score is suppressed.
#
# ## In the library
#
# `decode` is the inverse of what training used to write down objects: the centre moves by a part of the anchor's size,
# the size is multiplied. The four variances of chapter 04 come back: encoding divided by them, so decoding multiplies.

# %%
print(inspect.getsource(coding.decode))

# %% [markdown]
# `best_per_class` is steps 2 and 3. Look for `[1:]`: background is left out, it is no object. And look for `> score`:
# a score has to *exceed* the threshold.

# %%
print(inspect.getsource(detect.best_per_class))

# %% [markdown]
# `nms` is step 4. A loop over boxes would be slow here, so all boxes of a class decide at once, again and again, until
# nobody changes its mind. That gives what the pencil gives, as you will see below. Each class gets a row of a table; a
# class with fewer boxes than another has a row that ends in -1.

# %%
print(inspect.getsource(detect.nms))

# %% [markdown]
# Step 5, the 200 best of all classes, needn't wait for all of step 4. Whether a box stays depends on better ones alone. So
# `best_kept` suppresses among the 400 best of the whole picture first (twice *keep*, not the 400 of step 3), and looks
# further down only if fewer than 200 of them stay. The result is the same.

# %%
print(inspect.getsource(detect.best_kept))

# %% [markdown]
# And `detect` is all six.

# %%
print(inspect.getsource(detect.detect))

# %% [markdown]
# Do they agree? A hundred random sets of boxes in five classes: two plain loops, the library, and torchvision's
# `batched_nms`, which was written by other people.

# %%
import torchvision

chance = torch.Generator().manual_seed(0)
for _ in range(100):
    corner, size = torch.rand(2, 60, 2, generator=chance, dtype=torch.float64).mul(100).unbind(0)
    places, points = torch.cat([corner, corner + size], dim=1), torch.rand(60, generator=chance).double()
    kinds = torch.randint(1, 6, (60,), generator=chance)
    assert check.library_agrees(places, points, kinds, 0.45)
    theirs = torchvision.ops.batched_nms(places, points, kinds, 0.45)
    assert torch.equal(theirs, detect.nms(places, points, kinds, 0.45))
print("100 sets of 60 boxes: all three keep the same")

# %% [markdown]
# One detail: an overlap has to *exceed* .45 (>, not >=). In matching it is the other way round, there .5 itself counts.
# Two boxes with an IoU of exactly one half:

# %%
halves = torch.tensor([[0.0, 0, 20, 10], [0, 0, 10, 10]]), torch.tensor([0.9, 0.8])
print("the library keeps", detect.nms(*halves, torch.ones(2), 0.5).tolist())
print("torchvision keeps", torchvision.ops.nms(*halves, 0.5).tolist())

# %% [markdown]
# ## The same on the scene
#
# How many are left after each step on the scene above?

# %%
counts = stages.funnel(seen.of(21), seen.anchors)
table(list(counts.items()), head=("after", "left"))

# %% [markdown]
# 8,732 anchors with 21 + 4 numbers each, and in the end one box for each object. Two limits did nothing here: no class had 400 candidates, and fewer than 200 boxes were left. They are there for the worst case.
#
# Most anchors say *background*, and loudly:

# %%
probabilities = seen.of(21).logits[0].softmax(dim=-1)
print("scores of an anchor add up to", f"{probabilities[0].sum():.3f}")
print("anchors whose best class is background:", f"{(probabilities.argmax(dim=1) == 0).float().mean():.1%}")
print("anchors that are a candidate for several classes:", int(((probabilities[:, 1:] > 0.01).sum(1) > 1).sum()))

# %% [markdown]
# Decoded boxes may leave the picture. The network doesn't know where the border is, and nothing is cut off before
# step 6:

# %%
left = ranking.boxes[ranking.kept]
outside = ((left < 0) | (left > 300)).any(dim=1)
farthest = max(-left.min(), left.max() - 300)
print(f"{int(outside.sum())} of {len(left)} boxes reach beyond the canvas, by up to {farthest:.0f} px")

# %% [markdown]
# ## Why so?
#
# **Why within each class?** A person on a horse: two objects, and their boxes overlap by more than .45. Over all classes
# together, one of them would go. There is a second reason, and it has to do with errors. Here is
# a small horse that the network calls a dog first, then a cat, and a horse only in third place. (The large horse has no
# score of .5 at all.)

# %% alt="Two horses; around the smaller one three boxes of about the same size say dog, cat and horse, dog with the highest score"
horses = seen.examples[31]
guesses = stages.rank_image(seen.of(31), seen.anchors)
figure = stages.guesses_drawn(pictures.scene(horses).pixels, guesses)

# %%
for across in (False, True):
    kept = stages.rank_image(seen.of(31), seen.anchors, across=across).detections(horses.size).above(0.5)
    names = [voc.CLASSES[label] for label in kept.labels.tolist()]
    print(f"{'over all classes' if across else 'within each class'}: {', '.join(names)}")

# %% [markdown]
# The horse stays as the third guess. For a picture that one shows, that is ugly, and users ask how to get rid of
# it ([pytorch-ssd, issue 149](https://github.com/qfgaohao/pytorch-ssd/issues/149)). For AP the third guess is worth
# something, because each class is judged for itself.
#
# **What has .45 to do with the truth?** Nothing. NMS compares boxes of the network with each other, the annotations play
# no part ([ssd_keras, issue 77](https://github.com/pierluigiferrari/ssd_keras/issues/77)). The .5 of matching and the .5
# of AP compare boxes with objects. Three thresholds of IoU, three questions.
#
# **Why .01?** It is the question of
# [ssd_keras, issue 89](https://github.com/rykov8/ssd_keras/issues/89). The author of SSD
# [answers](https://github.com/weiliu89/caffe/issues/53): the threshold is there to balance the speed of NMS and mAP;
# it removes most boxes and leaves mAP more or less the same. It is a threshold for **judging**. For **showing** one
# takes .5 or .6.
#
# You don't have to detect twice for that. What becomes of a box depends on *better* boxes alone, so the worse ones may
# be cut off before or after. (The network looks at all 200 scenes now, about five seconds.)

# %%
everything = seen.detect()
strict = seen.detect(score=0.5)
same = [torch.equal(a.above(0.5).boxes, b.boxes) for a, b in zip(everything, strict)]
print("scenes where .above(0.5) afterwards gives the same boxes:", sum(same), "of", len(same))
print("most boxes left in a scene, of 200 allowed:", max(map(len, everything)))

# %% [markdown]
# Top-k cuts off the end of each class's ranking, as the score threshold does, so these two may change places. But top-k
# may not come after NMS. There ssd_keras has it in its TensorFlow layer, which takes the 400 best *survivors* of NMS.
#
# **"It is trained, but it detects nothing."** Users of four programs report it
# ([amdegroot 96](https://github.com/amdegroot/ssd.pytorch/issues/96),
# [276](https://github.com/amdegroot/ssd.pytorch/issues/276),
# [298](https://github.com/amdegroot/ssd.pytorch/issues/298),
# [weiliu89 591](https://github.com/weiliu89/caffe/issues/591),
# [ssd_keras 77](https://github.com/pierluigiferrari/ssd_keras/issues/77)).
# One and the same network, seen through different thresholds:

# %%
by_score, rows = {}, []
for score in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9):
    shown = [found.above(score) for found in everything]
    by_score[score] = seen.mean_ap(shown)
    rows.append((score, sum(map(len, shown)) / len(shown), sum(len(s) == 0 for s in shown), by_score[score]))
head = ("score", "boxes a scene", "scenes with no box", "mAP")
table(rows, head, form=("", ".1f", "", ".1f"), heat=["mAP"])

# %% [markdown]
# So before you train longer: print the highest score of the picture, and show everything above .1. If the boxes are
# right, the network has learned, and its scores are low. If they are wrong at .1 too, look at decoding and at the
# order of the anchors, at the end of this page. The value of the loss won't tell you: it isn't very
# meaningful in itself, says [the author of SSD](https://github.com/weiliu89/caffe/issues/589).
#
# The last column answers another question. Judged by its boxes above .5 alone, the same network seems to be far worse,
# and the number itself doesn't say why. Whoever compares mAPs has to compare thresholds first
# ([ssd-tensorflow, issue 2](https://github.com/ljanyst/ssd-tensorflow/issues/2) is such a case). It is one of the things
# to check when your number isn't the published one
# ([amdegroot 321](https://github.com/amdegroot/ssd.pytorch/issues/321): .7247 for weights that should give .7726).
#
# ## What each number is worth
#
# The score threshold has had its table. Now each of the other three numbers is varied alone. Each time all 200 scenes are
# detected anew and judged by `evaluate`. (What AP is, chapter 11 explains. Here more is better.)

# %%
tried = {
    "top_k": (1, 5, 20, 400),
    "nms_iou": (0.1, 0.3, 0.45, 0.6, 0.8, 1.0),
    "keep": (1, 5, 20, 200),
}
worth = {name: {v: seen.mean_ap(seen.detect(**{name: v})) for v in values} for name, values in tried.items()}
rows = [(name, f"{value:g}", ap) for name, line in worth.items() for value, ap in line.items()]
table(rows, head=("setting", "value", "mAP"), form=("", "", ".1f"), heat=["mAP"])

# %% alt="Four small curves of mAP: falling with the score threshold, rising and flat with top-k and keep, a hill with its top near .3 to .45 for the NMS IoU"
usual = {"score": detect.SCORE, "top_k": detect.TOP_K, "nms_iou": detect.NMS_IOU, "keep": detect.KEEP}
figure = stages.swept({"score": by_score, **worth}, usual)

# %% [markdown]
# - **score**: the lower the better. Every right box that the threshold takes away is missing from AP. From .1 to .01 it
#   still gains about one point.
# - **top-k** and **keep**: large enough is enough. Too small they cut into crowded scenes.
# - **NMS IoU**: a hill. Low, and neighbours of the same kind suppress each other. High, and one object is found many
#   times; only the first one counts as right (chapter 11). At 1 nobody is suppressed.
#
# (Measured on painted scenes with this small network. On photographs the numbers differ; the shapes have the same
# reasons.)
#
# ## The same network on photographs
#
# It has learned from painted scenes alone. Predict first: what will it say about photographs, and with which scores?

# %% alt="Four photographs with the boxes drawn by hand in orange and a few small blue boxes, with scores above 0.5, on things that are none of the classes they name"
four = [free_photographs.example(name) for name in free_photographs.PHOTOGRAPHS]
said = stages.Recorded(four, pictures.recorded_network(), seen.anchors).detect()
figure = plots.detections(four, [voc.read_photograph(example.path) for example in four], said)
figure = free_photographs.add_credit(figure, list(free_photographs.PHOTOGRAPHS))

# %% [markdown]
# It misses the cat and both persons, and it is sure of things that aren't there: the ring of a space suit, a camera and a
# part of a steel tower are *tvmonitors* to it. A score says how much something looks like what the network has learned,
# compared with the other classes it has learned. At best it is a probability of being right for pictures like those it
# was trained on, so a threshold that was chosen on one kind of picture says little about another.
#
# > Note: painted scenes in place of the photographs don't show this, because the network knows their kind.
#
# ## What other programs do
#
# | | Caffe, this course | amdegroot | ssd_keras | torchvision | chainercv |
# |---|---|---|---|---|---|
# | score | > .01 | > .01 | > .01 | > .01 | >= .01 |
# | best of a class, before NMS | 400 | 200 | all | 400 | all |
# | suppressed if IoU | > .45 | > .45 | > .45 | > .45 | >= .45 |
# | cut off before NMS | no | no | no | **yes** | no |
# | best of the image | 200 | 200 *a class* | 200 | 200 | all |
#
# The 200 of amdegroot was meant for the image; the line that should do it
# [has no effect](https://github.com/amdegroot/ssd.pytorch/issues/168), because it fills a copy with zeros.
#
# ## Move it
#
# Blue boxes stay, thin dashed red ones are suppressed. Click into the picture; then <kbd>n</kbd> goes down the ranking,
# <kbd>Shift</kbd>+<kbd>n</kbd> up, and below the picture you read who suppressed whom. The slider *candidate* does the
# same, and so does a click near the edge of a box. The cases *by hand* have boxes that you drag. *Say before you look*:
#
# - **show** one class. How many of its boxes are there for one object? Now NMS IoU to 1, and to 0.
# - **suppress over all classes** in scene 31: who is gone?
# - **by hand: the five of the page**: drag B away. What happens to C? And to E?
# - **by hand: two of a kind, close together**: both are real sheep. At which IoU does NMS let both live?

# %%
explorer = nms_bench.NmsBench()
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# The two sheep show the limit of the rule: of two objects of one class whose boxes overlap by more than .45 only one is
# kept, however good the network is. A higher threshold would save them, and give other objects two boxes.
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold. A check that says *not right*
# shows where.
#
# ### 10.1 Decode · medium · 10 minutes
#
# `offsets` (n, 4) are in the order x, y, width, height, `anchors` (n, 4) are corners in px. Return the boxes (n, 4),
# corners in px. The centre moves by .1 · offset · the anchor's width (for x) or height (for y). Width and height are the
# anchor's, times e to the power of .2 · offset.
#
# *Building block:* in chapter 13 it turns what the network says back into boxes.

# %% tags=["exercise"]
def decode(offsets, anchors):
    # solution
    anchor = box_ops.to_cxcywh(anchors)
    centre = anchor[:, :2] + 0.1 * offsets[:, :2] * anchor[:, 2:]
    size = anchor[:, 2:] * (0.2 * offsets[:, 2:]).exp()
    return box_ops.to_xyxy(torch.cat([centre, size], dim=1))

# %%
check.decode(decode)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `box_ops.to_cxcywh(anchors)` gives centre x, centre y, width, height; `box_ops.to_xyxy` goes back.
# </details>
# <details><summary>Hint 2</summary>
#
# `[:, :2]` is the centre of all, `[:, 2:]` the size of all. The same two slices fit the offsets.
# </details>
# <!-- solution -->
#
# ### 10.2 Candidates · easy · 5 minutes
#
# `probabilities` is (K, C): K anchors, C classes, column 0 is background. `score` is the threshold. Return an (n, 2)
# tensor of whole numbers with one row, label and anchor, for every candidate: first all of class 1, then class 2 and so
# on, within a class the lower anchor first. If nothing is found, its shape is (0, 2).
#
# *Building block:* in chapter 13 it chooses which answers are looked at.

# %% tags=["exercise"]
def candidates(probabilities, score):
    # solution
    pairs = (probabilities[:, 1:].T > score).nonzero()
    return pairs + torch.tensor([1, 0])

# %%
check.candidates(candidates)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `(table > score).nonzero()` lists the places line by line. Which dimension has to come first?
# </details>
# <details><summary>Hint 2</summary>
#
# Once the column of background is gone, line 0 is class 1.
# </details>
# <details><summary>Help: shape (0,) is complained about</summary>
#
# Loops that find nothing leave an empty list. `torch.tensor(found, dtype=torch.int64).reshape(-1, 2)` gives it its two
# columns.
# </details>
# <!-- solution -->
#
# ### 10.3 The best of each class · easy · 5 minutes
#
# n candidates with their `scores` (n,) and `labels` (n,); n may be 0, and no two scores are equal. Return the indices of
# the `k` best of each class, all in one tensor, in rising order. A class may have fewer than `k`.
#
# *Building block:* in chapter 13 it bounds how many of them there are.

# %% tags=["exercise"]
def top_k(scores, labels, k):
    # solution
    keep = torch.zeros(len(scores), dtype=torch.bool)
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        keep[mine[scores[mine].argsort(descending=True)[:k]]] = True
    return keep.nonzero()[:, 0]

# %%
check.top_k(top_k)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For each label: `mine = (labels == label).nonzero()[:, 0]` are its indices. Sort `scores[mine]`, and carry what you
# find back through `mine`.
# </details>
# <!-- solution -->
#
# ### 10.4 Suppression · the heart of the chapter · 15 minutes
#
# `places` (n, 4) are boxes of one class, corners in px, `scores` (n,) are theirs, no two equal. Return the indices of
# the boxes that stay, best score first, as a tensor of whole numbers. n may be 0. (`by_pencil` above does it. Try without
# scrolling up.)
#
# *Building block:* in chapter 13 it does the suppression, class by class (10.5).

# %% tags=["exercise"]
def suppress(places, scores, max_iou):
    # solution
    kept = []
    for i in scores.argsort(descending=True).tolist():
        if (box_ops.iou(places[i], places[kept]) <= max_iou).all():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)

# %%
check.suppress(suppress)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Begin with an empty list of those that stay. `scores.argsort(descending=True)` lists the indices from the best score
# down; go through them.
# </details>
# <details><summary>Hint 2</summary>
#
# `box_ops.iou(a, b)` is the IoU of two boxes. A box joins the list if its IoU with *everyone on the list* is at most
# `max_iou`. It also compares one box with many: `places[kept]` are all on the list.
# </details>
# <details><summary>Help: shape (0,) or a type is complained about</summary>
#
# `torch.tensor([])` holds fractions. Write `torch.tensor(kept, dtype=torch.int64)`.
# </details>
# <!-- solution -->
#
# ### 10.5 Class by class · medium · 10 minutes
#
# The same with `labels` (n,): only boxes of one class suppress each other. Return the indices of those that stay, of all
# classes together, best score first. Use your `suppress`.
#
# *Building block:* in chapter 13 it stands for the non-maximum suppression of the library.

# %% tags=["exercise"]
def class_by_class(places, scores, labels, max_iou):
    # solution
    kept = []
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept += mine[suppress(places[mine], scores[mine], max_iou)].tolist()
    kept = torch.tensor(kept, dtype=torch.int64)
    return kept[scores[kept].argsort(descending=True)]

# %%
check.class_by_class(class_by_class)

# %% [markdown]
# <details><summary>Hint</summary>
#
# As in 10.3: what `suppress` returns are indices within the class, and `mine[...]` carries them back. Sort at the end.
# </details>
# <!-- solution -->
#
# ### 10.6 Back to the photograph · easy · 5 minutes
#
# `places` (n, 4) are boxes in px of the canvas, 300 x 300, some of them beyond its border. `size` is (width, height) of
# the photograph. Cut the boxes off at the border, and return them in px of the photograph (no rounding).

# %% tags=["exercise"]
def to_photograph(places, size):
    # solution
    width, height = size
    return places.clamp(0, 300) * torch.tensor([width, height, width, height]) / 300

# %%
check.to_photograph(to_photograph)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Cut off first, while the border is still at 300 for both directions. `tensor.clamp(low, high)` does it.
# </details>
# <!-- solution -->
#
# ### 10.7 The most that can be left · on paper · 3 minutes
#
# How many boxes of one image can leave NMS at most, before *keep*? Take the numbers of the table at the top.

# %% tags=["exercise"]
most = 20 * 400  # solution

# %%
check.most(most)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Every class has its own list, and in the worst case no two boxes of it overlap.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# Four classic mistakes. None of them stops with an error, and the training loss is fine every time, because
# training never detects. Only the mAP tells.
#
# **NMS over all classes together**, as once in
# [google/automl, issue 450](https://github.com/google/automl/issues/450):

# %%
rankings = [stages.rank_image(seen.of(i), seen.anchors, across=True) for i in range(len(seen.examples))]
together = [r.detections(size) for r, size in zip(rankings, seen.sizes)]
table([("as it should be", seen.mean_ap(everything)), ("over all classes", seen.mean_ap(together))],
      head=("NMS", "mAP"), form=("", ".1f"))

# %% [markdown]
# **Forgotten variances**: the offsets are taken as they are, ten times too far and five times too much growth (in the
# exponent).

# %%
variances = torch.tensor(coding.VARIANCES)
far = Predictions(seen.predictions.offsets / variances, seen.predictions.logits)  # decode multiplies: now it is off
forgotten = detect.detect(far, seen.anchors, seen.sizes)
print(f"variances forgotten {seen.mean_ap(forgotten):.1f}")

# %% [markdown]
# **Not scaled back**: the boxes are those of the canvas and are laid on the photograph.

# %%
unscaled = detect.detect(seen.predictions, seen.anchors, [(300, 300)] * len(seen.sizes))
print(f"not scaled back {seen.mean_ap(unscaled):.1f}")

# %% [markdown]
# **Anchors in another order** than in training. A mild case: wide and tall anchors have changed places, as
# when somebody reads an aspect ratio as height to width
# ([tensorflow/models, issue 1930](https://github.com/tensorflow/models/issues/1930)). Squares are where they were.

# %%
turned = box_ops.to_xyxy(box_ops.to_cxcywh(seen.anchors)[:, [0, 1, 3, 2]])
swapped = detect.detect(seen.predictions, turned, seen.sizes)
print(f"wide and tall swapped {seen.mean_ap(swapped):.1f}")

# %% alt="One photograph four times: boxes that fit, boxes far too large or small, boxes shifted to the upper left, boxes with wrong shapes"
wrong = [everything[21], forgotten[21], unscaled[21], swapped[21]]
photograph = voc.read_photograph(seen.examples[21].path)
figure = plots.detections([seen.examples[21]] * 4, [photograph] * 4, wrong)

# %% [markdown]
# From the left: right, variances forgotten, not scaled back, wide and tall swapped. The last one is the dangerous one:
# still an mAP that one might believe, and most boxes are where they should be. If your mAP is lower than the published one and the boxes
# look *almost* right, compare your anchors with those of training, one by one.
#
# ## Self-test

# %%
SelfTest("detection")

# %% [markdown]
# ## Recap
#
# - Softmax and decode, threshold, top-k, NMS within each class, keep, cut off and scale: in this order.
# - NMS goes from the best score down. A box goes if a better one of its class *that stays* overlaps it by more than .45.
# - What becomes of a box depends on better boxes alone. So .01 is for judging, .5 for showing, and one detection serves
#   both.
# - A threshold of .5 takes many points of mAP; 400 and 200 are limits for crowded pictures.
# - What breaks here makes no error. Judge, and look at pictures.
#
# Paper, section 3.7; the rules are those of Caffe's `detection_output_layer.cpp` and `bbox_util.cpp`.
