# %% [markdown]
# # 11 · VOC07 evaluation
#
# **In one sentence:** the rules that turn a list of detections into one number fit on a page, and changing one of them
# gives another number from the same detections.
#
# | | |
# |---|---|
# | time | 80 minutes, 50 of them for the exercises |
# | hardware | any laptop; no GPU |
# | you need | chapter 01: IoU, difficult objects; chapter 10: detections |
# | new module | `evaluate` |
#
# At the end of this page you will be able to
#
# - judge a list of detections with a pencil, as the development kit of VOC2007 does,
# - say what each of its rules is worth in points of mAP, and which one was changed when two people differ,
# - name every false detection: duplicate, confusion, localisation, both, background,
# - put a run of yours beside the paper's table, and know what a difference means.

# %%
from dataclasses import replace

import numpy as np

from course.detection.photographs import judged
from course.evaluation import (
    ap_by_size,
    check,
    curve_explorer,
    devkit_rule,
    errors,
    figures,
    judging,
    photographs,
    results_table,
    rule_variants,
)
from course.kit import pictures
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from ssdlib import evaluate
from ssdlib.records import LABELS

# %% [markdown]
# ## The picture
#
# A detector is summed up in one number, its **mAP**: the mean over the classes of a number that says how well each
# class is detected, given in points from 0 to 100. Below are nine mAPs of the same 52,404 detections in the 4,952 test
# photographs of VOC2007. One follows the official rules (the black line). For each of the others one thing is done
# differently, as in programs that people use. The names of the lines are explained one by one on this page.
#
# > **Predict first:** how far apart can nine numbers lie, if no box is moved and nothing is trained?
#
# > Note: the detections were published, but the name of their detector was not kept with them, so this page calls it *the
# > unnamed detector*.

# %% alt="mAP of the same detections as nine points on one axis: 75.2 by the devkit's rule, up to 78.0 with the area under the curve, down to 66.7 if only scores above 0.5 count"
real = rule_variants.recorded_prices()
figure = figures.prices_drawn(real["prices"])

# %% [markdown]
# The highest and the lowest mAP are eleven points apart, so an mAP says nothing until you know by which rules it was
# computed. The chapter goes through them in four parts:
#
# 1. **By hand:** ten detections become one number, with a pencil.
# 2. **The official rule** in Python, checked against a recording of the official program.
# 3. **What each rule is worth:** the lines of the figure above, one at a time.
# 4. **What goes wrong when it is wrong:** the errors behind the number, and how to compare yours with the paper's.
#
# We start with the scene of chapter 00 and ask the small recorded network what it finds there. Chapter 10 left 38
# boxes in it; these are the nine whose scores are at least 0.1. A solid blue box is true, a dashed red one false:

# %% alt="The scene of chapter 00 with nine boxes, and their scores as bars: car 0.97, person 0.80 and dog 0.76 are true; sheep 0.32, cat, cow, bird, horse and a second person are false"
scene = judging.opened()
figure = figures.one_scene_drawn(scene)

# %% [markdown]
# A false *sheep* with a score of 0.32 stands where the dog is. **Predict first:** what does it cost?

# %%
classes = {name: scene.judged[name] for name in ("car", "person", "dog", "sheep")}
rows = [(name, one.total, 100 * one.ap() if one.total else None) for name, one in classes.items()]
table(rows, head=("class", "objects", "AP"), form=("", "", ".1f"))

# %% [markdown]
# It costs nothing here. Every class is judged by itself. Each of the three classes that occur has one object, and the
# best box of that class is true, so nothing false comes before it, which is all that AP asks. A class without an object
# has no AP at all, because there is nothing to find. In a dataset with sheep, however, the same box would be a false
# detection among all boxes called *sheep*, so one image says little and the ranking has to go over all of them.
#
# Therefore the network is now run on the 200 test scenes of the mini VOC, which takes about five seconds. The figure
# shows the twelve boxes that it is most certain are a bus, best score first. The thin orange boxes are the objects that
# are annotated as *bus*.

# %% alt="Twelve cut-outs of scenes, best score first: some show a bus inside a solid blue box, others a motorbike, a car or something else inside a dashed red box"
subject = judging.recorded()
# subject = judging.from_files("runs/voc0712/results", "data/VOCdevkit")  # your own files, anywhere on disk
figure = figures.ranking_drawn(subject, "bus")

# %% [markdown]
# Is this a good detector of buses? Two of its three best boxes are right, and five of the best twelve. It hasn't found
# most of the buses yet. Further down the list it will find more of them, but it will also call more motorbikes a bus.
# One number has to express all of that, and it is called **average precision**, or AP.
#
# > Note: glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0. The whole page works on any folder of result files in
# > the devkit's format: remove the `#` before `judging.from_files` and name a folder that a run of yours has written. It
# > must hold all 20 files, named `comp4_det_test_CLASS.txt`.
#
# ## The words
#
# - The **devkit** is the *development kit* of Pascal VOC, the program of those who made the dataset. AP on VOC2007 is by
#   definition what its file `VOCevaldet.m` computes.
# - The **ranking** is the list of all detections of one class in all images, best score first.
# - A **verdict** is what becomes of one detection: *true*, *false* or *ignored*.
# - **Recall**: of the objects that count, the share that has been found so far.
# - **Precision**: of the detections so far that aren't ignored, the share that is true.
# - **11 points** and **area** are two ways to reduce a curve of precision against recall to one number.
#
# These words are all that a calculation by hand needs, so we do one next.
#
# ## By hand
#
# Here are one class, three images, five objects and ten detections. The objects have thick orange frames; the dotted one is
# *difficult*, which means annotated as hard to recognise ([chapter 01](01_boxes_and_voc.ipynb)). The detections are thin
# and blue, and their numbers give their place in the ranking.

