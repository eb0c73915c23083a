"""SSD300 on Pascal VOC, one idea a file. Import the room you need: `from ssdlib import anchors`."""
