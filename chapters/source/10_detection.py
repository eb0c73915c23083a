# %% [markdown]
# # 10 · Detection
#
# **In one sentence:** six steps, always in the same order, reduce the 218,300 numbers that the network gives for one
# image to a handful of boxes.
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
# - say what 0.01, 400, 0.45 and 200 do, and which of them matters for average precision (AP), the number by which detectors
#   are compared,
# - find out why a trained network shows nothing.

# %%
import torch

from course.detection import check, figures, nms_bench, photographs, stages
from course.kit import free_photographs, opening, pictures
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from ssdlib import box_ops, coding, detect
from ssdlib.data import voc
from ssdlib.records import Predictions

# %% [markdown]
# ## The picture
#
# A small trained network comes with this course. Below is the scene of [chapter 00](00_start_here.ipynb) with its car,
# dog and person three times: on the left with every box that has a score above 0.01, in the middle with the boxes that
# are left after *non-maximum suppression* (NMS), which removes boxes that overlap a better one, and on the right with those
# that you would show. On the left and in the middle only boxes around the car are drawn dark, so that you can follow one
# object.

# %% alt="The same scene three times: covered by 281 boxes, by 38 boxes, and with three boxes that fit a car, a dog and a person. Around the car the boxes are drawn in full, all others faintly"
seen = stages.recorded()  # the network before the 200 test scenes of the mini VOC
opener = stages.opened()  # the same network before the scene of chapter 00
ranking = stages.rank_image(opener.of(0), opener.anchors)
figure = figures.stages_drawn(opening.scene().pixels, ranking)

# %% [markdown]
# The network itself gives only the left image. This page is about the six steps that turn it into the right one.
#
# > Note: glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0. All scenes of this page are painted even if the
# > genuine VOC is on your disk, because this network has never seen a photograph. They are the 200 test scenes of the
# > mini VOC and the one above, which isn't part of it.
#
# ## The words
#
# - **Logits**: 21 numbers for each anchor, one for each class. The **softmax** turns them into **scores**, which add up
#   to 1 ([chapter 04](04_multibox_loss.ipynb)).
# - **Decoding** turns an anchor and its four offsets into a box.
# - A **candidate** is a box of one class whose score is above the **score threshold**. One anchor may give several
#   candidates, one for each class.
# - **NMS**, *non-maximum suppression*, removes a candidate if a better one that stays overlaps it too much. The better
#   one is called its *suppressor*.
# - A **detection** is what is left: a class, a score and four corners on the photograph.
#
# ## The order
#
# | | step | number | what for |
# |---|---|---|---|
# | 1 | softmax over 21 classes; decode all boxes | | from numbers to scores and boxes |
# | 2 | in each of the 20 classes: only scores above the threshold | 0.01 | less work |
# | 3 | of these, the best of each class (*top-k*) | 400 | a limit to the work |
# | 4 | NMS within each class | 0.45 | one box for each object |
# | 5 | the best of the image, all classes together (*keep*) | 200 | a limit to the output |
# | 6 | clip at the border, scale to the photograph | | from the 300 x 300 input to px of the photograph |
#
# These are the rules and the numbers of the paper's program, in Caffe (`detection_output_layer.cpp` and `bbox_util.cpp`);
# section 3.7 of the paper has all of them but the 400. Step 4 needs the most thought, so we do it with a pencil first.
#
# ## By hand
#
# Five boxes of 160 x 160 px lie in one column: all have the same left edge, and each begins at another height. If one
# box lies s px below another, they share 160 - s rows of pixels, and together they cover 160 + s. So with s = 40 their
# IoU is 120 / 200 = 0.60.
#
# | | A dog 0.9 | B dog 0.8 | C dog 0.7 | D cat 0.6 | E dog 0.5 |
# |---|---|---|---|---|---|
# | top edge | 10 | 50 | 90 | 25 | 130 |
# | IoU with A | | 0.60 | 0.33 | 0.83 | 0.14 |
# | IoU with B | | | 0.60 | 0.73 | 0.33 |
# | IoU with C | | | | 0.42 | 0.60 |
#
# The threshold is 0.45. *Predict first*: which boxes stay? Then go from the best score down.
#
# - **A** has the best score, so it stays.
# - **B** overlaps A by 0.60 and has the same class, so A suppresses it.
# - **C** overlaps B by 0.60, but B has been suppressed, and only boxes that stay can suppress others. With A its IoU is
#   0.33, so C stays.
# - **D** overlaps A by 0.83, but it is a cat and there is no other cat, so D stays.
# - **E** overlaps C by 0.60, and C stays, so C suppresses it.
#
# A, C and D are left. Here is the same in Python for the four dogs, with two loops:

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
# This algorithm is **greedy**: it goes from the best score down and never takes a decision back. For that reason the
# result depends on the order of the scores and not only on the overlaps. Give A's score to B and B's to A: no box has
# moved, but now B suppresses both A and C, and of three boxes one is left.

