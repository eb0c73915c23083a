# %% [markdown]
# # 09 · Full training
#
# **In one sentence:** the whole job, from a folder of annotated images to a table of average precision, as one
# function call that you may interrupt at any time and watch from anywhere.
#
# The paper trains SSD300 for 120,000 steps. On the CPU that is measured further down, with two threads, that would take
# 32 days. It is a long time to wait before you find out that the learning rate was wrong, and a lot to lose when the power
# fails. So this chapter treats training as a job: you start one that is small enough for a laptop, watch it, kill it, resume
# it, and only then plan the long one.
#
# | | |
# |---|---|
# | time | 95 minutes, 55 of them for the exercises; meanwhile the run goes on by itself, for 5 to 20 minutes on the mini VOC, depending on the CPU |
# | hardware | any laptop for the mini VOC; VOC 07+12 needs a GPU |
# | you need | chapter 04: the loss and its N; chapter 08: the drops of the learning rate |
# | new modules | `runs`, `runlog`, `engine`, `memory`, `estimate`, `threads` |
#
# At the end of this page you will be able to
#
# - start a run, watch it from another window or another machine, kill it, and resume it to the very same numbers,
# - read its log, its loss curve and its table,
# - say what the settings of the paper's training and of the published run are, and where the two differ,
# - say before a run how long it will take and whether it fits into memory, and what to do if it doesn't,
# - train on several GPUs and explain why it is the same run.
#
# **Run it first, then read.** Under *Run it* a cell begins with `with interruptible`: it trains. Run the page down to it;
# while it works, read on. You will see first what came of the run and then what it did. At the end of the page you plan
# the long one.
#
# The parts marked ***For the long run*** plan a training of days on VOC, so you can skip them on a first reading and come
# back when you have a GPU. Of the exercises, 9.2, 9.4 and row 4 of 9.1 build on one of them, *When memory doesn't suffice*,
# and row 7 of 9.1 on another, *The same job elsewhere*.
#
# > Note: if the folder `data/VOCdevkit` holds the genuine VOC, the same cells start the long run. In that case read
# > *Before a long run* first; its first cell needs only those above *Run it*.

# %%
import dataclasses
import json
import tempfile
from pathlib import Path

import torch
from tqdm.auto import tqdm

from course.kit import pictures, places
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.source import source
from course.kit.tables import table
from course.training import check, dashboard, figures, full_width, growth, job, run_planner
from ssdlib import plots
from ssdlib.data import store, voc
from ssdlib.interop import weights
from ssdlib.training import engine, estimate, inference, memory, runlog, runs, threads

# %% [markdown]
# ## The picture
#
# This is what a run looks like once it is finished. A *dashboard* reads the folder of a run and draws its loss, its
# learning rate and its mAP against the step. Here it shows the recorded run that comes with this course, so you can look
# at it before yours is done. Click into the curves or press the arrow keys to read what the log says at a step;
# <kbd>n</kbd> shows the last tenth.

# %%
dashboard.Dashboard(places.recording("mini"))

# %% [markdown]
# (Glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0.)
#
# Where the learning rate first falls to a tenth, the training loss makes a clear step down, from about 3.4 to 2.5, for the
# reasons that chapter 08 gives; the second drop hardly shows. The validation loss was measured only twice, once before the
# drops and once after. *Predict first*, then look it up with the keys: at which step was the training loss half of what it
# was at the first line of the log?
#
# The curves don't say what the boxes do meanwhile. Therefore the same recipe was trained once more, and every 50 steps the
# network had to detect objects in the same five scenes, first in that of chapter 00. Objects are orange and detections
# dashed blue. Green is the box that the best-matching anchor of each object gives, however low its score. Play the
# recording. *Predict first*: does a box appear in its place, or does it wander there? And which comes first, a good place
# or a high score?

# %%
growth.Growth()

# %% [markdown]
# (You can move things on this page while a kernel runs; without one you see a still picture.)
#
# <details><summary>Answer</summary>
#
# The box appears in its place, because its anchor lies there already and the offsets need only correct it. The place
# comes long before the score: at step 500 the 16 green boxes overlap their objects with a median IoU of 0.77, which the
# rest of the run raises only to 0.85. But the median probability of the right class is less than 0.05, on its way to
# 0.5.
# </details>
#
# To talk precisely about what you have just seen, six words are enough.
#
# ## The words
#
# - **Run**: a folder that holds the settings, the log and the latest checkpoint of one training.
# - **Recipe**: a named set of settings.
# - **Step**: one update of the weights, computed from one batch.
# - **Drop**: a step after which the learning rate is a tenth of what it was.
# - **Microbatch**: the part of a batch that is computed at a time, where memory doesn't suffice for all of it.
# - **Checkpoint**: weights, momentum and step, saved together, which is all it takes to resume.
#
# A recipe, images and weights to begin with are all that a run needs, because everything else in it follows from these three.
# For your first run they are chosen for you: the `mini` recipe begins with random weights, so only the images have to be
# read.
#
# ## The data
#
# `make voc` downloads the genuine VOC: 2.9 GB, resumable, checked file by file and object by object. If the folder
# `data/VOCdevkit` holds it, this chapter trains on it with the recipe `paper`; for the published run's write
# `job.here("ssd_keras")` in the next cell. Otherwise the chapter trains on the mini VOC, with the recipe `mini`. Nothing
# else differs, because the same code reads both.

# %%
this = job.here()
config, out = this.config, this.out
print("recipe:", this.recipe)

