# %% [markdown]
# # 03 · Matching
#
# **In one sentence:** every object first gets one anchor of its own, best pair first; then every anchor that is still
# free is assigned to the object it overlaps most, if their IoU is at least 0.5.
#
# | | |
# |---|---|
# | time | 80 minutes, 50 of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 02: where the 8,732 anchors come from |
# | new modules | `matching` |
#
# At the end of this page you will be able to
#
# - fill in by hand which anchor is assigned to which object, in both steps,
# - say why there are two steps, and what each alone would get wrong,
# - predict how many anchors an object gets from its size and shape,
# - recognise the shortcut that loses objects, and show on an image that it does.

# %%
import torch

from course.boxes import voc_facts
from course.kit import experiment_figures, experiments, free_photographs, opening, pictures, tables
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.matching import check, counts, figures, matcher
from ssdlib import anchors, matching
from ssdlib.data import voc
from ssdlib.training import runs

# %% [markdown]
# ## The picture
#
# The network gives 8,732 answers about every image, one for each anchor, and to train it we must say what each
# answer should have been. Two well-known programs do that in a way that makes some objects vanish from the training
# without an error or a warning; on this page you will find their mistake.
#
# Here is the scene of chapter 00 with its objects in orange. **Thick blue** is the one anchor that *step one* gives to
# each object; **thin dashed green** are those that *step two* adds because they overlap it enough. Of the green
# ones only the four that overlap the first object most are drawn, and the blue ones of the other two objects are faded;
# the line below counts all of them. All other anchors, more than 8,600, should say *background*.

# %% alt="A scene with three objects in orange boxes and a thick blue anchor around each, two of them faded; around the first also four thin dashed green anchors"
scene = pictures.scene(opening.example())
grid = anchors.default_boxes()
found = matcher.match_with(scene.boxes, grid)
figure = figures.draw_matching(scene, found)

# %% [markdown]
# On a photograph the colours mean the same:

# %% alt="A photograph of a person in an orange box, with one thick blue anchor and four thin dashed green ones around it, two of which reach beyond the image"
person = pictures.scene(free_photographs.example("astronaut"))
figure = figures.draw_matching(person, matcher.match_with(person.boxes, grid))
figure = free_photographs.add_credit(figure, ["astronaut"])

# %% [markdown]
# No anchor has exactly the shape of this person. Each of the drawn ones has an IoU of at least 0.5 with her box, and
# for each of them the network has to learn how far it must move and grow. An anchor that covers nothing but her face
# should say *background*, because its IoU is too small. To turn that into rules, we need a few words.
#
# ## The words
#
# - An **anchor** is one of the 8,732 boxes laid over every image. (Caffe: *prior*; the paper: *default box*.)
# - **IoU**, from chapter 01, is the area that two boxes share, divided by the area that they cover together.
# - An anchor that is assigned to an object, or *answers for* it, is **positive**. All others are **background**, also
#   called *negative*.
# - **Step one** is *bipartite matching*: it makes pairs of one object and one anchor. **Step two** is the *threshold*:
#   an IoU of 0.5.
# - `table` holds the IoU of every object with every anchor, with one row for each object and one column for each
#   anchor.
# - `matched` says for each anchor which object it answers for, with -1 for background.
#
# With these words, a small table is enough to see both steps at work.
#
# ## By hand
#
# Here are two objects and four anchors. Take paper and a pencil; you need nothing but this table.
#
# | IoU | anchor 0 | anchor 1 | anchor 2 | anchor 3 |
# |---|---|---|---|---|
# | **object 0** | 0.90 | 0.80 | 0.10 | 0.00 |
# | **object 1** | 0.60 | 0.70 | 0.20 | 0.50 |
#
# *Step one.* The largest number of the table is 0.90, so object 0 and anchor 0 become a pair and both leave the table.
# What is left is object 1 with anchors 1, 2 and 3, where the largest number is 0.70, so object 1 takes anchor 1.
#
# *Step two.* Anchors 2 and 3 are still free. Anchor 2 overlaps its best object by 0.20 and becomes background. Anchor
# 3 overlaps object 1 by 0.50, and that is enough. So anchors 0 to 3 answer for objects 0, 1, none and 1.
#
# Look at anchor 1 once more: it overlaps object 0 more (0.80) than object 1 (0.70). With step two alone it would go to
# object 0, and object 1 would be left with anchor 3 only, at 0.50. That is why step two takes away nothing that step
# one gave.
#
# > Note: the paper says *higher than* 0.5. The released code compares with >=, and so do we.
#
# That was the naive version, which you will write as a program in exercises 3.1 to 3.3:
#
# 1. Find the largest number of the whole table. If it isn't above 0, go to 3.
# 2. Make its object and its anchor a pair, cross out their row and column, and go back to 1.
# 3. Assign every free anchor to the best object of its column in the original table, if that number is at least 0.5.
#
# The library's function gives the same pairs for this table:

# %%
table = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.6, 0.7, 0.2, 0.5]])
own = matching.bipartite(table)
print("step one:", own.tolist())

# %% [markdown]
# ## In the library
#
# The naive version searches the whole table again for every pair and handles one image at a time. The fast version,
# `bipartite`, sorts instead: it lists the pairs, best first, and goes down that list once, accepting a pair if neither
# its object nor its anchor has been assigned before. It takes the objects of a whole batch together, and `image` says
# which image each of them is in, because only objects of the same image compete.

# %%
source(matching.bipartite, fold="The fast version, in the library: <code>bipartite</code>")

# %% [markdown]
# The list stays short. Nearly all of the 8,732 anchors are far from any object, and of the others each object needs
# only its best few. With three objects in an image, for example, an object always gets one of its three best anchors,
# since the others can take only two.
#
# Two of its rules come back in the exercises: **ties** go to the lower anchor, then to the lower object, and an object
# that touches no anchor stays without one (-1).
#
# `match` does both steps. It writes down the result of step two before that of step one, because step one overrules
# it. Both steps take their pairs from `best_first`, which lists them with the largest IoU first.

# %%
source(matching.match)

# %% [markdown]
# Do the fast version and the pencil agree? The next cell compares them on two thousand random tables, with plain loops
# in place of the pencil.

# %%
drawn = [torch.rand(4, 9).mul(10).floor() / 10 for _ in range(2000)]
assert all(check.library_agrees(t) for t in drawn)
print("2,000 tables, full of ties: equal")

# %% [markdown]
# ## The same on the image
#
# On an image only the table is larger. The function `overlaps` computes it, and for the scene with its three objects
# it has three rows of 8,732 numbers. The next table shows what `match` makes of them: for each object its size, its
# largest IoU with any anchor, and the number of anchors that answer for it.

# %%
table = matching.overlaps(scene.boxes, grid)
matched = matching.match(scene.boxes[None], scene.labels[None], grid)[0]
sizes = (scene.boxes[:, 2:] - scene.boxes[:, :2]).tolist()
rows = [(name, *sizes[i], table[i].max(), (matched == i).sum()) for i, name in enumerate(scene.names)]
tables.table(rows, head=("object", "wide, px", "high, px", "best IoU", "anchors"), form=("", ".0f", ".0f"))

# %% [markdown]
# A larger object doesn't simply get more anchors: the person's box has a larger area than the car's and gets fewer.
# What counts is whether there are anchors close to its size and shape, and how densely they lie. From which feature
# maps do they come?

# %%
rows = [(name, *found.per_map(i)) for i, name in enumerate(scene.names)]
sides = [f"{side} x {side}" for side in anchors.SSD300_ANCHORS.feature_maps]
tables.table(rows, head=("object", *sides), heat=sides, caption="Anchors from each map")