# %%
three = column[:3]
for order in ([0.9, 0.8, 0.7], [0.8, 0.9, 0.7]):
    print(order, "->", len(by_pencil(three, torch.tensor(order), 0.45)), "stay")

# %% [markdown]
# A box in the middle with a high score suppresses its neighbours, while the same box with a lower score is suppressed
# itself. The library does the same, only faster, and adds the five other steps.
#
# ## In the library
#
# `decode` belongs to step 1 and is the inverse of the encoding of chapter 04: the centre moves by a part of the anchor's
# size, and the size is multiplied. Because encoding divided by the four variances, decoding multiplies by them. Nothing is
# limited here: a box may grow by any factor and reach beyond the border. (torchvision limits the factor.)

# %%
source(coding.decode)

# %% [markdown]
# `best_per_class` is steps 2 and 3. Look for `[1:]`, which leaves out the background because it is no object, and for
# `> score`, which means that a score has to *exceed* the threshold.

# %%
source(detect.best_per_class)

# %% [markdown]
# `nms` is step 4. The two loops of `by_pencil` would be slow here, so it judges all boxes of a class at once, again and
# again, until a round changes nothing. The result is that of the loops, because whether a box stays depends on better
# boxes alone. No box is better than the best of a class, so its verdict is right from the first round on. Once the verdicts
# on the best t boxes are right, the next round gets box t + 1 right as well, and so on to the last. Two or three rounds are
# usually enough, and below we check that the results agree. Each class is a row of a table, and shorter rows are filled up
# with -1.

# %%
source(detect.nms, fold="The fast version: <code>detect.nms</code>")

# %% [markdown]
# Step 5, the 200 best of all classes, needn't wait for all of step 4, because whether a box stays depends on better boxes
# alone. So `best_kept` first suppresses among the 400 best of the whole image, and looks further down only if fewer than
# 200 of them stay. The result is the same.
#
# > Note: this 400 is twice *keep*, not the 400 of step 3.

# %%
source(detect.best_kept, fold="The fast version of steps 4 and 5 together: <code>detect.best_kept</code>")

# %% [markdown]
# `detect` puts the six steps together. Its first line is step 1: `decoded` decodes the offsets and takes the softmax of the
# logits, and where both lie on a GPU, it brings them to the CPU in one copy, because the steps after it would make a GPU
# wait again and again.

# %%
source(detect.detect)

# %% [markdown]
# Do they agree? On a hundred random sets of boxes in five classes we compare two plain loops, the library, and
# torchvision's `batched_nms`, which was written by other people.

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
# One detail is easy to get wrong: an overlap has to *exceed* 0.45 (>, not >=), whereas in matching an IoU of exactly 0.5
# counts. Here are two boxes with an IoU of one half, and a threshold of 0.5:

# %%
halves = torch.tensor([[0.0, 0, 20, 10], [0, 0, 10, 10]]), torch.tensor([0.9, 0.8])
print("the library keeps", detect.nms(*halves, torch.ones(2), 0.5).tolist())
print("torchvision keeps", torchvision.ops.nms(*halves, 0.5).tolist())

# %% [markdown]
# Now that the library can be trusted, we return to the scene at the top.
#
# ## The same on the scene
#
# How many boxes are left after each step?

# %%
counts = stages.funnel(opener.of(0), opener.anchors)
table(list(counts.items()), head=("after", "left"))