# %% [markdown]
# The next cell reads the annotations and decodes every image once into one large file, the *store*. This pays because
# training shows an image hundreds of times, whereas its JPEG needs to be decoded only once. A run remembers its images
# by a fingerprint, and the library refuses to resume it with others.

# %% tags=["nbval-ignore-output"]
def load(sets):
    examples = voc.read_sets(this.devkit, sets)
    return examples, store.open_store(store.beside(this.devkit) / "+".join(sets), examples, tqdm)


train, test = load(config.train_sets), load(config.test_sets)

# %%
print(f"{len(train[0])} images to train on, {len(test[0])} to test on")
start = None  # the mini recipe begins with random weights
if this.recipe != "mini":  # raises if the file isn't there; `python -m ssdlib doctor` says how to get it
    start = weights.from_vgg16(weights.read_file(places.ROOT / "data/vgg16.pth"))

# %% [markdown]
# ## Run it
#
# The first cell opens a window to watch from. It looks into the run's folder every two seconds, so it doesn't matter who trains: the cell below, a terminal, or another machine that
# writes to the same disk. It says how far the run has come, how fast it is and how long it will still take, and it watches
# for NaN. Whenever there is a new checkpoint it detects objects in the same four images again. The full network takes
# seconds for that, so there you press a button instead. In its first few hundred steps a network is sure of nothing. During
# these the window shows its best guess, dotted and with a question mark, and you see the guess get better long before it
# has a score of 0.5.

# %% tags=["nbval-ignore-output"]
window = dashboard.Dashboard(out)
window

# %% [markdown]
# The second cell is the run itself. `resume=True` means: continue the run in this folder if there is one. So you may
# interrupt the cell (press <kbd>I</kbd> twice), close the laptop, and run the cell again tomorrow. It continues from the
# last checkpoint, so up to 1,000 steps are repeated with `paper` and up to 200 with `mini`. The cell says where your run
# stands, and until it is finished the rest of this page shows the recorded one. While it trains, the window above goes on
# by itself. Its keys and the other explorers usually work meanwhile; if one of them doesn't answer, it waits until the cell
# is done.
#
# > Note: the paper's recipe starts from VGG16's weights, which are expected in `data/vgg16.pth`;
# > `python -m ssdlib doctor` says how to get them.

# %% tags=["nbval-ignore-output"]
with interruptible(out, recorded=places.recording("mini")) as mine:
    mine.table = engine.train(config, train, test, out, resume=True, weights=start, bar=mine.bar)

# %% tags=["nbval-ignore-output"]
def mini_test():
    scenes = pictures.mini_test_set()
    return scenes, store.Jpegs(scenes)


window.stop()
done = mine.or_recorded(test, recorded_test=mini_test)
figures.ap_table(done.table)

# %% [markdown]
# The table has the average precision of each class and their mean, mAP, in percent. For the mini VOC the mean needn't be the
# 69.2 of the recorded run at the top of this page. On another machine or with another number of threads a run ends
# elsewhere, and chance alone makes several points: ten runs that differ only in their random seed had 61.3 to 68.6
# ([chapter 08](08_learning_rate_drops.ipynb)).
#
# ## What came of it
#
# Wherever a run is made, its folder holds the log. Here is the loss:

# %% alt="Training and validation loss of the run, with a step down where the learning rate drops"
log = runlog.read_log(done.folder)
figure = plots.loss_curve(log)

# %%
losses = [row["multibox"] for row in log if "multibox" in row]
print("the loss fell to less than a third:", losses[-1] < losses[0] / 3)
print("mAP as high as can be expected:", done.table.mean >= this.expected)

# %% [markdown]
# For the mini VOC, "as high as can be expected" means an mAP of 55 % or more.
#
# The loss says that the network learned, but not what it can find, which is why the test set is evaluated. Here is
# precision, the share of the detections that are right, against recall, the share of the objects that are found, class by
# class. A good curve starts at 1 and reaches far to the right before it falls; the number is its average precision, which
# chapter 11 explains.

# %% alt="Twenty small precision-recall curves, one a class, each with its average precision"
figure = plots.precision_recall(done.table)

# %% [markdown]
# And here are detections of the trained network (blue) beside the annotations (orange, dashed = difficult):

# %% alt="Three test scenes with what the trained network found in blue and the annotations in orange"
model, settings, _ = runs.load_run(done.folder)
some = [done.test[0][i] for i in (5, 55, 105)]
photographs = [voc.read_photograph(example.path) for example in some]
found = inference.detect_in(model, photographs, settings)
figure = plots.detections(some, photographs, found, columns=3)

# %% [markdown]
# That is what a run gives. What did it do all that time? The next sections look at its settings, at what it was shown, at
# the loop that did the work, and at why you may kill it.
#
# ## The recipe
#
# Every choice of a run is a field of `RunConfig`, except for the images and the initial weights, which are given beside
# it. The library offers four recipes:
#
# - `paper` has the settings of the article and its released program,
# - `ssd_keras` has those of the published run that this course retraces,
# - `voc-short` trains the full network on photographs, in a night on a laptop instead of weeks; the first seven
#   convolutions of VGG16 stay as they are (`freeze`),
# - `mini` is for laptops.
#
# The table shows only the fields in which they differ:

# %%
recipes = {name: runs.RECIPES[name] for name in ("paper", "ssd_keras", "voc-short", "mini")}
paper, mini = recipes["paper"], recipes["mini"]
table(figures.differing(recipes), head=("field", *recipes))

