# %% [markdown]
# # 13 · Your SSD
#
# **In one sentence:** the functions that you have written since chapter 01 replace the library's, one by one, and
# train a detector; where one of them is wrong, you find out which.
#
# The checks have said *right*, and still you don't know whether your functions make a detector. A check tries
# one function on a few cases, but a training run calls all of them together, thousands of times, on objects
# that touch and on images without any. Here your functions train together: by the end of this page a network
# has learned with your IoU, your matching and your loss, and you see what it finds.
#
# | | |
# |---|---|
# | time | 80 minutes; the training runs by itself for five of them, on a slow CPU for up to 20 |
# | hardware | any laptop; no GPU |
# | you need | some of the exercises marked as building blocks; without any, the library lends them all |
# | new modules | none of the library's, which doesn't know this chapter; `course/capstone` puts your functions in place of its own |
#
# At the end of this page you will be able to
#
# - say which function of a detector does what in a run, because you have replaced it,
# - tell a wrong function from a slow one, and say what a slow one costs,
# - find the wrong part of a detector by halving it, and recognise four famous mistakes by the trace they leave.

# %%
import torch

from course.capstone import (
    bisection,
    blocks,
    check,
    figures,
    mine,
    reference,
    run,
    swap_board,
    swapping,
    trial,
    wrong,
)
from course.kit import places
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from ssdlib import box_ops, evaluate
from ssdlib.training import engine

# %% [markdown]
# ## Where your functions lead
#
# On the left are the sixteen blocks that the exercises of this course have asked for. One network was trained with the
# solutions of all of them in place of the library's functions. On the right is what it finds in the scene of chapter
# 00, which it never saw in training. The blocks of your own detector will be your functions, and you decide block by
# block which of them takes part.

# %% alt="Left, sixteen tiles, the blocks of a detector from the box format to average precision. Right, what the network trained with the solutions of all of them finds in a scene: a car, a dog and a person, each in its box"
figure = figures.blocks_to_detector()

# %% [markdown]
# You don't need all sixteen to begin, so first see how many of them you have.
#
# ## What is yours
#
# Whenever the check of a *building block* said **right**, the course wrote your function into the file
# `my_ssd.py`, beside your pages. It is an ordinary Python file: open it, read it from top to bottom, and you
# have most of SSD in some two hundred lines. You may edit it. A later solution replaces an earlier one, which
# is then kept in the folder `aside`. This is what it holds now:

# %% tags=["nbval-ignore-output"]
functions = mine.functions()
print(mine.whose())
mine.inventory(functions)

# %% [markdown]
# The table lists sixteen blocks, roughly in the order in which a run meets them. The library lends those that you
# haven't solved, so this page works from the first solution on, and also without any. The function `sgd_step` is
# exercise 13.3 of this page, which comes before the run.
#
# These functions were written to be read, not to fit the library. How can they work in it?
#
# ## How a function takes another one's place
#
# Your `greedy` takes the IoU table of one image, while the library's matcher takes the boxes of a whole batch.
# Each block therefore has an adapter of a few lines that stands between the two. This is the one for matching:

# %%
source(blocks._matching)

# %% [markdown]
# Your `encode` takes a single box.
# [`torch.vmap`](https://docs.pytorch.org/docs/stable/generated/torch.vmap.html) turns it into a function of
# thousands of boxes without a loop in Python, as long as it computes with tensors alone. Where that fails, a
# loop does the same, slowly.

# %%
source(blocks.one_by_one)

# %% [markdown]
# The exchange itself happens in one function for all blocks. The library doesn't provide for it, so `swapped`
# replaces the library's functions under their own names. Inside the `with` these names lead to your functions,
# and at the end they lead to the library's again, even after an error.

# %%
source(swapping.swapped)

# %%
library_iou = box_ops.iou
with swapping.swapped(reference.__dict__, ["IoU"]):
    print("inside, the library's IoU is another function:", box_ops.iou is not library_iou)
print("outside, it is its own again:", box_ops.iou is library_iou)