# %% alt="Three images: in a two objects and detections 1, 3, 4, 10; in b an easy and a difficult object and detections 2, 6, 7; in c one object and detections 5, 8, 9"
figure = figures.ten_drawn()

# %% [markdown]
# Go down the ranking. Each detection is compared with the object in *its own* image that it overlaps most, and this
# overlap, the IoU of [chapter 01](01_boxes_and_voc.ipynb), decides the verdict:
#
# | | score | image | overlap | verdict | why | found | false | recall | precision |
# |---|---|---|---|---|---|---|---|---|---|
# | 1 | 0.95 | a | 1.00 | **true** | the first hit on this object | 1 | 0 | 0.25 | 1.00 |
# | 2 | 0.90 | b | 0.82 | ignored | hits the difficult object | 1 | 0 | 0.25 | 1.00 |
# | 3 | 0.85 | a | 0.90 | false | its object was found by 1 | 1 | 1 | 0.25 | 0.50 |
# | 4 | 0.80 | a | 0.60 | **true** | | 2 | 1 | 0.50 | 0.67 |
# | 5 | 0.70 | c | 0 | false | nothing is there | 2 | 2 | 0.50 | 0.50 |
# | 6 | 0.60 | b | 0.50 | **true** | 0.5 is enough | 3 | 2 | 0.75 | 0.60 |
# | 7 | 0.50 | b | 0.80 | ignored | the difficult one again | 3 | 2 | 0.75 | 0.60 |
# | 8 | 0.40 | c | 0.33 | false | less than 0.5 | 3 | 3 | 0.75 | 0.50 |
# | 9 | 0.30 | c | 0.82 | **true** | | 4 | 3 | 1.00 | 0.57 |
# | 10 | 0.20 | a | 0 | false | nothing is there | 4 | 4 | 1.00 | 0.50 |
#
# Four objects count, because the difficult one doesn't, so every true detection adds 0.25 to the recall. Precision is
# found / (found + false), and an ignored detection is in neither of the two.
#
# To make one number of the two columns, VOC2007 asks at eleven values of recall, 0, 0.1, 0.2, ... 1: *what is the best
# precision if I want this recall or more?*
#
# | recall of at least | 0, 0.1, 0.2 | 0.3, 0.4, 0.5 | 0.6, 0.7 | 0.8, 0.9, 1 |
# |---|---|---|---|---|
# | best precision | 1.00 | 0.67 | 0.60 | 0.57 |
#
# As an equation, with $p(\tilde r)$ for the precision where the recall is $\tilde r$:
#
# $$
# \text{AP} = \textcolor{#D55E00}{\frac{1}{11} \sum_{r \in \{0, 0.1, \ldots, 1\}}} \;
# \textcolor{#0072B2}{\max_{\tilde r \ge r} \, p(\tilde r)}
# $$
#
# The blue part is the second row of the table, and the height of the eleven blue bars in the figure below. The red part
# is their mean: 3 · 1 + 3 · 0.667 + 2 · 0.6 + 3 · 0.571 = 7.914, and divided by 11 that is **AP = 0.7195**.
#
# Since 2010 VOC takes the **area** under the same curve, after it is made monotonically decreasing:
# 0.25 · (1 + 0.667 + 0.6 + 0.571) = 0.7095. The same ten detections have two APs.

# %% alt="Left the curve of the ten detections with a mark for each verdict and eleven diamonds; right the falling steps and the area below them"
ten = figures.by_hand().judged["dog"]
figure = figures.curve_drawn(ten, "ten detections")

# %% [markdown]
# You have applied the rules with a pencil. The explorer applies them to every detection of the recorded network, so that
# you can follow a whole curve.
#
# ## Move it
#
# As the threshold falls, one detection after the other comes in. The large image shows the one that has just come in,
# and the small ones show the four before it, while on the right the point moves along the curve. Click into the
# explorer, then use the keys: <kbd>→</kbd> takes one more, <kbd>↓</kbd> ten more, <kbd>n</kbd> goes on to the next that
# isn't true. A click on the curve goes to that place. Solid blue is true, dashed red is false (dash and dot: a second
# hit), and dotted black is ignored.
#
# > **Predict first:**
# >
# > - Where does the point move with a true detection, where with a false one, where with an ignored one?
# > - Press <kbd>n</kbd> until a *false (again)* comes. Why did non-maximum suppression ([chapter 10](10_detection.ipynb))
# >   leave it?
# > - *An overlap of 0.75 wanted*: which true ones become false?
# > - *Difficult objects counted* (chair): the ranking is the same. Why does the whole curve move to the left?
#
# <details><summary>Answers</summary>
#
# - With a true detection it moves to the right, and not down. With a false one it moves straight down, or stays at 0. With
#   an ignored one it stays.
# - The two boxes on one object overlap *each other* by 0.45 or less, and the suppression looks at nothing else.
# - Those that overlap their object by less than 0.75.
# - 27 chairs count in place of 22, so a true detection is a smaller step to the right. The difficult ones come late: four
#   are found, at places 89, 169, 704 and 772, and one never. The curve of *bottle* ends a little further right, because
#   both of its difficult ones are found.
#
# </details>

