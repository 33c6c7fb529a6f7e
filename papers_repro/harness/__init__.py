"""What any script needs: flags, progress, seeds, rows, intervals."""

from papers_repro.harness.command_line import read_options
from papers_repro.harness.intervals import compared, half_width, verdict
from papers_repro.harness.progress import ProgressBars, Reports, progress_bars
from papers_repro.harness.rows import Cell, Column, Rows, Scale, output_folder, print_rows, save_record
from papers_repro.harness.seeds import available_cores, run_seeds