# %% [markdown]
# Most of them lie on the 19² map, whose squares of 60 and 82 px come closest to the car and the person in area. The dog
# is larger and gets more from the 10² map, whose squares begin at 111 px. Can such numbers be predicted?
#
# ## How many anchors does an object get?
#
# Yes, with a pencil. Take an object of exactly the size of an anchor, 60 x 60, in the middle of a cell of the 19² map.
# The same anchor one cell to the right lies 16 px away, which is the stride of that map.
#
# | shifted by | shared | covered together | IoU | |
# |---|---|---|---|---|
# | 0, 0 | 60 · 60 = 3600 | 3600 | 1 | matches |
# | 16, 0 | 44 · 60 = 2640 | 7200 - 2640 = 4560 | 0.58 | matches |
# | 16, 16 | 44 · 44 = 1936 | 7200 - 1936 = 5264 | 0.37 | |
# | 32, 0 | 28 · 60 = 1680 | 7200 - 1680 = 5520 | 0.30 | |
#
# So five of the small squares of this map match, in the form of a plus: the one in the middle and its four neighbours.
# Behind it is a rule: two boxes of the *same size* have an IoU of 0.5 when they share **two thirds** of their area.
# Along one axis the anchor may be off by a third of its width, not more.
#
# Anchors of other sizes and shapes match as well, if they are similar enough. The figure counts all anchors of an
# object that is alone in its image, averaged over places in the whole image: solid for square objects, dashed for
# objects of 2 : 1, dotted for 3 : 1. A line ends where the object no longer fits into the image.

# %% alt="Three curves, anchors over the size of the object: one anchor below 21 px, then a steep rise; squares get 8 to 17, 2 to 1 objects a little fewer, 3 to 1 objects 2 to 10"
figure = figures.draw_counts()

# %% [markdown]
# - Below 21 px (you will compute this number) there is exactly one anchor, from step one. Above it the curve jumps.
# - From 30 px on a square gets 8 to 17 anchors, on average over its places. That is a factor of two, while
#   its area grows a hundredfold, because on the maps with the larger anchors the strides are larger too.
# - A long object gets fewer at nearly every size, because it resembles fewer anchors. A square and a box of 2 : 1 with
#   the same area and the same centre have an IoU of 0.55, which is enough; a square and a box of 3 : 1 have only 0.41.
#   And only three of the six maps have anchors of 3 : 1.
#
# What does that mean for training? Here are the objects of VOC 07+12 by size, √(width · height), with their genuine
# widths and heights, one in twenty of them, each placed alone in an image as for the figure:

# %%
head = ("size, px", "of the objects", "anchors each", "of the positives")
tables.table(counts.voc_by_size(), head, form=("", ".0%", ".1f", ".0%"))

# %% [markdown]
# The smallest objects are 8 percent of all, but they have 1 percent of the positives. In the loss of the next chapter
# every positive counts alike, so small objects have little say in it. The paper finds that SSD is much worse on small
# objects than on large ones, and their few anchors are one likely reason among several. Another is that at 300 x 300
# an object of 20 px is only two and a half cells of the finest map wide, and that map comes from an early layer, which
# has seen little of the surroundings. How much each of these contributes can't be told from the table.
#
# The one anchor that each of these small objects has comes from step one. So what would be lost with only one of the
# steps?
#
# ## Why two steps?
#
# **Step two alone** would leave some objects without any anchor, namely those that reach an IoU of 0.5 with none. How
# many is that on real data?
#
# > Note: this and the later count are made on the genuine annotations of VOC 07+12, on images squeezed to 300 x 300,
# > by `data_scripts/count_facts.py`, which needs no photographs.

# %%
facts = voc_facts.counted()
count, few = facts["objects"], facts["best_iou_below_threshold"]
print(f"{few:,} of {count:,} objects, {100 * few / count:.1f} %, have no anchor with an IoU of 0.5")