# %% [markdown]
# **`mini`** is probably the one that you have just run. It trains a network of an eighth of the width (`width`) from random
# weights, whereas the other three start from the weights of VGG16, the classification network that SSD is built on
# ([chapter 05](05_network.ipynb), which also explains `strided_stem`). Because of its random start it uses batch norm
# (`batch_norm`), a layer that rescales each channel by its mean and variance over the batch and that permits higher
# learning rates ([Ioffe and Szegedy](https://arxiv.org/abs/1502.03167)): here 0.03 instead of 0.001. Its anchors and its
# loss are those of the paper, to the last number.
#
# ***For the long run.*** **`ssd_keras`** matters if you want to compare your curve with the published one. Some entries
# of its column look small, but each of them makes it a different training. The author of the published run calls its
# configuration that of Caffe's model; read line by line, the two differ in the following:
#
# - `drops` and `steps` are the subject of chapter 08.
# - `weight_decay`: ssd_keras adds 5e-4 · w² to the loss. The gradient of that term is 1e-3 · w, which is what a decay
#   of **1e-3** does, so it shrinks the weights twice as fast as the paper.
# - `bias_rate` and `decay_scale`: in Caffe biases learn twice as fast as kernels, whereas Keras has one learning rate for
#   all parameters. ssd_keras also doesn't shrink the scale of conv4_3.
# - `mining`: hard negatives are chosen over the whole batch instead of image by image (chapter 04).
# - `augment_rule`: crops have to touch an object, the hue wraps around, the contrast is changed about 127.5, and boxes end
#   at the last pixel of the crop. Chapter 06 links the whole list and counts what it changes.
# - `new_layers`: extras and heads begin with random weights from the normal distribution of
#   [He et al.](https://arxiv.org/abs/1502.01852), whose variance is twice that of Caffe's initialisation. Since ssd_keras
#   reports its loss with the L2 term, which grows with the weights, a curve of `paper` begins 0.7 to 1.3 lower than the
#   published one, for no better detection.
#
# The published run used batches of 31, because 32 ran out of memory occasionally on its author's card. The recipe uses 32
# on any card, and *When memory doesn't suffice* shows how. What else the recipe doesn't copy, and what that changes, is
# listed in [What differs from the released Caffe program](../docs/differences_from_caffe.md).
#
# One of the differences in the table is easier to see than to read, the learning rate. Mind that each panel has its own axis
# of steps:

# %% alt="Four staircases: the learning rate of each recipe against the step, on a logarithmic axis; ssd_keras drops at 56,000 and 76,000, paper at 80,000 and 100,000, voc-short at 4,800 and 5,600"
figure = figures.staircases(recipes)

# %% [markdown]
# The recipe says how the network is trained; what it is trained on are batches.
#
# ## A batch
#
# Here are three images of a training batch as the network gets them: augmented, resampled to 300 x 300, and with the mean
# colour subtracted (added again here, for our eyes).

# %% alt="Three images of a training batch, augmented, with their boxes"
maker = engine.batch_maker(config, train, torch.device("cpu"))
figure = plots.batch(maker(0), count=3, columns=3)

# %% [markdown]
# Two functions turn such batches into a trained network.
#
# ## The loop
#
# No framework hides the training loop: it is the library's function `engine.train`. First `build` makes the network and
# `open_run` begins a run, or resumes the one in the folder:

# %%
source(engine.train, start="model, optimizer, anchors", stop="first = begin.step")

# %% [markdown]
# Then it goes from batch to batch. Three things are worth finding: `learning_rate`, which follows from the settings and the
# step; `advance`, which makes one update by calling `engine.update`; and the three blocks that begin with `if _due`, which
# validate, evaluate and save.

# %%
source(engine.train, start="for done, batch in", stop="save_run(")

# %% [markdown]
# One update consists of targets, forward pass, loss, backward pass and a step of SGD. Usually the loop in it is passed through
# once; it is there for batches that are computed in parts (*When memory doesn't suffice*, below), and `exchanging` for
# several processes:

# %%
source(engine.update, start="targets = batch.targets", stop="scaler.update()")

# %% [markdown]
# > Note: `scaler` does nothing unless the run computes in float16, a 16-bit format of smaller range than
# > [bfloat16](https://en.wikipedia.org/wiki/Bfloat16_floating-point_format). It is for GPUs without units for bfloat16, such
# > as a T4. There `scaler` scales the loss before the backward pass, because small gradients would be 0 in float16, and
# > skips a step whose gradients overflow.
#
# Every `val_every` steps the loop measures the loss on the test images and keeps the weights with the lowest one so far as
# `best.pt`, as the published run's program did. Every `map_every` steps it evaluates the whole test set. If you choose a
# network by the images it is judged on, you report a little too much; therefore the table above is that of the last
# network, not of the best one.
#
# The longer a training takes, the likelier it is to be interrupted, and then it has to continue as if nothing had happened.
#
# ## Kill it, and go on
#
# "Resumable" is easily said, so here is a proof, on a run of six steps. One run goes through; the other one stops after
# three steps and is started again. Then their weights are compared bit by bit.

# %%
def learnt(folder):
    return runs.load_run(folder)[0].state_dict()


tiny = dataclasses.replace(mini, steps=6, batch_size=4, val_every=0, precision="float32")
few = train[0][:12], store.Jpegs(train[0][:12])
work = tempfile.TemporaryDirectory()
through, stopped = Path(work.name) / "through", Path(work.name) / "stopped"
with interruptible(), threads.fixed(1):
    engine.train(tiny, few, few, through)
    engine.train(tiny, few, few, stopped, stop_after=3)
    engine.train(tiny, few, few, stopped, resume=True)
pairs = zip(learnt(through).values(), learnt(stopped).values())
print("all weights equal to the last bit:", all(a.equal(b) for a, b in pairs))

