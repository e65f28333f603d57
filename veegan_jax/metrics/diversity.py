"""A first look at collapse: how different samples are.

Dimension key: N images, H height, W width, C channels.
"""

import numpy as np


def variety(x_NHWC: np.ndarray, test_NHWC: np.ndarray) -> float:
    """How different two samples are, over how different two test images are.

    Args:
      x_NHWC: independent samples, uint8.
      test_NHWC: independent real images, uint8.

    Returns:
      The mean squared difference of neighbours, over that of the real ones: 1 is right,
      and a generator of one image has 0. It says nothing of quality: noise scores high.
    """

    def difference(image_NHWC):
        values = image_NHWC.astype(np.float32)
        return float(np.mean((values[1:] - values[:-1]) ** 2))

    return difference(x_NHWC) / difference(test_NHWC)
