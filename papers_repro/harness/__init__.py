"""What any script needs: options, progress, seeds, rows, intervals, pictures, and one way from command line to record."""

from papers_repro.harness.command_line import read_options
from papers_repro.harness.intervals import compared, half_width, mean, verdict
from papers_repro.harness.pictures import new_figure, save_figure
from papers_repro.harness.progress import ProgressBars, ProgressCallback, Reports, progress_bars
from papers_repro.harness.rows import Column, Row, Rows, Scale, print_rows, row_of, save_record, versions
from papers_repro.harness.script import Script, ScriptOptions, started
from papers_repro.harness.seeds import at_a_time, available_cores, run_seeds