# %% [markdown]
# 8,732 anchors with 21 + 4 numbers each become one box for each object. Two of the limits did nothing here, because no
# class had 400 candidates and fewer than 200 boxes were left after NMS. They are there for the worst case.
#
# The score threshold removes the most, because nearly all anchors say *background*, and with high scores:

# %%
probabilities = opener.of(0).logits[0].softmax(dim=-1)
background = (probabilities.argmax(dim=1) == 0).float().mean()
several = ((probabilities[:, 1:] > 0.01).sum(dim=1) > 1).sum()
print(f"scores of an anchor add up to {probabilities[0].sum():.3f}")
print(f"anchors whose best class is background: {background:.1%}")
print(f"anchors that are candidates for several classes: {several}")

# %% [markdown]
# Decoded boxes may reach beyond the image, because the network doesn't know where the border is, and nothing is clipped
# before step 6.

# %%
left = ranking.boxes[ranking.kept]
outside = ((left < 0) | (left > 300)).any(dim=1)
farthest = max(-left.min(), left.max() - 300)
print(f"boxes that reach beyond the 300 x 300 input: {outside.sum()} of {len(left)}, by up to {farthest:.0f} px")

# %% [markdown]
# This is what the steps do; why they are made like this comes next.
#
# ## Why so?
#
# **Why within each class?** Take a person on a horse: two objects whose boxes overlap by more than 0.45. With NMS over all
# classes together one of them would be lost. The second reason has to do with wrong classes. Here is a small horse that
# the network calls a dog first, then a cat, and a horse only in third place. The three scores come from three anchors, so
# they needn't add up to 1:

# %% alt="Two horses; around the smaller one three boxes of about the same size say dog, cat and horse, dog with the highest score"
horses = seen.examples[31]
guesses = stages.rank_image(seen.of(31), seen.anchors)
figure = figures.guesses_drawn(pictures.scene(horses).pixels, guesses)

# %%
for across in (False, True):
    kept = stages.rank_image(seen.of(31), seen.anchors, across=across).detections(horses.size).above(0.5)
    names = [voc.CLASSES[label] for label in kept.labels.tolist()]
    print(f"{'over all classes' if across else 'within each class'}: {', '.join(names)}")

# %% [markdown]
# Within each class the horse survives as the third guess; over all classes the dog suppresses it. In an image that you
# show, three labels on one animal are ugly, and users [ask how to get rid of them](../docs/faq.md). But for AP, which is
# explained further down, the third guess is worth something, because each class is judged for itself.
#
# > Note: the large horse has no box here, because none of its scores reaches 0.5.
#
# **What has 0.45 to do with the annotations?** Nothing. NMS compares boxes of the network with each other, whereas the 0.5
# of matching and the 0.5 of AP compare boxes with annotated objects. These are three thresholds of IoU for three
# different questions.
#
# **Why is the score threshold 0.01?** The author of SSD [answers](https://github.com/weiliu89/caffe/issues/53) that it
# balances the speed of NMS and mAP: it removes most boxes and leaves mAP more or less the same. So it is a threshold for
# **evaluation**. For **showing** boxes you take 0.5 or 0.6.
#
# You needn't detect twice for that. What becomes of a box depends on *better* boxes alone, so the worse ones may be cut
# off before or after NMS. (The next cell runs all 200 scenes, in about five seconds.)

# %%
everything = seen.detect()
strict = seen.detect(score=0.5)
same = [torch.equal(a.above(0.5).boxes, b.boxes) for a, b in zip(everything, strict)]
print("scenes where .above(0.5) afterwards gives the same boxes:", sum(same), "of", len(same))
print("most boxes left in a scene, of 200 allowed:", max(map(len, everything)))

