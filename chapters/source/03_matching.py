# %% [markdown]
# # 03 · Matching
#
# **In one sentence:** every object first gets one anchor of its own, best pair first; then every anchor that is still
# free and has an IoU of at least .5 with an object answers for that object too.
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
# - fill in by hand which anchor answers for which object, both steps,
# - say why there are two steps, and what each alone would get wrong,
# - predict how many anchors an object gets from its size and shape,
# - recognise the shortcut that loses objects, and show on a picture that it does.

# %%
import inspect

import torch

from course.boxes import voc_facts
from course.kit import free_photographs, opening, pictures, tables
from course.kit.self_test import SelfTest
from course.matching import check, matcher
from ssdlib import anchors, matching

# %% [markdown]
# ## The picture
#
# The network answers 8,732 times about every picture, once for each anchor. To teach it we must say what each answer
# should have been. Here is the scene of chapter 00. Drawn are the anchors that have to answer for an object. All the others, more than
# 8,600, should say *background*.

# %% alt="A scene with three objects in orange and, around each, one thick blue anchor and, as many as fit, thin dashed green ones"
scene = pictures.scene(opening.example())
grid = anchors.default_boxes()
found = matcher.match_with(scene.boxes, grid)
figure = matcher.draw_matching(scene, found)

# %% [markdown]
# Blue and thick: one for each object, given by *step one*. Green and dashed: given by *step two*, as many as fit. On a
# photograph it is the same:

# %% alt="A photograph of a person in an orange box, with one thick blue anchor and a few thin dashed green ones around it, some of which reach beyond the picture"
person = pictures.scene(free_photographs.example("astronaut"))
figure = matcher.draw_matching(person, matcher.match_with(person.boxes, grid))
figure = free_photographs.add_credit(figure, ["astronaut"])

# %% [markdown]
# No anchor has exactly the shape of this person. Each of the drawn ones has an IoU of at least .5 with her box, and for
# each of them the network has to learn how far it must move and grow. An anchor that covers nothing but her face should
# say *background*, because its IoU is too small.
#
# ## The words
#
# - An **anchor** is one of the 8,732 boxes laid over every picture. (Caffe: *prior*; the paper: *default box*.)
# - **IoU**, from chapter 01: the area two boxes share, divided by the area they cover together.
# - An anchor that answers for an object is **positive**; all others are **background**, also called *negative*.
# - **Step one** is *bipartite matching*: pairs of one object and one anchor. **Step two** is the *threshold*: IoU .5.
# - `table` holds the IoU of every object with every anchor: one line an object, one column an anchor.
# - `matched` says for each anchor which object it answers for, -1 for background.
#
# ## By hand
#
# Two objects, four anchors. Take paper and a pencil; you need nothing but this table.
#
# | IoU | anchor 0 | anchor 1 | anchor 2 | anchor 3 |
# |---|---|---|---|---|
# | **object 0** | .90 | .80 | .10 | .00 |
# | **object 1** | .60 | .70 | .20 | .50 |
#
# *Step one.* The largest number of the table is .90: object 0 and anchor 0 are a pair, and both leave the table.
# What is left is object 1 with anchors 1, 2 and 3; the largest number is .70, so it takes anchor 1.
#
# *Step two.* Anchors 2 and 3 are free. Anchor 2 overlaps its best object by .20: background. Anchor 3 overlaps object
# 1 by .50, and that is enough. So anchors 0 to 3 answer for objects 0, 1, none, 1. (The paper says *higher than* .5. The
# released code compares with >=, and so do we.)
#
# Look at anchor 1 once more. It overlaps object 0 more (.80) than object 1 (.70). With step two alone it would go to
# object 0, and object 1 would be left with anchor 3 only, at .50. Step one comes first, and step two takes away nothing
# that it gave.

# %%
table = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.6, 0.7, 0.2, 0.5]])
own = matching.bipartite(table)
print("step one:", own.tolist())

# %% [markdown]
# ## In the library
#
# `bipartite` does the same. It lists the pairs, best first, and goes down that list: a pair is accepted if neither its
# object nor its anchor has been assigned before. It takes the objects of a whole batch at once, and `image` says which
# image each of them is in, because only objects of the same image compete.