# %% [markdown]
# It works because nothing has to be remembered but weights, momentum and the step. Which images make up step *t* and how
# they are augmented is computed from the random seed and from *t* alone (module `batches`).
#
# > Note: sums that are taken in another order differ in their last bits, and the order depends on the number of threads.
# > On a CPU a run measures with how many threads a step is fastest, looks again at a checkpoint when steps have become twice
# > as slow, and writes each change into its log. So only runs with a fixed number of threads are bit-for-bit identical,
# > which is why the cell has `threads.fixed(1)`; in a terminal it is `--threads 1` or `OMP_NUM_THREADS=1`. On a GPU the
# > cell may print `False`, because the order of sums varies there, and two runs agree to rounding.
#
# So much for the run that you have made. It was a small one, on the painted scenes of the mini VOC. Does the same job work
# for the full network, on photographs?
#
# ## The full network on photographs, as far as two cores get
#
# No GPU was at hand when this page was written. So a training much like the recipe `voc-short`, but not the recipe
# itself, was made on two cores: the full network from the convolutions that VGG16 learned on ImageNet, with the paper's
# loss, anchors and augmentation. It had 3,750 steps instead of 6,000, began at half the learning rate, and trained all
# layers for its first 1,300 steps. (`voc-short` as it stands has not been run to its end.) Its photographs are
# VOC2007's test photographs in a split of our own (3,752 to train on, 200 to validate, 1,000 to judge in the end), so
# no number here is a VOC result.
#
# First, why ImageNet? Here is the paper's learning rate on random weights:

# %%
broken = runlog.read_log(places.recording("photographs_broken"))
table([(row["step"], row["multibox"]) for row in broken if "multibox" in row], head=("step", "loss"), form=("", ".3g"),
      note="Recorded: AMD EPYC, 2 threads, 2026-11-27, commit 60106e79e6, random seed 0; NaN in step 6.")

# %% [markdown]
# The learning rate of 0.001 is made for VGG16's weights; from random ones the training doesn't even start. This is
# chapter 07 in full width: the steeper the loss at the beginning, the smaller the learning rate that is safe. There you
# find this start beside three from ImageNet's convolutions.
#
# With ImageNet's convolutions the network learns, if the start is gentle. The run below began with a smaller fc6, half
# the learning rate and a warm-up; without these, ImageNet's convolutions gave NaN or a rising loss as well. The figure
# shows our curve beside that of the published run, which has a point for every thousand steps of 31 images, whereas a
# point of ours averages ten or a hundred steps of 8. So the axis counts images. Both losses contain Keras's L2 penalty:

# %% alt="Loss against images seen, on a logarithmic axis: the training on two cores falls from 25 over a plateau at 18 to 10 at twelve thousand images, where the published run's curve begins at the same height and goes on to 4 at three million"
figure = full_width.loss_curve()

# %% tags=["nbval-ignore-output"]
rows = full_width.log()
print(f"{rows[-1].images:,} images seen; loss of the last thousand {full_width.last(rows, 1000):.2f} with its L2 penalty")

# %% [markdown]
# The curves come close: at 15,500 images ours is at 9.4, and the published run's first point is 9.9. Don't read more
# into it. That point is the mean of its first thousand steps, the L2 penalties begin at different heights (*The
# recipe*), and ours has other photographs, a smaller batch and, in its last part, seven convolutions that aren't
# trained (`freeze`). Twice the learning rate fell to a tenth, at the dotted lines. Where ours ends, the published run
# is in its first thousand of 102 thousand steps.
#
# What does it detect? On the 200 photographs, which the last part never trained on:

# %%
found = [(images, loss, None if score is None else 100 * score) for images, loss, score in full_width.held_out()]
head = ("images seen", "validation loss", "mAP, %")
table(found, head, form=("", ".2f", ".1f"), note="200 photographs of our own split: no VOC result.")

# %% [markdown]
# The learning rate fell after 27,040 and 29,200 images. Between the rows of 26,400 and 29,600 images, where both drops lie,
# the validation loss falls by 0.58, five times as much as in the 3,200 images before. That is the step down that chapter
# 08 explains.
#
# In the end the last network was judged once on the 1,000 photographs that nothing had been chosen by: its mAP is
# **28.9 %**. On the 200 it is higher, presumably because the first 1,150 steps had trained on these as well, and because
# some classes have only a handful of objects in 200 photographs. Chapter 10 shows what its scores are worth, and chapter
# 11 which classes it has learned and what kinds of errors it makes.
#
# What would it take to get further? More images, because the loss was still falling when the learning rate was lowered.
# The published run had 69.6 % after 620,000 images, 21 times as many. An undisturbed step of 8 images took 2.4 s in the
# last part (5.8 s on average, because other programs ran beside it). At 2.4 s the same number would take two days on
# these two cores, and the 6,000 steps of `voc-short` four hours. **That is what the GPU is for.**
#
# So the job runs at full width on photographs, and a short training from ImageNet's weights gives a detector that finds
# something. It doesn't show that this code reaches 77 %: that takes the long run on a GPU, which hasn't been made with it.
#
# > Note: recorded on an AMD EPYC, 2026-11-29, random seeds 0 and 1, bfloat16, two processes of one thread beside other
# > programs. It is one training in four parts, each from the weights of the one before, without its momentum. The first two,
# > 1,150 steps, saw the 200 photographs as well, so the mAP on these is too high. The number of steps and the
# > places of the drops were chosen while it ran, by the time that was left. `chapters/recordings/full_width` has the logs,
# > and settings and commit of the last two parts.
#
# ## Before a long run: how long, and does it fit?
#
# ***For the long run; skip it on a first reading.*** You needn't wait for a run of 120,000 steps to know what it will take,
# because its first four tell you. `estimate.measure` takes them with a network that is thrown away, validates and detects
# in sixteen images, and works out what the whole run will need. Here it does so on this machine:

# %% tags=["nbval-ignore-output"]
pace = estimate.measure(config, train, test, start)
print(estimate.report(config, pace, train, test))

# %% [markdown]
# > Note: in a terminal, `python -m ssdlib train --estimate ...` prints the same and stops. Without `--estimate` it is
# > printed before every new run of 200 steps or more with one process.
#
# And the full network? For the recipe `paper` the same was measured once on a CPU, with the batch of 32 computed in
# parts of 4, 8 and 16 images, and at once:

# %%
head, *sizes = map(json.loads, places.recording("pace", "cpu.jsonl").read_text().splitlines())
rows = [(row["microbatch"], row["making"] + row["update"], row["peak"] / 2**30) for row in sizes]
table(rows, head=("images at a time", "seconds a step", "GiB at most"), form=("", ".1f", ".2f"),
      note=f"Recorded: {head['device']}, {head['date']}, torch {head['versions']['torch']}.")

# %% [markdown]
# The memory grows with the number of images that are computed at a time. From 4 to 32 images it takes 2.2 GiB more, about
# 80 MB an image, because the feature maps of each image are kept for the backward pass. The part that doesn't grow is 1.1
# GiB: weights, gradients and momentum are 0.3 of it, and the rest, which wasn't measured separately, is the batch of 32
# itself and working space of the convolutions. The times differ by less than a fifth, and smaller parts aren't slower, so
# saving memory costs no time on this CPU.
#
# > Note: the times are overestimates, by an unknown amount, because other programs ran beside the measurement; memory is
# > unaffected. What the program held before the step isn't counted.
#
# On this CPU, without a GPU, the whole recipe would take:

# %%
slow = estimate.Pace(**{k: v for k, v in sizes[-1].items() if k != "microbatch"})
taken = estimate.shares(paper, slow, test_images=voc.COUNTS["2007-test"][0])
parts = ("training", "validation", "evaluation", "total")
table([(name, estimate.in_words(getattr(taken, name))) for name in parts])

# %% [markdown]
# That is why the full run needs a GPU. No machine at hand had one, so this page gives no time on a GPU; `--estimate`
# measures it on yours.
#
# ### Plan it
#
# ***For the long run.*** The estimate is for one plan, and with the planner you can compare several before you pay for
# any. Drag a drop or the end of the run, or press the arrow keys, which move it by a thousand steps; <kbd>n</kbd> takes the
# next one. The green points on the learning rate are evaluations. The upper bar is the recipe's time and the lower one your
# plan's, where training is plain, validation hatched and evaluation crossed. *Predict first*, then try:
#
# - How many steps a second does a machine need to be done in a day? (Choose *another* machine.)
# - Set the recipe to `ssd_keras`. How much shorter is it than the paper's?
# - Move the end to 60,000 and leave the drops alone. Which learning rate does the run end with?
# - Choose batch 8, once with the schedule scaled and once without. Which of the two sees 58 epochs instead of 232, and
#   why does the other one take as long as the recipe?
# - Validate every 100 steps. What does it cost? And how much does a kill cost, if you save every 10,000?
#
# <details><summary>Answers</summary>
#
# - About 1.45. For the training alone 1.39 would do, which is 120,000 steps in 86,400 seconds; validation and evaluation
#   take 5 % of the time.
# - By 5 days: 27 instead of 32.
# - With 0.001, because neither drop is reached.
# - The one without scaling, in 9 days. The planner assumes that an image costs the same in any batch, so as many images
#   take as long.
# - 14 days instead of 33 hours. A kill then costs 5,000 steps on average, 31 hours of training.
# </details>

# %%
planner = run_planner.Planner(paper, pace=slow, test_images=4952, train_images=16551)
planner

# %% [markdown]
# A plan is of no use if a step doesn't fit into memory, which is the next question.
#
# ### When memory doesn't suffice
#
# ***For the long run; exercises 9.2 and 9.4 build on it.*** The author of the published run met "out of memory"
# occasionally with 32 images and went on with 31. Nothing forces you to do so. The loss of a batch is a sum over its
# images, divided by N, the number of matched anchors (chapter 04). So the gradient of the batch is the sum of the gradients
# of its parts, as long as every part is divided by the N of *all*. This is what the setting `microbatch` does: the update
# is that of 32 images, but only 8 of them pass through the network at a time.
#
# The next cell makes one update of a small network with the whole batch and one in parts of 2 images, and compares the
# two:


# %%
def after_one_step(microbatch):
    small = dataclasses.replace(mini, batch_norm=False, microbatch=microbatch, precision="float32")
    network, optimizer, anchors = engine.build(small, torch.device("cpu"))
    losses = engine.update(network, optimizer, maker(0), anchors, 1e-3, small)
    return float(losses.multibox), network.body["fc7"][0].weight.detach()


(whole_loss, whole), (part_loss, parts) = after_one_step(0), after_one_step(2)
print(f"loss {whole_loss:.3f} and {part_loss:.3f}")
print("weights equal to a millionth:", torch.allclose(whole, parts, atol=1e-6))

