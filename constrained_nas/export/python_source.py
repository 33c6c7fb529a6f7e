"""A network as a readable Python file that needs nothing but torch.

The library's blocks are copied into the file as their own source and built by their arguments; layers of ``torch.nn`` are built by
the arguments they report; chains are written as chains and networks of a DAG line by line. Any other module is traced by
``torch.fx``, its own forward alone, into a class of the file. Modules keep their names, so the weights load strictly. Whatever
cannot be rebuilt to the same settings is refused, by name.
"""

from __future__ import annotations

import inspect
import keyword
import pprint
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import fx, nn

from constrained_nas.export.python_layers import PARTS, block_arguments, layer_arguments, literal, rebuilt
from graphs.blocks import ACTIVATIONS, ConvNormActivation, StochasticDepth, activation_module
from graphs.supernet import ExtractedNetwork

_GLOBALS = {  # what the code of torch.fx may refer to besides torch
    "device": "from torch import device",
    "inf": "from math import inf",
    "nan": "from math import nan",
    "math": "import math",
    "operator": "import operator",
}
_GROUP = '''class Group(nn.Module):
    """Modules under their names."""

    def __init__(self, parts: OrderedDict[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)'''
_HEADER = '''"""{title}

Written by constrained-nas; needs torch only (and safetensors, to read the weights).

    network = load("{weights}")
"""

from __future__ import annotations

from collections import OrderedDict

{torch}from torch import Tensor, nn
'''
_FOOTER = '''

def build() -> nn.Module:
    """The network with fresh weights."""
    return {network}


def load(weights: str) -> nn.Module:
    """The network with the weights of a safetensors file, in evaluation mode."""
    from safetensors.torch import load_file

    network = build()
    # clone: tensors in a file begin at any byte, and kernels may round otherwise where memory is not aligned.
    tensors = {{name: tensor.clone() for name, tensor in load_file(weights).items()}}
    network.load_state_dict(tensors, strict=True, assign=True)  # assign: the dtype of the file
    return network.eval()
'''


def python_source(
    network: nn.Module, title: str, weights: str, facts: Iterable[str] = (), images: Mapping[str, Any] | None = None
) -> str:
    """The text of a module with ``build()`` and ``load(weights)``.

    Args:
        network: of plain modules; not changed.
        facts: written as comments below the imports.
        images: what they are, of plain values; written below the comments as ``INPUT``.

    Raises:
        ValueError: weights in two places at once, or a module that cannot be written; names it.
    """
    _refuse_shared(network)
    writer = _Writer()
    built = writer.write(network, "")
    comments = "".join(f"# {_one_line(fact)}\n" for fact in facts)
    classes = "".join(f"\n\n{text}\n" for text in writer.definitions.values())
    extra = "".join(f"{line}\n" for line in sorted(writer.imports))
    if images:
        comments += f"INPUT = {pprint.pformat(dict(images), width=120, compact=True, sort_dicts=False)}\n"
    body = classes + _FOOTER.format(network=_indent_tail(built))
    uses_torch = "import torch\n" if re.search(r"\btorch\.", body) else ""
    header = _HEADER.format(title=_one_line(title), weights=_one_line(weights), torch=uses_torch)
    return header + extra + (f"\n{comments}" if comments else "") + body


