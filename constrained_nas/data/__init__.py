"""Data sets and their splits."""

from typing import TYPE_CHECKING

from graphs.faces import on_demand

if TYPE_CHECKING:
    from constrained_nas.data.coco import CocoImages, make_coco, together
    from constrained_nas.data.drawn_digits import digits
    from constrained_nas.data.folders import data_shape, folder_facts, require_images
    from constrained_nas.data.images import IGNORED, DataSplits, cifar, image_folder, loader
    from constrained_nas.data.named import load_splits
    from constrained_nas.data.segmentation import digit_scenes, part_labels

__getattr__ = on_demand(__name__)