# %% [markdown]
# > Note: this network has no batch norm, which would take its means over each part. With mining over the whole batch,
# > as in `ssd_keras`, all parts pass through the network once before, for their scores alone, which is a third more work.
#
# If a step doesn't fit on a GPU, the library tries halves until one fits and tells you the result. Without a GPU, Linux
# mostly ends the process without a message, so there the estimate above is your warning. Where there is room for 8 images
# you would read the following, on a GPU with its name in place of *this machine*:

# %%
print(memory.advice(images=32, fits=8, device=torch.device("cpu")))

# %% [markdown]
# ### A larger batch
#
# ***For the long run.*** The opposite case is a large GPU, which has room for 128 images at a time. That isn't
# `microbatch` the other way round, because a larger *batch* is another training, with fewer updates for the same images.
# The usual rule is *linear scaling* ([Goyal et al.](https://arxiv.org/abs/1706.02677)): k times the batch, k times the
# learning rate, a k-th of the steps, and a warm-up, which means that the learning rate rises over the first steps.
#
# $$
# \textcolor{#0072B2}{B' = k \, B} \qquad \textcolor{#D55E00}{\eta' = k \, \eta} \qquad
# \textcolor{#009E73}{\text{steps}' = \frac{\text{steps}}{k}}
# $$
#
# Blue is the batch $B$, red the learning rate $\eta$ and green the number of steps. The number of images seen, $B$ times
# the steps, stays the same.
# The option `--scale-to 128` applies the rule to any recipe. *Predict first*: how far does it carry the mini recipe, whose
# batch is 8? Recorded, with one random seed each:

# %%
rows, note = figures.scaled_batches()
table(rows, head=("batch", "learning rate", "steps", "loss in the middle", "at the end", "mAP"),
      form=("", "", "", "", "", ".3f"), note=note)

# %% [markdown]
# Twice the batch gives what the recipe gives, to 0.007. With four times the batch the mAP is 0.062 lower, but the mAP of one
# run has a standard deviation of 0.025 (chapter 08), so single runs differ by 0.05 by chance alone, and whether the batch is
# to blame can't be told. At eight times there is no doubt, because the training breaks: the loss
# had passed 20,000 when the run was stopped, although the learning rate hadn't yet risen to its full value. Mind that the
# warm-up keeps its 200 steps, which are a third of a run of 625. The rule presumes that the learning rate may become
# larger. Beyond some value it may not, because of the curvature of the loss (chapter 07), and a larger batch doesn't make
# the loss any flatter. So scale, but look at the loss of the first hundred steps, and don't trust the rule further than it
# has been tried. For the paper's recipe on VOC it hasn't been tried with this code.
#
# That is all the planning there is. Whatever the plan says, the same function carries it out, here or elsewhere.
#
# ### The same job elsewhere
#
# ***For the long run.*** Since a run is a folder, the same run can also be made from a terminal, on a borrowed GPU or on
# several machines:
#
# | where | command |
# |---|---|
# | a terminal, on whatever data is there | `make train`, or `make train RECIPE=ssd_keras` |
# | with settings of your own | `python -m ssdlib train --recipe paper --init data/vgg16.pth --microbatch 8 --data data/VOCdevkit --out runs/voc0712 --resume` |
# | on a free GPU of Colab or Kaggle | [Train it on a free GPU](../docs/free_gpu.md) |
# | this page, without a browser | `make headless`: executes the chapter and writes `runs/09_full_training.ipynb` |
# | watched over ssh | `python -m course.dashboard runs/voc0712` |
# | four GPUs of one machine | `torchrun --nproc-per-node 4 -m ssdlib train --init data/vgg16.pth --data data/VOCdevkit --out runs/voc0712 --resume` |
# | two machines with four each | on both: `torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400 -m ssdlib train` and the flags of the line above, with `--out` and `--data` on disks that both see, after `make voc` |
#
# Run `source .venv/bin/activate` first, because the course's `python` and `torchrun` lie in there. Without `--init` the
# network begins with random weights, which the paper's learning rate breaks, as you have seen above.
#
# [`torchrun`](https://docs.pytorch.org/docs/stable/elastic/run.html) is PyTorch's launcher: it starts the same program in
# several processes, which then train together. Each computes its share of the *same* global batch: 32 images are 8 on
# each of four GPUs, not 4 x 32. Which images make up the batch of step t follows from the random seed and t, whichever
# process computes them, and N and the mined negatives are counted over all processes. So the run is the same, to rounding,
# and may be resumed with another number of GPUs. Validation is shared out in whole batches, so its mean is the same, too.
#
# > Note: with batch norm, GPUs share their means; processes on CPUs don't. Tested with two processes on a CPU, against
# > one; on GPUs it hasn't run yet.

# %% [markdown]
# ## Exercises
#
# Each exercise has a cell to fill in, a check right below it, hints, and a solution in a fold. If your answer isn't right,
# the check says why. Exercises 9.1, 9.2 and 9.5 need no program.
#
# ### 9.1 What may change · easy · 5 minutes
#
# A run of the paper's recipe stands at step 50,000 and was killed. You start it again with `--resume` and one thing
# changed. Will it go on?
#
# | row | what | was | is now |
# |---|---|---|---|
# | 1 | `steps` | 120,000 | 150,000 |
# | 2 | `steps` | 120,000 | 40,000 |
# | 3 | `learning_rate` | 0.001 | 0.0005 |
# | 4 | `microbatch` | 0 (all 32 at once) | 8 |
# | 5 | `batch_size` | 32 | 16 |
# | 6 | `checkpoint_every` | 1,000 | 200 |
# | 7 | processes, `torchrun --nproc-per-node` | 1 | 4 |
#
# Write a list of seven values, one for each row: `True` where the run goes on, `False` where the library refuses. Decide
# before you look anything up.

