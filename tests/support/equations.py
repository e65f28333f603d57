"""Every method's equations again, written out slowly.

They share nothing with the package: a loss with explicit logs for each network's one
`jax.grad`, of the plain networks. Methods with a critic are in test_critics.py.

Dimension key: B batch, Z latent, E noise inputs, X data dimensions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from support.plain_networks import (
    Z,
    log_one_minus_sigmoid,
    log_sigmoid,
    network,
    networks_of,
)

stop = jax.lax.stop_gradient


def packs(x, size):
    """Every `size` rows side by side, as PacGAN's discriminator sees them."""
    groups = [x[i : i + size] for i in range(0, len(x), size)]
    return jnp.stack([jnp.concatenate(list(group)) for group in groups])


def gan_losses(config, state, x, noise):
    del state
    G, _, D = networks_of(config)
    (latent,) = noise
    degree = config.objective.pack
    x = packs(x, degree)

    def loss_d(d, p):
        fake = packs(G(p["generator"], latent), degree)
        return -jnp.mean(log_sigmoid(D(d, x))) - jnp.mean(
            log_one_minus_sigmoid(D(d, fake))
        )

    def loss_g(g, p):
        fake = packs(G(g, latent), degree)
        return -jnp.mean(log_sigmoid(D(p["discriminator"], fake)))

    return {"discriminator": loss_d, "generator": loss_g}


def ali_losses(config, state, x, noise):
    del state
    G, R, D = networks_of(config)
    latent, r_noise = noise
    z = latent[:, :Z]

    def loss_d(d, p):
        real = D(d, R(p["reconstructor"], r_noise, x), x)
        fake = D(d, z, G(p["generator"], latent))
        return -jnp.mean(log_sigmoid(real)) - jnp.mean(log_one_minus_sigmoid(fake))

    def loss_g(g, p):
        return -jnp.mean(log_sigmoid(D(p["discriminator"], z, G(g, latent))))

    def loss_r(r, p):
        real = D(p["discriminator"], R(r, r_noise, x), x)
        return -jnp.mean(log_one_minus_sigmoid(real))

    return {"discriminator": loss_d, "generator": loss_g, "reconstructor": loss_r}


def veegan_losses(config, state, x, noise, *, adversarial=False, distance=jnp.sum):
    del state
    G, R, D = networks_of(config)
    latent, r_noise = noise
    z = latent[:, :Z]

    def code(r):
        return R(r, x) + config.objective.reconstructor_std * r_noise

    def d(z, y):  # -log N(z; y, I) without its constant
        return jnp.mean(jax.vmap(lambda a, b: 0.5 * distance((a - b) ** 2))(z, y))

    def loss_d(params, p):
        positive = D(params, z, G(p["generator"], latent))
        negative = D(params, code(p["reconstructor"]), x)
        return -jnp.mean(
            log_sigmoid(positive) + log_one_minus_sigmoid(negative)
        )  # one mean: both terms have B examples

    def loss_g(g, p):
        fake = G(g, latent)
        adversary = jnp.mean(D(p["discriminator"], z, fake))
        return adversary + d(z, R(p["reconstructor"], fake))

    def loss_r(r, p):
        loss = d(z, R(r, stop(G(p["generator"], latent))))
        if adversarial:
            loss -= jnp.mean(D(p["discriminator"], code(r), x))
        return loss

    return {"discriminator": loss_d, "generator": loss_g, "reconstructor": loss_r}


def unrolled_losses(config, state, x, noise):
    G, _, D = networks_of(config)
    (latent,) = noise

    def value(d, fake):  # f(D, G)
        return jnp.mean(log_sigmoid(D(d, x))) + jnp.mean(
            log_one_minus_sigmoid(D(d, fake))
        )

    def loss_d(d, p):
        return -value(d, G(p["generator"], latent))

    def loss_g(g, p):
        d, adam_state = p["discriminator"], state.opt_state["discriminator"]
        given = config.optimizer
        rate = given.learning_rate_d
        if given.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, config.steps)
        adam = optax.adam(rate, b1=given.beta1, b2=given.beta2, eps=1e-8)
        for _ in range(config.objective.unrolled_steps):
            grad = jax.grad(lambda d: -value(d, G(g, latent)))(d)
            updates, adam_state = adam.update(grad, adam_state)
            d = optax.apply_updates(d, updates)
        return value(d, G(g, latent))

    return {"discriminator": loss_d, "generator": loss_g}