# %% [markdown]
# That is one object in eight, and the table above says which most of them are: the 8 percent below 20 px make up about
# two thirds. Step one is all that any of them has.
#
# **Step one alone** would give every object exactly one anchor. The anchor beside it sees nearly the same part of the
# image and would have to say *background*, so the network would be taught opposite answers to what looks the same.
# There would also be few positives to learn from: one for each object.
#
# **Why not match what the network predicts?** At the beginning its predictions are noise, so an object would belong to
# another anchor at every step, and the task of each anchor would keep changing while it is being learned. (Some newer
# detectors do it all the same.) Anchors don't move, which means that the same image always gives the same matching and
# that the network isn't needed to compute it.
#
# When do the rules really give different anchors? You will find out fastest by moving objects around.
#
# ## Move it
#
# Drag an object, or one of its corners. Thick blue is step one, dashed green step two; the object that you hold is
# drawn strongly. Try the cases, and *predict first*:
#
# - **the objects of the image**: make one half as high, from a corner. Which of its anchors leave it first?
# - **two objects, one best anchor**: which object gets it? What does the other get? Now choose *argmax* as step one,
#   which gives each object its best anchor, taken or not.
# - **too small for any IoU of 0.5**: enlarge it until step two gives it anchors. How large is it then?
# - **between two cells**: move it by one pixel with <kbd>Alt</kbd> and an arrow key. When does the blue anchor jump?
# - **outside the image**: drag it to the right until it has no anchor at all. What happens now with *argmax*? (The
#   first line of the text says it.)
# - **two objects, far apart**: make object 0 a square of 60 px, then move it. How many anchors does it get, at most and
#   at least?

# %%
explorer = matcher.Matcher(scene.pixels, scene.boxes, names=scene.names)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# In the exercises you write the rules that you have just watched.
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a folded solution. A check that says *not right* shows
# where. Together, 3.1 to 3.3 assign the anchors of every training image in chapter 13.
#
# ### 3.1 Step two · easy · 5 minutes
#
# You are given the table (R objects, K anchors) and the threshold. Return for each anchor the index of its best
# object, or -1 if even that one doesn't reach the threshold: K whole numbers. Of equal objects the lower one counts.
#
# *Building block:* step two in chapter 13.


# %% tags=["exercise"]
def step_two(table, threshold):
    # solution
    best, object_ = table.max(dim=0)
    return torch.where(best >= threshold, object_, -1)


# %%
check.step_two(step_two)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# You want the best object of each *anchor*, which is the maximum of each column, so `dim=0`.
# </details>
# <details><summary>Hint 2</summary>
#
# `table.max(dim=0)` returns two things, the largest IoU and where it stands. `torch.where(condition, a, b)` chooses.
# </details>
# <!-- solution -->
#
# ### 3.2 Step one · the heart of the chapter · 15 minutes
#
# You are given the table. Return for each object the anchor it gets, or -1 if no anchor that it touches is left: R
# whole numbers. Take the largest number of the whole table, make it a pair, take both out of the table, and repeat
# until nothing above 0 is left. There is no threshold here, and loops are welcome. Ties go to the lower anchor, then to
# the lower object.
#
# *Building block:* step one in chapter 13.


# %% tags=["exercise"]
def greedy(table):
    # solution
    left, own = table.clone(), torch.full((len(table),), -1)
    while left.max() > 0:
        anchor, object_ = (left.T == left.max()).nonzero()[0].tolist()
        own[object_] = anchor
        left[object_] = 0
        left[:, anchor] = 0
    return own


# %%
check.greedy(greedy)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Work on `table.clone()`. Taking a pair out of the table means that its row and its column become 0.
# </details>
# <details><summary>Hint 2</summary>
#
# `(left.T == left.max()).nonzero()` lists all places of the maximum, ordered by anchor and then by object.
# </details>
# <details><summary>Help: it says that two objects got the same anchor</summary>
#
# You took each object's `argmax`, or you cleared rows but not columns.
# </details>
# <!-- solution -->
#
# ### 3.3 Both steps · easy · 5 minutes
#
# You are given the table, the threshold, and in the tensor `own` what step one gave: the anchor of each of the R
# objects, -1 for none. Return for each of the K anchors the object it answers for, -1 for background. Use your
# `step_two`.
#
# *Building block:* with 3.1 and 3.2, the matching of chapter 13.


# %% tags=["exercise"]
def both(table, own, threshold):
    # solution
    matched = step_two(table, threshold)
    for object_, anchor in enumerate(own.tolist()):
        if anchor >= 0:
            matched[anchor] = object_
    return matched


