# %% [markdown]
# # 09 · Full training
#
# **In one sentence:** the whole job, from a folder of annotated pictures to a table of average precision, as one
# function call that you may interrupt at any time and watch from anywhere.
#
# | | |
# |---|---|
# | time | 95 minutes, 55 of them for the exercises; meanwhile the run goes on by itself. On the mini VOC it takes 5 to 20 minutes, by processor; VOC 07+12 wants a GPU |
# | hardware | any laptop for the mini VOC |
# | you need | chapters 04 and 08: the loss and its N, the drops of the learning rate |
# | new modules | `runs`, `runlog`, `engine`, `memory`, `estimate`, `threads` |
#
# At the end of this page you will be able to
#
# - say what every setting of the paper's training and of the published run is, and what they differ in,
# - say before a run how long it will take and whether it fits into memory, and what to do if not,
# - start a run, watch it from another window or another machine, kill it, and go on to the very same numbers,
# - train on several GPUs and know why it is the same run,
# - read its log, its loss curve and its table.

# %%
import dataclasses
import inspect
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from tqdm.auto import tqdm

from course.kit import pictures, places
from course.kit.interruptible import interruptible
from course.kit.self_test import SelfTest
from course.kit.tables import table
from course.training import check, dashboard, full_width, growth, job, run_planner
from ssdlib import plots
from ssdlib.data import store, voc
from ssdlib.interop import weights
from ssdlib.training import engine, estimate, inference, memory, runlog, runs, threads

# %% [markdown]
# ## The picture
#
# This is a run, opened after the fact: the one that comes with this course. A *dashboard* reads its folder. Click into
# the curves or press the arrow keys to read what the log says at a step; <kbd>n</kbd> shows the last tenth.

# %%
dashboard.Dashboard(places.recording("mini"))

# %% [markdown]
# (Glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0.)
#
# Where the rate falls to a tenth, the training loss makes a step down: chapter 08. (The validation loss was measured
# twice only, once before the drops and once after.) *Say before you look it up with the keys:* at which step was the
# training loss half of what it was at the first line?
#
# What do the boxes do meanwhile? The same recipe was trained once more, and every 50 steps it was asked about four
# scenes. Play it. *Predict first*: does a box appear in its place, or does it wander there? Which comes first, a good
# place or a high score?

# %%
growth.Growth()

# %% [markdown]
# (Run the cells of this page to move things; where no kernel runs you see a still picture.)
#
# ## The words
#
# - **Run**: a folder that holds the settings, the log and the latest checkpoint of one training.
# - **Recipe**: a named set of settings.
# - **Step**: one update of the weights, after looking at one batch.
# - **Drop**: a step after which the learning rate is a tenth of what it was.
# - **Microbatch**: the part of a batch that is computed at a time, where memory doesn't suffice for all of it.
# - **Checkpoint**: weights, momentum and step, saved together. All that it takes to go on.
#
# ## The recipes
#
# Every choice of a run is a field of `RunConfig`, but for two: the pictures and the weights to begin with are given beside
# it. (A run remembers its pictures by a fingerprint, and isn't resumed with others.) There are four recipes: `paper`, the article's and its
# released program's; `ssd_keras`, the published run that this course retraces; `voc-short`, the full network on photographs
# for a night instead of weeks; `mini`, for laptops. Only what they don't share:

# %%
recipes = [runs.RECIPES[name] for name in ("paper", "ssd_keras", "voc-short", "mini")]
paper, published, short, mini = recipes
fields = [field.name for field in dataclasses.fields(paper)]
rows = [(name, *(str(getattr(recipe, name)) for recipe in recipes)) for name in fields]
table([row for row in rows if len(set(row[1:])) > 1], head=("field", "paper", "ssd_keras", "voc-short", "mini"))

