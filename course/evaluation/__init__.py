"""Average precision by the development kit's rule, and by others."""
