"""What an experiment that trains or measures begins with, on whatever paper; no part of the harness, as it is slow to import."""

from papers_repro.experiment.setup import (
    DeviceOptions,
    DrawingOptions,
    ImageOptions,
    Latencies,
    LoopOptions,
    MeasuringOptions,
    ParallelOptions,
    Recipe,
    fresh_supernet,
    kept_record,
    kept_under,
    load_images,
    make_fabric,
    one_thread,
    part_of,
)