# %%
explorer = curve_explorer.CurveExplorer(subject)
explorer

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture. Tried in JupyterLab 4. VS
# Code and Colab have not been tried.)
#
# You have seen the rules at work, by hand and on real curves. Next they have to be stated so exactly that a program can
# follow them.
#
# ## The official rule
#
# The devkit's program is a loop in Matlab. Here it is in plain Python, written after it rule by rule. A detection is
# (image, score, box) and an object (image, box, difficult):

# %%
source(devkit_rule.verdicts)

# %% [markdown]
# Five details are easily lost in a rewrite:
#
# 1. Among equal scores the order is that of the file.
# 2. *The first of equals*: if a detection overlaps two objects alike, the earlier object is taken.
# 3. An object that has been found is still a candidate. A second hit on it is false, and doesn't move on to the
#    neighbour.
# 4. Only an overlap below 0.5 is a miss, so exactly 0.5 is a hit. The rules in the devkit's documentation say *must
#    exceed 50%*, but the program says otherwise, and the program makes the numbers.
# 5. A difficult object can be hit any number of times, and all of these hits are ignored.
#
# The overlap itself is an IoU with one peculiarity:

# %%
source(devkit_rule.overlap)

# %% [markdown]
# The **+ 1** is there because VOC's corners are numbers of pixels, and both corners belong to the box: columns 11 to 20
# are ten columns, although 20 - 11 is nine. In this course only the evaluation counts like this. Everywhere else a box
# is made of edges, not of pixels.
#
# From the verdicts to the curve, and from the curve to the number:

# %%
source(devkit_rule.curve, devkit_rule.eleven_points)

# %%
said = devkit_rule.verdicts(devkit_rule.TEN, devkit_rule.OBJECTS)
recall, precision = devkit_rule.curve(said, total=4)
print(said)
print("recall   ", recall)
print("precision", [round(p, 3) for p in precision])
print(f"AP {devkit_rule.eleven_points(recall, precision):.4f}")

# %% [markdown]
# The loop gives the columns and the AP that the pencil gave, so the rules are complete. What remains is speed.
#
# ## In the library
#
# The library has no loop over detections, because a run judges 50,000 of them. It compares all detections with the first
# object of their images at once, then with the second, and so on, which is longer to read and quicker to run. Its core
# is folded, since the loop above says the same:

# %%
source(evaluate.judge, start="# the object that each", stop="false = ", fold="The fast version: the core of <code>evaluate.judge</code>")

# %% [markdown]
# The library also turns the curve into a number, by eleven points or by area:

# %%
source(evaluate.average_precision)

# %% [markdown]
# Do the loop and the library agree? We compare them on all detections of the recorded network:

# %%
farthest = 0.0
for name in subject.results:
    curve = evaluate.judge(subject.results[name], subject.objects, LABELS[name])
    detections, objects = judging.rows(subject, name)
    recall, precision = devkit_rule.curve(devkit_rule.verdicts(detections, objects), curve.objects)
    assert np.array_equal(curve.recall, recall) and np.array_equal(curve.precision, precision, equal_nan=True)
    farthest = max(farthest, abs(curve.average_precision() - devkit_rule.eleven_points(recall, precision)))
print("20 classes: recall and precision equal to the last bit, AP within 1e-12:", farthest < 1e-12)

# %% [markdown]
# The two have the same authors, so their agreement says little about the *official* program. For that there is a
# recording: the unmodified `VOCevaldet.m` judged the 52,404 detections of the unnamed detector. The library judges the
# same files:

# %%
ours, official = real["prices"][rule_variants.DEVKIT], real["official"]
print(rule_variants.origin(real))
print(f"official mAP {100 * official['mean']:.4f}, ours {rule_variants.mean(ours):.4f}")
print("largest difference of a class:", max(abs(ours[name] - official[name]) for name in ours))

# %% [markdown]
# > Note: the files themselves are not part of the course, but their numbers are. `data_scripts/price_rules.py` made these
# > and all other numbers that this page calls *VOC2007*.
#
# Since the library follows the official rules, we can now break them one at a time.
#
# ## What each rule is worth
#
# *My mAP differs* is a question of many threads, and in one of them a network gets 80 by a program's own measure and 58
# by the official one ([keras-frcnn 55](https://github.com/yhenon/keras-frcnn/issues/55)). Which rule can be worth so
# much? We take the same detections, change one rule and judge again. The column *here* is computed now, on the 200
# painted scenes. The column *VOC2007* was recorded on the detections of the unnamed detector, and next to it stands the
# class that changed most.