# %%
print(inspect.getsource(matching.bipartite))

# %% [markdown]
# Nearly all of the 8,732 anchors are far from an object, so the list holds only each object's best few: with three
# objects in an image, an object always gets one of its three best anchors, since the others can take only two.
#
# Two of its rules you will meet again. **Ties** go to the lower anchor, then to the lower object. And an object that
# touches no anchor stays without one (-1).
#
# `match` is both steps. It writes the pairs of step two first, because step one overrules them.

# %%
print(inspect.getsource(matching.match))

# %% [markdown]
# Do the fast version and the pencil agree? Not only on the table above: on two thousand random ones, against loops
# that do what the pencil did.

# %%
drawn = [torch.rand(4, 9).mul(10).floor() / 10 for _ in range(2000)]
assert all(check.library_agrees(t) for t in drawn)
print("2,000 tables, full of ties: equal")

# %% [markdown]
# ## The same on the picture
#
# `overlaps` makes the table, three lines of 8,732 numbers here.

# %%
table = matching.overlaps(scene.boxes, grid)
matched = matching.match(scene.boxes[None], scene.labels[None], grid)[0]
sizes = (scene.boxes[:, 2:] - scene.boxes[:, :2]).tolist()
rows = [(name, *sizes[i], table[i].max(), (matched == i).sum()) for i, name in enumerate(scene.names)]
tables.table(rows, head=("object", "wide, px", "high, px", "best IoU", "anchors"), form=("", ".0f", ".0f"))

# %% [markdown]
# Objects differ in how many anchors they get, and it isn't simply the larger the more: what counts is whether the
# anchors have a size and shape close to the object's, and how densely such anchors lie. From which maps do they come?

# %%
rows = [(name, *found.per_map(i)) for i, name in enumerate(scene.names)]
sides = [f"{side} x {side}" for side in anchors.SSD300_ANCHORS.feature_maps]
tables.table(rows, head=("object", *sides), heat=sides, caption="Anchors from each map")

# %% [markdown]
# ## How many anchors does an object get?
#
# A rule for the pencil. Take an object of exactly the size of an anchor, 60 x 60, in the middle of a cell of the 19²
# map. The same anchor one cell to the right lies 16 px away, the stride of that map.
#
# | shifted by | shared | covered together | IoU | |
# |---|---|---|---|---|
# | 0, 0 | 60 · 60 = 3600 | 3600 | 1 | matches |
# | 16, 0 | 44 · 60 = 2640 | 7200 - 2640 = 4560 | .58 | matches |
# | 16, 16 | 44 · 44 = 1936 | 7200 - 1936 = 5264 | .37 | |
# | 32, 0 | 28 · 60 = 1680 | 7200 - 1680 = 5520 | .30 | |
#
# So of the small squares of this map five match, in the form of a plus: the one in the middle and its four neighbours.
# Behind it is a rule worth knowing: two boxes of the *same size* have IoU .5 when they share **two thirds** of their
# area. Along one axis the anchor may be off by a third of its width, not more.
#
# Anchors of other shapes come on top, as far as they are similar. Altogether it looks like this. Every size was laid at
# places all over the picture, alone:

# %% alt="Three curves, anchors over the size of the object: one anchor below 21 px, then a steep rise; squares get 8 to 17, 2 to 1 objects a little fewer, 3 to 1 objects 2 to 10"
figure = matcher.counts_drawn()

# %% [markdown]
# - Below 21 px (you will compute this number) there is exactly one anchor, from step one. Above it the curve jumps.
# - From 30 px on a square gets 8 to 17 anchors, on average over its places. Its size matters little: on the maps of the
#   larger anchors the strides are larger too.
# - A long object gets fewer. Only three of the six maps have anchors of 3 : 1.
#
# What does that mean for training? The objects of VOC 07+12 by their genuine sizes, laid out in the same way:

# %%
head = ("size, px", "of the objects", "anchors each", "of the positives")
tables.table(matcher.voc_by_size(), head, form=("", ".0%", ".1f", ".0%"))

