"""SSD300 on Pascal VOC. What the paper describes lies here; data, training, interop and cli are built on it."""