# %%
here = rule_variants.prices(subject)
rule_variants.price_list(here, real["prices"])

# %% [markdown]
# No single row adds 22 points, so more than one thing must differ in that thread. Row by row, in points on VOC2007
# where nothing else is said:
#
# - **Difficult objects**, counted as any other, cost seven points. A program does that silently if it never reads the
#   flag. To delete them from the annotations isn't the rule either, because then a detection that finds one is false,
#   which costs 1.1.
# - **Area against 11 points** adds almost three points on VOC2007 and 1.6 on the painted scenes, although nothing is
#   detected better.
# - **Cutting off** at 0.5 costs more than eight, at 0.05 more than one, because a box that you threw away can't be true.
# - **Leaving out the + 1** costs a tenth of a point on average. Small boxes suffer most: one pixel of 20 is 5 %.
# - **Exactly 0.5** hardly ever occurs, not even with boxes in whole pixels, so the dispute over >= and > is worth nothing.
# - **Digits** of the scores cost nothing down to three. With two, many scores are equal, and the order of the file
#   decides.
# - **Only images that hold the class** is a mistake of programs that go through the images class by class. It is
#   worth 2.4 points on VOC2007 but fifteen here, because this network detects nearly every class on objects of others;
#   bus alone makes 1.8 of the fifteen.
#
# The [FAQ](../docs/faq.md#evaluation-and-map) lists threads in which one of these rules, or three at once, explained a
# surprising number.
#
# Some jumps of a single class are odd. *Horse* gains six points when all boxes move by one pixel. The reason is this:

# %%
found, total, last = real["ends"]["horse"]
print(f"recall with {found} horses of {total}: {found / total:.4f}; with {found + 1}: {(found + 1) / total:.4f}")
print(f"precision at the last one: {last:.2f}")
worth = {"one of eleven points": 100 * last / 11, "by area, one horse": 100 * last / total}
table([(name, ap, ap / 20) for name, ap in worth.items()], head=("is worth", "of AP", "of mAP"), form=("", ".1f"))

# %% [markdown]
# Of 348 horses the detector finds 313 in its whole ranking, a recall of 0.899. One more would make it 0.902, and then
# the point at 0.9 would no longer be empty. **One horse in 4,952 photographs is worth 0.31 points of mAP**, if it is
# the right one, because the eleven points turn the curve into stairs. A difference of 0.3 between two programs may
# therefore be a different rule or one horse, and the number alone can't tell which.
#
# The stairs have a second trap. Octave's `0:.1:1` and NumPy compute the points as n · 0.1, and for n = 3, 6 and 7 the
# result is one bit above 0.3, 0.6 and 0.7. A recall of exactly 0.3 therefore misses the point 0.30000000000000004. The
# library does as Octave does:

# %%
print([int(n / 10 >= n * 0.1) for n in range(11)], "<- recall n / 10 reaches point n")

# %% [markdown]
# ## Who judges how
#
# Which of these rules does your program follow? Of the seven programs that we read, only two leave out the + 1 and three
# want more than 0.5. All ignore difficult objects, though ssd_keras only if told. [A table in
# `docs/`](../docs/differences_from_caffe.md#who-judges-how) compares them rule by rule.
#
# One of them has a rule of its own. The evaluator of ssd_keras offers *integrate*, which isn't the area: it takes the
# left end of each step and never looks at the last point, so a class that is found completely and without an error gets
# less than 1. Here it is beside the other two:

# %%
flags = {"found all 3 of 3": ([1, 1, 1], 3), "1 1 0 1 0, of 4": ([1, 1, 0, 1, 0], 4), "0 1 1 1, of 5": ([0, 1, 1, 1], 5)}
metrics, rows = ("11point", "area", "integrate"), []
for name, (hits, count) in flags.items():
    r, p = np.cumsum(hits) / count, np.cumsum(hits) / np.arange(1, len(hits) + 1)
    rows.append((name, *(judging.average_precision(r, p, metric) for metric in metrics)))
table(rows, head=("hits", *metrics), form=("", *[".4f"] * 3))

# %% [markdown]
# The published table of ssd_keras doesn't suffer from this. Its author made it with the official Matlab program, so
# 77.1 is a number of the devkit's kind, from boxes rounded to whole pixels and scores rounded to four decimals.
#
# > Note: the same evaluator has two more traps. With `verbose=False` it judges a single prediction, and a class without
# > any detection shifts the classes after it.
#
# So much for the rules. If yours are the official ones and the number is still low, the detections are to blame.
#
# ## What goes wrong when it is wrong
#
# mAP says how much is missing but not what, so we give every false detection a name. Two overlaps decide which: *own* is
# its largest overlap with an object of its class, and *other* its largest with an object of any other class. The function
# asks four questions, in this order, where `HIT` is 0.5 and `NEAR` is 0.1:

# %%
source(errors.kind)

# %% alt="Five cut-outs with the error of highest score of each kind: a second box on a bottle, a motorbike called bus, a badly placed box on a table, a box that covers part of another object, a box around a star"
anatomy = errors.error_anatomy(subject)
figure = figures.errors_drawn(subject, anatomy)

