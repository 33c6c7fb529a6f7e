"""Rechecking joint projections: honest answers pass, every kind of false claim is caught with its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.staged_programs import hardcore_program, small_program

from solvers import CertificateError, StagedCost, Status, project_jointly, verify_projection


def test_honest_answers_pass() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        program, _, budget = hardcore_program(rng)
        arguments = program.staged, program.scores, program.cost, budget
        answer = project_jointly(*arguments)
        assert verify_projection(answer, *arguments) is answer
    for _ in range(30):
        program = small_program(rng)
        second = StagedCost.of(program.staged, 0.1, rng.random(program.staged.alpha.stop))
        budgets = [program.least * 1.2 + 0.1, second.least(program.staged.layout) * 1.1 + 0.1]
        several = program.staged, program.scores, [program.cost, second], budgets
        verify_projection(project_jointly(*several), *several)


def test_false_claims_are_caught() -> None:
    program, _, budget = hardcore_program(np.random.default_rng(1))
    arguments = program.staged, program.scores, program.cost, budget
    answer = project_jointly(*arguments)
    assert answer.certificate is not None and answer.x is not None and answer.certificate.bound is not None
    claims = answer.certificate
    with pytest.raises(CertificateError, match="the certificate says"):
        verify_projection(replace(answer, certificate=replace(claims, primal=claims.primal + 1e-3)), *arguments)
    with pytest.raises(CertificateError, match="more than the bound"):
        verify_projection(replace(answer, certificate=replace(claims, bound=claims.primal - 1e-3)), *arguments)
    with pytest.raises(CertificateError, match="exceeded by"):
        verify_projection(answer, program.staged, program.scores, program.cost, budget * 0.5)
    with pytest.raises(CertificateError, match="one-hot"):
        verify_projection(replace(answer, x=answer.x * 0.5), *arguments)
    with pytest.raises(CertificateError, match="multipliers"):
        verify_projection(replace(answer, certificate=replace(claims, dual=np.array([-1.0]))), *arguments)
    # A worse point that claims to be the best: only solving again tells.
    worse = project_jointly(program.staged, program.scores, program.cost, program.least)
    assert worse.certificate is not None
    lie = replace(worse.certificate, bound=worse.certificate.primal)
    with pytest.raises(CertificateError, match=r"the bound .* is none"):
        verify_projection(replace(worse, certificate=lie), *arguments)


def test_infeasibility_is_confirmed_or_refuted() -> None:
    program, _, budget = hardcore_program(np.random.default_rng(2))
    nothing = project_jointly(program.staged, program.scores, program.cost, program.least * 0.9)
    assert nothing.status is Status.INFEASIBLE
    verify_projection(nothing, program.staged, program.scores, program.cost, program.least * 0.9)
    with pytest.raises(CertificateError, match="this fits"):
        verify_projection(nothing, program.staged, program.scores, program.cost, budget)
    with pytest.raises(ValueError, match="holds no point"):
        verify_projection(replace(nothing, status=Status.TIME_LIMIT), program.staged, program.scores, program.cost, budget)
