"""Compile a super-network graph into torch, run it under gates, and extract bare networks from it.

``Supernet.forward(images, gates)`` takes one gate a decision: a distribution over its options, for the whole batch (options,) or
one a row (B, options). Compiled as a mixture, one-hot gates run one architecture (or one a row) and gates that need gradients run
the mixture, so that the gradient of every option is right; a module that some row uses runs for all rows. Compiled to route (or
mask) rows, one-hot gates run one sub-graph a row, and a row has nothing to do with modules that are not connected in its own.
Modules that no row uses, or whose output cannot reach the sink, never run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from itertools import groupby
from typing import Any, Literal, cast, get_args

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphs.files import out_of_memory
from graphs.space import Architecture, SearchSpace
from graphs.supernet.connectivity import Connectivity
from graphs.supernet.dag import Edge, EdgeKey, as_multigraph, edge_of, layer_of
from graphs.supernet.extraction import bare_network, copy_module
from graphs.supernet.feature_maps import FeatureMaps, rectified_layers
from graphs.supernet.routing import Route, module_rows, route_norms, rows_in_all, run_masked
from graphs.supernet.rows import gather_rows

Gates = Mapping[str, Tensor]
Rows = Literal["mixture", "route", "mask"]
Disconnected = Literal["refuse", "zeros"]


class Supernet(nn.Module):
    """All modules of a super-network with shared weights. Build it with :func:`compile_supernet`, which explains the arguments."""

    def __init__(
        self, dag: nx.MultiDiGraph, space: SearchSpace, rows: Rows = "mixture", disconnected: Disconnected = "refuse"
    ) -> None:
        super().__init__()
        self.connectivity = Connectivity.of(dag, space)
        self.source, self.sink = self.connectivity.nodes[0], self.connectivity.nodes[-1]
        self.dag, self.space, self.rows, self.disconnected = dag, space, rows, disconnected
        self.edge_keys: list[EdgeKey] = list(dag.edges(keys=True))
        self.edge_modules = nn.ModuleList(edge_of(dag, key).factory() for key in self.edge_keys)
        self.rectified = rectified_layers(dag)
        place = {key: index for index, key in enumerate(self.edge_keys)}
        self._order = [place[key] for key in self.connectivity.edges]  # connectivity numbers modules by their source layers
        self._connected: dict[bytes, list[int]] = {}

    def gates(self, architecture: Architecture, device: torch.device | None = None) -> dict[str, Tensor]:
        """The one-hot gates of an architecture of one-unit decisions, each of shape (options,)."""
        x = torch.as_tensor(self.space.point(architecture), dtype=torch.get_default_dtype(), device=device)
        return {decision.name: x[self.space.slice(decision.name)] for decision in self.space.decisions}

    def forward(self, images: Tensor, gates: Gates, whole: Gates | None = None) -> Tensor:
        """The output at the sink for ``images`` (B, *source shape). Gates that lie on the host are best left there.

        Args:
            images: to run on.
            gates: of these images.
            whole: gates of the batch whose other rows run elsewhere at the same time, where batch normalization is over all of
                it: every module that any of its rows uses runs then, if need be on no row.

        Raises:
            ValueError: a gate is missing or has the wrong shape; no module with a gate above zero joins the source to the sink (of
                a row, whose number the message says), unless disconnected rows are wanted as zeros; with ``rows`` other than
                ``mixture``, a gate is not one-hot or requires a gradient.
        """
        self._check_gates(gates, len(images))
        maps = FeatureMaps(self.source, images, self.rectified)
        if self.rows == "mixture":
            read = self._read(gates)
            moved, everywhere = _moved(gates, images.device), None if whole is None else self._read(whole)
            for index in self._running(self._live(gates, everywhere or read)):
                source, target, _ = key = self.edge_keys[index]
                maps.add(target, self._run_edge(index, edge_of(self.dag, key), maps.read(source), moved, read, everywhere))
            return maps.read(self.sink)
        routes = self._routes(gates, images, whole)
        for source, modules in groupby(routes, key=lambda route: self.edge_keys[route.module][0]):
            self._run_routed(maps, source, list(modules), gates, whole)
        return maps.read(self.sink) if self.sink in maps else self._nothing(images)

    def _run_routed(self, maps: FeatureMaps, source: Hashable, routes: list[Route], gates: Gates, whole: Gates | None) -> None:
        """Run the modules that lead out of ``source``, each for its rows."""
        features, masking = maps.read(source), self.rows == "mask"
        sets = [route.rows for route in routes if route.rows is not None]
        gathered = iter(gather_rows(features, sets) if sets and not masking else ())
        for index, rows, count in routes:
            key, module = self.edge_keys[index], self.edge_modules[index]
            edge = edge_of(self.dag, key)
            arguments: list[Any] = [features if rows is None or masking else next(gathered)]
            if edge.decision is not None and edge.option is None:  # an elastic module is told the gate
                gate = gates[edge.decision]
                arguments.append(gate if rows is None or masking or gate.ndim == 1 else gate.index_select(0, rows))
                if whole is not None and getattr(module, "takes_values", False):
                    arguments += [None, _used(whole[edge.decision].detach().cpu().numpy())]
            with rows_in_all(module, count):
                if masking and rows is not None:
                    maps.add(key[1], run_masked(module, arguments, rows))
                else:
                    maps.add(key[1], module(*arguments), rows)

    def _run_edge(
        self,
        index: int,
        edge: Edge,
        features: Tensor,
        gates: Gates,
        read: Mapping[str, NDArray[Any]],
        everywhere: Mapping[str, NDArray[Any]] | None,
    ) -> Tensor:
        module = self.edge_modules[index]
        if edge.decision is None:
            return cast(Tensor, module(features))
        gate, values = gates[edge.decision], read[edge.decision]
        if edge.option is None:
            told: list[Any] = [values] if getattr(module, "takes_values", False) else []
            if told and everywhere is not None:
                told.append(_used(everywhere[edge.decision]))
            return cast(Tensor, module(features, gate, *told))
        output: Tensor = module(features)
        if not gate.requires_grad and (values[..., edge.option] == 1).all():
            return output
        weight = gate[..., edge.option].to(output.dtype)
        return output * weight.reshape(-1, *([1] * (output.ndim - 1)))

    def _read(self, gates: Gates) -> dict[str, NDArray[Any]]:
        """The gates on the host: those that lie on a device are read once, all together."""
        values = {name: gate.detach() for name, gate in gates.items()}
        return {name: gate.numpy() for name, gate in _moved(values, torch.device("cpu")).items()}

    def _live(self, gates: Gates, read: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """The modules (E,) that some row uses or whose gate needs a gradient, connected or not; ``read``: the gates' values."""
        return np.array([_is_on(edge_of(self.dag, key), gates, read) for key in self.connectivity.edges], dtype=np.bool_)

    def _running(self, live: NDArray[np.bool_], allow_none: bool = False) -> list[int]:
        """Those of the modules in ``live`` (E,) on a path from source to sink, in the order in which they are to run."""
        key = live.tobytes()
        if key not in self._connected:
            if len(self._connected) > 4096:  # sampling visits many sub-graphs: forget them before they fill the memory
                self._connected.clear()
            self._connected[key] = [self._order[edge] for edge in np.flatnonzero(self.connectivity.connected(live[None])[0])]
        if not self._connected[key] and not allow_none:
            raise ValueError(f"no module with a gate above zero joins {self.source!r} to {self.sink!r}: the gates disconnect them")
        return self._connected[key]

    def _routes(self, gates: Gates, images: Tensor, whole: Gates | None) -> list[Route]:
        """The modules to run, in order."""
        on = self.connectivity.switched_on(self._points(gates, len(images)))
        if len(on) == 1:
            return [Route(index) for index in self._running(on[0], allow_none=self.disconnected == "zeros")]
        live = self.connectivity.connected(on)
        lost = np.flatnonzero(~live.any(axis=1))
        if len(lost) and self.disconnected == "refuse":
            raise ValueError(
                f"row {lost[0]} ({len(lost)} of {len(on)} rows): no module with a gate above zero joins {self.source!r} to "
                f"{self.sink!r}: the gates disconnect them"
            )
        if whole is None:
            return [Route(self._order[edge], rows) for edge, rows in module_rows(live, images.device)]
        count = max(len(gate) for gate in whole.values() if gate.ndim == 2)
        counts = self.connectivity.connected(self.connectivity.switched_on(self._points(whole, count))).sum(0)
        running = module_rows(live, images.device, np.flatnonzero(counts))
        return [Route(self._order[edge], rows, int(counts[edge])) for edge, rows in running]

    def _points(self, gates: Gates, rows: int) -> NDArray[Any]:
        """The gates as one-hot points of the space, (1, dimension) if all are for the whole batch, else (rows, dimension)."""
        given = [gates[decision.name] for decision in self.space.decisions]
        if any(gate.requires_grad for gate in given):
            name = next(d.name for d, gate in zip(self.space.decisions, given, strict=True) if gate.requires_grad)
            raise ValueError(f"decision {name!r}: rows={self.rows!r} has no gradient for gates; detach them or compile a mixture")
        if any(gate.ndim == 2 for gate in given):
            given = [gate.expand(rows, -1) for gate in given]
        points = torch.cat(given, dim=-1).reshape(-1, self.space.blocks.dimension).cpu().double().numpy()
        least, most, sums = (f.reduceat(points, self.space.blocks.offsets[:-1], axis=1) for f in (np.minimum, np.maximum, np.add))
        one_hot = ((least >= 0) & (most == 1) & (sums == 1)).all(axis=0)  # (decisions,)
        if not one_hot.all():
            name = self.space.decisions[int(np.argmin(one_hot))].name
            raise ValueError(f"decision {name!r}: rows={self.rows!r} needs one-hot gates; compile the super-network as a mixture")
        return points

    def _nothing(self, images: Tensor) -> Tensor:
        """What a batch of disconnected rows gives: zeros that a loss may be differentiated through, into no weight."""
        zeros = images.new_zeros(len(images), *layer_of(self.dag, self.sink).shape)
        return zeros.requires_grad_() if torch.is_grad_enabled() else zeros

    def _check_gates(self, gates: Gates, rows: int) -> None:
        for decision in self.space.decisions:
            gate = gates.get(decision.name)
            options = len(decision.options)
            if gate is None or tuple(gate.shape) not in {(options,), (rows, options)}:
                got = "no gate" if gate is None else f"a gate of shape {tuple(gate.shape)}"
                raise ValueError(
                    f"decision {decision.name!r}: expected a gate of shape ({options},) or ({rows}, {options}), got {got}"
                )

    def extract(self, architecture: Architecture) -> nn.Module:
        """The bare network of an architecture: plain modules with copies of the weights, the same output as the super-network's.

        A chain becomes an ``nn.Sequential``, anything else an :class:`ExtractedNetwork`. Torch's random state is left alone.

        Raises:
            ValueError: a decision of several units (its counts would scale outputs), or gates that disconnect the network.
        """
        for decision in self.space.decisions:
            architecture.choice(decision.name)
        selected: list[tuple[EdgeKey, nn.Module]] = []
        with torch.random.fork_rng(devices=[]):  # fresh modules draw weights, which copies then replace
            for index in self._running(self.connectivity.switched_on(self.space.point(architecture)[None])[0]):
                key = self.edge_keys[index]
                edge, module = edge_of(self.dag, key), self.edge_modules[index]
                if edge.decision is not None and edge.option is None:
                    narrow = cast(Callable[[int], nn.Module], module.narrow)
                    selected.append((key, narrow(architecture.choice(edge.decision))))
                else:
                    selected.append((key, copy_module(module, edge)))
        return bare_network(selected, self.source, self.sink, self.rectified).train(self.training)