# %% [markdown]
# A *duplicate* is a second box on an object that has been found. A *confusion* has the wrong class, a *localisation* the
# right class but a box that doesn't fit, and *both* has both faults. A *background* overlaps no object by 0.1 or more. A
# sixth kind concerns objects and not detections: **missed** is an object that isn't found, and that no confusion and no
# localisation error points at.
#
# The idea is that of [Hoiem](https://doi.org/10.1007/978-3-642-33712-3_25) (2012) and
# [TIDE](https://arxiv.org/abs/2008.08115) (2020). Counting the errors isn't enough, because ten thousand false boxes at the
# end of the ranking cost nothing. So we **put one kind right and judge again**:
#
# - *duplicate*, *both* and *background* are taken off the list;
# - a *confusion* gets the class of the object, and a *localisation* gets the object's box. Either is then true if no other
#   detection has found that object; of several the best is taken, and the rest are taken off the list;
# - *missed* objects no longer count.
#
# In the table a share is that of all false detections, for *missed* that of the objects. The points are what mAP gains if
# this kind is put right:

# %%
gains = errors.gains(subject, anatomy)
errors.error_table(errors.column("here", anatomy, gains), errors.recorded_column("VOC2007", real))

# %%
found, counting = errors.totals(anatomy)
print(f"here {found} of {counting} objects are found under their right name")

# %% [markdown]
# The mAPs of the two detectors lie only six points apart, but their errors are entirely different. The small network
# finds 503 of 518 objects under their right name, but boxes with a wrong name stand above many of them in the ranking,
# and that costs 14 points. The unnamed detector loses as much by boxes that don't fit as by wrong names, and
# some objects it doesn't see at all. Half of its false detections lie on background, and yet they cost little.
#
# > Note: the points don't add up to what is missing to 100, and they needn't, since after one repair another error may
# > still be in the way.
#
# The next figure splits the gains on the painted scenes by class, and the table below it lists which class is most often
# called by the name of which other.

# %% alt="Six panels, one for each kind of error, with a bar for each class: confusion is long for nearly all classes, longest for bus and horse; the others are short"
figure = errors.draw_gains(gains, subject.name)

# %%
pairs = zip(errors.confused(subject, anatomy)[:5], real["confused"])
rows = [[f"{n} x {right} called {wrong}" for n, wrong, right in both] for both in pairs]
table(rows, head=("here", "VOC2007"), caption="A score of 0.5 or more, and the wrong name")

# %% [markdown]
# The kind of error is one way to take the number apart. The size of the objects is another.
#
# ## Small objects, large objects
#
# For the AP of small objects alone, objects of another size are treated like difficult ones, and false boxes of another
# size are left out. Size is the square root of the area on the 300 x 300 input, because that is what the network sees,
# and the limits, 30 to 213 px, are sizes of the anchors ([chapter 02](02_anchors.ipynb)).

# %% alt="Two bar charts of mAP against the size of objects. Painted scenes: highest between 30 and 60 px. VOC2007: 47 below 30 px, rising to about 80 for objects above 111 px"
measured = ap_by_size.means(ap_by_size.by_size(subject))
there = ("the unnamed detector, VOC2007", real["sizes"])
figure = ap_by_size.draw_sizes((subject.name, measured), there, claim="On photographs the small objects are the hard ones")

# %% [markdown]
# On photographs the small objects are the hard ones, as is often said. On the painted scenes the smallest and those from
# 111 to 213 px are harder than those from 30 to 111 px, where two thirds of the objects lie. The last bar on the left
# stands on 4 objects of 3 classes and means nothing, so look at the numbers above the bars before you believe one.
#
# Painted scenes and the files of an unnamed detector are all that was judged so far. This course has a network of its
# own for photographs, too.
#
# ## The full network on photographs
#
# The full-width network of [chapter 09](09_full_training.ipynb) was judged once, on 1,000 photographs. Its mAP is
# 28.9 %, after 30,000 images; the run of ssd_keras was shown more than three million. The number alone doesn't
# say what the network has learned, but AP by class does.
#
# > **Predict first:** which classes does a network learn first? And which kind of error costs it most?

# %%
full = judged()
photographs.ap_table(subject, full)

# %% alt="AP by class of the small network on painted scenes and of the full-width network on photographs, classes from the worst to the best on photographs: the best are car 72, person 57 and motorbike 49, the worst boat 4, bottle 4 and pottedplant 6"
figure = photographs.ap_drawn(subject, full, "On photographs cars and persons come first, boats and bottles last")

# %% [markdown]
# Car and person come first, the two classes with the most objects; boat, bottle and pottedplant come last. But the number of
# objects doesn't explain all of it: there are 160 chairs and an AP of 14, and 57 screens and an AP of 40. The last column
# says how many objects any detection finds, whatever its score: 85 % or more in half of the classes. Where it is high and
# AP is low, as for sofa, the boxes are there and false ones stand above them.

# %%
photographs.error_table(anatomy, gains, full, real)

# %%
photographs.confused_table(errors.confused(subject, anatomy), full, real["confused"])

