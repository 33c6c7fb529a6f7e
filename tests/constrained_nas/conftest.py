"""One thread: on networks this small a second one costs more than it brings, much more on a busy machine."""

import torch

torch.set_num_threads(1)
