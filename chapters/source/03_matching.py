# %% [markdown]
# # 03 · Matching
#
# **In one sentence:** every object first gets one anchor of its own, best pair first; then every anchor that is still
# free and covers an object by at least half answers for that object too.
#
# | | |
# |---|---|
# | time | 40 minutes, half of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 02: where the 8,732 anchors come from |
# | new rooms | `matching` |
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

from course import check_matching as check
from course import matcher, pictures
from course.self_test import SelfTest
from ssdlib import anchors, matching

# %% [markdown]
# ## The picture
#
# The network answers 8,732 times about every picture, once for each anchor. To teach it we must say what each answer
# should have been. Here is a scene, and the anchors that have to answer for one of its objects. All the others, more
# than 8,700, should say *background*.

# %% alt="A scene with three objects in orange and, around each, one thick blue anchor and several thin green ones that match it"
scene = pictures.scene(pictures.pick(objects=3))
grid = anchors.default_boxes()
found = matcher.match_with(scene.boxes, grid)
figure = matcher.drawn(scene, found)

# %% [markdown]
# Blue and thick: one for each object, given by *step one*. Green and dashed: given by *step two*, as many as fit.
#
# ## The words
#
# - An **anchor** is one of the 8,732 boxes laid over every picture. (Caffe: *prior*; the paper: *default box*.)
# - An anchor that answers for an object is **positive**; all others are **background**, also called *negative*.
# - **Step one** is *bipartite matching*: pairs of one object and one anchor. **Step two** is the *threshold*.
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
# 1 by .50, and that is enough. So anchors 0 to 3 answer for objects 0, 1, none, 1.
#
# Note anchor 1: it overlaps object 0 more, .80. Had step two been alone, object 0 would have it, and object 1 would
# have only the worst of those that reach a half. Step one comes first, and nobody takes away what it gave.

# %%
table = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.6, 0.7, 0.2, 0.5]])
own = matching.bipartite(table[None])[0]
print("step one:", own.tolist())

# %% [markdown]
# ## In the library
#
# `bipartite` is step one for a whole batch at once. Instead of marrying one pair at a time, it marries in each round
# every pair that nobody contests. The order of such marriages doesn't matter, so the result is the same.

# %%
print(inspect.getsource(matching.bipartite))

# %% [markdown]
# Two of its rules you will meet again: **ties** go to the lower anchor, then to the lower object; and an object that
# touches no anchor stays without one (-1), it isn't forced on somebody.
#
# `match` is both steps.

# %%
print(inspect.getsource(matching.match))

# %% [markdown]
# Do the fast version and the pencil agree? Not only on the table above: on two thousand random ones, against loops
# that do what the pencil did.

# %%
tables = [torch.rand(4, 9).mul(10).floor() / 10 for _ in range(2000)]
assert all(check.library_agrees(t) for t in tables)
print("2,000 tables, full of ties: equal")

# %% [markdown]
# ## The same on the picture
#
# `overlaps` makes the table, three lines of 8,732 numbers here.

# %%
table = matching.overlaps(scene.boxes[None], scene.labels[None], grid)[0]
matched = matching.match(scene.boxes[None], scene.labels[None], grid)[0]
for i, name in enumerate(scene.names):
    width, height = (scene.boxes[i, 2:] - scene.boxes[i, :2]).tolist()
    print(f"{name:<12} {width:4.0f} x {height:3.0f} px   best IoU {table[i].max():.2f}", end="   ")
    print((matched == i).sum().item(), "anchors")

# %% [markdown]
# Objects differ in how many anchors they get, and it isn't simply the larger the more: what counts is whether the
# anchors have a size and shape close to the object's, and how densely such anchors lie. From which maps do they come?

# %%
print("map      ", *(f"{side:>3}²" for side in anchors.SSD300.feature_maps))
for i, name in enumerate(scene.names):
    print(f"{name:<9}", *(f"{count:4}" for count in found.per_map(i)))

# %% [markdown]
# ## Why two steps?
#
# **Step two alone** would leave objects without any anchor: those that no anchor covers by half. How many is that on
# real data? The next numbers were counted on the genuine annotations of VOC 07+12, on pictures squeezed to
# 300 x 300 (by `data_scripts/count_facts.py`, which needs no photographs).

# %%
facts = matcher.facts()
count, few = facts["objects"], facts["best_iou_below_threshold"]
print(f"{few:,} of {count:,} objects, {100 * few / count:.1f} %, have no anchor with IoU .5")

