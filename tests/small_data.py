"""A few examples with photographs made of numbers, for what makes batches of them."""

from pathlib import Path

import torch

from ssdlib.records import Example


def make_examples(count: int = 11) -> tuple[list[Example], list[torch.Tensor]]:
    """Example i has i % 4 objects, every second one difficult, and a photograph all of colour (i, 2i, 3i)."""
    source = torch.Generator().manual_seed(3)
    examples, photographs = [], []
    for i in range(count):
        width, height, objects = 40 + i, 30 + 2 * i, i % 4
        corner = torch.rand(objects, 2, generator=source) * 15
        examples.append(
            Example(
                image_id=f"{i:06d}",
                path=Path(f"{i:06d}.jpg"),
                size=(width, height),
                boxes=torch.cat([corner, corner + 12], dim=1),
                labels=torch.arange(1, objects + 1) + i,
                difficult=torch.arange(objects) % 2 == 1,
            )
        )
        photographs.append(torch.tensor([i, 2 * i, 3 * i], dtype=torch.uint8).repeat(height, width, 1))
    return examples, photographs


def striped(count: int = 6) -> tuple[list[Example], list[torch.Tensor]]:
    """`make_examples` with photographs that have something to crop, mirror and recolour, and larger objects."""
    examples, photographs = make_examples(count)
    for i, (example, photograph) in enumerate(zip(examples, photographs, strict=True)):
        height, width, _ = photograph.shape
        rows, columns = torch.arange(height)[:, None, None], torch.arange(width)[None, :, None]
        colours = rows * torch.tensor([2, 0, 3]) + columns * torch.tensor([1, 4, 0]) + 40 * i
        photograph[:] = (colours % 256).to(torch.uint8)
        example.boxes[:, 2:] += torch.tensor([9.0, 4.0])
    return examples, photographs