class _Writer:
    """Collects the definitions that the expressions it writes need."""

    def __init__(self) -> None:
        self.definitions: dict[str, str] = {}
        self.imports: set[str] = set()

    def write(self, module: nn.Module, name: str) -> str:
        """A Python expression that builds ``module``, which is called ``name`` in the network."""
        kind = type(module)
        for writing in (self._known, self._torch_layer):
            written = writing(module, name)
            if written is not None:
                return written
        if isinstance(module, nn.Sequential) and kind.forward is nn.Sequential.forward and not _own_tensors(module):
            return self._chain("nn.Sequential(OrderedDict([", module, "]))", name)
        if kind is nn.ModuleDict:
            return self._chain("nn.ModuleDict(OrderedDict([", module, "]))", name)
        if kind is nn.ModuleList:
            return _lines("nn.ModuleList([", [self.write(part, _join(name, n)) for n, part in module.named_children()], "])")
        if kind is nn.Module:  # what torch.fx keeps its parts in
            if _own_tensors(module):
                return self._class(module, name, "")
            self.definitions.setdefault("Group", _GROUP)
            return self._chain("Group(OrderedDict([", module, "]))", name)
        if isinstance(module, ExtractedNetwork):
            return self._class(module, name, _dag_forward(module))
        return self._class(module, name, self._traced(module, name))

    def _chain(self, opening: str, module: nn.Module, closing: str, name: str) -> str:
        return _lines(
            opening, [f"({literal(n)}, {self.write(part, _join(name, n))})" for n, part in module.named_children()], closing
        )

    def _known(self, module: nn.Module, name: str) -> str | None:
        """One of this library's blocks, if its arguments give the very same block."""
        kind = type(module)
        if kind is StochasticDepth:
            self._define(kind)
            return f"StochasticDepth({self.write(cast(nn.Module, module.block), _join(name, 'block'))}, {module.rate!r})"
        arguments = block_arguments(module)
        written = None if arguments is None else rebuilt(module, arguments)
        if written is not None:
            self._define(kind)
        return written

    def _define(self, kind: type[nn.Module]) -> None:
        for needed in PARTS.get(kind, ()):
            self._define(needed)
        if kind is ConvNormActivation:
            names = ", ".join(f"{literal(name)}: nn.{activation.__name__}" for name, activation in ACTIVATIONS.items())
            source = inspect.getsource(activation_module).rstrip()
            self.definitions.setdefault("activation_module", f"ACTIVATIONS = {{{names}}}\n\n\n{source}")
        self.definitions.setdefault(kind.__name__, inspect.getsource(kind).rstrip())

    def _torch_layer(self, module: nn.Module, name: str) -> str | None:
        """A layer of torch.nn by the arguments that it keeps as attributes."""
        kind = type(module)
        containers = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
        if getattr(nn, kind.__name__, None) is not kind or kind in containers:
            return None
        written = rebuilt(module, layer_arguments(module))
        if written is None:
            raise ValueError(
                f"cannot write module {name or 'the network'!r}: {kind.__name__} does not follow from its own settings"
            )
        return f"nn.{written}"

    def _traced(self, module: nn.Module, name: str) -> str:
        """The forward of a module of another class, as torch.fx sees it in evaluation mode."""
        where = f"cannot write module {name or 'the network'!r} ({type(module).__name__}) as Python"
        graphs: list[fx.Graph | None] = []
        modes = [(part, part.training) for part in module.modules()]
        for training in (False, True):
            try:
                graphs.append(_OwnForward().trace(module.train(training)))
            except Exception as error:  # tracing runs the module's own code, which may raise anything
                if not training:
                    raise ValueError(
                        f"{where}: torch.fx cannot trace its forward ({type(error).__name__}: {error}); torch.export may be able to"
                    ) from error
                graphs.append(None)  # only evaluation has to be written
            finally:
                for part, mode in modes:
                    part.training = mode
        text, in_training = ("" if graph is None else self._code(graph, module, where) for graph in graphs)
        if text != in_training:
            signature, _, rest = text.partition("\n")
            text = (
                f'{signature}\n    """As in evaluation mode; what the original does otherwise in training is not here."""\n{rest}'
            )
        return text

    def _code(self, graph: fx.Graph, module: nn.Module, where: str) -> str:
        kept = {name for name, _ in module.named_buffers()}
        for node in graph.nodes:
            if str(node.target).startswith("_tensor_constant") and node.target not in kept:
                raise ValueError(f"{where}: its forward uses a tensor of its own; make it a buffer (register_buffer)")
            node.type = None  # annotations may be of the user's own types
        code = graph.python_code("self")
        text = re.sub(r"(?m);\s+\w+ = (?:\w+ = )*None.*$", "", code.src.strip())  # fx frees every variable after its last use
        text = _indexed(text, module)
        text = re.sub(r"torch\._C\._nn\.(\w+)", _public_name, text)
        for known, thing in code.globals.items():  # fx lists more than the code uses
            if thing is torch or not re.search(rf"(?<!\.)\b{re.escape(known)}\b", text):
                continue
            if known not in _GLOBALS:
                raise ValueError(f"{where}: its forward calls {known!r}, which is not torch's; move it into a module")
            self.imports.add(_GLOBALS[known])
        return "\n".join(line.rstrip() for line in text.splitlines())

    def _class(self, module: nn.Module, name: str, forward: str) -> str:
        """A class with the module's parts and ``forward``; modules with the same text share one."""
        lines = ["super().__init__()"]
        kept = {key for key, _ in module.state_dict().items()}
        for key, parameter in module.named_parameters(recurse=False):
            grad = "" if parameter.requires_grad else ", requires_grad=False"
            lines.append(f"self.{key} = nn.Parameter(torch.empty({tuple(parameter.shape)}){grad})")
        for key, buffer in module.named_buffers(recurse=False):
            if key not in kept:
                raise ValueError(f"cannot write module {name or 'the network'!r}: its buffer {key!r} is not in the state dict")
            lines.append(f"self.register_buffer({literal(key)}, torch.empty({tuple(buffer.shape)}, dtype={buffer.dtype}))")
        for key, part in module.named_children():
            written = self.write(part, _join(name, key))
            lines.append(f"self.{key} = {written}" if key.isidentifier() else f"self.add_module({literal(key)}, {written})")
        start = textwrap.indent("\n".join(lines), " " * 8)
        body = f"    def __init__(self) -> None:\n{start}\n\n{textwrap.indent(forward, '    ')}".rstrip()
        title, number = type(module).__name__, 1
        while self.definitions.setdefault(title, f"class {title}(nn.Module):\n{body}") != f"class {title}(nn.Module):\n{body}":
            number += 1
            title = f"{type(module).__name__}{number}"
        return f"{title}()"


