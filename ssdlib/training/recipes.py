"""Every choice of a run, and named sets of them: the paper's, the published run's, one for laptops."""

import math
from dataclasses import dataclass, replace

from ssdlib.data.augment import RULES, STEPS
from ssdlib.data.voc import refused_name
from ssdlib.loss import MININGS
from ssdlib.model import BODY, NEW_LAYERS
from ssdlib.records import CLASSES

# On resuming. Of the drops, only those that lie ahead: see `runs`.
MAY_CHANGE = (
    "steps",
    "drops",
    "microbatch",
    "log_every",
    "val_every",
    "map_every",
    "checkpoint_every",
    "faster",
)
FROM_ZERO = "microbatch learning_rate bias_rate drops warmup weight_decay val_every map_every".split()
FASTER = ("resident", "cast", "fused", "graph", "benchmark")  # see `faster`
CHOICES = {
    "mining": MININGS,
    "precision": ("auto", "float32", "bfloat16", "float16"),
    "augment_rule": RULES,
    "new_layers": NEW_LAYERS,
}


class RunError(ValueError):
    """A run folder can't be used as asked. The message says why and what to do."""


@dataclass(frozen=True)
class RunConfig:
    """Every choice of a run; the defaults are those of the paper and the released Caffe code."""

    train_sets: tuple[str, ...] = ("2007-trainval", "2012-trainval")  # trained on, one after the other
    test_sets: tuple[str, ...] = ("2007-test",)  # for validation loss and mAP, never trained on
    classes: tuple[str, ...] = CLASSES[1:]  # names of labels 1, 2, ...; 0 is background
    difficult: bool = True  # train on difficult objects too
    augment: tuple[str, ...] = STEPS  # steps of the augmentation: distort expand crop flip
    augment_rule: str = "caffe"  # whose rules they follow: caffe or ssd_keras
    new_layers: str = "xavier"  # first weights of extras and heads: Caffe's xavier, or Keras's he_normal
    width: float = 1.0  # channels of the network, relative to VGG16's
    batch_norm: bool = False  # normalise after every convolution of the body
    strided_stem: bool = False  # one stride-2 convolution for conv1_1, conv1_2 and pool1
    freeze: str = ""  # the body up to this layer isn't trained, for example conv3_3; "" = all of it is
    steps: int = 120_000  # updates of the weights
    batch_size: int = 32  # images an update, over all processes together
    microbatch: int = 0  # images computed at a time; fewer than batch_size saves memory; 0 = all
    learning_rate: float = 1e-3  # of kernels
    bias_rate: float = 2.0  # learning rate of the biases, as a multiple of that
    drops: tuple[int, ...] = (80_000, 100_000)  # steps after which the learning rate falls to a tenth
    warmup: int = 0  # steps over which the learning rate rises to its value
    momentum: float = 0.9  # of SGD
    weight_decay: float = 5e-4  # on kernels, not on biases and batch norm
    decay_scale: bool = True  # on the L2Norm scale too
    mining: str = "image"  # hard negatives ranked within each image, or within the batch
    precision: str = "auto"  # float32, never TF32; bfloat16; float16, scaled; auto: see `precision_on`
    seed: int = 0  # random seed of weights, order of the photographs and augmentation
    log_every: int = 10  # steps that a line of the log averages over
    val_every: int = 1000  # steps between validation losses; 0 = never
    map_every: int = 20_000  # steps between evaluations besides the one at the end; 0 = none
    checkpoint_every: int = 1000  # steps between checkpoints besides the one at the end
    faster: tuple[str, ...] = ()  # on a GPU, where none has run yet: resident cast fused graph benchmark

    def __post_init__(self) -> None:
        """Refuse what can't be trained, before anything is read or decoded."""
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise RunError(f"{name} is {getattr(self, name)!r}; it has to be one of {', '.join(known)}")
        for name in (
            "train_sets",
            "test_sets",
            "classes",
            "width",
            "steps",
            "batch_size",
            "log_every",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            if not (value if isinstance(value, tuple) else value > 0):
                raise RunError(f"{name} is {value!r}; it needs at least one, or a positive number")
        if trouble := refused_name(self.classes):
            raise RunError(f"classes has {trouble}")
        for name, known in (("augment", STEPS), ("faster", FASTER)):
            if unknown := set(getattr(self, name)) - set(known):
                raise RunError(f"{name} has {min(unknown)!r}; wanted some of {', '.join(known)}")
        for name in (*FROM_ZERO, "width"):
            value = getattr(self, name)
            for one in value if isinstance(value, tuple) else (value,):
                if not (isinstance(one, int | float) and math.isfinite(one) and one >= 0):
                    raise RunError(f"{name} is {value!r}; wanted a number that is 0 or more")
        layers = [name for name in BODY if not (self.strided_stem and name == "conv1_2")]
        if self.freeze and self.freeze not in layers:
            raise RunError(
                f"freeze is {self.freeze!r}; wanted a layer of the network's body: {', '.join(layers)}"
            )
        if not 0 <= self.momentum < 1:
            raise RunError(f"momentum is {self.momentum!r}; wanted 0 or more, and less than 1")
        if not 0 <= self.seed < 2**63:
            raise RunError(f"seed is {self.seed!r}; wanted a whole number of 0 or more with 63 bits at most")
        last_part = self.batch_size % (self.microbatch or self.batch_size)
        if self.batch_norm and 1 in (self.batch_size, self.microbatch, last_part):
            raise RunError(
                f"a part of the batch is 1 image (batch_size {self.batch_size}, microbatch {self.microbatch}); "
                "batch norm needs two to compare"
            )
        if self.batch_norm and self.microbatch and self.mining == "batch":
            raise RunError(
                "mining over a batch in parts needs two forward passes, which would change batch norm's means; "
                "take mining image"
            )


RECIPES = {
    "paper": RunConfig(),
    # the published run that the course retraces (ssd_keras). Its program adds 5e-4 w² to the loss, whose gradient is
    # that of a decay of 1e-3. Its best checkpoint is that of step 102,000 (its plot ends at 105,000). Its author took
    # batches of 31, since 32 ran out of memory occasionally; here `microbatch` makes room for 32. What isn't copied
    # is listed in docs/differences_from_caffe.md
    "ssd_keras": RunConfig(
        steps=102_000,
        drops=(56_000, 76_000),
        bias_rate=1.0,
        weight_decay=1e-3,
        decay_scale=False,
        mining="batch",
        augment_rule="ssd_keras",
        new_layers="he_normal",
    ),
    # between the painted scenes and the long run: the paper's loss, anchors and augmentation on VOC2007's photographs
    # alone, for 48,000 images in place of 3,840,000. VGG16's first seven convolutions stay ImageNet's
    "voc-short": RunConfig(
        train_sets=("2007-trainval",),
        freeze="conv3_3",
        steps=6000,
        batch_size=8,
        drops=(4800, 5600),
        warmup=50,
        val_every=3000,
        map_every=0,
        checkpoint_every=100,
    ),
    "mini": RunConfig(
        augment=("flip",),
        width=1 / 8,
        batch_norm=True,
        strided_stem=True,
        steps=2500,
        batch_size=8,
        learning_rate=0.03,
        drops=(1950, 2300),
        warmup=200,
        val_every=1250,
        map_every=0,
        checkpoint_every=200,
    ),
}


ALIASES = {"seed": "ssd_keras"}  # what a recipe was called in earlier versions


def recipe_called(name: str) -> str:
    """The name of a recipe, for that or for the name it had in an earlier version."""
    return ALIASES.get(name, name)


def scaled(config: RunConfig, batch_size: int) -> RunConfig:
    """The same run with batches of another size: the learning rate grows with the batch, and what is counted in steps
    shrinks by as much, so that as many photographs are seen (linear scaling, Goyal et al., arXiv 1706.02677).

    The warm-up keeps its steps, because it has a higher learning rate to reach. A run without one gets 500, or a
    tenth of all, if its learning rate grows.
    """
    if batch_size < 1:
        raise RunError(f"the batch to scale to is {batch_size}; wanted 1 or more")
    factor = batch_size / config.batch_size

    def fewer(count: int) -> int:
        return max(1, round(count / factor)) if count else 0

    intervals = {
        name: fewer(getattr(config, name)) for name in ("val_every", "map_every", "checkpoint_every")
    }
    steps = fewer(config.steps)
    return replace(
        config,
        batch_size=batch_size,
        learning_rate=config.learning_rate * factor,
        steps=steps,
        drops=tuple(map(fewer, config.drops)),
        warmup=config.warmup or (min(500, steps // 10) if factor > 1 else 0),
        **intervals,
    )
