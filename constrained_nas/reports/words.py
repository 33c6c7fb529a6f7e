"""What a search found, in sentences: whether it fits, how good it is, and what its certificate proves."""

from __future__ import annotations

import math

from constrained_nas.runs import RunRecord


def plain_number(value: float) -> str:
    """A number as people write it: 28,000 and 4.312, not 2.8e+04."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def with_unit(cost: str, unit: str) -> str:
    """``latency (ms)``; where the name says the unit, the name alone."""
    return cost if not unit or unit.lower() in cost.lower().split() else f"{cost} ({unit})"


def verdict(record: RunRecord) -> str:
    """One sentence: whether the found network fits its budgets, by the table or count, and on the device where it was measured."""
    over = [b for b in record.budgets if not b.fits]
    if not record.budgets:
        said = "There was no budget."
    elif over:
        excess = ", ".join(f"{b.cost} by {plain_number((b.measured or b.value) - b.limit)} {b.unit}" for b in over)
        said = f"The found network does NOT fit: it exceeds {excess}."
    else:
        said = f"The found network fits {'its budget' if len(record.budgets) == 1 else f'all {len(record.budgets)} budgets'}."
    measured = record.measured
    if measured is None:
        return said + " Nothing was measured on the device: costs are those of the table or of counting."
    fits = "within" if measured.fits else "NOT shown to be within"
    return (
        f"{said} Measured on the device, its median {measured.cost} is {plain_number(measured.median)} {measured.unit}, {fits} the "
        f"limit of {plain_number(measured.limit)} {measured.unit} (upper bound of the median {plain_number(measured.bound)} "
        f"{measured.unit}, confidence {measured.confidence:.0%}, {measured.samples} passes)."
    )


def compared_sentences(record: RunRecord) -> list[str]:
    """How much of each budget is left, and, one by one, how the accuracy stands to those of the other networks that were tested."""
    said = []
    spent = []
    for budget in record.budgets:
        at = record.measured
        value = at.median if at is not None and at.cost == budget.cost else budget.value
        left = 100 * (1 - value / budget.limit)
        spent.append(f"{abs(left):.1f} % of {budget.cost} {'left' if left >= 0 else 'too much'}")
    if spent:
        said.append(f"Of the budgets: {', '.join(spent)}.")
    own, others = record.found.accuracy, [network for network in record.references if network.accuracy is not None]
    if own is None or not others:
        return said
    first = record.budgets[0].cost if record.budgets else ""
    told = []
    for network in others:
        cost, mine = network.costs.get(first), record.found.costs.get(first)
        times = "" if not cost or not mine else f" at {cost / mine:.2g} times the {first}"
        name, more = _KNOWN.get(network.name, f"{network.name} network"), own - (network.accuracy or 0.0)
        told.append(f"{more:+.2f} against the {name} ({network.accuracy:.2f} %{times})")
    return [*said, f"Its test accuracy is {own:.2f} %; in points:", *told]


_KNOWN = {
    "cheapest": "cheapest network",
    "largest": "largest network",
    "random": "random network that fits",
    "uniform": "network with one option everywhere that fits",
}


def certificate_sentence(record: RunRecord) -> str:
    """What the certificate proves, for a reader who does not know what a dual bound is."""
    certificate = record.certificate
    if certificate is None:
        return (
            f"There is no certificate: the search ({record.method}) ended without an exact projection, so nothing is proven about "
            "how far its network is from the best that fits."
        )
    found = f"{certificate.primal:.6g}"
    if certificate.violation > 0:
        return (
            f"The certificate speaks of an answer that exceeds a budget by {certificate.violation:.4g} (its score: {found}): it "
            "proves nothing of networks that fit."
        )
    if certificate.bound is None:
        return f"The found network scores {found} by the search's own scores; no bound is known, so a better one may fit."
    better = "scores better than" if certificate.maximize else "has a loss below"
    verb = "scores" if certificate.maximize else "has a loss of"
    gap = certificate.gap if certificate.gap is not None else abs(certificate.bound - certificate.primal)
    # Sums of a few dozen scores in double precision agree to about 1e-12 of their size; 1e-9 is far from any real gap.
    proven = gap <= 1e-9 * max(1.0, abs(certificate.primal))
    end = "so by these scores it is proven to be the best there is" if proven else f"so at most {gap:.3g} could still be gained"
    return (
        f"No network within these budgets {better} {certificate.bound:.6g} by the search's scores; the found one {verb} {found}, "
        f"{end} (gap {gap:.2g}). These scores are what the search learned about every option, summed; they are not test accuracies."
    )
