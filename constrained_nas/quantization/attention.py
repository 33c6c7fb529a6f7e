"""Attention whose projections are layers: ``nn.MultiheadAttention`` keeps its input projection as a bare parameter.

Its compiled fast path also passes by the output projection's forward, so that no hook sees either. ``with_projections`` exchanges
every one for a module of two linear layers, ``in_proj`` and ``out_proj``, that computes the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ProjectedAttention(nn.Module):
    """``nn.MultiheadAttention`` with equal sizes of queries, keys and values, as two linear layers around the attention."""

    in_proj_bias = None  # torch's encoder layers then take their plain path, which calls this module
    in_proj_weight = None

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        if attention.in_proj_weight is None or attention.bias_k is not None or attention.add_zero_attn:
            raise ValueError("attention with keys or values of other sizes, or with extra keys, cannot be quantized")
        self.embed_dim, self.num_heads, self.batch_first = attention.embed_dim, attention.num_heads, attention.batch_first
        self.dropout = attention.dropout
        self._qkv_same_embed_dim = True
        with_bias = attention.in_proj_bias is not None
        self.in_proj = nn.Linear(self.embed_dim, 3 * self.embed_dim, with_bias).to(attention.in_proj_weight)
        self.out_proj = nn.Linear(self.embed_dim, self.embed_dim, attention.out_proj.bias is not None).to(attention.in_proj_weight)
        with torch.no_grad():
            self.in_proj.weight.copy_(attention.in_proj_weight)
            self.out_proj.weight.copy_(attention.out_proj.weight)
            if with_bias:
                self.in_proj.bias.copy_(attention.in_proj_bias)
            if attention.out_proj.bias is not None:
                self.out_proj.bias.copy_(attention.out_proj.bias)
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """As ``nn.MultiheadAttention``, but that the weights of the attention are never given."""
        if query is key and key is value:
            parts = self.in_proj(query).chunk(3, -1)
        else:  # each projected whole, for the layer is one; only its own third is kept
            parts = tuple(self.in_proj(given).chunk(3, -1)[place] for place, given in enumerate((query, key, value)))
        batched = query.ndim == 3
        if not batched:
            parts = tuple(part[None] for part in parts)
        elif not self.batch_first:
            parts = tuple(part.transpose(0, 1) for part in parts)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)  # (B, heads, length, size)
        mask = _mask(attn_mask, key_padding_mask, q, self.num_heads)
        dropout = self.dropout if self.training else 0.0
        found = functional.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal and mask is None)
        joined = found.transpose(1, 2).flatten(2)  # (B, length, embed_dim)
        output = self.out_proj(joined)
        if not batched:
            return output[0], None
        return (output if self.batch_first else output.transpose(0, 1)), None


def with_projections(network: nn.Module) -> nn.Module:
    """Exchange the attention of ``network``, in place; what is given back is the network, or its exchange.

    Raises:
        ValueError: an attention that cannot be exchanged; names it.
    """
    if isinstance(network, nn.MultiheadAttention):
        return ProjectedAttention(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MultiheadAttention):
            parent, _, child = name.rpartition(".")
            try:
                setattr(network.get_submodule(parent), child, ProjectedAttention(module))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    return network


def _mask(attn_mask: Tensor | None, padding: Tensor | None, queries: Tensor, heads: int) -> Tensor | None:
    """Both masks as one to be added, (B or 1, heads or 1, queries, keys); true means: not looked at."""

    def added(mask: Tensor) -> Tensor:
        if mask.dtype != torch.bool:
            return mask.to(queries)
        return torch.zeros_like(mask, dtype=queries.dtype).masked_fill(mask, float("-inf"))

    total: Tensor | None = None
    if attn_mask is not None:
        shaped = added(attn_mask)
        total = shaped.unflatten(0, (-1, heads)) if shaped.ndim == 3 else shaped[None, None]
    if padding is not None:
        hidden = added(padding if padding.ndim == 2 else padding[None])[:, None, None]
        total = hidden if total is None else total + hidden
    return total
