"""What a search found, in the words of its record: network and certificate."""

from __future__ import annotations

from collections.abc import Mapping

from constrained_nas.ask_tell import SearchResult
from constrained_nas.problem import SearchProblem
from constrained_nas.run_record import CertificateRecord, NetworkRecord
from graphs import Architecture
from graphs.costs import CostModel

__all__ = ["certificate_record", "network_record"]


def network_record(
    problem: SearchProblem, costs: Mapping[str, CostModel], name: str, architecture: Architecture, accuracy: float | None
) -> NetworkRecord:
    """An architecture with its ``costs`` (by the names they are to have) and its test accuracy in %, None if it was not tested."""
    prices = {cost: model.cost(architecture) for cost, model in costs.items()}
    return NetworkRecord(name=name, choices=problem.space.describe(architecture), costs=prices, accuracy=accuracy)


def certificate_record(problem: SearchProblem, result: SearchResult) -> CertificateRecord | None:
    """The projection's certificate, with a price for every budget where the solver gave them; None without a certificate."""
    certificate = result.certificate
    if certificate is None:
        return None
    names = [budget.cost.name for budget in problem.budgets]
    dual = None if certificate.dual is None else certificate.dual.tolist()
    prices = dict(zip(names, dual, strict=True)) if dual is not None and len(dual) == len(names) else {}
    return CertificateRecord(
        primal=certificate.primal,
        bound=certificate.bound,
        gap=certificate.gap,
        violation=certificate.violation,
        maximise=certificate.maximise,
        prices=prices,
    )