# %% [markdown]
# Top-k also cuts off the end of each class's ranking, so it may change places with the score threshold. But it may not
# come after NMS, because there it would count survivors instead of candidates.
#
# To say what a threshold costs, we need a number for the quality of all detections.
#
# ## Precision, recall and AP in words
#
# [Chapter 11](11_evaluation.ipynb) does this properly; here is what you need to read the tables of this page.
#
# Put all dogs that were detected in all test images into one list, best score first, and judge one after the other. A
# detection is **right** if its IoU with an annotated dog is at least 0.5 and that dog hasn't been found before. Otherwise
# it is **false**, and so is a second box on the same dog, however well it fits. After each detection of the list, two
# fractions say how things stand:
#
# - **Precision** is the share of the detections so far that are right.
# - **Recall** is the share of all annotated dogs that have been found so far.
#
# Further down the list recall can only rise, while precision usually falls, because boxes with low scores are more often
# false. **Average precision**, AP, asks at several levels of recall for the best precision at that recall or more, takes 0
# where the list never gets so far, and averages. **mAP** is the mean of AP over the classes, here in percent; more is
# better.
#
# Scores enter only through the order of the list. So a right box with a very low score still adds recall, unless a
# threshold has removed it. Duplicates, however, lower the precision of everything that follows them in the list.
#
# ## "It is trained, but it detects nothing"
#
# Users of several programs [report this](../docs/faq.md). Here is one and the same network, seen through different score
# thresholds:

# %%
by_score, by_threshold = {}, []
for score in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9):
    shown = [found.above(score) for found in everything]
    by_score[score] = seen.mean_ap(shown)
    by_threshold.append((score, sum(map(len, shown)) / len(shown), sum(len(s) == 0 for s in shown), by_score[score]))
head = ("score", "boxes a scene", "scenes with no box", "mAP")
table(by_threshold, head, form=("", ".1f", "", ".1f"), heat=["mAP"])

# %% [markdown]
# So before you train longer, print the highest score of the image and show every box above 0.1. If the boxes are right,
# the network has learned, and only its scores are low. If they are wrong at 0.1 too, look at decoding and at the order of
# the anchors, which the end of this page breaks on purpose. The loss won't tell you, because its value isn't very
# meaningful in itself, as the author of SSD says in a thread that the FAQ lists.
#
# The last column answers another question. Judged by its boxes above 0.5 alone, the same network has 55.7 in place of 69.3:
# it seems to be far worse, and the number itself doesn't say why. So compare the thresholds before you compare two mAPs, or
# yours with a published one.
#
# > Note: chapter 09 gives 69.2 for the same weights, because the run computed in 16 bits
# > ([chapter 11](11_evaluation.ipynb)).
#
# ## What each number is worth
#
# Now each of the other three numbers is varied alone, and each time all 200 scenes are detected anew and judged by
# `evaluate`. *Predict first*: which of the three can be set too high?

# %%
tried = {
    "top_k": (1, 5, 20, 400),
    "nms_iou": (0.1, 0.3, 0.45, 0.6, 0.8, 1.0),
    "keep": (1, 5, 20, 200),
}
worth = {name: {v: seen.mean_ap(seen.detect(**{name: v})) for v in values} for name, values in tried.items()}
rows = [(name, f"{value:g}", ap) for name, line in worth.items() for value, ap in line.items()]
table(rows, head=("changed", "value", "mAP"), form=("", "", ".1f"), heat=["mAP"])

# %% alt="Four small plots of mAP, Caffe's value a red diamond in each: falling with the score threshold, rising and flat with top-k and keep, a hill with its top near 0.3 to 0.45 for the NMS IoU"
usual = {"score": detect.SCORE, "top_k": detect.TOP_K, "nms_iou": detect.NMS_IOU, "keep": detect.KEEP}
figure = figures.swept({"score": by_score, **worth}, usual)

# %% [markdown]
# - **score**: the lower the better, because every right box that the threshold removes is missing from the recall. From 0.1
#   to 0.01 mAP still gains about one point.
# - **top-k** and **keep**: large enough is enough. If they are too small, they cut into crowded scenes.
# - **NMS IoU**: a hill, flat on the left and steep on the right, so this is the one that can be set too high. If it is low,
#   neighbours of the same class suppress each other, which costs half a point here. If it is high, one object is found many
#   times, and only the first detection counts as right. At 1 nothing is suppressed.
#
# > Note: measured on painted scenes with this small network. On photographs the numbers differ; the shapes have the same
# > reasons. The values below each curve aren't evenly spaced.
#
# ## The same network on photographs
#
# The network has learned from painted scenes alone. *Predict first*: what will it say about photographs, and with which
# scores?