# %% [markdown]
# The smallest objects are 8 percent of all, and 1 percent of the positives. The loss of the next chapter is a sum over
# positives, so small objects have little say in it. The paper finds that SSD is much worse on small objects than on
# large ones. Their few anchors are one likely reason among several: at 300 x 300 an object of 20 px is hardly two cells of
# the finest map wide, and that map comes from an early layer, which has seen little of the surroundings. How much each of
# these contributes can't be told from the table.
#
# ## Why two steps?
#
# **Step two alone** would leave objects without any anchor: those that have no IoU of .5 with any. How many is that on
# real data? The next numbers were counted on the genuine annotations of VOC 07+12, on pictures squeezed to
# 300 x 300 (by `data_scripts/count_facts.py`, which needs no photographs).

# %%
facts = voc_facts.counted()
count, few = facts["objects"], facts["best_iou_below_threshold"]
print(f"{few:,} of {count:,} objects, {100 * few / count:.1f} %, have no anchor with IoU .5")

# %% [markdown]
# One object in eight, and the curve above says which: most are smaller than 21 px. Step one is all that they have.
#
# **Step one alone** would give every object exactly one anchor. The anchor beside it sees nearly the same part of the
# picture, and would have to say *background*: opposite answers to what looks the same. And there would be few
# positives to learn from, one for each object.
#
# **Why not match what the network predicts?** In the beginning predictions are noise. An object would belong to
# another anchor at every step, and no anchor could learn its task. Anchors don't move: the same picture
# always gives the same matching, and the network isn't needed to compute it.
#
# ## Move it
#
# Drag an object, or one of its corners. Blue is step one, green and dashed step two; the object you hold is shown
# strongly. Try the cases, and *say before you look* what will happen:
#
# - **the objects of the picture**: make one half as high, from a corner. Which of its anchors leave it first?
# - **two objects, one best anchor**: who gets it? What does the other get? Now choose *argmax* as step one.
# - **too small for any IoU of .5**: make it larger until step two wakes up. How large is it then?
# - **between two cells**: move it by one pixel with <kbd>Alt</kbd> and an arrow key. When does the blue one jump?
# - **outside the picture**: drag it to the right until it has no anchor at all. And with *argmax*? (Read the first line.)
# - Back to *two objects, far apart*: make object 0 a square of 60 px, then move it. How many anchors, at most, at least?

# %%
explorer = matcher.Matcher(scene.pixels, scene.boxes, names=scene.names)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4 and
# Notebook 7. VS Code and Colab have not been tried.)
#
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold. A check that says *not right*
# shows where.
#
# ### 3.1 Step two · easy · 5 minutes
#
# Given the table (R objects, K anchors) and the threshold, return for each anchor the index of its best object, or -1 if
# even that one doesn't reach the threshold: K whole numbers. Ties: the lower object.
#
# *Building block:* with 3.2 and 3.3 it assigns the anchors of every training picture in chapter 13.


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
# The best object of each *anchor*: the maximum of each column, so `dim=0`.
# </details>
# <details><summary>Hint 2</summary>
#
# `table.max(dim=0)` gives two things, the largest IoU and where it stands. `torch.where(condition, a, b)` chooses.
# </details>
# <!-- solution -->
#
# ### 3.2 Step one · the heart of the chapter · 15 minutes
#
# Return for each object the anchor it gets, or -1 if no anchor touches it: R whole numbers. Take the largest number of
# the whole table, make it a pair, take both out of the table; again, until nothing above 0 is left. There is no
# threshold here. Loops are welcome. Ties: the lower anchor, then the lower object.
#
# *Building block:* with 3.1 and 3.3 it assigns the anchors of every training picture in chapter 13.


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
# Work on `table.clone()`. Taking a pair out of the table means: its line and its column become 0.
# </details>
# <details><summary>Hint 2</summary>
#
# `(left.T == left.max()).nonzero()` lists all places of the maximum, ordered by anchor and then by object.
# </details>
# <details><summary>Help: it says that two objects got the same anchor</summary>
#
# You took each object's `argmax`, or you cleared lines but not columns.
# </details>
# <!-- solution -->
#
# ### 3.3 Both steps · easy · 5 minutes
#
# `own` is what step one gave: the anchor of each of the R objects, -1 for none. Return for each of the K anchors the
# object it answers for, -1 for background. Use your `step_two`.
#
# *Building block:* with 3.1 and 3.2 it assigns the anchors of every training picture in chapter 13.


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
# First step two everywhere, then write step one over it.
# </details>
# <!-- solution -->
#
# ### 3.4 The smallest object · on paper · 5 minutes
#
# The smallest square anchor has a side of 30 px. A smaller square object lies exactly in its middle. How long, in px,
# must the object's side at least be for step two to match the two? One digit behind the point is enough.

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
# That is on the canvas. A photograph of 500 x 375 is squeezed to 300 x 300, so on the photograph it is an object 35 px
# wide and 27 px high. Any object of less than half the smallest anchor's area has only step one, whatever its shape.
#
# ### 3.5 A plus or a single one · on paper · 8 minutes
#
# As in *How many anchors does an object get?*: an object has exactly the size of a map's small square and lies
# in the middle of a cell of that map. How many small squares of the same map match it? Do it for all six maps, with
# the middle cell if there are few, and write down six numbers.
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
# Share two thirds: a shift along one axis may be a third of the side. Which strides are short enough?
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
# *argmax*) and writes there that this anchor answers for this object. Nobody looks whether something is written there
# already. Return the list of the objects, in rising order, that are overwritten by a later one.


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
# ... we took that shortcut? It is in amdegroot's PyTorch SSD
# ([ssd.pytorch, issue 354](https://github.com/amdegroot/ssd.pytorch/issues/354)) and in torchvision's.
# Two objects of 18 pixels, three pixels apart, as in a flock of birds:

