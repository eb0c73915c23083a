"""The words on the command line of `python -m ssdlib`: doctor, look, train, detect, evaluate, export."""

import argparse
import dataclasses
import re

from ssdlib.cli.doctor import MINI
from ssdlib.evaluate import METRICS
from ssdlib.training.recipes import CHOICES, recipe_called
from ssdlib.training.runs import RECIPES, RunConfig

CHECKPOINT = (
    "run folder or checkpoint of this library, or an SSD300 that ssd_keras (HDF5), torchvision, amdegroot or "
    "lufficc (.pth, .safetensors) saved"
)
FREEZE = (
    "the body up to and including this layer (conv1_1 ... conv9_2) isn't trained: no gradient, decay or momentum; it "
    "needs weights to start from; default: all layers are trained"
)
DATA = "a VOCdevkit, or images with Pascal XML, COCO JSON, YOLO text or LabelMe JSON, see `look`"
FORMATS = ("xml", "coco", "yolo", "labelme")
DEVICE = "cpu, cuda, cuda:1 (the second GPU) or mps; default: the first GPU of CUDA if there is one, else cpu"
THREADS = (
    "with which the CPU computes; default: as OMP_NUM_THREADS says, else those with which steps measure fastest. "
    "Only with a fixed number is a resumed run bit-for-bit identical"
)


def parser() -> argparse.ArgumentParser:
    """The commands and their flags; `command` says which one was given."""
    words = argparse.ArgumentParser(prog="python -m ssdlib", description=__doc__)
    commands = words.add_subparsers(required=True, metavar="command", dest="command")

    command = commands.add_parser("doctor", help="what this machine has, and how to get what is missing")
    command.add_argument("--json", action="store_true", help="the same as JSON")
    _add_device(command)

    command = commands.add_parser(
        "look", help="what a folder of images holds, and its boxes under the anchors"
    )
    command.add_argument("--data", required=True, metavar="DIR", help=DATA)
    command.add_argument("--sets", nargs="+", help="of a VOCdevkit; default: 2007-test")
    command.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="of your own images only these, default: all there are; of a VOCdevkit those to expect, and any other "
        "is an error, default: VOC's",
    )
    _add_format(command)
    _add_device(command, "has to be there, though boxes are looked at on the CPU")

    command = commands.add_parser("train", help="train a run, print its table of AP, draw its curves")
    command.add_argument("--data", default=str(MINI), metavar="DIR", help=f"{DATA} (default: %(default)s)")
    command.add_argument("--out", required=True, metavar="RUN", help="folder of the run")
    command.add_argument(
        "--recipe",
        type=recipe_called,
        choices=RECIPES,
        default="paper",
        help="where the defaults below come from",
    )
    command.add_argument(
        "--scale-to",
        type=int,
        metavar="BATCH",
        help="the recipe with batches of this size: the learning rate is scaled in proportion, steps and "
        "drops in inverse proportion",
    )
    command.add_argument("--resume", action="store_true", help="continue the run that is in RUN, if any")
    command.add_argument(
        "--init",
        metavar="FILE",
        help="to start from: VGG16's weights (.pth, .safetensors, or .h5 by Keras or ssd_keras), a run of this "
        "library (its classes may be others), or an SSD300 as detect takes it; default: random, for which the "
        "learning rate of the paper is too high",
    )
    _add_format(command)
    command.add_argument("--store", metavar="DIR", help="decoded photographs (default: beside the data)")
    command.add_argument(
        "--skip-bad",
        type=_share,
        metavar="SHARE",
        help="decode all images first; leave out the bad ones, if they are no more than SHARE of all (default: VOC "
        "has to be complete; a tenth of your own images may have no annotation or header that can be read)",
    )
    command.add_argument(
        "--estimate",
        action="store_true",
        help="measure a few steps, print how long the run would take, and stop",
    )
    command.add_argument("--stop-after", type=int, metavar="STEP", help="end this session after that step")
    _add_device(command)
    _add_threads(command)
    _add_config(command.add_argument_group("settings of the run, with those of the recipe paper as default"))

    command = commands.add_parser("detect", help="find objects; write images, videos and detections.json")
    command.add_argument("--checkpoint", required=True, metavar="FILE", help=CHECKPOINT)
    command.add_argument("--out", required=True, metavar="DIR", help="where images and detections.json go")
    command.add_argument("--score", type=_score, default=0.5, help="least score shown (default: %(default)s)")
    command.add_argument("--json-only", action="store_true", help="draw nothing")
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image, folder of images, or video")
    _add_device(command)
    _add_threads(command)

    command = commands.add_parser("evaluate", help="AP of result files, or of a checkpoint on a dataset")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--detections", metavar="DIR", help="folder of comp4_det_<set>_<class>.txt files")
    source.add_argument("--checkpoint", metavar="FILE", help=CHECKPOINT)
    command.add_argument("--data", default=str(MINI), metavar="DIR", help=f"{DATA} (default: %(default)s)")
    command.add_argument("--sets", nargs="+", help="default: 2007-test, or the part test of your own images")
    command.add_argument("--classes", nargs="+", metavar="NAME", help="of result files, if they aren't VOC's")
    _add_format(command)
    command.add_argument("--skip-bad", type=_share, metavar="SHARE", help="as for train")
    command.add_argument("--ids", metavar="FILE", help="judge only the images listed there, one id a line")
    command.add_argument("--metric", choices=METRICS, default="11point", help="default: %(default)s")
    command.add_argument(
        "--precision",
        choices=CHOICES["precision"],
        help="with --checkpoint: what the network computes in (default: as it was trained; take float32, as Caffe's "
        "test does, for a figure to be published)",
    )
    command.add_argument("--csv", metavar="FILE", help="write class,ap rows there")
    command.add_argument("--out", metavar="DIR", help="with --checkpoint: where the devkit's files go")
    _add_device(command)
    _add_threads(command)

    command = commands.add_parser("export", help="write a network as ONNX, which runs without PyTorch")
    command.add_argument("--checkpoint", required=True, metavar="FILE", help=CHECKPOINT)
    command.add_argument("--out", required=True, metavar="FILE", help="model.onnx, for example")
    _add_device(command, "has to be there, though the file is written and compared on the CPU")
    return words