# %% alt="Four photographs with the boxes drawn by hand in orange and a few small blue boxes, with scores above 0.5, on things that are none of the classes they name"
four = [free_photographs.example(name) for name in free_photographs.PHOTOGRAPHS]
said = stages.Recorded(four, seen.network, seen.anchors).detect()
figure = figures.photographs_drawn(four, said, "Trained on painted scenes: sure of things that aren't there")
figure = free_photographs.add_credit(figure, list(free_photographs.PHOTOGRAPHS))

# %% [markdown]
# It misses the cat and both persons, and it is sure of things that aren't there: the ring of a space suit, a camera and a
# part of a steel tower are *tvmonitors* to it. A score says how much something looks like what the network has learned,
# compared with the other classes it has learned. At best it is a probability of being right for images like those it
# was trained on, so a threshold that was chosen on one kind of image says little about another.
#
# > Note: the photographs come with scikit-image. Where it isn't installed, the cell shows painted scenes in their place,
# > and these don't show the effect, because the network knows their kind.
#
# What does a network say that has learned from photographs?
#
# ## The full network on photographs
#
# In [chapter 09](09_full_training.ipynb) the full-width network was trained on photographs, from ImageNet's weights. It
# has seen 30,000 images, and in the end it was judged once, on 1,000 photographs: its mAP is 28.9 %. That
# photographs are hard and that its training was short shows in this number; what follows asks only whether the
# thresholds of this page behave there as they do on painted scenes.
#
# > **Predict first:** compared with the small network, does this one show more boxes above 0.5 or fewer? And which of the
# > four numbers is worth more on photographs?

# %%
full = photographs.judged()
photographs.threshold_table(by_threshold, len(seen.examples), full)

# %% alt="Four small plots of mAP as a share of what Caffe's values give, a blue line for painted scenes and a dashed orange one for photographs: for the score threshold the photographs' line falls to 36 percent at 0.5 and the painted one to 80; in the other three both lines have the same shape, the photographs' up to 13 points lower"
varied = {"score": by_score, **worth}
figure = photographs.worth_drawn(varied, usual, full, "Only the score threshold costs far more on photographs")

# %% [markdown]
# - **score**: from 0.01 to 0.5 mAP falls from 28.9 to 10.4, that is by 64 percent, where the small
#   network loses 20 percent. After so short a training the scores are low, so most of the right boxes don't reach 0.5. Above
#   it an image has 0.6 boxes, and 570 of the 1,000 have none.
# - **NMS IoU**: the top lies at Caffe's 0.45, with 28.5 at 0.3 and 27.0 at 0.6; at 1, where nothing is suppressed, mAP is 15.5.
# - **top-k** and **keep**: 27.5 with 20 candidates a class, 27.2 with 20 boxes an image.
#
# Three of the four shapes are those of the painted scenes, for the reasons given above. The first isn't: **choose a score
# threshold by the scores that your network gives**, because 0.5 is no law of nature.
#
# > Note: the 1,000 photographs are official test images of VOC2007, but in a split of our own, and the network was trained
# > on others of these test images. So none of its numbers is a VOC result. `data_scripts/judge_photographs.py` made them;
# > VOC's photographs aren't part of the project.
#
# And here is what it says about the four photographs that the small network got wrong:

# %% alt="The four photographs with the boxes drawn by hand in orange and the full-width network's boxes in blue: the cat with cat 0.55 and dog 0.34 in one place, the astronaut with person 0.80, the man with a camera with person 0.58 and a false car 0.35, the rocket without a box"
figure = photographs.free_drawn(full, "The cat and both persons are found; the dog and the car are false", score=0.3)

# %%
photographs.free_table(full)

