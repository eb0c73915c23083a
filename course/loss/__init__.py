"""The multibox loss and hard negatives."""
