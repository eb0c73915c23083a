"""A network as an ONNX file, which other programs run without PyTorch.

In the file are the network, the softmax and the decoding; what selects boxes (threshold, top-k, suppression, keep)
stays outside, in `exported`, because you may want to change those numbers later. The classes and the side of the
input are written into the file. PyTorch's older exporter is used (`dynamo=False`). It works in PyTorch 2.6 and 2.14,
the versions tried, without a further package, in a second; the newer one failed on 2.6's batch norm and took fifteen
seconds.
"""

import copy
import importlib.util
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ssdlib import coding, files
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.model import MEAN

OPSET = 18
NEEDED = ("onnx", "onnxruntime")
MOST = (0.05, 1e-3)  # px of the input, score: how far the two may differ; rounding alone causes less


class ExportError(RuntimeError):
    """A network can't be exported, or the exported file gives other outputs. The message says why."""


class Answering(nn.Module):
    """(B, 3, S, S) RGB, 0 to 255 -> (B, K, 4) boxes in px of the input, (B, K, C) scores."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.register_buffer("anchors", default_boxes())
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        said = self.network(images - self.mean)
        return coding.decode(said.offsets, self.anchors), said.logits.softmax(dim=-1)


def export(model: nn.Module, classes: Sequence[str], path: Path) -> tuple[float, float]:
    """Write the network to `path` and run both on noise. -> largest difference of boxes (px) and scores.

    The model isn't changed. Raises ExportError if onnx or onnxruntime is missing, `path` is a folder or the answers
    differ by more than `MOST`; then there is no file. Errors of the operating system name the file.
    """
    require()
    path = Path(path)
    if path.is_dir():
        raise ExportError(f"{path}: a folder; wanted the name of a file, such as {path / 'model.onnx'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = copy.deepcopy(model).cpu().float().eval().to(memory_format=torch.contiguous_format)
    whole = Answering(plain).eval()
    part = path.with_name(f"{path.name}.part")
    names = {"input_names": ["images"], "output_names": ["boxes", "scores"]}
    try:
        with files.named(path), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # about this exporter's age, and about constants
            torch.onnx.export(
                *(whole, (torch.zeros(1, 3, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas),), str(part)),
                **names,
                dynamic_axes={name: {0: "batch"} for names_ in names.values() for name in names_},
                opset_version=OPSET,
                dynamo=False,
            )
            _note(part, classes)
        apart = difference(whole, part)
        if not (apart[0] <= MOST[0] and apart[1] <= MOST[1]):  # NaN isn't, either
            raise ExportError(
                f"{path}: answers otherwise than the network, boxes by {apart[0]:.3g} px and scores by "
                f"{apart[1]:.3g}; wanted at most {MOST[0]} and {MOST[1]}"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return apart


def require() -> None:
    """Raise ExportError with the command that helps if a package is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"{' and '.join(missing)} isn't installed; wanted for ONNX: pip install {' '.join(missing)}"
        )


def difference(whole: Answering, path: Path, images: int = 2) -> tuple[float, float]:
    """Largest difference between the outputs of the network and of its file on images of noise."""
    import onnxruntime

    chance = torch.Generator().manual_seed(0)
    noise = torch.rand(images, 3, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas, generator=chance) * 255
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(["boxes", "scores"], {"images": noise.numpy()})
    with torch.no_grad():
        ours = whole(noise)
    pairs = zip(ours, theirs, strict=True)
    boxes, scores = (float((a - torch.from_numpy(b)).abs().max()) for a, b in pairs)
    return boxes, scores


def _note(path: Path, classes: Sequence[str]) -> None:
    """Write the meaning of inputs and outputs into the file."""
    import onnx

    model = onnx.load(str(path))
    facts = {
        "classes": json.dumps(list(classes)),
        "canvas": str(SSD300_ANCHORS.canvas),
        "input": "images (B, 3, S, S) float32, RGB 0..255, the whole image resampled to S x S",
        "output": "boxes (B, K, 4) xyxy px of the input; scores (B, K, C), column 0 is background",
    }
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))