# %% [markdown]
# One object in eight, most of them small. Step one is all that they have.
#
# **Step one alone** would give every object exactly one anchor. The anchor beside it, shifted by 8 pixels and
# overlapping nearly as much, would have to say *background* at the same time: two pictures that look the same with
# opposite answers. It would also leave very few positives to learn from.
#
# **Why not match what the network predicts?** In the beginning predictions are noise, so an object would belong to
# another anchor at every step, and no anchor would have a steady duty to learn. Anchors don't move. Matching is a
# property of the picture, computed without the network.
#
# ## Move it
#
# Drag an object, or one of its corners. Blue is step one, green and dashed step two; the object you hold is shown
# strongly. Try the cases, and *say before you look* what will happen:
#
# - **two objects, one best anchor**: who gets it? What does the other get? Now choose *argmax* as step one.
# - **too small for any IoU of .5**: make it larger until step two wakes up. How large is it then?
# - **between two cells**: move it by one pixel with <kbd>Alt</kbd> and an arrow key. When does the blue one jump?
# - **outside the picture**: drag it away until it has no anchor at all.

# %%
explorer = matcher.Matcher(scene.pixels)
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
# Given the table (R objects, K anchors) and the threshold, return for each anchor the index of its best object, or -1.
# A tensor of K whole numbers.

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
# The best object of each *anchor*: a maximum over the lines, so `dim=0`.
# </details>
# <details><summary>Hint 2</summary>
#
# `table.max(dim=0)` gives two things, the largest IoU and where it stands. `torch.where(condition, a, b)` chooses.
# </details>
# <!-- solution -->
#
# ### 3.2 Step one · the heart of the chapter · 15 minutes
#
# Return for each object the anchor it gets, or -1 if no anchor touches it: a tensor of R whole numbers. Take the
# largest number of the whole table, make it a pair, take both out of the table; again and again. Loops are welcome.
# Ties: the lower anchor, then the lower object.

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
# `own` is what step one gave (R anchors, -1 for none). Return what each of the K anchors answers for. Use your
# `step_two`.

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
# The smallest square anchor has a side of 30 px. A square object lies exactly in its middle. How long, in px, must the
# object's side at least be for step two to match the two?

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
# A 500 x 375 photograph is squeezed to 300 x 300. There the side is about 35 px wide and 27 px high: smaller objects
# hang on step one.
#
# ### 3.5 The object that disappears · a real bug · 10 minutes
#
# Much published code does step one like this: every object takes its argmax, one after the other, and writes its own
# index there. Return the list of objects, in rising order, whose entry is overwritten by a later one.

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
# ... we took that shortcut? It is in the best-known PyTorch SSD
# ([amdegroot/ssd.pytorch, issue 354](https://github.com/amdegroot/ssd.pytorch/issues/354)) and in torchvision's.
# Two objects of 18 pixels, three pixels apart, as in a flock of birds:

# %%
pair = torch.tensor([[94.0, 95, 112, 113], [97, 95, 115, 113]])
for rule in (matcher.GREEDY, matcher.OVERWRITE):
    result = matcher.match_with(pair, grid, rule=rule)
    print(f"{rule:<30} anchors per object:", [(result.matched == i).sum().item() for i in range(2)])

# %% [markdown]
# The first object has vanished: no anchor is told to find it, and those near it are told that it is background. There
# is no error and no warning, the loss is a little *lower*. On the genuine annotations:

# %%
print(f"{facts['lost_by_argmax']} of {count:,} objects lose their own anchor by the shortcut")

# %% [markdown]
# Less than one in a hundred. That is why nobody noticed for years, and why it is worth knowing anyway: fixing this order
# alone brought [ssd_keras](https://github.com/pierluigiferrari/ssd_keras/issues/71) 0.17 points of mAP, says its author.
#
# Three more that people trip over:
#
# - **A picture without objects.** The maximum over no objects is an error in much code. Here it is 8,732 times
#   background.
# - **An object that touches no anchor** (outside of everything). Forced on anchor 0 in some programs: that anchor
#   then learns to see an object where there is none. Here it stays unmatched.
# - **Difficult objects** are matched and trained on, as in the original; other code drops them. They are left out
#   when detections are judged (chapter 11), which is another thing.
#
# ## Self-test

# %%
SelfTest("03")

# %% [markdown]
# ## Recap
#
# - Step one: the best pair of the whole table first, both leave, again. Every object that touches an anchor gets one.
# - Step two: every free anchor takes its best object if the IoU is at least .5. An object may have many.
# - One object of VOC in eight has only the anchor of step one; 352 would lose it by the argmax shortcut.
# - Matching depends on the picture alone, not on the network.
#
# Paper, section 2.2 "Matching strategy"; the rules are those of Caffe's `bbox_util.cpp`.