class _OwnForward(fx.Tracer):
    """Traces one module's forward; every module inside it is called, not looked into."""

    proxy_buffer_attributes = True  # a buffer that is computed with is to stay a buffer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _dag_forward(network: ExtractedNetwork) -> str:
    """The sums and ReLUs of a network of a DAG, line by line in the order in which it runs."""
    names: dict[Any, str] = {}

    def variable(node: Any) -> str:
        if node not in names:
            stem = re.sub(r"\W+", "_", str(node)).strip("_") or "layer"
            stem = f"layer_{stem}" if stem[0].isdigit() or keyword.iskeyword(stem) or stem in ("modules", "self") else stem
            taken = set(names.values())
            names[node] = next(c for c in (stem, *(f"{stem}_{n}" for n in range(2, len(taken) + 3))) if c not in taken)
        return names[node]

    lines = [f"def forward(self, {variable(network.source)}: Tensor) -> Tensor:", "    modules = self.edge_modules"]
    pending = set(network.rectified)
    begun = set()

    def read(node: Any) -> str:
        if node in pending:
            pending.discard(node)
            lines.append(f"    {variable(node)} = {variable(node)}.relu()")
        return variable(node)

    for (source, target, _), key in zip(network.keys, network.edge_modules, strict=True):
        value = f"modules[{literal(key)}]({read(source)})"
        lines.append(f"    {variable(target)} = " + (f"{variable(target)} + {value}" if target in begun else value))
        begun.add(target)
    last = read(network.sink)
    return "\n".join([*lines, f"    return {last}"])


def _own_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))


def _refuse_shared(network: nn.Module) -> None:
    seen: dict[int, str] = {}
    tensors = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        if (first := seen.setdefault(id(tensor), name)) != name:
            raise ValueError(f"{first!r} and {name!r} are one tensor: a file of weights cannot say so; give each its own copy")


def _lines(opening: str, items: Sequence[str], closing: str) -> str:
    if sum(map(len, items)) < 90 and not any("\n" in item for item in items):
        return opening + ", ".join(items) + closing
    return opening + "\n" + "".join(textwrap.indent(item, "    ") + ",\n" for item in items) + closing


def _indexed(text: str, module: nn.Module) -> str:
    """``self.layers[0]`` for fx's ``getattr(self.layers, "0")``, where that is a list."""

    def shorten(found: re.Match[str]) -> str:
        holder = module.get_submodule(found[1].replace("[", ".").replace("]", ""))
        return f"self.{found[1]}[{found[2]}]" if isinstance(holder, nn.ModuleList | nn.Sequential) else found[0]

    while (shorter := re.sub(r'getattr\(self\.([\w.\[\]]+), "(\d+)"\)', shorten, text)) != text:
        text = shorter
    return text


def _public_name(found: re.Match[str]) -> str:
    same = getattr(nn.functional, found[1], None) is getattr(torch._C._nn, found[1])
    return f"torch.nn.functional.{found[1]}" if same else found[0]


def _join(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _indent_tail(text: str) -> str:
    """All lines but the first moved in by one level."""
    return text.replace("\n", "\n    ")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("\\", "/").replace('"""', "'''")