# %% [markdown]
# Wrong names cost most, 9.9 points, as in the small network, and the names that are taken for each other are alike: a bus
# is called a car, a cow a dog. Boxes in the wrong place cost 5.4 points, about as much as in the unnamed detector, and
# background 3.7, although seven of ten detections are background: most of these have low scores, so they stand at the end
# of the ranking. A network at this stage has learned where things are sooner than what they are.

# %% alt="Two bar charts of mAP against the size of objects. Painted scenes: highest between 30 and 60 px. Photographs: 16 below 30 px, rising to 44 between 162 and 213 px, 30 of the largest"
figure = ap_by_size.draw_sizes((subject.name, measured), (full.title, full.facts["sizes"]), claim="On photographs mAP rises with the size, but not to the largest")

# %% [markdown]
# On photographs mAP rises from 15.9 below 30 px to 44.0 between 162 and 213 px. The unnamed detector rises as well, from 46.6
# to 81.2. Beyond 213 px it stays there, at 80.2, whereas the short training has only 29.9. Why? The page doesn't show it.
#
# > Note: the 1,000 photographs are official test images of VOC2007, but in a split of our own, and the network was trained
# > on others of these test images. So none of its numbers is a VOC result or may be compared with the table below.
#
# You now know the rules and the errors, which is what it takes to put a number of yours beside a published one.
#
# ## The table
#
# These are the results that others have published for SSD300 on VOC2007 test, all in 11 points:

# %%
results_table.published_table()

# %% [markdown]
# A question mark means that we haven't read the number in the place that is named, or have read only a part of that place.
# Those in the list who train on 07+12 with zoom-out and for long enough arrive between **77.1 and 77.8**. The paper's first table says
# 74.3 and its table 6 says 77.2; between the two lie zoom-out and twice the steps, which the paper doesn't separate
# ([chapter 06](06_augmentation.ipynb)). No README lists those who repeat the training and stay at 65 to 74; the
# [FAQ](../docs/faq.md#i-repeated-the-training-and-stay-at-65-to-74-map-what-is-known) has their threads.
#
# The next table goes by class and has a column, *this run*, for a run of your own. It fills itself from the log of a run, so
# name yours in place of the recorded one. The last two columns are the unnamed detector, which may be compared with the
# published numbers, and its difference from ssd_keras, marked from three points on. In the figure below the table a grey
# line joins the two where they are that far apart.
#
# > Note: the paper's column is its table 1, without zoom-out. amdegroot's is as a user printed it in
# > [issue 233](https://github.com/amdegroot/ssd.pytorch/issues/233), and that of ssd_keras is its training summary.

# %%
run = results_table.run_of(pictures.ROOT / "chapters/recordings/mini", pictures.mini_voc())
# run = results_table.run_of("runs/voc0712", "data/VOCdevkit")  # your own run
other = results_table.run_from(ours, real["images"], "unnamed detector")
results_table.class_table(run, other)

# %% alt="For each class marks for the paper, amdegroot and ssd_keras close together, crosses of the unnamed detector with thick grey lines where they differ clearly, and green diamonds of this run far off, on other images"
figure = results_table.draw_classes(run, other, claim="amdegroot and ssd_keras differ by about 3 points at most")

# %% [markdown]
# > Note: 69.2 here and 69.3 above belong to the same weights. The run's log was computed in
# > [bfloat16](https://en.wikipedia.org/wiki/Bfloat16_floating-point_format), a format of 16 bits with the range of float32
# > and fewer digits; this page computes in float32.
#
# The means of amdegroot and ssd_keras differ by 0.3, and yet single classes of theirs differ by up to three points. So
# *my bird is two points below* is no finding, while a class that is eight points off is one: look at its errors, as
# above.
#
# Single classes also rise and fall within one run. The next figure shows the AP of each class in the published run by step,
# with a frame around each value that is three points or more below the one before it.
#
# > Note: its author calls these the best values of every 20,000 steps. A run of yours writes the same lines into its log
# > every 20,000 steps (`--map-every`), and `results_table.steps_drawn(run.steps, "mine")` draws them.

# %% alt="A table of 20 classes and 6 steps of the published run: all are higher at 102,000 steps than at 20,000; a red frame marks cat at 40,000, which has fallen by five points"
figure = results_table.steps_drawn(results_table.by_step(), "ssd_keras: all classes end higher; cat once falls by 5.3")

