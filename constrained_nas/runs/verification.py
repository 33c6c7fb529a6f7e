"""What the record of a finished run says, held against its folder and against the space: costs, limits, fits, certificate, files.

A record is a text file that anybody may have edited, and weights are files in which a bit may flip. So whoever shows or uses a
finished run reads it by :func:`trusted_run`: everything that follows from the architecture, the table and the settings is computed
again, and a contradiction is an error. What cannot be checked is a remark. Accuracies are taken as they are: they would have to be
tested again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from constrained_nas.latency import DeviceRecord
from constrained_nas.records import ArchitectureRecord, architecture_of
from constrained_nas.runs.families import Family, costs_of, make_space, plan_of
from constrained_nas.runs.latency import DEVICE_FILE
from constrained_nas.runs.objective import OBJECTIVE_FILE, contradictions, load_objective
from constrained_nas.runs.record import CertificateRecord, ImageShape, NetworkRecord, RunRecord, load_run
from constrained_nas.runs.settings import ENERGY_FILE, SETTINGS_FILE, RunSettings, load_settings
from constrained_nas.runs.setup import with_energy
from constrained_nas.training import CURVES_FILE, MOST_WEIGHTS
from graphs import Architecture
from graphs.costs import CostModel
from graphs.files import load_json, require_size

HASHED = ("network.safetensors", "architecture.json", "table.json", ENERGY_FILE, DEVICE_FILE, CURVES_FILE, OBJECTIVE_FILE)
_ROUNDING = 1e-9  # sums of a few hundred costs in double precision agree to about 1e-13 of their size
_CLASSES = {"digits": (10, 1), "cifar10": (10, 3), "cifar100": (100, 3)}  # classes and channels


def hash_files(folder: Path) -> dict[str, str]:
    """The sha256 of every file that a finished run is made of, by name."""
    return {name: _sha256(folder / name) for name in HASHED if (folder / name).exists()}


def trusted_run(folder: Path | str) -> RunRecord:
    """The record of :func:`verified_run`; what could not be checked is added to its remarks."""
    record, said = verified_run(folder)
    return record.model_copy(update={"remarks": (*record.remarks, *said)}) if said else record


def verified_run(folder: Path | str) -> tuple[RunRecord, list[str]]:
    """Read the record of a finished run and check all of it that can be checked; and what could not.

    Raises:
        FileNotFoundError: no search has ended there, or a file that the record names is missing.
        ValueError: a file is damaged, or contradicts the record; names both.
    """
    run = Path(folder)
    record = load_run(run)
    for wrong in _contradictions(record):
        raise ValueError(f"{run / 'run.json'}: {wrong}")
    said = _check_files(run, record)
    if not (run / SETTINGS_FILE).exists():
        return record, [*said, f"{SETTINGS_FILE} is not there: costs were not computed again"]
    settings = load_settings(run)
    for wrong in _against_settings(record, settings):
        raise ValueError(f"{run / 'run.json'}: {wrong}")
    family = _family(run, record, settings)
    if family is None:
        return record, [*said, "the record does not say how many classes there were: costs were not computed again"]
    for wrong in _against_space(run, record, family):
        raise ValueError(f"{run / 'run.json'}: {wrong}")
    if record.certificate is not None and record.files and OBJECTIVE_FILE not in record.files:
        said.append("the record does not hold what the certificate's value is of: it was not computed again")
    return record, said


def run_family(folder: Path | str, record: RunRecord) -> Family | None:
    """The space of a run, built again; None where its settings are not there, or it is not known how many classes there were."""
    run = Path(folder)
    return _family(run, record, load_settings(run)) if (run / SETTINGS_FILE).exists() else None


def check_network(network: NetworkRecord, architecture: Architecture, costs: Mapping[str, CostModel]) -> None:
    """Check what a record says an architecture costs.

    Raises:
        ValueError: another cost than is computed now; names both.
    """
    for name, told in network.costs.items():
        computed = costs[name].cost(architecture) if name in costs else None
        if computed is None or not _close(told, computed):
            raise ValueError(f"the {network.name} network costs {told:.10g} {name} in the record, and {computed} by computing it")


def _contradictions(record: RunRecord) -> Iterator[str]:
    """Where the record contradicts itself."""
    costs, measured = record.found.costs, record.measured
    for budget in record.budgets:
        if budget.cost in costs and not _close(costs[budget.cost], budget.value):
            yield f"the found network has {budget.cost} {costs[budget.cost]:.10g}, and {budget.value:.10g} under its budget"
        if budget.measured is None:
            fits = budget.value <= budget.limit
        elif measured is None or measured.cost != budget.cost or measured.median != budget.measured:
            yield f"the measured {budget.cost} of {budget.measured:.10g} is nowhere among the measurements"
            return
        else:
            fits = measured.fits
        if budget.fits != fits:
            spent = budget.value if budget.measured is None else budget.measured
            yield f"fits is {_yes(budget.fits)} for {budget.cost}, with {spent:.10g} under a limit of {budget.limit:.10g}"
    if measured is not None:
        last = next((attempt for attempt in reversed(measured.attempts) if attempt.fits), None)
        if measured.fits != (measured.bound <= measured.limit):
            yield f"fits is {_yes(measured.fits)} for a bound of {measured.bound:.10g} under a limit of {measured.limit:.10g}"
        if last is not None and measured.fits and (last.median, last.bound) != (measured.median, measured.bound):
            yield f"a measured median of {measured.median:.10g}, and {last.median:.10g} in the last attempt that fitted"
    yield from against_itself(record.certificate)


def against_itself(certificate: CertificateRecord | None) -> Iterator[str]:
    """Where a certificate contradicts itself."""
    if certificate is None or certificate.bound is None:
        return
    left = certificate.bound - certificate.primal if certificate.maximize else certificate.primal - certificate.bound
    rounding = 1e-6 * max(1.0, abs(certificate.primal))
    if left < -rounding:
        better = "greater" if certificate.maximize else "less"
        yield f"the certificate's value {certificate.primal:.10g} is {better} than {certificate.bound:.10g}, which none can be"
    elif certificate.gap is None or abs(certificate.gap - max(0.0, left)) > rounding:
        yield f"the certificate's gap is {certificate.gap}, and {max(0.0, left):.10g} from its value to its bound"


def _check_files(run: Path, record: RunRecord) -> list[str]:
    """Remarks on what is not known of the files."""
    for name, known in record.files.items():
        if name not in HASHED:
            raise ValueError(f"{run / 'run.json'}: {name!r} is no file of a run")
        if not (run / name).exists():
            raise FileNotFoundError(f"{run / name} is not there any more; the run ended with it: put it back, or search again")
        if (found := _sha256(run / name)) != known:
            raise ValueError(
                f"{run / name}: not as the run left it (sha256 {found[:12]}..., in run.json {known[:12]}...): damaged or exchanged"
            )
    if (run / "architecture.json").exists():
        written = load_json(run / "architecture.json", ArchitectureRecord, "architecture")
        if {**written.choices, **written.counts} != record.found.choices:
            raise ValueError(f"{run}: architecture.json and run.json name different networks")
        if written.budgets != record.budgets or (written.space, written.method) != (record.space, record.method):
            raise ValueError(f"{run}: architecture.json and run.json are not of the same search")
    if (run / DEVICE_FILE).exists() and record.measured is not None:
        device = load_json(run / DEVICE_FILE, DeviceRecord, "device search")
        if device.attempts != record.measured.attempts:
            raise ValueError(f"{run}: {DEVICE_FILE} and run.json tell of different measurements")
    return [] if record.files else ["the record holds no checksums of its files, as of an older version"]


def _against_settings(record: RunRecord, settings: RunSettings) -> Iterator[str]:
    told = settings.model_dump(mode="json")
    for name, value in record.settings.items():
        if name in told and told[name] != value and told[name] is not None and name not in ("threads", "workers", "data_root"):
            yield f"{name} is {value!r}, and {told[name]!r} in {SETTINGS_FILE}"
    limits = sorted(settings.budgets.values())
    if sorted(budget.limit for budget in record.budgets) != limits:
        yield f"its limits are {[budget.limit for budget in record.budgets]}, and {limits} in {SETTINGS_FILE}"
    if settings.method not in (None, record.method) or settings.seed != record.seed:
        yield f"it is of method {record.method} and seed {record.seed}, {SETTINGS_FILE} of {settings.method} and {settings.seed}"


def _family(run: Path, record: RunRecord, settings: RunSettings) -> Family | None:
    images = record.images
    if images is None:
        known = _CLASSES.get(settings.data)
        if known is None:
            return None
        images = ImageShape(classes=known[0], channels=known[1])
    family = make_space(settings.space, images.classes, images.channels, plan_of(settings).resolution)
    return with_energy(family, settings, run)


def _against_space(run: Path, record: RunRecord, family: Family) -> Iterator[str]:
    space, table = family.decisions, run / "table.json"
    if record.space != space.name:
        yield f"space {record.space!r}, and {space.name!r} by {SETTINGS_FILE}"
        return
    costs = costs_of(family, family.read_table(table) if table.exists() else None)
    named = {model.name: model for model in costs.values()}
    asked = {costs[name].name: limit for name, limit in load_settings(run).budgets.items() if name in costs}
    for budget in record.budgets:
        if asked.get(budget.cost) != budget.limit:
            yield f"a limit of {budget.limit:.10g} on {budget.cost}, and {asked.get(budget.cost)} in {SETTINGS_FILE}"
    for network in (record.found, *record.references):
        try:
            check_network(network, architecture_of(network.choices, space), named)
        except ValueError as error:
            yield str(error)
            return
    if record.certificate is not None and OBJECTIVE_FILE in record.files:
        objective = load_objective(run / OBJECTIVE_FILE, space)
        found, *others = (architecture_of(network.choices, space) for network in (record.found, *record.references))
        references = {f"the {network.name}": other for network, other in zip(record.references, others, strict=True)}
        limits = {named[cost]: limit for cost, limit in _projected_onto(record).items()}
        yield from contradictions(record.certificate, objective, space, found, references, limits, family.free)


def _projected_onto(record: RunRecord) -> dict[str, float]:
    """The limits of the final projection, by cost: that of the last attempt on the device, where there were any."""
    limits = {budget.cost: budget.limit for budget in record.budgets}
    if record.measured is not None:
        last = next((attempt for attempt in reversed(record.measured.attempts) if attempt.fits), None)
        limits |= {} if last is None else {record.measured.cost: last.limit}
    return limits


def _sha256(path: Path) -> str:
    require_size(path, MOST_WEIGHTS)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _close(first: float, second: float) -> bool:
    return abs(first - second) <= _ROUNDING * max(1.0, abs(first), abs(second))


def _yes(fits: bool) -> str:
    return "yes" if fits else "no"