# %% [markdown]
# The cat and both persons are found, with scores from 0.55 to 0.80. The cat is also taken for a dog, because suppression
# compares boxes of one class only, and so two classes may keep the same place. The car is nothing but background. About the
# rocket, on which nothing is that VOC knows, no class has a score of even 0.2.
#
# ## What other programs do
#
# The same weights can give other detections in another program, because programs differ in these steps:
#
# | program | differs from Caffe and this course in |
# |---|---|
# | amdegroot's ssd.pytorch | top-k is 200, and the best 200 *of each class* are kept |
# | ssd_keras | all candidates of a class go into NMS |
# | torchvision | boxes are clipped *before* NMS |
# | chainercv | >= for the score and for the IoU of NMS; no limit before or after NMS |
#
# The [docs](../docs/differences_from_caffe.md) have the whole table. What each number does is best seen by changing it yourself.
#
# ## Move it
#
# In a scene, blue boxes stay and thin dashed red ones are suppressed; the candidate is black and its suppressor green. Click
# into the scene. Then <kbd>n</kbd> goes down the ranking and <kbd>Shift</kbd>+<kbd>n</kbd> up, and below the scene you
# read who suppressed whom. The slider *candidate* does the same, and so does a click near the edge of a box. The cases
# *by hand* have boxes that you drag. *Predict first*, then try:
#
# - Uncheck *only up to the candidate*, so that all boxes are drawn, and **show** one class. How many of its boxes are there
#   for one object? Now set NMS IoU to 1, and then to 0.
# - Choose scene 31 and **suppress** *over all classes*: who is gone?
# - **by hand: the five of the page**: drag B away. What happens to C? And to E?
# - **by hand: two of a kind, close together**: A and B are two real sheep. At which NMS IoU do both stay?
#
# <details><summary>Answers</summary>
#
# - In scene 21, for example, *sheep* has 69 candidates for one sheep, and six of them stay. With an NMS IoU of 1 none is
#   suppressed, and only *keep* removes 22. With 0 three stay, because no two boxes that stay may touch.
# - The cat and the horse on the small horse; the dog, which has the highest score, stays.
# - Nothing, to either of them. B was suppressed before, so C stays as it did, and C suppresses E.
# - From 0.5 on, which is their IoU. From 0.65 on C stays as well, a third box for two sheep.
# </details>

# %%
explorer = nms_bench.NmsBench()
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# The two sheep show the limit of the rule: of two objects of one class whose boxes overlap by more than 0.45 only one is
# kept, however good the network is. A higher threshold would save them, but it would give other objects two boxes.
#
# ## Exercises
#
# Now you write the steps yourself. Each exercise has a cell to fill in, a check right below, hints, and a solution in a
# fold. A check that says *not right* shows where.
#
# ### 10.1 Decode · medium · 10 minutes
#
# Given are `offsets` (n, 4) in the order x, y, width, height, and `anchors` (n, 4), corners in px; n may be 0. The
# centre moves by 0.1 · offset · the anchor's width (for x) or height (for y). Width and height are those of the anchor,
# times e to the power of 0.2 · offset. Return the boxes (n, 4), corners in px.
#
# *Building block:* in chapter 13 it turns the network's outputs back into boxes.

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
# Given are `probabilities` (K, C), for K anchors and C classes, where column 0 is background, and the threshold `score`.
# Return an (n, 2) tensor of whole numbers with one row, label and anchor, for every candidate: first all of class 1, then
# class 2 and so on, within a class the lower anchor first. If there is no candidate, its shape is (0, 2).
#
# *Building block:* in chapter 13 it chooses the candidates.

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
# `(table > score).nonzero()` lists the places row by row. Which dimension has to come first?
# </details>
# <details><summary>Hint 2</summary>
#
# Once the column of background is gone and the table is transposed, row 0 is class 1.
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
# Given are the `scores` (n,) and the `labels` (n,) of n candidates, and the limit `k`; n may be 0, and no two scores are
# equal. Return the indices of the `k` best of each class, all in one tensor, in ascending order. A class may have fewer
# than `k`.
#
# *Building block:* in chapter 13 it limits the number of candidates.

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
# For each label: `mine = (labels == label).nonzero()[:, 0]` are its indices. Sort `scores[mine]`, best first, and take
# `k`; `mine[...]` carries these places back to indices of all candidates.
# </details>
# <!-- solution -->
#
# ### 10.4 Suppression · the heart of the chapter · 15 minutes
#
# Write NMS for one class. Given are n boxes `places` (n, 4), corners in px, and their `scores` (n,), no two of them equal; n
# may be 0. A box goes if its IoU with a better one that stays exceeds `max_iou`. Return the indices of the boxes that stay,
# best score first, as a tensor of whole numbers. (`by_pencil` above does it. Try without scrolling up.)
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
# `box_ops.iou(a, b)` is the IoU of two boxes. A box joins the list if its IoU with *every box on the list* is at most
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
# The same for several classes: given are also the `labels` (n,), and only boxes of one class suppress each other. Return
# the indices of the boxes that stay, of all classes together, best score first. Use your `suppress`.
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
# Given are boxes `places` (n, 4) in px of the 300 x 300 input, some of them beyond its border, and the `size` of the
# photograph, (width, height). Clip the boxes at the border, and return them in px of the photograph, without rounding.

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
# Clip first, while the border is still at 300 in both directions. `tensor.clamp(low, high)` does it.
# </details>
# <!-- solution -->
#
# ### 10.7 The most that can be left · on paper · 3 minutes
#
# How many boxes of one image can be left after NMS at most, before *keep*? Take the numbers from the table under *The
# order*, and assign the answer to `most`.

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
# Four classic mistakes. None of them stops with an error, and the training loss is fine every time, because training never
# detects. Only the mAP and a look at images tell. *Predict first*: which cost some points, and which nearly everything?
#
# **NMS over all classes together**, as once in
# [google/automl, issue 450](https://github.com/google/automl/issues/450):