# %% [markdown]
# ## My mAP isn't the paper's
#
# This table collects what the page has measured and what others have published. Begin with the rules, because they can
# be checked without training again.
#
# | my number is | look at |
# |---|---|
# | off by 0.1 | + 1, rounded boxes, order of equals: nothing is wrong |
# | off by 0.2 to 0.4 | corners counted from 0 or cut to whole pixels (+0.3 above); or one object at one of the eleven points: compare the area, or class by class |
# | 1 to 3 higher | area in place of 11 points; false boxes in other images not counted |
# | 1 to 2 lower | a score threshold of 0.05 or 0.1, ten boxes an image |
# | 1 lower | perhaps nothing: how far two random seeds of one recipe differ at the end of a run on VOC isn't known. For short runs on painted scenes [chapter 08](08_learning_rate_drops.ipynb) has a standard deviation of 2.5 points |
# | 3 lower | no zoom-out, or half of the steps: the paper's 74.3 had neither zoom-out nor the 120,000 |
# | 3 to 8 lower | too few steps: the published run had 73.8 at 60,000, 72.6 at 40,000, 69.6 at 20,000 |
# | 7 lower | difficult objects counted |
# | 8 lower or more | only boxes above 0.5 ([chapter 10](10_detection.ipynb)) |
# | 9 lower | trained on VOC2007 alone: 68.0 in the paper, without zoom-out, half of the steps |
# | 9 lower | the image and its mirror alone, no sampled crops: 65.5 beside 74.3 in the paper's table 2, where nothing else differs |
# | 9 to 12 lower | a small batch, or few GPUs, with an unchanged learning rate: 65 to 68 ([FAQ](../docs/faq.md#i-repeated-the-training-and-stay-at-65-to-74-map-what-is-known)) |
# | 26 lower | an overlap of 0.75 wanted |
# | near 0 | classes shifted, boxes not scaled back, another order of images; the evaluator of ssd_keras with `verbose=False`, or after a class without a detection: draw ten images |
#
# Several causes may meet, and they may cancel out.
#
# > Note: the sizes of the evaluation mistakes are those of the real detections above; boxes above 0.5 alone cost 8 there
# > and 14 on the painted scenes. Those of training are published numbers: the paper's table 1, amdegroot's README, the run
# > of ssd_keras, and the threads in the FAQ. amdegroot's README has 58.1 without augmentation, and doesn't say what else
# > differed. A port with 76.5 ([paz in the FAQ](../docs/faq.md#can-i-compare-schedules-by-their-epochs)) blames its early
# > drops, at 57,000 and 79,000 steps, but the published run dropped at 56,000 and has 77.1. As for random seeds, NVIDIA
# > gives a standard deviation of 0.14 points for its own SSD300, another network on COCO
# > ([chapter 07](07_sgd_instability.ipynb)).
#
# The exercises now ask you to write the evaluation yourself, and chapter 13 will use it.
#
# ## Exercises
#
# Each has a cell to fill in, a check right below it, hints, and a folded solution. A check that says *not right* shows
# where.
#
# ### 11.1 Verdicts · the heart of the chapter · 15 minutes
#
# Write the function that judges the detections of one class. You are given `detections`, a list of (image, score, box),
# and `objects`, a list of (image, box, difficult). Return a list of the words "true", "false" or "ignored", one for
# each detection, best score first, by the rules of *The official rule*: an overlap of 0.5 or more is a hit. A second
# hit is plain "false" here. No two scores are equal, and of two objects that are overlapped alike the earlier one
# counts. `devkit_rule.overlap(a, b)` gives the IoU with the + 1.
#
# *Building block:* in chapter 13 it judges what your network finds.

# %% tags=["exercise"]
def verdicts(detections, objects):
    # solution
    said, found = [], set()
    for image, score, box in sorted(detections, key=lambda d: -d[1]):
        most, best = 0.0, None
        for number, (where, there, difficult) in enumerate(objects):
            shared = devkit_rule.overlap(box, there) if where == image else 0.0
            if shared > most:
                most, best = shared, number
        if most < 0.5:
            said.append("false")
        elif objects[best][2]:
            said.append("ignored")
        else:
            said.append("false" if best in found else "true")
            found.add(best)
    return said

# %%
check.verdicts(verdicts)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `sorted(detections, key=lambda d: -d[1])` goes from the best score down. Keep a set with the numbers of the objects
# that have been found.
# </details>
# <details><summary>Hint 2</summary>
#
# Use two loops: for each detection go through all objects of its image and remember the one that it overlaps most.
# Decide only after the inner loop: less than 0.5? difficult? found before?
# </details>
# <!-- solution -->
#
# ### 11.2 Recall and precision · easy · 5 minutes
#
# Turn the verdicts into a curve. You are given `said`, a list of "true", "false" and "ignored" in the order of the
# ranking, and `total`, the number of objects that count, at least 1. Return two lists, recall and precision, with one
# number for each detection. As long as no detection has counted, precision is 0.
#
# *Building block:* in chapter 13 it makes a curve of the verdicts of 11.1.

# %% tags=["exercise"]
def curve(said, total):
    # solution
    recall, precision, found, wrong = [], [], 0, 0
    for verdict in said:
        found += verdict == "true"
        wrong += verdict == "false"
        recall.append(found / total)
        precision.append(found / (found + wrong) if found + wrong else 0.0)
    return recall, precision

# %%
check.curve(curve)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Keep two counters, found and wrong. An ignored detection changes neither, but it gets its point all the same.
# </details>
# <!-- solution -->
#
# ### 11.3 Eleven points · medium · 10 minutes
#
# Compute the AP of VOC2007 from a curve. You are given `recall` and `precision`, two lists of the same length, which
# may be empty. Return the AP, a number between 0 and 1.
#
# *Building block:* in chapter 13 it gives the AP of every class.

# %% tags=["exercise"]
def eleven_points(recall, precision):
    # solution
    best = []
    for point in range(11):
        there = [p for r, p in zip(recall, precision, strict=True) if r >= point * 0.1]
        best.append(max(there, default=0.0))
    return sum(best) / 11

