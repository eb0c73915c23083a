# %% [markdown]
# # 09 · Full training
#
# **In one sentence:** the whole job, from a folder of annotated pictures to a table of average precision, as one
# function call that you may interrupt at any time.
#
# | | |
# |---|---|
# | time | the mini VOC: 6 minutes on two CPU cores. VOC 07+12: a GPU and hours |
# | hardware | any laptop for the mini VOC |
# | new rooms | `runs`, `runlog`, `engine` |
#
# At the end of this page you will be able to
#
# - say what every setting of the paper's training is, and which ones the small recipe changes,
# - start a run, kill it, and go on to the very same numbers,
# - read its log, its loss curve and its table.
#
# *This is the chapter's first form: the job itself. A live dashboard and an estimate of the time it will take are
# still to come. `make voc` fetches the genuine data.*
#
# ## Words
#
# - **run**: a folder that holds the settings, the log and the latest checkpoint of one training.
# - **recipe**: a named set of settings. `paper` is that of the article and its released code.
# - **step**: one update of the weights, after looking at one batch.
# - **drop**: a step after which the learning rate is a tenth of what it was.

# %%
import dataclasses
import inspect
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from tqdm.auto import tqdm

from ssdlib import engine, inference, plots, runlog, runs, store, voc, weights

# %% [markdown]
# ## The data
#
# If the folder `data/VOCdevkit` holds the genuine VOC2007 and VOC2012, this chapter trains on them. Otherwise it
# trains on the mini VOC. Nothing else differs: the same code reads both.

# %%
root = Path.cwd().parent
place = Path(os.environ.get("COURSE_RUNS", root / "runs"))  # the course's own tests set it, and train on the mini VOC
devkit, recipe, out = root / "data/mini/VOCdevkit", "mini", place / "mini"
genuine = root / "data/VOCdevkit"
if "COURSE_RUNS" not in os.environ and all((genuine / year).is_dir() for year in ("VOC2007", "VOC2012")):
    devkit, recipe, out = genuine, "paper", place / "voc0712"
config = runs.RECIPES[recipe]
print("recipe:", recipe)

# %% [markdown]
# Reading the annotations, and decoding every picture once into one large file, the *store*. Training shows a picture
# hundreds of times; opening the JPEG each time would take longer than everything else the processor does.

# %% tags=["nbval-ignore-output"]
def load(sets):
    examples = voc.read_sets(devkit, sets)
    folder = devkit.with_name("VOCdevkit.store") / "+".join(sets)
    return examples, store.open_store(folder, examples, tqdm)


train, test = load(config.train_sets), load(config.test_sets)

# %%
print(f"{len(train[0])} pictures to train on, {len(test[0])} to test on")

# %% [markdown]
# ## The recipe
#
# Every choice of a run is a field of `RunConfig`, and its defaults are the paper's. These are the fields that the
# recipe of this page sets differently:

# %%
paper = runs.RECIPES["paper"]
for field in dataclasses.fields(config):
    chosen, usual = getattr(config, field.name), getattr(paper, field.name)
    if chosen != usual:
        print(f"{field.name:<16} {chosen!s:<28} paper: {usual}")

# %% [markdown]
# The small recipe trains a narrow network from random weights, where the paper starts from VGG16's. That is why
# it normalises (`batch_norm`) and why its rate is so much higher. Its anchors and its loss are the paper's, to the
# last number.
#
# The learning rate over the run, both recipes side by side:

# %% alt="Two curves: the learning rate of the paper and of the mini recipe against the step"
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
for ax, name in zip(axes, ("mini", "paper")):
    steps = range(0, runs.RECIPES[name].steps, runs.RECIPES[name].steps // 300)
    ax.semilogy(steps, [engine.learning_rate(runs.RECIPES[name], s) for s in steps], color=plots.BLUE)
    ax.set(title=name, xlabel="step", ylabel="learning rate")
    ax.locator_params(axis="x", nbins=4)

# %% [markdown]
# ## What the network will see
#
# One training batch, as the network gets it: squeezed to 300 x 300, augmented, the mean colour subtracted (and put
# back here, for our eyes).

# %% alt="Eight pictures of a training batch, cropped, mirrored and recoloured, with their boxes"
maker = engine.batch_maker(config, train, "cpu")
batch = maker(0)
figure = plots.batch(batch, count=8)

# %% [markdown]
# ## The loop
#
# No framework hides it. This is the library's own source, printed by the cell:

# %%
print(inspect.getsource(engine.train).split('"""')[2])

# %% [markdown]
# And one update: targets, forward pass, loss, backward pass, a step of SGD.

# %%
print(inspect.getsource(engine.update).split('"""')[2])

# %% [markdown]
# ## Run it
#
# The paper's recipe starts from VGG16's weights, if `data/vgg16.pth` holds them (`python -m ssdlib doctor` says how to
# get them). `resume=True` means: go on with the run in this folder if there is one. So you may interrupt the cell
# (<kbd>I</kbd> <kbd>I</kbd>), close the laptop, and run it again tomorrow.

# %% tags=["nbval-ignore-output"]
vgg16 = root / "data/vgg16.pth"
start = weights.from_vgg16(weights.read_file(vgg16)) if recipe == "paper" and vgg16.exists() else None
table = engine.train(config, train, test, out, resume=True, weights=start, bar=tqdm)

# %% tags=["nbval-ignore-output"]
print(table)

# %% [markdown]
# The same job without a notebook, and where it also runs on several GPUs (`torchrun` in place of `python -m`):
#
# ```
# make train
# python -m ssdlib train --recipe mini --out runs/mini --resume
# torchrun --nproc-per-node 2 -m ssdlib train --recipe paper --data data/VOCdevkit --out runs/voc0712 --resume
# ```
#
# ## What came of it

# %% alt="Training and validation loss of the run, with a step down where the learning rate drops"
log = runlog.read_log(out)
figure = plots.loss_curve(log)

# %%
losses = [row["multibox"] for row in log if "multibox" in row]
print("the loss fell to less than a third:", losses[-1] < losses[0] / 3)
print("mAP of at least 0.60:", table.mean >= 0.60)

# %% [markdown]
# Precision against recall, class by class. A curve that starts at 1 and reaches far to the right before it falls is
# what one wants; the number is its average precision.

# %% alt="Twenty small precision-recall curves, one a class, each with its average precision"
figure = plots.precision_recall(table)

# %% [markdown]
# Detections of the trained network (blue) beside the truth (orange, dashed = difficult):

# %% alt="Test scenes with what the trained network found in blue and the annotations in orange"
model, _, _ = runs.load_run(out)
some = [test[0][i] for i in range(5, 200, 25)]
photographs = [voc.read_photograph(example.path) for example in some]
figure = plots.detections(some, photographs, inference.detect_in(model, photographs, config))

# %% [markdown]
# If the data is the mini VOC: *glyphs by [OpenMoji](https://openmoji.org), CC BY-SA 4.0.*
#
# ## Kill it, and go on
#
# "Resumable" is easily said. Here is the proof, on a run of six steps. One goes through; the other one stops after
# three and is started again. Then their weights are compared bit by bit.

# %%
def learnt(folder):
    return runs.load_run(folder)[0].state_dict()


tiny = dataclasses.replace(config, steps=6, batch_size=4, val_every=0, precision="float32")
few = train[0][:12], store.Jpegs(train[0][:12])
work = tempfile.TemporaryDirectory()
through, stopped = Path(work.name) / "through", Path(work.name) / "stopped"
engine.train(tiny, few, few, through)
engine.train(tiny, few, few, stopped, stop_after=3)
engine.train(tiny, few, few, stopped, resume=True)
pairs = zip(learnt(through).values(), learnt(stopped).values())
print("all weights equal to the last bit:", all(a.equal(b) for a, b in pairs))

# %% [markdown]
# It works because nothing is remembered but weights, momentum and the step: which pictures make up step *t* and how
# they are distorted is computed from the seed and from *t* alone (room `batches`). (A GPU may take sums in another
# order each time; there, two runs agree to rounding.)
#
# ## What would go wrong if ...
#
# ... the learning rate were a hundred times too high? *"My loss is NaN"* is the sentence most often written about
# SSD. This library doesn't go on with weights that are no numbers; it stops and says where. (Without batch norm, which
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
# ## Try it
#
# 1. Predict, then check: which of `steps`, `seed`, `learning_rate` may differ when a run is resumed? Copy the folder
#    `runs/mini` and try to resume the copy with each changed.
# 2. Train with `augment=()` for the same number of steps, into another folder. Compare training and validation loss.
#    Which of the two falls further, and why isn't that good news?
#
# <details><summary>Answers</summary>
#
# 1. Only `steps` (and `microbatch`, and how often to log, validate and save), and it may only grow: a run with another seed or rate is another run, and the
#    library refuses to mix them. Extending a run is fine.
# 2. The training loss: seeing the very same pixels again, the network learns them by heart. The validation loss
#    stays higher: that knowledge is of no use on scenes it hasn't seen.
# </details>
#
# ## Recap
#
# - A run is a folder. Its settings, log and checkpoint are all there is to know.
# - The loop fits on one screen, and a killed run goes on, on a CPU to the same bits.
# - The recipe `paper` is the article's; `mini` is for a laptop, and its mAP is that of painted scenes, not of VOC.