def veegan_plus_losses(config, state, x, noise):
    G, R, D = networks_of(config)
    (latent,) = noise
    objective = config.objective
    z, x = latent[:, :Z], x / config.data.scale
    if objective.penalty:
        hold, end = (
            objective.gamma_decay_start * config.steps,
            objective.gamma_decay_end * config.steps,
        )
        progress = min(1.0, max(0.0, (int(state.step) - hold) / (end - hold)))
        decades = np.log10(objective.gamma) * (1 - progress)
        gamma = 10 ** (decades + np.log10(objective.gamma_end) * progress)
    else:
        gamma = 0.0

    if objective.fourier_start:
        gain = min(1.0, 5 * (int(state.step) / config.steps - objective.fourier_start))
        D = functools.partial(D, fourier_gain=max(0.0, gain))

    def adversary(up, down):  # wants the first logits high and the others low
        if objective.relativistic:
            return -jnp.mean(log_sigmoid(up - down))
        return -jnp.mean(log_sigmoid(up)) - jnp.mean(log_one_minus_sigmoid(down))

    def packed(*pair):
        return tuple(packs(part, objective.pack) for part in pair)

    def pairs(g, r):
        return packed(z, G(g, latent)), packed(R(r, x), x)

    def loss_d(d, p):
        def logit_of_one(z, x):
            return D(d, z[None], x[None])[0, 0]

        slopes = jax.vmap(jax.grad(logit_of_one, argnums=(0, 1)))
        fake, real = pairs(p["generator"], p["reconstructor"])
        penalty = sum(
            jnp.mean(jnp.sum((unit * slope) ** 2, axis=1))
            for pair in (fake, real)
            for unit, slope in zip(
                (1, objective.penalty_scale), slopes(*pair), strict=True
            )
        )
        return adversary(D(d, *real), D(d, *fake)) + gamma / 2 * penalty

    def loss_gr(g, r, d):
        fake, real = pairs(g, r)
        error = jnp.mean(jnp.sum((z - R(r, G(g, latent))) ** 2, axis=1))
        if not objective.adversarial_reconstructor:
            real = stop(real[0]), real[1]
        return (
            adversary(D(d, *fake), D(d, *real))
            + objective.reconstruction_weight * 0.5 * error
        )

    return {
        "discriminator": loss_d,
        "generator": lambda g, p: loss_gr(g, p["reconstructor"], p["discriminator"]),
        "reconstructor": lambda r, p: loss_gr(p["generator"], r, p["discriminator"]),
    }


def rpgan_losses(config, state, x, noise):
    G, _, D = networks_of(config)
    (z,) = noise
    objective = config.objective
    x = x / config.data.scale
    end = objective.gamma_decay_end * config.steps
    progress = min(1.0, int(state.step) / end)
    decades = np.log10(objective.gamma) * (1 - progress)
    gamma = 10 ** (decades + np.log10(objective.gamma_end) * progress)

    def loss_d(d, p):
        def slope_square(points):
            slopes = jax.vmap(jax.grad(lambda x: D(d, x[None])[0, 0]))(points)
            return jnp.mean(jnp.sum((objective.penalty_scale * slopes) ** 2, axis=1))

        fake = G(p["generator"], z)
        if objective.relativistic:
            loss = -jnp.mean(log_sigmoid(D(d, x) - D(d, fake)))
        else:
            loss = -jnp.mean(log_sigmoid(D(d, x)))
            loss -= jnp.mean(log_one_minus_sigmoid(D(d, fake)))
        if objective.penalty_real:
            loss += gamma / 2 * slope_square(x)
        if objective.penalty_fake:
            loss += gamma / 2 * slope_square(fake)
        return loss

    def loss_g(g, p):
        fake = D(p["discriminator"], G(g, z))
        if objective.relativistic:
            return -jnp.mean(log_sigmoid(fake - D(p["discriminator"], x)))
        return -jnp.mean(log_sigmoid(fake))

    return {"discriminator": loss_d, "generator": loss_g}


def hinge_losses(config, state, x, noise):
    G, _, D = networks_of(config)
    (z,) = noise
    layers = state.batch_stats["discriminator"].values()
    vectors = {name: value for layer in layers for name, value in layer.items()}

    def normalized(d):
        out = {}
        for name, layer in d.items():
            kernel, u = layer["kernel"], vectors[f"{name}/kernel/u"][0]
            v = stop(kernel) @ u / jnp.linalg.norm(stop(kernel) @ u)
            u = v @ stop(kernel) / jnp.linalg.norm(v @ stop(kernel))
            out[name] = layer | {"kernel": kernel / (v @ kernel @ u)}
        return out

    def loss_d(d, p):
        d = normalized(d)
        c = config.objective.logit_gain
        real, fake = c * D(d, x), c * D(d, G(p["generator"], z))
        return jnp.mean(jnp.maximum(0, 1 - real)) + jnp.mean(jnp.maximum(0, 1 + fake))

    def loss_g(g, p):
        d = normalized(p["discriminator"])
        return -config.objective.logit_gain * jnp.mean(D(d, G(g, z)))

    return {"discriminator": loss_d, "generator": loss_g}


def topk_losses(config, state, x, noise):
    G, _, D = networks_of(config)
    (z,) = noise
    objective = config.objective
    progress = min(1.0, int(state.step) / config.steps / objective.top_decay_end)
    k = round(len(x) * objective.top_share**progress)

    def loss_d(d, p):
        return gan_losses(config, state, x, noise)["discriminator"](d, p)

    def loss_g(g, p):
        logits = D(p["discriminator"], G(g, z))[:, 0]
        best = jnp.argsort(-logits)[:k]
        return -jnp.mean(log_sigmoid(logits[best]))

    return {"discriminator": loss_d, "generator": loss_g}


