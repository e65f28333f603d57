"""The networks of the package again, written out slowly: no flax, one layer a line.

Dimension key: B batch, Z latent, E noise inputs, X data dimensions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

Z = 2  # latent size of every case


def dense(layer, h):
    out = h @ layer["kernel"]
    return out + layer["bias"][None] if "bias" in layer else out


def network(
    params, *inputs, config, stats=None, moments=None, is_d=False, fourier_gain=1.0
):
    """An MLP on the concatenated inputs, or the code generator.

    Args:
      params: its parameters, by Flax's names.
      *inputs: arrays [B, F].
      config: the case.
      stats: BatchNorm's running moments, to be used; None: the batch's.
      moments: a list that gets each BatchNorm's (mean, variance).
      is_d: the discriminator, which alone has maxout, moments and a gain of z.
      fourier_gain: multiplies sines and cosines.
    """
    *before, h = inputs
    if "MLP_0" in params:
        code = network(params["MLP_0"], 2 * h[:, :Z], config=config)
        return dense(params["Dense_0"], h) + dense(
            params["Dense_1"], jnp.tanh(3 * code)
        )
    sizes = config.networks
    if is_d:
        before = [sizes.latent_gain * b for b in before]
    if is_d and sizes.moment_features:
        rows = []
        for pack in h:
            parts = []
            for x in pack.reshape(config.objective.pack, -1):  # its examples
                mean = sum(x) / len(x)
                angles = mean * 2.0 ** np.arange(-3, 3)
                waves = fourier_gain * jnp.concatenate(
                    [jnp.sin(angles), jnp.cos(angles)]
                )
                square = ((x - mean) ** 2 - 0.5) / 2
                parts += [3.5 * mean[None], waves, x - mean, square]
            rows.append(jnp.concatenate(parts))
        h = jnp.stack(rows)
    if "FourierFeatures_0" in params:
        angle = h @ jax.lax.stop_gradient(params["FourierFeatures_0"]["frequencies"])
        waves = fourier_gain * jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)
        h = jnp.concatenate([h, waves], axis=1)
    h = jnp.concatenate([*before, h], axis=1)
    names = sorted(name for name in params if name.startswith("Dense"))
    kernels = [params[name] for name in names]
    for number, layer in enumerate(kernels[:-1]):
        h = dense(layer, h)
        norm = params.get(f"BatchNorm_{number}")
        if norm:
            if stats is None:
                mean, var = h.mean(axis=0), ((h - h.mean(axis=0)[None]) ** 2).mean(0)
            else:
                running = stats[f"BatchNorm_{number}"]
                mean, var = running["mean"], running["var"]
            if moments is not None:
                moments.append((mean, var))
            h = (h - mean[None]) / jnp.sqrt(var + 1e-5)[None]
            h = h * norm["scale"][None] + norm["bias"][None]
        if sizes.maxout and is_d:
            h = jnp.stack([h[:, i :: sizes.maxout] for i in range(sizes.maxout)]).max(
                axis=0
            )
        elif sizes.activation == "tanh":
            h = jnp.tanh(h)
        else:
            slope = 0.2 if sizes.activation == "leaky_relu" else 0.0
            h = jnp.where(h > 0, h, slope * h)
    return dense(kernels[-1], h)


def log_sigmoid(logit):
    return jnp.log(1 / (1 + jnp.exp(-logit)))


def log_one_minus_sigmoid(logit):
    return jnp.log(1 - 1 / (1 + jnp.exp(-logit)))


def networks_of(config):
    """G, R and D as functions of their parameters and inputs."""
    plain = functools.partial(network, config=config)

    def reconstructor(params, *inputs):
        gain = config.networks.reconstructor_gain
        return plain(params, *inputs[:-1], gain * inputs[-1])

    return plain, reconstructor, functools.partial(plain, is_d=True)