# %% tags=["exercise"]
goes_on = [True, False, False, True, False, True, True]  # solution

# %%
check.may_change(goes_on)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Would the 50,000 steps that are done have been the same with the new setting?
# </details>
# <details><summary>Hint 2</summary>
#
# `runs.MAY_CHANGE` has the answer for rows 1 to 6, but for one of them it isn't the whole answer.
# </details>
# <!-- solution -->
#
# <details><summary>Once you have solved it: two caveats</summary>
#
# Sums in another order differ in the last bits. And batch norm, which the mini recipe has and the paper's hasn't, takes its
# means over a part: there row 4 does change the run, and on CPUs row 7 does, too.
# </details>
#
# ### 9.2 How many images fit · on paper · 5 minutes
#
# A training step that computes 8 images at a time takes 4.2 GiB of a GPU's memory, and one that computes 16 takes 7.4 GiB.
# Some of this memory doesn't grow with the number of images; the rest grows evenly. Another GPU has 12 GiB free. How many
# images at a time fit there at most? The answer is a whole number.

# %% tags=["exercise"]
most_images = 27  # solution

# %%
check.fit(most_images)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# From 8 to 16 images it is 3.2 GiB more. How much is that for each image?
# </details>
# <details><summary>Hint 2</summary>
#
# And how much is it with 0 images? Weights, gradients and momentum are still there.
# </details>
# <!-- solution -->
#
# <details><summary>Once you have solved it: what it means for a batch of 32</summary>
#
# A batch of 32 doesn't fit and has to be computed in two parts. `microbatch=27` makes one of 27 and one of 5, whereas
# `microbatch=16` makes two of 16: as many parts, and 4.4 GiB less at the peak.
# </details>
#
# ### 9.3 One batch, many processes · medium · 12 minutes
#
# Imagine all images in an endless row: first all of them in the order `orders[0]`, then all again in the order
# `orders[1]`, and so on. Step 0 takes the first `batch` images of the row, step 1 the next `batch`, and a batch may reach
# across the end of an epoch. Each batch is cut into `processes` equal parts, one after the other, and the process `rank`
# (0 is the first) computes one of them.
#
# Given are the numbers `step`, `rank`, `processes` and `batch`, and `orders`, a list of lists of images. Return the list of
# images that the process `rank` computes in `step`.


# %% tags=["exercise"]
def my_images(step, rank, processes, batch, orders):
    size = batch // processes  # images of this process
    # solution
    first = step * batch + rank * size
    images = []
    for position in range(first, first + size):
        epoch, place = divmod(position, len(orders[0]))
        images.append(orders[epoch][place])
    return images


# %%
check.my_images(my_images)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# At which position of the row does the *batch* begin? And where does the part of this process begin?
# </details>
# <details><summary>Hint 2</summary>
#
# For each position: `epoch, place = divmod(position, len(orders[0]))`.
# </details>
# <!-- solution -->
#
# The library does the same, and it needn't store the row, because the order of an epoch follows from its number and the
# random seed. A run that was killed at step 50,000 asks for the batch of step 50,000, so it doesn't matter how many
# processes there were before.
#
# ### 9.4 The parts of a batch · the heart of the chapter · 10 minutes
#
# You have a batch that only fits into memory in parts, and a loss function that divides by N, the number of matches in
# what it is given. So you call it once for each part. Given is `parts`, a list of pairs (n, gradient): n is the number of
# matches in this part, and gradient is the gradient of this part's loss, a list of numbers, one for each weight. Where n
# is 0, all numbers are 0.
#
# Return the gradient that the whole batch would have given, as a list. The loss of the whole batch is divided by
# max(1, N), where N counts the matches of all parts.


# %% tags=["exercise"]
def whole_gradient(parts):
    # solution
    matches = sum(n for n, gradient in parts)
    total = [0.0] * len(parts[0][1])
    for n, gradient in parts:
        for i, value in enumerate(gradient):
            total[i] += n * value / max(1, matches)
    return total


# %%
check.whole_gradient(whole_gradient)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# On paper, with one weight: parts (10, 4.0) and (40, -1.0). What were the two gradients *before* each was divided by
# its n? What is their sum? And by what is the whole divided?
# </details>
# <details><summary>Hint 2</summary>
#
# n · gradient undoes the division. 10 · 4 + 40 · (-1) = 0, so the whole batch wouldn't move this weight at all. The
# mean of the two would: it is 1.5.
# </details>
# <details><summary>Help: the last case stops with ZeroDivisionError</summary>
#
# A batch without any object has N = 0. That is what max(1, N) is for.
# </details>
# <!-- solution -->
#
# `loss / number_of_parts` and `backward()`, as one reads it in many programs, gives the mean of the parts. That is right
# for a loss that divides by the number of *images*, if the parts are equally large, but wrong for this one. Averaging over
# GPUs is the same mean. Caffe did that and reached its mAP, but its run on four GPUs isn't its run on one. The library
# counts N first and passes it on as `num_matched`.
#
# ### 9.5 Saved whole, or not at all · medium · 8 minutes
#
# A checkpoint is to be written to `path`, where an older one lies. The power may fail at any instant. Afterwards
# either the old checkpoint or the new one has to lie there, whole. You need some of the following six lines. Line D calls
# [`fsync`](https://man7.org/linux/man-pages/man2/fsync.2.html), with which a program asks the operating system to write a
# file to the disk now.
#
# | | line | what it does |
# |---|---|---|
# | A | `os.replace(part, path)` | gives the file `part` the name `path`; what had that name is gone in the same instant |
# | B | `file.write(data)` | hands over the bytes; they reach the disk later, at some time |
# | C | `os.remove(path)` | deletes the file at `path` |
# | D | `file.flush(); os.fsync(file.fileno())` | waits until all bytes handed over so far are on the disk |
# | E | `file = open(part, "wb")` | makes an empty file `part` beside the checkpoint |
# | F | `file = open(path, "wb")` | opens the checkpoint itself for writing, which empties it |
#
# Write the letters of the lines that you need in the right order, as one word.

