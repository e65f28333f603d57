"""PyTorch's multi-layer perceptron with the parameters of one of JAX's.

Dimension key: B batch, F features of a network's input.
"""

from typing import Any

import numpy as np
import optax
import torch
from torch import nn
from torch.nn.functional import leaky_relu

_ACTIVATIONS = {
    "relu": torch.relu,
    "leaky_relu": lambda x: leaky_relu(x, 0.2),
    "tanh": torch.tanh,
}


class MLP(nn.Module):
    """`veegan_jax.networks.mlp.MLP` with the parameters of one of its instances."""

    def __init__(self, params: Any, activation: str, maxout: int) -> None:
        super().__init__()
        names = (f"Dense_{i}" for i in range(len(params)))
        dense = [_linear(params[n]) for n in names if n in params]
        self.out = dense.pop()
        self.hidden = nn.ModuleList(dense)
        norms = (f"BatchNorm_{i}" for i in range(len(params)))
        self.norms = nn.ModuleList(_norm(params[n]) for n in norms if n in params)
        self.activation = _ACTIVATIONS[activation]
        self.maxout = maxout
        frequencies = params.get("FourierFeatures_0", {}).get("frequencies")
        self.register_buffer("frequencies", tensor(frequencies))

    def forward(self, *inputs_BF: torch.Tensor) -> torch.Tensor:
        *others, h_BF = inputs_BF
        if self.frequencies is not None:
            angle_BF = h_BF @ self.frequencies
            h_BF = torch.cat([h_BF, angle_BF.sin(), angle_BF.cos()], dim=1)
        h_BF = torch.cat([*others, h_BF], dim=1) if others else h_BF
        for i, layer in enumerate(self.hidden):
            h_BF = layer(h_BF)
            if self.norms:
                h_BF = self.norms[i](h_BF)
            if self.maxout:
                h_BF = h_BF.unflatten(1, (-1, self.maxout)).max(dim=2).values
            else:
                h_BF = self.activation(h_BF)
        return self.out(h_BF)


def tensor(x: Any) -> torch.Tensor | None:
    """Copy an array; None stays None."""
    return None if x is None else torch.tensor(np.asarray(x))


def tensors(tree: Any, device: torch.device) -> list[torch.Tensor]:
    """List a flax network's parameters, or moments, in the order of the peer's."""
    return [p.detach().to(device) for p in MLP(tree, "relu", 0).parameters()]


def moments(opt_state: Any, device: torch.device) -> tuple[list, list]:
    """List Adam's m and v of one network."""
    m, v = (optax.tree_utils.tree_get(opt_state, name) for name in ("mu", "nu"))
    return tensors(m, device), tensors(v, device)


def _linear(params: Any) -> nn.Linear:
    kernel = tensor(params["kernel"]).T.contiguous()
    layer = nn.Linear(kernel.shape[1], kernel.shape[0], bias="bias" in params)
    layer.weight = nn.Parameter(kernel)
    if "bias" in params:
        layer.bias = nn.Parameter(tensor(params["bias"]))
    return layer


def _norm(params: Any) -> nn.BatchNorm1d:
    layer = nn.BatchNorm1d(len(params["scale"]), momentum=0.01)  # flax's 0.99
    layer.weight = nn.Parameter(tensor(params["scale"]))
    layer.bias = nn.Parameter(tensor(params["bias"]))
    return layer
