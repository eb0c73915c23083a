"""A run on paper: what its settings come to in time, images and files. The arithmetic of chapter 09's planner."""

import math
from dataclasses import dataclass, replace
from functools import cache

import torch

from ssdlib.model import count_parameters
from ssdlib.training import engine, estimate, recipes
from ssdlib.training.estimate import Pace, Shares
from ssdlib.training.runs import RunConfig, RunError, network_of

RISE = 5  # epochs of warm-up to a learning rate that was scaled up: Goyal et al. 2017 (arXiv 1706.02677), section 2.2
EVERY = {"val_every": "validation", "map_every": "evaluation", "checkpoint_every": "checkpoint"}
FIRST = ("first", "second", "third")
MINUTE, HOUR, DAY = 60, 3600, 86_400
CLOCK = (  # distances between the marks of a clock, s
    *(1, 2, 5, 10, 20, 30),
    *(MINUTE * n for n in (1, 2, 5, 10, 20, 30)),
    *(HOUR * n for n in (1, 2, 3, 6, 12)),
    *(DAY * n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)),
)


@dataclass(frozen=True)
class Stage:
    """Updates that share a learning rate: number `first` up to, and without, number `last`."""

    rate: float
    first: int
    last: int

    @property
    def steps(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class RunPlan:
    """What a run comes to."""

    config: RunConfig
    pace: Pace  # with this batch, on so many processes
    test_images: int
    train_images: int
    time: Shares  # s
    stages: tuple[Stage, ...]
    validations: int
    evaluations: int
    saves: int  # how often a checkpoint is written
    checkpoint: int  # bytes of one: weights and momentum
    best: int  # bytes of the best weights beside it
    lost: float  # steps a kill costs on average, at any moment of the run alike

    @property
    def images(self) -> int:
        return self.config.steps * self.config.batch_size

    def epochs(self, steps: int) -> float:
        return steps * self.config.batch_size / self.train_images

    def elapsed(self, step: int) -> float:
        """Seconds until so many steps are done, with the validations and evaluations until then."""
        left = estimate.shares(self.config, self.pace, self.test_images, done=step)
        return self.time.total - left.total


def plan(
    config: RunConfig,
    pace: Pace,
    *,
    test_images: int,
    train_images: int,
    measured: int | None = None,
    processes: int = 1,
) -> RunPlan:
    """What these settings come to. `pace` was measured with batches of `measured` images, the config's if not said.

    A batch is taken to cost as much as it has images, and P processes to be P times as fast: a GPU may lose
    something in small batches, and processes wait for each other, so the time is a lower bound there.
    Raises RunError for a batch that so many processes can't share, for no images, for a step that takes no time.
    """
    if processes < 1 or config.batch_size % processes:
        raise RunError(
            f"processes is {processes}; wanted a number that divides the batch of {config.batch_size}"
        )
    for name, count in (("test_images", test_images), ("train_images", train_images)):
        if count < 1:
            raise RunError(f"{name} is {count}; wanted at least one image")
    if not 0 < pace.step < math.inf:
        raise RunError(f"a step takes {pace.step} s; wanted a measured time above 0")
    own = faster(with_batch(pace, measured or config.batch_size, config.batch_size), processes)
    steps, every = config.steps, config.checkpoint_every
    pieces, rest = divmod(steps, every)
    weights, momentum = _bytes(config.width, config.batch_norm, config.strided_stem, len(config.classes) + 1)
    return RunPlan(
        *(config, own, test_images, train_images),
        time=estimate.shares(config, own, test_images),
        stages=stages(config),
        validations=steps // config.val_every if config.val_every else 0,
        evaluations=1 + ((steps - 1) // config.map_every if config.map_every else 0),
        saves=pieces + (rest > 0),
        checkpoint=weights + momentum,
        best=weights,
        lost=(pieces * every**2 + rest**2) / (2 * steps),  # pieces of the run, each half lost, by their share
    )


def stages(config: RunConfig) -> tuple[Stage, ...]:
    """The run, cut at the drops that it reaches."""
    cuts = [0, *sorted(drop for drop in config.drops if 0 < drop < config.steps), config.steps]
    pieces = [(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]
    return tuple(Stage(engine.learning_rate(config, last - 1), first, last) for first, last in pieces)


def staircase(config: RunConfig) -> list[tuple[float, float]]:
    """(step, learning rate) from corner to corner, and some points of the warm-up."""
    rising = {round(config.warmup * share / 40) for share in range(41)} if config.warmup else set()
    steps = {0, config.steps - 1} | {s for d in config.drops for s in (d - 1, d)} | rising
    reached = sorted(step for step in steps if 0 <= step < config.steps)
    points = [(step, engine.learning_rate(config, step)) for step in reached]
    return [*points, (config.steps, points[-1][1])]


def for_batch(config: RunConfig, batch: int, scaled: bool = True) -> RunConfig:
    """The same run with another batch: scaled as `--scale-to` does it, else only the batch is another."""
    return recipes.scaled(config, batch) if scaled else replace(config, batch_size=batch)


def with_batch(pace: Pace, measured: int, batch: int) -> Pace:
    """The pace with batches of another size: each image costs what it did."""
    return replace(pace, making=pace.making * batch / measured, update=pace.update * batch / measured)


def faster(pace: Pace, times: float) -> Pace:
    """The pace of a machine on which everything takes a fraction of the time."""
    names = ("making", "update", "validated", "detected")
    return replace(pace, **{name: getattr(pace, name) / times for name in names})


def lines(plan: RunPlan) -> list[str]:
    """A plan in words: its time, its images, each learning rate, what is written and what a kill costs."""
    time, steps = plan.time, plan.config.steps
    parts = {"training": time.training, "validation": time.validation, "evaluation": time.evaluation}
    split = ", ".join(
        f"{name} {estimate.in_words(s)} ({percent(s / time.total)})" for name, s in parts.items()
    )
    lost, worth = many(round(plan.lost), "step"), estimate.in_words(plan.lost * plan.pace.step)
    written = f"written {many(plan.saves, 'time')}: {size(plan.checkpoint * plan.saves)}"
    return [
        f"{estimate.in_words(time.total)} in all: {split}",
        f"{plan.images:,} images seen, {_epochs(plan, steps)} of {plan.train_images:,}; "
        f"{many(plan.validations, 'validation')}, {many(plan.evaluations, 'evaluation')}",
        *(
            f"learning rate {stage.rate:.2g}: {many(stage.steps, 'step')}, {_epochs(plan, stage.steps)}, "
            f"{percent(stage.steps / steps)} of the images"
            for stage in plan.stages
        ),
        f"checkpoint {size(plan.checkpoint)}, {written}; a kill costs {lost} on average, {worth} of training",
    ]


def differences(recipe: RunConfig, config: RunConfig) -> list[str]:
    """In words, what a plan changes. Drops and length are compared in images seen, which are steps where the batch
    is the recipe's."""
    found, batch = [], config.batch_size
    for i, (was, now) in enumerate(zip(recipe.drops, config.drops, strict=True)):
        name = f"{FIRST[i] if i < len(FIRST) else f'{i + 1}th'} drop"
        if now >= config.steps:
            found.append(f"{name} never reached" if was < recipe.steps else "")
        elif was >= recipe.steps:
            found.append(f"{name} reached, which the recipe's isn't")
        else:
            found.append(_moved(name, recipe, was, batch, now, "later", "earlier"))
    change = config.steps * batch / (recipe.steps * recipe.batch_size) - 1
    end = _moved("run", recipe, recipe.steps, batch, config.steps, "longer", "shorter")
    found.append(f"{end} ({change:+.0%})" if end else "")
    if batch != recipe.batch_size:
        found.append(f"batch {batch}, not {recipe.batch_size}")
    if config.learning_rate != recipe.learning_rate:
        found.append(f"learning rate {config.learning_rate:.2g}, not {recipe.learning_rate:.2g}")
    if config.warmup != recipe.warmup:
        found.append(f"warm-up of {many(config.warmup, 'step')}, not of {many(recipe.warmup, 'step')}")
    for field, name in EVERY.items():
        was, now = getattr(recipe, field), getattr(config, field)
        apart = abs(now * batch - was * recipe.batch_size)  # images; less than a batch is rounding
        if was != now and apart >= max(batch, recipe.batch_size):
            found.append(f"{name} {often(now)}, not {often(was)}")
    return [words for words in found if words]


def often(every: int) -> str:
    return f"every {every:,} steps" if every else "not on the way"


def warmup_advised(recipe: RunConfig, config: RunConfig, train_images: int) -> int:
    """Steps of warm-up that a learning rate above the recipe's asks for; 0 if it isn't, or there are as many."""
    wanted = math.ceil(RISE * train_images / config.batch_size)
    return wanted if config.learning_rate > 1.001 * recipe.learning_rate and config.warmup < wanted else 0


def marks(most: float, steps: tuple[int, ...] = CLOCK, count: int = 8) -> list[int]:
    """Round numbers from the first above 0 to `most`, at most `count` of them, a distance out of `steps` apart."""
    apart = next((step for step in steps if most / step <= count), steps[-1])
    return [apart * n for n in range(1, math.floor(most / apart) + 1)]


def percent(share: float) -> str:
    """A share in words: something is never called nothing."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def many(count: int, name: str) -> str:
    """ "1 step", "80,000 steps"."""
    plural = name + ("es" if name.endswith("s") else "s")
    return f"{count:,} {name if count == 1 else plural}"


def size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _epochs(plan: RunPlan, steps: int) -> str:
    epochs = plan.epochs(steps)
    return f"{epochs:.0f} epochs" if epochs >= 10 else f"{epochs:.1f} epochs"


def _moved(name: str, recipe: RunConfig, was: int, batch: int, now: int, more: str, less: str) -> str:
    """ "first drop 4,000 steps earlier", or nothing where both come after as many pictures."""
    apart = now * batch - was * recipe.batch_size
    if abs(apart) < max(batch, recipe.batch_size):
        return ""
    far = (
        f"{abs(now - was):,} steps"
        if batch == recipe.batch_size
        else f"{abs(apart) / 1e6:.2f} million images"
    )
    return f"{name} {far} {more if apart > 0 else less}"


@cache
def _bytes(width: float, batch_norm: bool, strided_stem: bool, classes: int) -> tuple[int, int]:
    """Bytes of a network's weights and of SGD's momentum, one number a parameter. Nothing is computed for it."""
    config = RunConfig(
        width=width,
        batch_norm=batch_norm,
        strided_stem=strided_stem,
        classes=tuple(f"class {i}" for i in range(1, classes)),
    )
    with torch.device("meta"):
        model = network_of(config)
    return sum(value.nbytes for value in model.state_dict().values()), 4 * count_parameters(model)