# %%
pair = torch.tensor([[94.0, 95, 112, 113], [97, 95, 115, 113]])
rules = {rule: matcher.match_with(pair, grid, rule=rule).matched for rule in (matcher.GREEDY, matcher.OVERWRITE)}
rows = [(rule, *((matched == i).sum() for i in range(2))) for rule, matched in rules.items()]
tables.table(rows, head=("rule", "anchors of the first object", "of the second"))

# %% [markdown]
# The first object has vanished. No anchor is told to find it, and those near it are told to say *background*. There
# is no error and no warning. On the genuine annotations:

# %%
print(f"{facts['lost_by_argmax']} of {count:,} objects lose their own anchor by the shortcut")

# %% [markdown]
# Less than one in a hundred, so a detector learns in spite of it and the mAP doesn't give it away. Readers of that
# program have reported it more than once ([ssd.pytorch 193](https://github.com/amdegroot/ssd.pytorch/issues/193) a year
# before 354). Matching does count: the author of ssd_keras saw "an mAP increase of 0.17 from the new matching logic alone"
# ([issue 71](https://github.com/pierluigiferrari/ssd_keras/issues/71)). He states no unit: on a scale from 0 to 1 that
# would be 17 points, on one from 0 to 100 less than the noise between two runs (chapter 08).
#
# Three more that people trip over:
#
# - **A picture without objects.** The maximum over no objects is an error in much code. Here it is 8,732 times
#   background.
# - **An object that touches no anchor**, far outside. Its line of the table is all 0, and the argmax of zeros is 0: some
#   programs give it anchor 0, which then learns to see an object where there is none. Here it stays unmatched.
# - **Difficult objects** are matched and trained on, as in the original; other code drops them. They are left out
#   when detections are judged (chapter 11), which is another thing.
#
# ## Self-test

# %%
SelfTest("matching")

# %% [markdown]
# ## Recap
#
# - Step one: the best pair of the whole table first, both leave, again. Every object that touches an anchor gets one.
# - Step two: every free anchor takes its best object if the IoU is at least .5. An object may have many.
# - Boxes of the same size reach IoU .5 when they share two thirds. Below 21 px an object gets one anchor, above 30 px
#   around ten; long ones get fewer.
# - One object of VOC in eight has only the anchor of step one. By the argmax shortcut 352 of 47,223 would lose theirs.
# - Matching depends on the picture alone, not on the network.
#
# Paper, section 2.2 "Matching strategy"; the rules are those of Caffe's `bbox_util.cpp`.