# %%
check.eleven_points(eleven_points)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For each of 0, 0.1, ... 1 collect the precisions of all places whose recall is that or more, and take the best.
# </details>
# <details><summary>Hint 2</summary>
#
# `max(numbers, default=0.0)` gives 0 for an empty list.
# </details>
# <!-- solution -->
#
# ### 11.4 Area · medium · 10 minutes
#
# Compute the other AP from the same two lists. Return the area, a number between 0 and 1: the sum over all steps of
# recall of the width of the step times the best precision *from there on*. The first step begins at a recall of 0.

# %% tags=["exercise"]
def area(recall, precision):
    # solution
    total, before = 0.0, 0.0
    for i in range(len(recall)):
        total += (recall[i] - before) * max(precision[i:])
        before = recall[i]
    return total

# %%
check.area(area)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Go through the places and remember the recall of the one before. Most steps have a width of 0, because only true
# detections move the recall.
# </details>
# <details><summary>Hint 2</summary>
#
# `max(precision[i:])` is the best precision from place i on. It is slow for long lists, but right.
# </details>
# <!-- solution -->
#
# ### 11.5 Kinds of errors · medium · 5 minutes
#
# Name a false detection. You are given `own`, its largest overlap with an object of its class, and `other`, its largest
# overlap with an object of any other class. An overlap of 0.5 or more is a hit, and one of 0.1 or more is near. Return
# "duplicate", "confusion", "localisation", "both" or "background", and try it without scrolling up.

# %% tags=["exercise"]
def kind(own, other):
    # solution
    if own >= 0.5:
        return "duplicate"
    if other >= 0.5:
        return "confusion"
    if own >= 0.1:
        return "localisation"
    return "both" if other >= 0.1 else "background"

# %%
check.kind(kind)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Ask for the hits first, own before other. Then ask what is near, own before other. The rest is background.
# </details>
# <!-- solution -->
#
# ### 11.6 Half of the objects · on paper · 3 minutes
#
# A detector finds exactly one half of the objects, without a single false detection. What is its 11-point AP, as a
# number between 0 and 1?

# %% tags=["exercise"]
ap_of_half = 6 / 11  # solution

# %%
check.best_ap(ap_of_half)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of 0, 0.1, 0.2, ... 1 does a recall of 0.5 reach? Don't forget the first one.
# </details>
# <!-- solution -->
#
# ## What would go wrong if
#
# **The class list begins somewhere else.** Class 1 is *aeroplane* in one program and *background* in another, so every
# detection gets the name of its neighbour in the list:

# %%
names = list(subject.results)
shifted = {name: subject.results[names[i - 1]] for i, name in enumerate(names)}
print(f"as it should be {rule_variants.mean(here[rule_variants.DEVKIT]):.1f}")
print(f"one class off   {100 * evaluate.evaluate(shifted, subject.examples).mean:.1f}")

# %% [markdown]
# Boxes and scores are as good as before, and so was the loss in training. Only an image with names on it shows the
# mistake at once.
#
# **The images have another order.** The detections of each image are judged with the annotations of the next one in the
# list, as happens when a list is sorted in one place only:

# %%
ids = [example.image_id for example in subject.examples]
after = dict(zip(ids, ids[1:] + ids[:1], strict=True))
moved = {name: replace(r, image_ids=[after[i] for i in r.image_ids]) for name, r in subject.results.items()}
print(f"one image off {100 * evaluate.evaluate(moved, subject.examples).mean:.1f}")

# %% [markdown]
# A network that has learned nothing gives the same result. So before you doubt your network, judge the annotations
# themselves, as if they were detections with a score of 1. They have to get 100:

# %%
perfect = {}
for name in names:
    chosen = (subject.objects.labels == LABELS[name]) & ~subject.objects.difficult
    where = [ids[image] for image in subject.objects.images[chosen]]
    perfect[name] = evaluate.Results(where, np.ones(len(where)), subject.objects.boxes[chosen])
print(f"the annotations themselves {100 * evaluate.evaluate(perfect, subject.examples).mean:.1f}")

# %% [markdown]
# This test of an evaluation takes a minute to write. Do it before you trust any other number.
#
# ## Self-test

# %%
SelfTest("evaluation")

# %% [markdown]
# ## Recap
#
# - All detections of a class are ranked, best score first. Each is compared with the object of its image that it overlaps
#   most: an overlap of 0.5 or more with an object not yet found is true, a hit on a difficult object is ignored, and all
#   else is false.
# - Recall = found / objects that count. Precision = found / (found + false). AP is the mean of the best precisions at
#   eleven recalls, or the area. mAP is the mean over the classes.
# - Two numbers may be compared if the rules are the same. On real detections counting difficult objects costs 7 points,
#   throwing away scores below 0.5 more than 8; area gives 3; leaving out the + 1 costs a tenth.
# - Eleven points make stairs of the curve: one object may be worth 0.3 points of mAP.
# - mAP says how much is missing; the kinds of errors say what.
#
# Sources: `VOCevaldet.m` and `VOCap.m` of the development kits; paper, tables 1 and 6.
