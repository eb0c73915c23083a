"""A batch for a GPU in one piece: one copy from the host, one resampling for all photographs.

The host starts every operation of a GPU, which costs it the same few microseconds however small the operation is. So
32 photographs of 32 sizes aren't copied and resampled one by one, as `augment.warp` does on a CPU, where one
photograph at a time stays in the cache. They lie one after the other in one tensor of pixels, from which every pixel
of every 300 x 300 input is read at once.

Nothing here waits for the GPU, because what is copied there comes from pinned memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """Where in its photograph each of B inputs is read, axis by axis: 0 = columns, 1 = rows."""

    low: (
        Tensor  # (B, 2, S) int64: the pixel centre to the left or above, in pixels of the photograph's memory
    )
    high: Tensor  # (B, 2, S) int64: the one to the right or below
    share: Tensor  # (B, 2, S) float32: how far the place lies from low to high, 0..1
    covered: Tensor  # (B, 2, S) float32: 1 where the photograph is, 0 beyond its edges


def reading(sizes: Tensor, where: Tensor) -> Reading:
    """`sizes` (B, 2) width and height in px, and `where` (B, 2, S): x of the columns and y of the rows, -1 = left or
    top edge, 1 = right or bottom edge. What lies beyond an edge is read at the edge."""
    sizes = sizes.float()[..., None]
    place = ((where + 1) * sizes - 1).div_(2).clamp_(min=0).minimum(sizes - 1)  # px
    low = place.floor()
    apart = torch.stack([torch.ones_like(sizes[:, 0]), sizes[:, 0]], dim=1).long()  # of neighbours, in memory
    return Reading(
        low.long() * apart,
        (low + 1).minimum(sizes - 1).long() * apart,
        place - low,
        (where.abs() <= 1).float(),
    )


def resample(pixels: Tensor, first: Tensor, read: Reading) -> Tensor:
    """Bilinear interpolation in packed photographs, as `F.grid_sample` does it for one of them with padding_mode
    "border" and without align_corners; the difference is rounding, 0.01 grey levels at most.

    `pixels` (N, 3) uint8, `first` (B,) int64 says where each photograph begins. -> (B, 3, S, S) float32 in 0..255,
    channels last.
    """
    count, _, side = read.low.shape
    both = torch.cat([read.low, read.high], dim=2)  # (B, 2, 2 S)
    index = both[:, 1, :, None] + both[:, 0, None] + first[:, None, None]
    corners = pixels.index_select(0, index.flatten()).view(count, 2, side, 2, side, 3).float()
    across = corners[:, :, :, 0].lerp(corners[:, :, :, 1], read.share[:, None, None, 0, :, None])
    return across[:, 0].lerp(across[:, 1], read.share[:, 1, :, None, None]).permute(0, 3, 1, 2)


def pack(photographs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """B photographs (H, W, 3) uint8 -> their pixels (H · W, 3), and where each of them begins (B,) when they lie one
    after the other."""
    pixels = [photograph.reshape(-1, 3) for photograph in photographs]
    counts = torch.tensor([len(some) for some in pixels])
    return pixels, counts.cumsum(dim=0) - counts


def send(
    tensors: Sequence[Tensor], device: torch.device | str, pixels: Sequence[Tensor] = ()
) -> tuple[list[Tensor], Tensor]:
    """Tensors of the host, and `pixels` from `pack` one after the other, on `device`. Pixels may be there already.

    All share one buffer and are copied at once, which the host doesn't wait for. The largest numbers come first, so
    that each tensor begins at a multiple of its numbers' size.
    """
    here = [some for some in pixels if some.device.type == "cpu"]
    order = sorted(range(len(tensors)), key=lambda i: -tensors[i].element_size())
    parts = [tensors[i].reshape(-1).view(torch.uint8) for i in order] + [some.reshape(-1) for some in here]
    lengths = [len(part) for part in parts[: len(order)]]
    # without a GPU there is no pinned memory; only tests copy anything then
    buffer = torch.empty(sum(map(len, parts)), dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    there = torch.cat(parts, out=buffer).to(device, non_blocking=True)
    *placed, rest = there.split([*lengths, len(there) - sum(lengths)])
    found = {
        i: part.view(tensors[i].dtype).view(tensors[i].shape) for i, part in zip(order, placed, strict=True)
    }
    return [found[i] for i in range(len(tensors))], rest.view(-1, 3) if here else torch.cat(list(pixels))