def compile_supernet(
    dag: nx.DiGraph, space: SearchSpace, rows: Rows = "mixture", disconnected: Disconnected = "refuse"
) -> Supernet:
    """Build the modules of a validated super-network and check that every edge maps its source's shape to its target's.

    Args:
        dag: a ``MultiDiGraph``; a ``DiGraph`` is copied into one.
        rows: ``mixture``: gates weigh the outputs, and may need gradients. The other two take one-hot gates and run a module only
            for the rows in whose own sub-graph it lies on a path from source to sink: ``route`` gathers these rows, ``mask`` runs
            all rows and blanks the others. They compute the same, batch normalization (``nn.BatchNorm1d``, ``2d``, ``3d`` inside
            any module) over the routed rows included; for that the normalizations become
            :class:`graphs.supernet.routing.RoutedBatchNorm2d` and its like, and plain ones again in what :meth:`Supernet.extract`
            gives. A module that lets rows see each other in another way, or draws random numbers, is run on different rows by the
            two.
        disconnected: what to do (in ``route`` and ``mask``) with rows whose gates disconnect the source from the sink: ``refuse``
            them, or give ``zeros``, which as logits are the uniform distribution; their loss is then a constant of the weights.

    Raises:
        ValueError: as :func:`graphs.validate_dag`; an edge whose module fails on, or gives another shape than, its layers say; an
            unknown ``rows`` or ``disconnected``; with ``route`` or ``mask`` a decision of several units or a batch normalization
            of a class of its own.

    Example:
        >>> from graphs import resnet
        >>> space = resnet(1).space
        >>> supernet = compile_supernet(resnet(1).dag, space, rows="route")
        >>> all_on = space.choose({decision.name: "on" for decision in space.decisions})
        >>> tuple(supernet(torch.zeros(1, 3, 32, 32), supernet.gates(all_on)).shape)
        (1, 10)
    """
    for name, given, known in (("rows", rows, get_args(Rows)), ("disconnected", disconnected, get_args(Disconnected))):
        if given not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {given!r}")
    several = [decision.name for decision in space.decisions if decision.units != 1]
    if rows != "mixture" and several:
        raise ValueError(f"decision {several[0]!r} has several units: rows={rows!r} needs decisions that pick one option")
    supernet = Supernet(as_multigraph(dag), space, rows, disconnected)
    was_training = supernet.training
    supernet.eval()
    with torch.no_grad():
        for key, module in zip(supernet.edge_keys, supernet.edge_modules, strict=True):
            _check_shape(supernet.dag, space, key, module)
            if rows != "mixture":
                _route_norms(key, module)
    return supernet.train(was_training)