# %% [markdown]
# Some things in the column of `ssd_keras` look small, but each makes another training of it. The author of the published run calls
# its configuration that of Caffe's model; read line by line, the two differ in these:
#
# - `drops` and `steps`: chapter 08.
# - `weight_decay`: the published run's program adds 5e-4 · w² to the loss. The gradient of that is 1e-3 · w, which is
#   what a decay of **1e-3** does. So it shrinks weights twice as fast as the paper.
# - `bias_rate`: in Caffe, biases learn twice as fast as kernels. Keras has one rate for all. And it doesn't shrink the
#   scale of conv4_3 (`decay_scale`).
# - `mining` over the whole batch instead of image by image: chapter 04.
# - `augment_rule`: its patches have to touch an object, its hue wraps, its contrast is about 127.5, and its boxes end at the
#   last pixel of the patch. Chapter 06 has the whole list and counts what it changes.
# - `new_layers`: extras and heads begin with He's normal distribution, of twice the variance of Caffe's. Mind that when you
#   compare loss curves. ssd_keras reports the loss with its L2 term, to which the fresh layers add 2.7 at first (2.1 if its
#   version of Keras truncated the distribution); with Caffe's they add 1.3. So a curve of `paper` begins 0.7 to 1.3 lower
#   than the published one, for no better detection.
#
# Its batch was 31 on the author's card, because 32 ran out of memory occasionally. Ours is 32 on any card; how is said
# below. This is what the recipe doesn't copy:
#
# | in ssd_keras | here | what it changes |
# |---|---|---|
# | starts from Caffe's reduced VGG16, as the paper does | `--init` takes that file, too; the one that `doctor` names has its 13 convolutions, and fc6 and fc7 begin random | not known |
# | momentum holds rate · gradient, as in Caffe | PyTorch's | some forty steps after a drop: chapter 08 |
# | corners counted from 1: a box of the whole picture is (1, 1, W, H) | (0, 0, W, H) | up to a pixel of the photograph |
# | log p is cut off at p = 1e-15 | isn't | there an anchor costs at most 34.5, and beyond it has no gradient: that matters when a loss blows up (chapter 07) |
# | a pass over the 16,551 photographs ends with a batch of 28 (16,551 = 31 · 533 + 28) | batches reach into the next epoch | one short batch in 534 |
# | validates in batches of 31, over which it mines | in batches of 16 | which negatives the validation loss counts |
# | one of five interpolations at random | bilinear | not known |
# | detections aren't clipped to the picture | they are, after suppression, as in Caffe | corners of boxes that reach out of the picture |
#
# It also leaves out pictures without objects, but that changes nothing: it asks before the augmentation, and each of VOC's
# 16,551 has at least one, and so has each of the 4,952 test pictures when the difficult ones are left out. A picture that a
# crop has emptied stays in the batch, and negatives are mined in it.
#
# The small recipe trains a narrow network from random weights, where the other three start from VGG16's. That is why it
# normalises (`batch_norm`) and why its rate is so much higher. Its anchors and its loss are the paper's, to the last
# number.