# %% tags=["exercise"]
safe_order = "EBDA"  # solution

# %%
check.saving(safe_order)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The old checkpoint has to stay untouched until the new one is complete *on the disk*.
# </details>
# <details><summary>Hint 2</summary>
#
# You need four lines. The last one is the only one that touches the name `path`.
# </details>
# <!-- solution -->
#
# After a mere `kill -9` the operating system still writes what `flush` has handed over, so `fsync` could be left out if
# only kills had to be survived. It is there for power failures. What a kill may leave behind is a file `part`, which
# is never read.
#
# ### 9.6 The time that is left · hard · 15 minutes
#
# How many seconds will a run of `steps` steps still take after the last line of its log?
#
# Given are `rows`, the lines of the log as `runlog.read_log` returns them, without evaluations of mAP. Each has a `"step"`
# and `"seconds"`, the clock of the run. The line of a validation has `"val"` as well; the validation lasted from the line
# before it to its own line. A validation is due every `val_every` steps, and all that were due by the last line have been
# done.
#
# Return the seconds as a number, from two parts: the steps that are left, at the mean pace of the training so far without
# its validations; and the validations that are still to come, each as long as those so far were on average, or 0 if there
# hasn't been any.


# %% tags=["exercise"]
def time_left(rows, steps, val_every):
    step, seconds = rows[-1]["step"], rows[-1]["seconds"]
    # solution
    took = [b["seconds"] - a["seconds"] for a, b in zip(rows, rows[1:]) if "val" in b]
    pace = (seconds - sum(took)) / step  # of training alone
    to_come = steps // val_every - step // val_every
    each = sum(took) / len(took) if took else 0.0
    return pace * (steps - step) + each * to_come


# %%
check.time_left(time_left)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First find the lengths of the validations: for two neighbouring lines a, b, where `"val" in b`, it is
# `b["seconds"] - a["seconds"]`. What is left of the clock is training.
# </details>
# <details><summary>Hint 2</summary>
#
# How many validations lie in 3,000 steps, if there is one each 1,000? And in 1,900? The difference is to come.
# </details>
# <details><summary>Help: one too few, or one too many</summary>
#
# Don't divide the steps that are left. From 1,900 to 3,000 they are 1,100, and validations are due at 2,000 and 3,000.
# </details>
# <!-- solution -->
#
# How good is such a guess? For the recorded run on the mini VOC we know what came after:

# %%
log = [row for row in runlog.read_log(places.recording("mini")) if "map" not in row]
rows = []
for cut in (100, 500, 1000, 1500, 2000):
    so_far = [row for row in log if row["step"] <= cut]
    guess = check.time_left.right(so_far, 2500, 1250)
    rows.append((cut, guess, log[-1]["seconds"] - so_far[-1]["seconds"]))
assert all(abs(guess - took) < 0.05 * took for _, guess, took in rows)  # what is said below
table(rows, head=("after step", "seconds guessed", "it took"), form=("", ".0f", ".0f"))

# %% [markdown]
# From step 100 on the guess is within 5 %, because a step of this run took as long at its end as at its beginning. On a
# machine that others use as well, guess again every now and then, from the last lines only.

# %% [markdown]
# ## What would go wrong if ...
#
# ... the learning rate were a hundred times too high? *"My loss is NaN"*, users write then (see chapter 07 and the
# [FAQ](../docs/faq.md)). This library doesn't go on with weights that aren't numbers; it stops and says where. The next cell
# provokes it, without batch norm, which would hide the explosion for a while:

# %% tags=["nbval-ignore-output"]
wild = dataclasses.replace(tiny, batch_norm=False, learning_rate=3.0, steps=30, warmup=0, log_every=1)
with interruptible():
    try:
        engine.train(wild, few, few, Path(work.name) / "wild")
    except runs.Diverged as error:
        print(error)

# %%
print("stopped before the end:", len(runlog.read_log(Path(work.name) / "wild")) < wild.steps)

# %%
work.cleanup()

# %% [markdown]
# The message names the step, the learning rate and the last loss that was finite. It also names the checkpoint that is
# kept, if there is one; here none had been written yet. What makes SGD blow up, and what it looks like shortly before,
# is the subject of chapter 07.
#
# ... the parts of a batch were averaged? That is what `loss / parts` in "gradient accumulation" does, and exercise 9.4
# shows what comes out.
#
# ## Self-test

# %%
SelfTest("training")

# %% [markdown]
# ## Recap
#
# - A run is a folder. Its settings, log and checkpoint are all there is to know, so anybody who can read the folder can
#   watch the run.
# - The loop fits on one screen. A killed run goes on, bit-for-bit identical on a CPU with a fixed number of threads, and
#   several processes share one batch.
# - `paper` is the article's recipe and `ssd_keras` the published run's; `mini` is for a laptop, and its mAP is that of
#   painted scenes, not of VOC.
# - Measure a few steps before you start a hundred thousand.
# - A batch that is too large for the memory is computed in parts, each divided by the N of all, so nothing forces you down
#   to 31.
