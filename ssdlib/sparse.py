"""Few of the 8,732 anchors count in an image: where to compute what only those need."""

from torch import Tensor

Index = tuple[Tensor, Tensor] | tuple[slice, slice]


def computed_where(mask: Tensor) -> Index:
    """An index for tensors (B, K, ...): the n places where a (B, K) bool mask is set, so that (n, ...) is computed.

    On a GPU it is all places, and (B, K, ...) is computed: the caller leaves out the rest afterwards, for instance by
    `where(mask[there], ...)`. A GPU hardly notices that, whereas counting those that are set would be a
    synchronisation.
    """
    return (slice(None), slice(None)) if mask.is_cuda else mask.nonzero(as_tuple=True)
