"""Real images, turned, scaled, sheared and shifted a little: no model at all.

    x'(p) = x(A (p - c) + c + t)

with bilinear interpolation and 0 outside, A a rotation times a shear times a scale.

Dimension key: N images, H height, W width, C channels.
"""

import jax
import jax.numpy as jnp

from veegan_jax.runtime import numerics


@numerics.exact
def sample(
    key: jax.Array,
    x_NHWC: jax.Array,
    *,
    degrees: float = 12.0,
    scale: float = 0.1,
    shear: float = 0.15,
    shift: float = 1.5 / 28,
) -> jax.Array:
    """Move each image by its own draw, uniform in plus and minus each range.

    Args:
      key: one typed key.
      x_NHWC: pixels in [0, 1].
      degrees: of rotation.
      scale: share by which the size changes.
      shear: in widths per height.
      shift: share of the width, in each direction.

    Returns:
      Pixels in [0, 1], [N, H, W, C].
    """
    num, height, width, _ = x_NHWC.shape
    u_N5 = jax.random.uniform(key, (num, 5), minval=-1.0, maxval=1.0)
    angle_N = jnp.deg2rad(degrees) * u_N5[:, 0]
    size_N = 1 + scale * u_N5[:, 1]
    shear_N = shear * u_N5[:, 2]
    move_N2 = shift * width * u_N5[:, 3:]
    cos_N, sin_N = jnp.cos(angle_N), jnp.sin(angle_N)
    # Rows of A = rotation @ [[1, shear], [0, 1]] / size.
    row_N = jnp.stack([cos_N, shear_N * cos_N - sin_N], axis=1) / size_N[:, None]
    col_N = jnp.stack([sin_N, shear_N * sin_N + cos_N], axis=1) / size_N[:, None]
    matrix_N22 = jnp.stack([row_N, col_N], axis=1)
    center_2 = jnp.array([(height - 1) / 2, (width - 1) / 2])
    place_HW2 = jnp.stack(
        jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1
    )

    @jax.vmap
    def move(x_HWC: jax.Array, matrix_22: jax.Array, move_2: jax.Array) -> jax.Array:
        offset_HW2 = place_HW2 - center_2[None, None]
        where_HW2 = offset_HW2 @ matrix_22.T + (center_2 + move_2)[None, None]
        where = [where_HW2[..., 0], where_HW2[..., 1]]
        by_channel = jax.vmap(
            lambda x_HW: jax.scipy.ndimage.map_coordinates(x_HW, where, order=1),
            in_axes=2,
            out_axes=2,
        )
        return by_channel(x_HWC)

    return move(x_NHWC, matrix_N22, move_N2)