# %%
check.both(both)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Do step two for all anchors first, then write step one over it.
# </details>
# <!-- solution -->
#
# ### 3.4 The smallest object · on paper · 5 minutes
#
# The smallest square anchor has a side of 30 px. A smaller square object lies exactly in its middle. How long, in px,
# must the object's side at least be for step two to match the two? Write one number; one decimal place is enough.

# %% tags=["exercise"]
side = 30 * 0.5**0.5  # solution

# %%
check.smallest(side)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The object lies inside the anchor, so the intersection is the object and the union is the anchor.
# </details>
# <!-- solution -->
#
# That is a length on the 300 x 300 input. A photograph of 500 x 375 is squeezed to that size, so on the photograph it
# is an object 35 px wide and 27 px high. Any object of less than half the smallest anchor's area has only step one,
# whatever its shape.
#
# ### 3.5 A plus or a single one · on paper · 8 minutes
#
# As in *How many anchors does an object get?*, an object has exactly the size of a map's small square and lies in the
# middle of a cell of that map. How many small squares of the same map have an IoU of at least 0.5 with it, the one in
# the same place included? Write down six numbers, one for each map from 38² to 1². Where a map has few cells, take one
# in the middle.
#
# | map | 38² | 19² | 10² | 5² | 3² | 1² |
# |---|---|---|---|---|---|---|
# | small square, px | 30 | 60 | 111 | 162 | 213 | 264 |
# | stride, px | 8 | 16 | 32 | 64 | 100 | 300 |

# %% tags=["exercise"]
same_size = [5, 5, 5, 1, 1, 1]  # solution

# %%
check.same_size(same_size)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# They have to share two thirds, so a shift along one axis may be a third of the side. Which strides are short enough?
# </details>
# <details><summary>Hint 2</summary>
#
# For a diagonal neighbour the shared part is (side - stride)², and two thirds of side² are needed.
# </details>
# <!-- solution -->
#
# ### 3.6 The object that disappears · a real bug · 10 minutes
#
# Much published code does step one like this: for each object in turn, it finds the object's best anchor (its
# *argmax*) and writes there that this anchor answers for this object, without looking whether another object is
# written there already. You are given the table. Return the list of the objects, in rising order, that are overwritten
# by a later one.


# %% tags=["exercise"]
def lost(table):
    # solution
    best = table.argmax(dim=1).tolist()
    return [i for i, anchor in enumerate(best) if anchor in best[i + 1 :]]


# %%
check.lost(lost)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Object i is lost if a *later* object has the same argmax.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# ... we took that shortcut? It is in amdegroot's PyTorch SSD ([ssd.pytorch, issue
# 354](https://github.com/amdegroot/ssd.pytorch/issues/354)) and in torchvision's. Take two objects of 18 x 18 pixels,
# one shifted by three pixels against the other, as in a flock of birds:

# %%
pair = torch.tensor([[94.0, 95, 112, 113], [97, 95, 115, 113]])
rows = []
for rule in (matcher.GREEDY, matcher.OVERWRITE):
    matched = matcher.match_with(pair, grid, rule=rule).matched
    rows.append((rule, (matched == 0).sum(), (matched == 1).sum()))
tables.table(rows, head=("rule", "anchors of the first object", "of the second"))

# %% [markdown]
# The first object has vanished. No anchor is told to find it, those near it are told to say *background*, and there is
# no error and no warning. An object that step two serves as well doesn't vanish altogether, but it loses its best
# anchor in the same way. On the genuine annotations, this is how many objects lose their anchor of step one in one of
# these two ways:

# %%
print(f"{facts['lost_by_argmax']} of {count:,} objects lose their own anchor by the shortcut")

# %% [markdown]
# That is less than one in a hundred, so a detector learns in spite of it, and mAP, the score of a detector ([chapter
# 11](11_evaluation.ipynb)), doesn't give it away. Readers of amdegroot's program have reported it more than once, a
# year apart ([both threads](../docs/faq.md)).
#
# How much the rules of matching matter for mAP is harder to say. The author of ssd_keras saw "an mAP increase of 0.17
# from the new matching logic alone" ([issue 71](https://github.com/pierluigiferrari/ssd_keras/issues/71)), but states
# no unit. On a scale from 0 to 1 that would be 17 points. On a scale from 0 to 100 it would be next to nothing: in our
# short runs another random seed alone moves the mAP by two or three points ([chapter 08](08_learning_rate_drops.ipynb)).
#
# Can we train both ways and compare? Not on the painted scenes of this course, which keep their objects apart:

# %%
painted = voc.read_sets(pictures.mini_voc(), runs.RECIPES["mini"].train_sets)
boxes = [one.boxes * (300 / torch.tensor(one.size * 2)) for one in painted]  # px of the 300 x 300 input
counted = counts.without_an_anchor(boxes, grid)
head = ("objects", "overwritten by the shortcut", "without an anchor by step two alone")
tables.table([tuple(counted.values())], head=head)

# %% [markdown]
# In none of them do two objects want the same anchor, so a training with the shortcut would be the same training to the
# last bit. With step two alone, without any step one, 39 of the 2,457 objects have no anchor, nearly all of them small.
# **What that costs can't be told from three runs each**: step two alone came out lower with two of the three random
# seeds.

# %% alt="Left the mAP of three runs with both steps, 0.662 to 0.686, and of three with step two alone, 0.654 to 0.667, runs of one random seed joined; right their differences, from 0.032 lower to 0.001 higher, whose mean can't be told from 0"
trained = {"both steps": experiments.runs("recipe"), "step two alone": experiments.runs("threshold")}
maps = {name: {seed: found[seed].map for seed in range(3)} for name, found in trained.items()}
title = "Without step one: not clearly worse where objects keep apart"
figure = experiment_figures.arms(maps, [("step two alone", "both steps")], title)

# %%
small = {name: {seed: run.sizes["0 to 30"][0] for seed, run in found.items()} for name, found in trained.items()}
pair = experiments.paired(small["step two alone"], small["both steps"])
print("mAP of objects below 30 px, step two alone minus both steps, three pairs:")
print(f"{pair.mean:+.1f} points, twice the standard error {2 * pair.error:.1f}")

# %% [markdown]
# The test scenes have few objects that small, so their AP jumps from run to run. And in these scenes one object in 63
# depends on step one; in the genuine annotations, as counted above, it is one in eight. What step one is worth there,
# these runs can't show. The rule for "can't be told" and the other questions are in
# [experiments.md](../docs/experiments.md).
#
# > **Note:** the narrow network of the recipe `mini` on the painted scenes, 2,500 steps, random seeds 0 to 2, bfloat16
# > on an AMD EPYC, 2026-11-29, commit e003bcadce.
#
# Three more cases in which programs go wrong, or differ:
#
# - **An image without objects.** The maximum over no objects is an error in much code. Here all 8,732 anchors are
#   background.
# - **An object that touches no anchor**, far outside. Its row of the table is all 0, and the argmax of zeros is 0, so
#   some programs give it anchor 0, which then learns to see an object where there is none. Here it stays unmatched.
# - **Difficult objects** are matched and trained on, as in the original, while other code drops them. They are left out
#   when detections are judged (chapter 11), which is a different matter.
#
# ## Self-test

# %%
SelfTest("matching")

# %% [markdown]
# ## Recap
#
# - Step one takes the best pair of the whole table, removes both, and repeats. Every object that touches an anchor
#   gets one.
# - Step two assigns every free anchor to its best object if the IoU is at least 0.5. An object may have many anchors.
# - Boxes of the same size reach an IoU of 0.5 when they share two thirds. Below 21 px an object gets one anchor, above
#   30 px around ten, and long ones get fewer.
# - One object of VOC in eight has only the anchor of step one. The argmax shortcut would take the anchor of step one
#   from 352 of all 47,223 objects; some of these keep others from step two.
# - Matching depends on the objects and the anchors alone, not on the network. It says what each answer should have
#   been; chapter 04 measures, with the loss, how far the network's answers are from that.
#
# Paper, section 2.2 "Matching strategy"; the rules are those of Caffe's `bbox_util.cpp`.