# %%
rankings = [stages.rank_image(seen.of(i), seen.anchors, across=True) for i in range(len(seen.examples))]
together = [r.detections(size) for r, size in zip(rankings, seen.sizes)]
table([("as it should be", seen.mean_ap(everything)), ("over all classes", seen.mean_ap(together))],
      head=("NMS", "mAP"), form=("", ".1f"))

# %% [markdown]
# **Forgotten variances**: the offsets are taken as they are, so the centres move ten times too far, and the exponent of the
# growth is five times too large.

# %%
variances = torch.tensor(coding.VARIANCES)
far = Predictions(seen.predictions.offsets / variances, seen.predictions.logits)  # decode multiplies: now it is off
forgotten = detect.detect(far, seen.anchors, seen.sizes)
print(f"variances forgotten {seen.mean_ap(forgotten):.1f}")

# %% [markdown]
# **Not scaled back**: the boxes are those of the 300 x 300 input and are laid on the photograph as they are.

# %%
unscaled = detect.detect(seen.predictions, seen.anchors, [(300, 300)] * len(seen.sizes))
print(f"not scaled back {seen.mean_ap(unscaled):.1f}")

# %% [markdown]
# **Anchors in another order** than in training. This is a mild case: wide and tall anchors have changed places, as when
# an aspect ratio is read as height to width. Square anchors are where they were. The figure below the number shows this
# mistake and the two before it in one scene.

# %%
turned = box_ops.to_xyxy(box_ops.to_cxcywh(seen.anchors)[:, [0, 1, 3, 2]])
swapped = detect.detect(seen.predictions, turned, seen.sizes)
print(f"wide and tall swapped {seen.mean_ap(swapped):.1f}")

# %% alt="One scene four times: boxes that fit, boxes far too large or small, boxes shifted to the upper left, boxes with wrong shapes"
found = {"right": everything, "variances forgotten": forgotten, "not scaled back": unscaled}
found["wide and tall swapped"] = swapped
figure = figures.mistakes_drawn(seen.examples[21], {name: of_all[21] for name, of_all in found.items()})

# %% [markdown]
# So NMS over all classes costs 6 points and the swapped anchors 17, while the two mistakes in the middle leave nearly
# nothing. The swapped anchors are the most dangerous, because 52.6 is an mAP that you might believe, and the boxes still
# lie on the objects, even if some have the wrong shape. If your mAP is lower than the published one and the boxes look
# *almost* right, compare your anchors with those of training, one by one.
#
# ## Self-test

# %%
SelfTest("detection")

# %% [markdown]
# ## Recap
#
# - Softmax and decode, threshold, top-k, NMS within each class, keep, clip and scale: in this order.
# - NMS goes from the best score down. A box goes if a better one of its class *that stays* overlaps it by more than 0.45.
# - What becomes of a box depends on better boxes alone. So 0.01 is for evaluation, 0.5 for showing, and one detection
#   serves both.
# - A threshold of 0.5 costs many points of mAP; 400 and 200 are limits for crowded images.
# - Mistakes in these steps raise no error, so measure the mAP, and look at images.
#
# Next, chapter 11 computes the mAP by hand, rule by rule.