# %% [markdown]
# The exchange works, but three of the functions that it can exchange are still to be written.
#
# ## Three functions that no chapter has asked for
#
# The first two join functions that you have, so that the detector measures every overlap with your IoU and moves every
# box in your order. The third is the one block that no chapter before this one asked for. Solve them now, and they take
# part in the run.
#
# ### 13.1 The overlap of the development kit · easy · 6 minutes
#
# Chapter 11 measures overlaps with the + 1: both corners of a box are pixels that belong to it. Given are `a`
# and `b`, two boxes of four numbers each: xmin, ymin, xmax, ymax. Return their overlap by that rule, as one
# number. A detector should have one IoU, so don't write a second one: call `box_ops.iou`, which takes tensors
# of corners and knows no + 1. While your blocks are swapped in, `box_ops.iou` is your own `iou`.

# %% tags=["exercise"]
def overlap(a, b):
    # solution
    a, b = (torch.tensor(box, dtype=torch.float64) for box in (a, b))
    one_more = torch.tensor([0, 0, 1, 1])
    return float(box_ops.iou(a + one_more, b + one_more))

# %%
check.overlap(overlap)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Columns 11 to 20 are ten columns. Between which two *edges* do they lie?
# </details>
# <details><summary>Hint 2</summary>
#
# A pixel's right edge lies one further than its left one: add 1 to xmax and ymax of both boxes.
# </details>
# <!-- solution -->
#
# ### 13.2 A box on its way · medium · 8 minutes
#
# An image is cropped to a `window` and then, if `flip` is true, mirrored. Given are `objects` (n, 4), the boxes of its
# objects in the photograph; n may be 0. Three functions of yours move them, and all three are handed to you:
# `keep(objects, window)` gives n values, True for the objects that stay, `move(objects, window)` takes boxes from the
# photograph to the input, 300 px wide, and `mirrored(boxes, width)` mirrors them in an image of that width. Return the
# boxes of the objects that stay, in the input.

# %% tags=["exercise"]
def into_input(objects, window, flip, keep, move, mirrored):
    # solution
    moved = move(objects[keep(objects, window)], window)
    return mirrored(moved, 300) if flip else moved

# %%
check.into_input(into_input)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# In which image are the numbers of `window` meant: in the photograph, or in the input?
# </details>
# <details><summary>Hint 2</summary>
#
# `objects[keep(objects, window)]` are those that stay. Move them, and mirror last.
# </details>
# <!-- solution -->
#
# ### 13.3 The update step · the heart of the chapter · 10 minutes
#
# The last block says what happens to a layer's weights once their gradient is known. Given are `weights`,
# `gradient` and `velocity`, tensors of one shape, and three numbers: `rate`, the learning rate, `momentum` and
# `decay`. Weight decay adds `decay` · weights to the gradient. The new velocity is `momentum` · velocity plus
# that sum. The new weights are the old ones minus `rate` times the new velocity. Return the new weights and the
# new velocity.

# %% tags=["exercise"]
def sgd_step(weights, gradient, velocity, rate, momentum, decay):
    # solution
    velocity = momentum * velocity + gradient + decay * weights
    return weights - rate * velocity, velocity

# %%
check.sgd_step(sgd_step)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Two lines: first the velocity, then the weights with the *new* velocity.
# </details>
# <details><summary>Hint 2</summary>
#
# The learning rate multiplies the velocity only when the weights move. Inside the velocity it would be Caffe's way.
# </details>
# <!-- solution -->
#
# These are PyTorch's two lines. With `momentum` 0.9 a gradient is carried on for some ten steps. When the
# learning rate changes, Caffe's way and this one differ for a while (exercise 8.5).
#
# That completes your file. Before you train with it, find out whether each block can stand a training run.
#
# ## Right, and fast enough?
#
# The checks of the exercises tried your functions on cases that one can draw, while a training run tries them
# on all others. So each block is now compared with the library's on twenty random cases: objects that touch,
# images without any, logits in the hundreds, scores or overlaps that are exactly equal.
#
# It also has to be *fast enough*. What counts isn't how many times slower a function is, but how much of a
# training step it takes. If your learning-rate function takes a thousand times as long as the library's, you
# won't notice it. If your matcher does, a run of minutes becomes one of hours.
#
# > **Predict first:** which of your blocks takes the most time beside the library's, and does it matter?

# %% tags=["nbval-ignore-output"]
functions = mine.functions()  # once more, with what you have solved since
yours = blocks.solved(functions)
tried = []
with interruptible(instead="the table says which blocks have not been tried"):
    for one in trial.try_all(functions, yours):
        tried.append(one)
trial.shown(tried, yours)