def _route_norms(key: EdgeKey, module: nn.Module) -> None:
    try:
        route_norms(module)
    except ValueError as error:
        raise ValueError(f"edge {key!r}: {error}") from error


def _check_shape(dag: nx.MultiDiGraph, space: SearchSpace, key: EdgeKey, module: nn.Module) -> None:
    source, target, _ = key
    edge = edge_of(dag, key)
    images = torch.zeros(1, *layer_of(dag, source).shape)
    arguments: tuple[Any, ...] = (images,)
    if edge.decision is not None and edge.option is None:
        options = next(len(d.options) for d in space.decisions if d.name == edge.decision)
        arguments = (images, torch.full((options,), 1 / options))
    try:
        shape = tuple(module(*arguments).shape[1:])
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise ValueError(
            f"edge {key!r}: its module cannot take the shape {layer_of(dag, source).shape} of {source!r}: {error}"
        ) from error
    if shape != layer_of(dag, target).shape:
        raise ValueError(f"edge {key!r}: its module gives shape {shape}, but {target!r} has shape {layer_of(dag, target).shape}")


def _moved(gates: Gates, device: torch.device) -> Gates:
    """The gates on ``device``, in one copy for those that need a gradient and one for the others."""
    moved = dict(gates)
    for needed in (False, True):
        away = {name: gate for name, gate in gates.items() if gate.device != device and gate.requires_grad == needed}
        if away:
            flat = torch.cat([gate.reshape(-1) for gate in away.values()])
            flat = flat.pin_memory() if device.type == "cuda" and not needed else flat  # else the copy would wait for the device
            parts = flat.to(device, non_blocking=device.type == "cuda").split([gate.numel() for gate in away.values()])
            moved |= {name: part.reshape(away[name].shape) for name, part in zip(away, parts, strict=True)}
    return moved


def _used(values: NDArray[Any]) -> NDArray[np.bool_]:
    """The options (options,) that some row of gates (options,) or (B, options) uses."""
    used: NDArray[np.bool_] = (values.reshape(-1, values.shape[-1]) != 0).any(0)
    return used


def _is_on(edge: Edge, gates: Gates, read: Mapping[str, NDArray[Any]]) -> bool:
    if edge.decision is None or edge.option is None:
        return True
    return gates[edge.decision].requires_grad or bool((read[edge.decision][..., edge.option] != 0).any())
