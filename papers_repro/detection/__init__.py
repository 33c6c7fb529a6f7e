"""Imported by prunet_figure4.py only."""

from papers_repro.detection.coco import CocoImages, make_coco
from papers_repro.detection.detector import DetectionOptions, average_precision, make_detector, train_detector