# %% [markdown]
# The column answers two separate questions: whether a block is *right*, and whether it is *fast enough*. A
# block is too slow if it alone would make the run more than 1.3 times as long. With the solutions of the
# course, average precision and suppression have by far the largest factors. Both go through the boxes in a
# Python loop, where the library treats many boxes at once, and a loop over *pairs* of boxes would be slower
# still. But both run in the evaluation alone, once in 2,500 steps, so their share of the run is small.
#
# > Note: measured separately, a step with all sixteen solutions of the course took 1.05 times the CPU time of the
# > library's, and the whole run of 2,500 steps with its evaluation would take 1.06 times as long (AMD EPYC, one
# > thread, 2026-11-29, the best of seven steps each).
#
# ## Is it the same detector?
#
# Twenty cases are still only twenty, and each block was tried by itself. So one batch now goes all the way
# twice, through the library and through your blocks: from its boxes to the targets, the loss and the changed
# weights, and from the outputs of the recorded network to AP. Each stage gets as its input what the library
# computed before it, so that the first difference names the place.
#
# If there is a difference, a *bisection* finds the block: is it among the first eight, or the last? Then among
# which four? If all is well, one comparison is enough. For one wrong block of sixteen it takes nine: the first,
# and two in each of four halvings, because both halves are tried so that a second wrong block is found as well.

# %% tags=["nbval-ignore-output"]
found = None  # until the search is through
with interruptible(instead="the page goes on without this search, so the next table can't say which blocks differ"):
    found = bisection.search(functions, yours)

# %% [markdown]
# The table gives one sentence for each block of yours:

# %% tags=["nbval-ignore-output"]
table(bisection.sentences(functions, yours, found), head=("block", "what is known of it") if yours else ())

# %% [markdown]
# If all of them are right, you haven't seen the search find anything, so break something. Here one of the
# course's solutions is replaced by a matcher that most ports have: if two objects want the same anchor, both are
# given it, so that one of them is lost ([chapter 03](03_matching.ipynb)). In what is printed, *yours* means these
# functions.

# %%
broken = {**mine.reference(), "greedy": wrong.argmax_greedy}
with interruptible(instead="the search was stopped before it named a block"):
    culprit = bisection.search(broken, ("IoU", "default boxes", "matching", "encoding"))

# %% [markdown]
# Only matching is named. The stage in which the difference *appears* says where to look, but it is no proof by
# itself, because a wrong IoU would have shown in the same stage. The proof is that the difference goes when the
# block is swapped back.
#
# You now know what may go into the run. What does go in is your choice.
#
# ## Choose
#
# Click on a tile to swap a block, or go there with the arrow keys and press <kbd>n</kbd>. Filled tiles are yours
# in the run that follows, dashed ones are lent by the library. Blocks that were found wrong or too slow start
# as lent, but you may take them in all the same to see what they do.
#
# - Which single block costs the most time?
# - Swap out all blocks that are used in the evaluation alone. Which are they?
#
# <details><summary>Answers</summary>
#
# - Swap out one after the other, and see how far the factor below the tiles falls.
# - Decoding, candidates, suppression and average precision.
# </details>

# %% tags=["nbval-ignore-output"]
explorer = swap_board.SwapBoard(yours, tried, found)
explorer

# %% [markdown]
# ## Train it
#
# Now `engine.train` runs, the same function as in chapter 09, with your functions in their places. The blue
# curve is your run. The dashed orange one is the recorded run of the library's functions, with the same random
# seed and therefore the same batches. You may stop the cell; when you run it again, it goes on from where it
# was. The folder of the run is named after your functions, so if you change one, a new run begins.
#
# > **Predict first:** will the two curves coincide? At the beginning, and at the end?

# %% tags=["nbval-ignore-output"] alt="The training loss of your run as a thick blue line, that of the recorded run dashed: they fall together"
this = run.job(functions, explorer.names)
train, test = run.mini_data()
curve = figures.LiveCurve(this.out, places.recording("mini"))
with interruptible(this.out, recorded=places.recording("mini")) as attempt:
    with swapping.swapped(functions, this.names):
        attempt.table = engine.train(
            this.config, train, test, this.out, resume=True, bar=curve.around(attempt.bar)
        )
curve.draw()

# %% tags=["nbval-ignore-output"]
with interruptible():
    done = attempt.or_recorded(test)
figures.ap_beside(done.table, this.config.steps)

