"""Data sets and their splits."""

from constrained_nas.data.images import IGNORED, DataSplits, cifar, digits, image_folder, loader
from constrained_nas.data.named import load_splits
from constrained_nas.data.segmentation import digit_scenes, part_labels
