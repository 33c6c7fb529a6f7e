"""One thread a process: tests run side by side, and on networks this small a second thread costs more than it brings."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, also by scripts that tests start