# %% [markdown]
# That is a detector, trained by your functions. As long as both runs have the same learning rate, the two curves
# lie close together, although up to sixteen blocks have been replaced. They aren't bit-for-bit identical,
# because sums are taken in another order, and SGD carries every rounding difference into the steps that follow.
# Two right detectors may therefore differ in the end by as much as two random seeds do.
#
# > Note: in your own copy of this page the run has 2,500 steps, like the recorded one. The outputs that you saw
# > before you ran anything come from a run of 800 steps with the solutions of the course, whose learning rate
# > drops after 620 and 740 of them. That is why its curve leaves the dashed one at 620 and ends early, and why
# > its AP is lower; the functions aren't the reason.
#
# The network in the first figure of this page comes from a run of all 2,500 steps with the sixteen solutions. The next
# cell shows the recording of that run beside the library's:

# %% alt="The training loss of a run of 2,500 steps with all solutions as a thick blue line, that of the library's run dashed"
figures.whole_run()

# %% [markdown]
# The solutions reach an mAP of 65.7 and the library 69.2. Is one of the solutions wrong? The losses lie on each other
# to the end, the validation losses are 3.88 and 3.86, and every block gave the library's answers in all cases above, so
# nothing speaks against chance: ten runs of the library itself that differ only in their random seed had 61.3 to 68.6
# ([chapter 08](08_learning_rate_drops.ipynb)), and 65.7 lies within that range. (The library's 69.2 lies above all ten;
# it comes from an older version and another CPU.)
#
# If average precision is one of your blocks, *your* function has computed the table of your run. To check it, the
# library's now judges the same detections:

# %% tags=["nbval-ignore-output"]
judging = [name for name in this.names if name == "average precision"]
with interruptible():
    results = figures.results_of(done)
    with swapping.swapped(functions, judging):
        by_yours = evaluate.evaluate(results, done.test[0]).mean
    by_library = evaluate.evaluate(results, done.test[0]).mean
print(f"mAP by your rule {by_yours:.4f}, by the library's {by_library:.4f}")

# %%
print("both rules agree to a thousandth:", abs(by_yours - by_library) < 1e-3)

# %% [markdown]
# If the two agree, you have a loss curve and an mAP to show, so put them on one sheet with what the network
# finds.
#
# ## Your certificate
#
# The sheet shows your blocks, your curve, your mAP, and the detections of your network in four test scenes and in the
# four photographs of chapter 10. The network has only seen painted scenes, so expect little of the photographs.

# %% tags=["nbval-ignore-output"] alt="A sheet: tiles of the blocks that are yours, the loss curve beside the recorded one, the mAP, and detections in four scenes and four photographs"
sheet = figures.certificate(done.folder, this.names, done.table.mean)
sheet

# %% [markdown]
# The next cell saves it as a file beside your pages, so that you can show it around:

# %%
print(figures.save_certificate(sheet).name)

# %% [markdown]
# ## Exercises: which block is it?
#
# The first three exercises came before the run. The other four give you the log of a detector with one mistake in it
# and ask which block is to blame.
#
# Four detectors were trained, each with one famous mistake in one block. None of the mistakes stops with an error where
# it is made, so the evidence is what you would have in practice: the curves of the loss, and the numbers of the log in
# a table. The dashed curves are a run of the same settings without the mistake. In cases A, B and D both runs have 800
# steps, and a second table has their AP by class. Answer each case with the name of a block, in quotation marks, as it
# stands in the table of *What is yours*.
#
# ### 13.4 Case A · medium · 4 minutes
#
# "The loss falls, so the training works. Why does it find nothing?"

# %% alt="Case A: confidence and localisation loss of a run with a mistake, thick, and of one without, dashed"
figure = figures.case("A")

# %%
figures.case_numbers("A")

# %% tags=["exercise"]
culprit_a = "head outputs"  # solution

# %%
check.case_a(culprit_a)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# As many anchors are matched as without the mistake. So boxes, anchors and matcher are innocent.
# </details>
# <details><summary>Hint 2</summary>
#
# The network can learn which classes are frequent, but not *where* anything is. Which block says which number
# belongs to which anchor?
# </details>
# <!-- solution -->
#
# ### 13.5 Case B · medium · 4 minutes
#
# "It learned for about a hundred steps. Then the loss climbed, and nobody had touched anything. Now it is low again, and
# nothing is found."

