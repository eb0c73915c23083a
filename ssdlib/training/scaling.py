"""float16's gradient scaler: the loss is multiplied before backward, and the gradients are divided before the update.

float16 has no positive number below 6e-8, where gradients may lie, and none above 65,504. So the loss is multiplied
by a scale as large as possible. Where a gradient isn't finite, the step is skipped and the scale is halved; after
2,000 steps without that it is doubled (Micikevicius et al., arXiv 1710.03740, section 3.2). Other precisions don't
need it.
"""

import torch

from ssdlib.training.inference import precision_on
from ssdlib.training.recipes import RunConfig

FIRST = 2.0**16  # scale of the first step


def scaler_for(device: torch.device, config: RunConfig) -> torch.amp.GradScaler:
    """The scaler of a run; one that does nothing unless the run computes in float16 on this device."""
    return torch.amp.GradScaler(
        device.type, init_scale=FIRST, enabled=precision_on(device, config.precision) == "float16"
    )