def features(d, x, config):
    """What D's last layer reads: the network without it, by a last layer that is 1."""
    (last,) = [n for n in d if n == max(n for n in d if n.startswith("Dense"))]
    width = len(d[last]["kernel"])
    eye = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    return network(d | {last: eye}, x, config=config, is_d=True)


def bures_losses(config, state, x, noise):
    """The trace of the root as the sum of singular values, by NumPy's name for it."""
    G, _, D = networks_of(config)
    (z,) = noise

    def covariance_root(feature):
        rows = feature / jnp.linalg.norm(feature, axis=1, keepdims=True)
        return (rows - rows.mean(axis=0)[None]) / np.sqrt(len(rows))

    def loss_d(d, p):
        return gan_losses(config, state, x, noise)["discriminator"](d, p)

    def loss_g(g, p):
        d, fake = p["discriminator"], G(g, z)
        a, b = (covariance_root(features(d, y, config)) for y in (x, fake))
        root = jnp.sum(jnp.linalg.svd(a @ b.T, compute_uv=False))
        both = jnp.trace(a.T @ a) + jnp.trace(b.T @ b)
        adversary = -jnp.mean(log_sigmoid(D(d, fake)))
        return adversary + config.objective.diversity_weight * (both - 2 * root)

    return {"discriminator": loss_d, "generator": loss_g}


def gdpp_losses(config, state, x, noise):
    G, _, D = networks_of(config)
    (z,) = noise

    def kernel(feature):
        rows = feature / jnp.linalg.norm(feature, axis=1, keepdims=True)
        return rows @ rows.T

    def loss_d(d, p):
        return gan_losses(config, state, x, noise)["discriminator"](d, p)

    def loss_g(g, p):
        d, fake = p["discriminator"], G(g, z)
        both = jnp.stack([kernel(features(d, y, config)) for y in (x, fake)])
        (values, fake_values), (vectors, fake_vectors) = jnp.linalg.eigh(both)
        loss = -jnp.mean(log_sigmoid(D(d, fake)))
        diversity = 1e-4 * jnp.mean((values - fake_values) ** 2)
        for i, value in enumerate(values):
            share = (value - values[0]) / (values[-1] - values[0])
            diversity -= share * abs(jnp.dot(vectors[:, i], fake_vectors[:, i]))
        return (loss + config.objective.diversity_weight * diversity) / 2

    return {"discriminator": loss_d, "generator": loss_g}


def no_noise(code, config):
    return jnp.concatenate(
        [code, jnp.zeros((len(code), config.networks.generator_noise))], axis=1
    )


def mdgan_losses(config, state, x, noise):
    G, R, D = networks_of(config)
    (latent,) = noise
    objective = config.objective

    def loss_d(d, p):
        return gan_losses(config, state, x, noise)["discriminator"](d, p)

    def regularizers(g, r, d):
        again = G(g, no_noise(R(r, x), config))
        distance = jnp.mean(jnp.mean((x - again) ** 2, axis=1))
        realism = -jnp.mean(log_sigmoid(D(d, again)))
        return (
            objective.data_reconstruction_weight * distance
            + objective.reconstruction_realism * realism
        )

    def loss_g(g, p):
        d = p["discriminator"]
        adversary = -jnp.mean(log_sigmoid(D(d, G(g, latent))))
        return adversary + regularizers(g, p["reconstructor"], d)

    def loss_r(r, p):
        return regularizers(p["generator"], r, p["discriminator"])

    return {"discriminator": loss_d, "generator": loss_g, "reconstructor": loss_r}


def alice_losses(config, state, x, noise):
    G, R, _ = networks_of(config)
    of_ali = ali_losses(config, state, x, noise)

    def distance(g, r):
        again = G(g, no_noise(R(r, noise[1], x), config))
        weight = config.objective.data_reconstruction_weight
        return weight * jnp.mean(jnp.mean((x - again) ** 2, axis=1))

    return of_ali | {
        "generator": lambda g, p: (
            of_ali["generator"](g, p) + distance(g, p["reconstructor"])
        ),
        "reconstructor": lambda r, p: (
            of_ali["reconstructor"](r, p) + distance(p["generator"], r)
        ),
    }


LOSSES = {
    "gan": gan_losses,
    "pacgan": gan_losses,
    "ali": ali_losses,
    "unrolled": unrolled_losses,
    "veegan": veegan_losses,
    "veegan_adversarial": functools.partial(veegan_losses, adversarial=True),
    "veegan_mean": functools.partial(veegan_losses, distance=jnp.mean),
    "veegan_plus": veegan_plus_losses,
    "rpgan": rpgan_losses,
    "hinge": hinge_losses,
    "topk": topk_losses,
    "bures": bures_losses,
    "gdpp": gdpp_losses,
    "mdgan": mdgan_losses,
    "alice": alice_losses,
}


def pick(state, seed):
    """One seed's state, its key cloned so that it can be picked again."""
    state = state.replace(key=jax.random.clone(state.key))
    return jax.tree.map(lambda a: a[seed], state)