# %% alt="Case B: confidence and localisation loss of a run with a mistake, thick, and of one without, dashed"
figure = figures.case("B")

# %%
figures.case_numbers("B")

# %% tags=["exercise"]
culprit_b = "boxes of a crop"  # solution

# %%
check.case_b(culprit_b)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# About as many anchors are matched, so the matcher is innocent. Both runs also begin alike: the difference
# grows as the right one begins to know where things are.
# </details>
# <details><summary>Hint 2</summary>
#
# The mini recipe has one step of augmentation, which changes every second image.
# </details>
# <!-- solution -->
#
# ### 13.6 Case C · hard · 5 minutes
#
# "It stops in the second step. A colleague's program, with the same random seed, goes through."
#
# > Note: this case has no batch norm and no warm-up, as in chapter 07, and both losses are drawn on a
# > logarithmic axis.

# %% alt="Case C: two losses on a logarithmic axis; the run without a mistake climbs to hundreds and falls again, the other one ends within a few steps"
figure = figures.case("C")

# %%
figures.case_numbers("C")

# %% tags=["exercise"]
culprit_c = "loss"  # solution

# %%
check.case_c(culprit_c)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Both runs begin alike, and one of them survives the peak. The localisation loss is finite in both. What is
# computed from logits in the hundreds?
# </details>
# <details><summary>Hint 2</summary>
#
# Chapter 04, *What would go wrong if*: in float32 the exp of -104 is 0, and the logarithm of 0 is -inf.
# </details>
# <!-- solution -->
#
# ### 13.7 Case D · hard · 5 minutes
#
# "Nothing is wrong." Indeed every number of the log and of the AP is that of the run without the mistake, to the last
# digit.
# You also know that in none of the 800 training scenes of the mini VOC do two objects want the same anchor,
# because the program that paints them keeps them apart. In genuine photographs this detector would lose objects.
# Which block is it?

# %% alt="Case D: confidence and localisation loss of two runs that lie on each other"
figure = figures.case("D")

# %%
figures.case_numbers("D")

# %% tags=["exercise"]
culprit_d = "matching"  # solution

# %%
check.case_d(culprit_d)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Which block has to decide something when two objects want the same anchor, and never otherwise?
# </details>
# <details><summary>Hint 2</summary>
#
# You have seen this mistake found on this page.
# </details>
# <!-- solution -->
#
# A good curve on easy data only proves the absence of the mistakes that easy data shows. That is why the search
# has images of its own. Two more mistakes are hard to see in a run:
#
# ## What would go wrong if
#
# **... a function changed what it is given?** Suppose your `greedy` sets entries of its table to 0. `both` gets the
# same table and would then see zeros. The checks notice that. A training run wouldn't notice it, and the fault would
# show in *another* block. That is why each stage of the comparison above gets its own input.
#
# **... two wrong functions cancelled each other?** If `encode` has a variance of 0.2 for the centres and `decode`
# has the same wrong number, the detector trains and detects as it should, and nothing in its results shows that
# both are wrong. But it can't read anybody else's weights. The search finds both, because it compares each with
# the library's:

# %%
def wide_encode(box, anchor):
    return reference.encode(box, anchor) * torch.tensor([0.5, 0.5, 1, 1])


def wide_decode(offsets, anchors):
    return reference.decode(offsets * torch.tensor([2.0, 2, 1, 1]), anchors)


both_wrong = {**mine.reference(), "encode": wide_encode, "decode": wide_decode}
with interruptible(instead="the search was stopped before it named the two blocks"):
    pair = bisection.search(both_wrong, ("encoding", "decoding"), say=lambda sentence: None)
    print("found:", ", ".join(pair))

# %% [markdown]
# ## Self-test

# %%
SelfTest("capstone")

# %% [markdown]
# ## Recap
#
# - Sixteen blocks are a detector: some two hundred lines of yours, plus a network, a training loop and a store
#   of images.
# - Right and fast are two questions. What a slow function costs is its share of a step, not its factor.
# - A run with other functions is the same run up to rounding, or something is wrong.
# - A wrong part is found by halving, with the same input for both sides, and is proved by swapping it back.
# - A falling loss proves little, and a right curve on easy data not much more. Keep a few images on which the
#   known mistakes show.
#
# That was the last chapter. `my_ssd.py` is yours: take it with you.