def _add_format(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format", choices=FORMATS, help="of your own annotations, where a folder has several"
    )


def _add_device(command: argparse.ArgumentParser, words: str = DEVICE) -> None:
    command.add_argument("--device", type=_device, help=words)


def _add_threads(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", type=_count, metavar="N", help=THREADS)


def _device(text: str) -> str:
    """A device by its name; whether the machine has it is checked later."""
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r}; wanted cpu, cuda, cuda:1 or mps")
    return text


def _count(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or not 0 < int(text) < 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted a whole number of 1 or more")
    return int(text)


def _score(text: str) -> float:
    """A number from 0 to 1."""
    return _part(text, "0.5 for 50 %")


def _share(text: str) -> float:
    """A number from 0 to 1."""
    return _part(text, "0.2 for 20 % of the images")


def _part(text: str, example: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted a number from 0 to 1, such as {example}")
    return part


def _add_config(group: argparse._ArgumentGroup) -> None:
    """A flag for every field of RunConfig."""
    for field in dataclasses.fields(RunConfig):
        flag = "--" + field.name.replace("_", "-")
        shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        kwargs: dict = {"default": None, "dest": field.name, "help": f"default: {shown}"}
        if isinstance(field.default, bool):
            kwargs["action"] = argparse.BooleanOptionalAction
        elif isinstance(field.default, tuple):
            some = "+" if field.name.endswith("sets") else "*"
            kwargs |= {"nargs": some, "type": type((*field.default, "")[0])}
        else:
            kwargs["type"] = type(field.default)
        if field.name == "freeze":
            kwargs |= {"metavar": "LAYER", "help": FREEZE}
        group.add_argument(flag, **kwargs)
