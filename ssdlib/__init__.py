"""SSD300 on Pascal VOC. This folder holds what the paper describes; data, training, interop and cli are built on
it."""