# %% alt="Four staircases: the learning rate of each recipe against the step, on a logarithmic axis; ssd_keras drops at 56,000 and 76,000, paper at 80,000 and 100,000, voc-short at 4,800 and 5,600"
figure, axes = plt.subplots(1, len(runs.RECIPES), figsize=(10, 2.4), layout="constrained")
for ax, (name, recipe) in zip(axes, runs.RECIPES.items()):
    steps = range(0, recipe.steps, recipe.steps // 300)
    ax.semilogy(steps, [engine.learning_rate(recipe, s) for s in steps], color=plots.BLUE)
    ax.set(title=name, xlabel="step", ylabel="learning rate" if name == "paper" else "")
    ax.locator_params(axis="x", nbins=4)

# %% [markdown]
# ## The data
#
# `make voc` fetches the genuine VOC: 2.9 GB, resumable, checked file by file and object by object. If the folder
# `data/VOCdevkit` holds it, this chapter trains on it by the recipe `paper`; write `job.here("ssd_keras")` for the other one. Otherwise
# it trains on the mini VOC. Nothing else differs: the same code reads both.

# %%
this = job.here()
config, out = this.config, this.out
print("recipe:", this.recipe)

# %% [markdown]
# Reading the annotations, and decoding every picture once into one large file, the *store*. Training shows a picture
# hundreds of times, and its JPEG needs to be decoded only once.

# %% tags=["nbval-ignore-output"]
def load(sets):
    examples = voc.read_sets(this.devkit, sets)
    return examples, store.open_store(store.beside(this.devkit) / "+".join(sets), examples, tqdm)


train, test = load(config.train_sets), load(config.test_sets)

# %%
print(f"{len(train[0])} pictures to train on, {len(test[0])} to test on")

# %% [markdown]
# One training batch, as the network gets it: squeezed to 300 x 300, augmented, the mean colour subtracted (and put
# back here, for our eyes).

# %% alt="Eight pictures of a training batch, cropped, mirrored and recoloured, with their boxes"
maker = engine.batch_maker(config, train, torch.device("cpu"))
figure = plots.batch(maker(0), count=8)

# %% [markdown]
# ## Before you start: how long, and does it fit?
#
# A run of 120,000 steps is best judged by its first four. `estimate.measure` takes them with a network that is thrown
# away, validates and detects in sixteen pictures, and counts what the run will ask for. Here, on this machine:

# %% tags=["nbval-ignore-output"]
start = None
if this.recipe != "mini":  # raises if the file isn't there; `python -m ssdlib doctor` says how to get it
    start = weights.from_vgg16(weights.read_file(places.ROOT / "data/vgg16.pth"))
pace = estimate.measure(config, train, test, start)
print(estimate.report(config, pace, train, test))

# %% [markdown]
# (In a terminal, `python -m ssdlib train --estimate ...` says the same and stops; without `--estimate` it is said before
# a new run of 200 steps or more with one process.)
#
# And the full network? This was measured once, on a processor without a GPU (the file says which), for the recipe
# `paper` with its batch of 32 computed in parts of 4, 8 and 16, and at once:

# %%
head, *sizes = map(json.loads, places.recording("pace", "cpu.jsonl").read_text().splitlines())
rows = [(row["microbatch"], row["making"] + row["update"], row["peak"] / 2**30) for row in sizes]
table(rows, head=("images at a time", "seconds a step", "GiB at most"), form=("", ".1f", ".2f"),
      note=f"Recorded: {head['device']}, {head['date']}, torch {head['versions']['torch']}.")

# %% [markdown]
# (Other programs ran beside it, so the seconds are too many, by how much isn't known; the bytes don't mind.) From 4 to 32
# images at a time it takes 2.2 GiB more, about 80 MB an image: the feature maps, which are kept for the backward pass.
# What doesn't grow is 1.1 GiB: weights, gradients and momentum are .3 of it, the rest is the batch of 32 itself and
# working space of the convolutions, not measured apart. (What the program held before isn't counted.) The times differ by
# less than a fifth, and smaller parts aren't slower.
#
# The same in a sentence, if you have this processor and no GPU:

# %%
slow = estimate.Pace(**{k: v for k, v in sizes[-1].items() if k != "microbatch"})
taken = estimate.shares(paper, slow, test_images=voc.COUNTS["2007-test"][0])
parts = ("training", "validation", "evaluation", "total")
table([(name, estimate.in_words(getattr(taken, name))) for name in parts])

# %% [markdown]
# That is why the full run wants a GPU. No machine at hand had one, so no time on a GPU stands here: ask `--estimate` on
# yours.
#
# ### Plan it
#
# Drag a drop or the end of the run, or press the arrow keys, a thousand steps each; <kbd>n</kbd> takes the next one. The
# upper bar is the recipe's time, the lower one your plan's: training plain, validation hatched, evaluation crossed.
# *Say before you look*:
#
# - How many steps a second does a machine need to be done in a day? (Choose *another* machine.)
# - Set the recipe to `ssd_keras`. How much shorter is it than the paper's?
# - Move the end to 60,000 and leave the drops alone. Which rate does the run end with?
# - Choose batch 8, once with the schedule scaled and once without. Which of the two sees 58 epochs instead of 232, and
#   why does the other one take longer than the recipe?
# - Validate every 100 steps. What does it cost? And a kill, if you save every 10,000?

# %%
planner = run_planner.Planner(paper, pace=slow, test_images=4952, train_images=16551)
planner

# %% [markdown]
# ### When memory doesn't suffice
#
# The published run's author met "out of memory" occasionally with 32 images and went on with 31. Nothing forces you to. The loss of
# a batch is a sum over its images, divided by N. So the gradient of the batch is the sum of its parts' gradients, as
# long as every part is divided by the N of *all*. `microbatch` does that: 32 images count, 8 are in memory.
#
# Here is one update of a small network, whole and in parts of 2. (Without batch norm: that would take its means over
# each part. With mining over the whole batch, as in `ssd_keras`, all parts go through the network once before, for their
# scores alone: a third more work.)


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
# If a step doesn't fit on a GPU, the library tries halves until one does and tells you. (Without a GPU, Linux mostly ends
# the process without a word; there the estimate above is your warning.) Where there is room for 8 you would
# read (on a GPU its name stands in place of *this machine*):

# %%
print(memory.advice(images=32, fits=8, device=torch.device("cpu")))

# %% [markdown]
# ### A larger batch
#
# A large GPU would rather have 128 images at a time. That isn't `microbatch` the other way round: a larger *batch* is
# another training, with fewer updates for the same pictures. *Linear scaling* ([Goyal et al.](https://arxiv.org/abs/1706.02677))
# says: k times the batch, k times the rate, and a k-th of the steps, with a warm-up:
#
# $$
# \textcolor{#0072B2}{B' = k \, B} \qquad \textcolor{#D55E00}{\eta' = k \, \eta} \qquad
# \textcolor{#009E73}{\text{steps}' = \frac{\text{steps}}{k}}
# $$
#
# with the batch $B$ and the learning rate $\eta$. The images seen, $B$ times the steps, stay the same.
# `--scale-to 128` does that to any recipe. *Say before you look:* how far does it carry the mini recipe, whose batch is 8? Recorded, one seed each:

# %%
rows = []
for folder in sorted(places.recording("batches").iterdir(), key=lambda folder: int(folder.name)):
    facts = json.loads((folder / "recording.json").read_text())
    scaled, seen = facts["config"], runlog.read_log(folder)
    losses = [row["val"]["multibox"] for row in seen if "val" in row]
    end, result = losses[1] if len(losses) > 1 else None, next((row["map"] for row in seen if "map" in row), None)
    rows.append((scaled["batch_size"], scaled["learning_rate"], scaled["steps"], losses[0], end, result))
source = f"{facts['device']}, {facts['date']}, commit {facts['commit'][:10]}, random seed {scaled['seed']}"
table(rows, head=("batch", "rate", "steps", "loss in the middle", "at the end", "mAP"),
      form=("", "", "", "", "", ".3f"), note=f"Validation loss; the last run was stopped. Recorded: {source}.")

# %% [markdown]
# Twice the batch gives what the recipe gives; about .02 lies between two seeds (chapter 08). Four times costs six points.
# Eight times breaks: the loss had passed 20,000 when the run was stopped, not yet at its full rate. Mind that the warm-up
# keeps its 200 steps, and of 625 that is a third. The rule supposes that the rate may be larger; somewhere it
# may not, and that edge doesn't move with the batch (chapter 07). So scale, but look at the loss of the first hundred
# steps, and don't trust the rule further than somebody has tried it. For the paper's recipe and VOC nobody has, with this
# code.
#
# ## The loop
#
# No framework hides it. This is the library's own source, printed by the cell:

# %%
print(inspect.getsource(engine.train).split('"""')[2])

# %% [markdown]
# And one update: targets, forward pass, loss, backward pass, a step of SGD. (`scaler` does nothing unless the run
# computes in float16, which is for GPUs without units for bfloat16, such as a T4. There it scales the loss before the
# backward pass, because small gradients would be 0 in float16, and skips a step whose gradients overflow.)

# %%
print(inspect.getsource(engine.update).split('"""')[2])

# %% [markdown]
# Every `val_every` steps the loss on the test pictures is measured, and the weights of the least one are kept as
# `best.pt`, as the published run's program did. (Whoever chooses a network by the pictures it is judged on reports a
# little too much. The table below is the last network's, not the best one's.) Every `map_every` steps the whole
# test set is judged.
#
# ## Run it
#
# First a window to watch from. It looks into the folder every two seconds, so it doesn't matter who trains: the cell
# below, a terminal, or another machine that writes to the same disk. It says how far, how fast, how long still, and it
# watches for NaN. When there is a new checkpoint it detects in the same four pictures again; the full network, which
# takes seconds for that, waits for the button. In its first few hundred steps a network is sure of nothing. Then the
# pictures show its best guess, dotted and with a question mark, and you see it get better long before a score of 0.5.

# %% tags=["nbval-ignore-output"]
window = dashboard.Dashboard(out)
window

# %% [markdown]
# Now the run. The paper's recipe starts from VGG16's weights, if `data/vgg16.pth` holds them (`python -m ssdlib doctor`
# says how to get them). `resume=True` means: go on with the run in this folder if there is one. So you may interrupt the
# cell (<kbd>I</kbd> <kbd>I</kbd>), close the laptop, and run it again tomorrow. It goes on from the last checkpoint: up to
# 1,000 steps are done again with `paper`, up to 200 with `mini`. The cell says where your run stands, and until it is
# finished the rest of this page shows the recorded one. While it trains the window above goes on
# by itself; its keys usually work, too, and else wait until the cell is done.

# %% tags=["nbval-ignore-output"]
with interruptible(out, recorded=places.recording("mini")) as mine:
    mine.table = engine.train(config, train, test, out, resume=True, weights=start, bar=mine.bar)

# %% tags=["nbval-ignore-output"]
def mini_test():
    scenes = pictures.mini_test_set()
    return scenes, store.Jpegs(scenes)


window.stop()
done = mine.or_recorded(test, recorded_test=mini_test)
print(done.table)

# %% [markdown]
# ### The same job elsewhere
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
# (`source .venv/bin/activate` first: `python` and `torchrun` of this course lie in there. Without `--init` the network
# begins with random weights, and the paper's rate breaks those; see below.)
#
# With P processes each computes its share of the *same* global batch: 32 images, 8 on each of four GPUs, not 4 x 32.
# The batch of step t follows from the seed and t, whoever computes it; N and mined negatives are counted over all. So
# the run is the same, to rounding, and may go on with another number of GPUs. Validation is shared out in whole batches,
# so its mean is the same, too. (With batch norm, GPUs share their means;
# processes on CPUs don't.) Tested with two processes on a CPU, against one; on GPUs it hasn't run yet.
#
# ## What came of it

# %% alt="Training and validation loss of the run, with a step down where the learning rate drops"
log = runlog.read_log(done.folder)
figure = plots.loss_curve(log)

# %%
losses = [row["multibox"] for row in log if "multibox" in row]
print("the loss fell to less than a third:", losses[-1] < losses[0] / 3)
print("mAP as high as can be expected:", done.table.mean >= this.expected)

# %% [markdown]
# Precision against recall, class by class. A curve that starts at 1 and reaches far to the right before it falls is
# what one wants; the number is its average precision.

# %% alt="Twenty small precision-recall curves, one a class, each with its average precision"
figure = plots.precision_recall(done.table)

# %% [markdown]
# Detections of the trained network (blue) beside the truth (orange, dashed = difficult):

# %% alt="Test scenes with what the trained network found in blue and the annotations in orange"
model, settings, _ = runs.load_run(done.folder)
some = [done.test[0][i] for i in range(5, 200, 25)]
photographs = [voc.read_photograph(example.path) for example in some]
figure = plots.detections(some, photographs, inference.detect_in(model, photographs, settings))

# %% [markdown]
# ## The full network on photographs, as far as two cores get
#
# No GPU was at hand when this page was written. So the recipe `voc-short` was tried on two cores: the full network from the
# convolutions that VGG16 learned on ImageNet, with the paper's loss, anchors and augmentation. Its photographs are
# VOC2007's test photographs in a split of our own (3,752 to train on, 200 to validate, 1,000 to judge in the end), so
# no number here is a VOC result.
#
# First, why ImageNet. Here is the paper's learning rate on random weights:

# %%
broken = runlog.read_log(places.recording("photographs_broken"))
table([(row["step"], row["multibox"]) for row in broken if "multibox" in row], head=("step", "loss"), form=("", ".3g"),
      note="Recorded: AMD EPYC, 2 threads, 2026-11-27, commit 5da97bc50e, random seed 0; NaN in step 6.")

# %% [markdown]
# The rate of .001 is made for VGG16's weights; from random ones it doesn't even start. (This is chapter 07 in full width:
# the steeper the loss at the beginning, the smaller the rate that is safe. There you find four such starts side by side.)
#
# From ImageNet's weights it learns. The published run's curve stands beside it. It has a point for every thousand steps
# of 31 images; a point of ours averages ten or a hundred steps of 8. So the axis counts images, and both losses contain
# Keras's L2 penalty:

# %% alt="Loss against images seen, on a logarithmic axis: the training on two cores falls from 25 over a plateau at 18 to 10 at twelve thousand images, where the published run's curve begins at the same height and goes on to 4 at three million"
figure = full_width.loss_curve()

# %% tags=["nbval-ignore-output"]
rows = full_width.log()
print(f"{rows[-1].images:,} images seen; loss of the last thousand {full_width.last(rows, 1000):.2f} with its L2 penalty")

# %% [markdown]
# The curves meet, although ours has other photographs, a smaller batch and, in its last part, seven convolutions that
# stay as they are (`freeze`). Where ours ends, the published run is in its first thousand of 102 thousand steps: what is left to
# learn takes a hundred times as many images. **That is what the GPU is for.**
#
# (Recorded on an AMD EPYC, 2026-11-29, random seeds 0 and 1, bfloat16, two processes of one thread beside other programs.
# It is one training in four parts, each from the weights of the one before, without its momentum. The first two, 1,150
# steps, saw the 200 photographs as well. It is still going; `chapters/recordings/full_width` has the logs, and settings
# and commit of the last two parts.)
#
# What this shows: the job runs at full width on photographs, from ImageNet's weights, and its loss falls to where the
# published run's curve begins. What it doesn't show yet: a trained SSD300. That takes a GPU, and nobody has done it with this
# code.
#
# ## Kill it, and go on
#
# "Resumable" is easily said. Here is the proof, on a run of six steps. One goes through; the other one stops after
# three and is started again. Then their weights are compared bit by bit.
#
# `threads.fixed(1)` is part of the promise. On a CPU a run measures with how many threads a step is fastest, looks again
# at a checkpoint when steps have become twice as slow, and writes each change into its log. Another number of threads
# takes sums in another order, so only runs with a fixed number are bit-for-bit identical. In a terminal that is
# `--threads 1` or `OMP_NUM_THREADS=1`. (On a GPU this cell may print `False`, because the order of sums varies there,
# and two runs agree to rounding.)

# %%
def learnt(folder):
    return runs.load_run(folder)[0].state_dict()


tiny = dataclasses.replace(mini, steps=6, batch_size=4, val_every=0, precision="float32")
few = train[0][:12], store.Jpegs(train[0][:12])
work = tempfile.TemporaryDirectory()
through, stopped = Path(work.name) / "through", Path(work.name) / "stopped"
with threads.fixed(1):
    engine.train(tiny, few, few, through)
    engine.train(tiny, few, few, stopped, stop_after=3)
    engine.train(tiny, few, few, stopped, resume=True)
pairs = zip(learnt(through).values(), learnt(stopped).values())
print("all weights equal to the last bit:", all(a.equal(b) for a, b in pairs))

# %% [markdown]
# It works because nothing is remembered but weights, momentum and the step: which pictures make up step *t* and how
# they are distorted is computed from the seed and from *t* alone (module `batches`).
#

# %% [markdown]
# ## Exercises
#
# Each has a cell to fill in, a check right below, hints, and a solution in a fold. A check that says *not right*
# says why.
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
# | 3 | `learning_rate` | .001 | .0005 |
# | 4 | `microbatch` | 0 (all 32 at once) | 8 |
# | 5 | `batch_size` | 32 | 16 |
# | 6 | `checkpoint_every` | 1,000 | 200 |
# | 7 | processes, `torchrun --nproc-per-node` | 1 | 4 |
#
# A list of seven, `True` where it goes on, `False` where the library refuses. Decide before you look anything up.

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
# (With two pieces of small print. Sums in another order differ in the last bits. And batch norm, which the mini recipe
# has and the paper's hasn't, takes its means over a part: there row 4 does change the run, and on CPUs row 7, too.)
#
# ### 9.2 How many images fit · on paper · 5 minutes
#
# Say a training step that computes 8 images at a time takes 4.2 GiB of a GPU's memory, and one that computes 16 takes
# 7.4 GiB. Another GPU has 12 GiB free. How many images at a time fit there at most? Some of the memory doesn't grow
# with the images; the rest grows evenly.

# %% tags=["exercise"]
most_images = 27  # solution

# %%
check.fit(most_images)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# From 8 to 16 images it is 3.2 GiB more. How much is that an image?
# </details>
# <details><summary>Hint 2</summary>
#
# And with 0 images? Weights, gradients and momentum are still there.
# </details>
# <!-- solution -->
#
# So a batch of 32 doesn't fit, and it takes two parts. `microbatch=27` makes one of 27 and one of 5, `microbatch=16`
# two of 16: as many parts, and 4.4 GiB less at the peak.
#
# ### 9.3 One batch, many processes · medium · 12 minutes
#
# Imagine all images in an endless row: first all of them in the order `orders[0]`, then all again in the order
# `orders[1]`, and so on. Step 0 takes the first `batch` of the row, step 1 the next `batch`, across the end of an
# epoch, too. The batch is cut into `processes` equal parts, one after the other. Return the list of images that the
# process `rank` (0 is the first) computes in `step`.


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
# At which position of the row does the *batch* begin? And the part of this process?
# </details>
# <details><summary>Hint 2</summary>
#
# For each position: `epoch, place = divmod(position, len(orders[0]))`.
# </details>
# <!-- solution -->
#
# The library does the same, and the row need not be stored: the order of an epoch follows from its number and the
# seed. A run that was killed at step 50,000 asks for the batch of step 50,000. It doesn't matter how many processes
# there were before.
#
# ### 9.4 The parts of a batch · the heart of the chapter · 10 minutes
#
# You have a loss function that divides by N, the matches of what it is given, and a batch that only fits into memory
# in parts. So you call it once for each part. `parts` is a list of pairs (n, gradient): the matches of this part, and
# the gradient of this part's loss, a list of numbers, one for each weight. Where n is 0, all numbers are 0.
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
# mean of the two would: 1.5.
# </details>
# <details><summary>Help: the last case stops with ZeroDivisionError</summary>
#
# A batch without any object has N = 0. That is what max(1, N) is for.
# </details>
# <!-- solution -->
#
# `loss / number_of_parts` and `backward()`, as one reads it in many programs, is the mean of the parts: right for a
# loss that divides by the number of *images*, if the parts are equally large; wrong for this one. Averaging over GPUs is the same mean. Caffe did that
# and reached its mAP; but its run on four GPUs isn't its run on one. The library counts N first and passes it on as
# `num_matched`.
#
# ### 9.5 Saved whole, or not at all · medium · 8 minutes
#
# A checkpoint is to be written to `path`, where an older one lies. The power may fail at any instant. Afterwards
# either the old checkpoint or the new one has to lie there, whole. Of these six lines you need some:
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
# Write their letters in the right order, as one word, and leave out what isn't needed.

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
# Four lines. The last one is the only one that touches the name `path`.
# </details>
# <!-- solution -->
#
# A mere `kill -9` leaves to the operating system what `flush` has handed over, and `fsync` could be left out. It is
# there for the power. What a kill may leave behind is a file `part`. Nobody reads it.
#
# ### 9.6 The time that is left · hard · 15 minutes
#
# `rows` are the lines of a log, as `runlog.read_log` gives them, without evaluations of mAP. Each has a `"step"` and
# `"seconds"`, the clock of the run. A line of a validation has `"val"` as well; it lasted from the line before it to
# its own. A validation is due every `val_every` steps. All that were due by the last line have been done.
#
# How many seconds will a run of `steps` steps still take after its last line? Take the mean pace of the training so
# far, without validations. Then add the validations that are still to come, each as long as those so far were on
# average, or 0 if none has been seen.


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
# First the lengths of the validations: for two neighbouring lines a, b, where `"val" in b`, it is
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
# How good is such a guess? The recorded run on the mini VOC knows what came after:

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
# Within 5 %, from step 100 on: a step of this run took as long at its end as at its beginning. On a machine that others
# use as well, guess again every now and then, from the last lines only.

# %% [markdown]
# ## What would go wrong if ...
#
# ... the learning rate were a hundred times too high? *"My loss is NaN"*, users write then (chapter 07 names
# their threads). This library doesn't go on with weights that are no numbers; it stops and says where. (Without batch norm, which
# would hide the explosion for a while.)

# %% tags=["nbval-ignore-output"]
wild = dataclasses.replace(tiny, batch_norm=False, learning_rate=3.0, steps=30, warmup=0, log_every=1)
try:
    engine.train(wild, few, few, Path(work.name) / "wild")
except runs.Diverged as error:
    print(error)

# %%
print("stopped before the end:", len(runlog.read_log(Path(work.name) / "wild")) < wild.steps)

# %%
work.cleanup()

# %% [markdown]
# The sentence names the step, the rate, the last loss that was finite and the checkpoint that is kept. What makes
# SGD blow up, and what it looks like shortly before, is chapter 07.
#
# ... the parts of a batch were averaged? That is what `loss / parts` in "gradient accumulation" does, and exercise 9.4
# is about it.
#
# ## Self-test

# %%
SelfTest("training")

# %% [markdown]
# ## Recap
#
# - A run is a folder. Its settings, log and checkpoint are all there is to know, and whoever can read it can watch.
# - Measure a few steps before you start a hundred thousand.
# - A batch too large for the memory is computed in parts, each divided by the N of all. 31 is nobody's fate.
# - The loop fits on one screen, and a killed run goes on, bit-for-bit identical on a CPU with a fixed number of
#   threads; several processes share one batch.
# - `paper` is the article's recipe, `ssd_keras` the published run's; `mini` is for a laptop, and its mAP is that of painted
#   scenes, not of VOC.
