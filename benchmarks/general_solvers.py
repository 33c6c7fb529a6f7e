"""The general solvers that the benchmark compares with: HiGHS by highspy and by scipy here, OR-tools in a process of its own.

Only solving is timed, with the change of the objective where it is one: models are built before, and answers are read after, the
clock runs. That favours the general solvers.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.instances import Instance
from solvers.arrays import FloatArray
from solvers.backends import silence_highs

__all__ = [
    "LIMIT_SECONDS",
    "Answer",
    "highs_linear",
    "highs_mixed_integer",
    "ortools_answers",
    "ortools_missing",
    "scipy_mixed_integer",
]

LIMIT_SECONDS = float(os.environ.get("REFERENCE_LIMIT_SECONDS", "60"))  # a reference that reaches it counts as taking it


@dataclass(frozen=True, slots=True)
class Answer:
    """What a general solver took and chose: flat options, or None; the objective where there are no choices (linear programs).

    ``bound`` is what CP-SAT proved.
    """

    seconds: float
    choices: tuple[int, ...] | None
    objective: float | None = None
    bound: float | None = None


def highs_linear(instance: Instance, gradients: FloatArray) -> list[Answer]:
    """``min gradient @ x`` for each row with a model that stays in HiGHS: only the costs change, in place."""
    import highspy

    solver = _model(instance, [instance.costs], [instance.budget], whole=False)
    n = len(instance.costs)
    columns = np.arange(n, dtype=np.int32)
    answers = []
    solver.run()  # the first basis is not timed
    for gradient in gradients:
        began = time.perf_counter()
        solver.changeColsCost(n, columns, gradient)
        solver.run()
        seconds = time.perf_counter() - began
        optimal = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        answers.append(Answer(seconds, None, solver.getInfo().objective_function_value if optimal else None))
    return answers


def highs_mixed_integer(instance: Instance, costs: Sequence[FloatArray], budgets: Sequence[float]) -> Answer:
    """The exact program by HiGHS at gap 0, in a new process."""
    return _in_child(_highs_mixed_integer, instance, costs, budgets)


def scipy_mixed_integer(instance: Instance) -> Answer:
    """The same by ``scipy.optimize.milp``."""
    return _in_child(_scipy_mixed_integer, instance)


def _in_child(solve: Callable[..., Answer], *arguments: object) -> Answer:
    """Call ``solve`` in a process of its own: one that crashes, or ignores its time limit, counts as taking it all."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, solve, arguments))
    process.start()
    sender.close()
    answer = Answer(LIMIT_SECONDS, None)
    try:
        if receiver.poll(2 * LIMIT_SECONDS):
            answer = receiver.recv()
    except EOFError:  # it ended without an answer
        pass
    process.kill()
    process.join()
    return answer


def _send(sender: Connection, solve: Callable[..., Answer], arguments: tuple[object, ...]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # HiGHS prints what its option for silence does not cover
    sender.send(solve(*arguments))
    sender.close()


def _highs_mixed_integer(instance: Instance, costs: Sequence[FloatArray], budgets: Sequence[float]) -> Answer:
    solver = _model(instance, costs, budgets, whole=True)
    began = time.perf_counter()
    solver.run()
    seconds = time.perf_counter() - began
    x = np.array(solver.getSolution().col_value)
    found = solver.getInfo().primal_solution_status == 2  # a feasible point is there
    return Answer(min(seconds, LIMIT_SECONDS), _choices(instance, x) if found else None)


def _scipy_mixed_integer(instance: Instance) -> Answer:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    n, groups = len(instance.costs), len(instance.offsets) - 1
    sums: Any = csr_array((np.ones(n), np.arange(n), instance.offsets), shape=(groups, n))
    constraints = [LinearConstraint(sums, 1.0, 1.0), LinearConstraint(instance.costs[None], -np.inf, instance.budget)]
    began = time.perf_counter()
    answer = milp(
        -instance.scores,
        integrality=np.ones(n, dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0, "time_limit": LIMIT_SECONDS},
    )
    seconds = time.perf_counter() - began
    return Answer(min(seconds, LIMIT_SECONDS), None if answer.x is None else _choices(instance, answer.x))


def ortools_missing() -> str | None:
    """Why there are no OR-tools rows; None if there are."""
    if importlib.util.find_spec("ortools") is None:
        return "ortools is not installed: it is in the dependency group `benchmarks`"
    return None


def ortools_answers(
    program: str,
    instance: Instance,
    gradients: FloatArray | None = None,
    *,
    costs: Sequence[FloatArray] | None = None,
    budgets: Sequence[float] | None = None,
    seconds: float = LIMIT_SECONDS,
    workers: int = 1,
) -> list[Answer]:
    """GLOP (``program`` "glop", one answer a gradient) or CP-SAT ("cp-sat", whole numbers by a scale of at most 1e6), in a process.

    highspy and ortools cannot be imported together. ``costs`` and ``budgets`` of CP-SAT are those of the instance where not given.

    Raises:
        RuntimeError: the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.npz"
        rows = np.zeros((0, len(instance.costs))) if gradients is None else gradients
        np.savez(
            path,
            scores=instance.scores,
            costs=np.array([instance.costs] if costs is None else costs),
            offsets=instance.offsets,
            budgets=np.array([instance.budget] if budgets is None else budgets),
            gradients=rows,
        )
        script = Path(__file__).with_name("ortools_process.py")
        command = [sys.executable, str(script), program, str(path), str(seconds), str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stderr.strip().splitlines()[-1:]}")
    answers = json.loads(done.stdout)
    return [
        Answer(a["seconds"], None if a["choices"] is None else tuple(a["choices"]), a["objective"], a.get("bound")) for a in answers
    ]


def _choices(instance: Instance, x: FloatArray) -> tuple[int, ...]:
    return tuple(int(a + np.argmax(x[a:b])) for a, b in zip(instance.offsets[:-1], instance.offsets[1:], strict=True))


def _model(instance: Instance, costs: Sequence[FloatArray], budgets: Sequence[float], *, whole: bool) -> Any:
    import highspy

    n, groups = len(instance.costs), len(instance.offsets) - 1
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = n, groups + len(costs)
    program.col_cost_ = -instance.scores
    program.col_lower_, program.col_upper_ = np.zeros(n), np.ones(n)
    program.row_lower_ = np.concatenate([np.ones(groups), np.full(len(costs), -np.inf)])
    program.row_upper_ = np.concatenate([np.ones(groups), np.asarray(budgets)])
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.num_col_, program.a_matrix_.num_row_ = n, groups + len(costs)
    starts = np.concatenate([instance.offsets, len(instance.costs) * np.arange(2, len(costs) + 2)])
    program.a_matrix_.start_ = starts.astype(np.int32)
    program.a_matrix_.index_ = np.tile(np.arange(n, dtype=np.int32), len(costs) + 1)
    program.a_matrix_.value_ = np.concatenate([np.ones(n), *costs])
    if whole:
        program.integrality_ = [highspy.HighsVarType.kInteger] * n
    silence_highs()
    highspy.Highs.resetGlobalScheduler(True)  # silencing made a run, which starts threads by the machine's default
    solver = highspy.Highs()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("time_limit", LIMIT_SECONDS),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 0.0),
    ):
        solver.setOptionValue(option, value)
    solver.passModel(program)
    return solver
