"""A quick check for collapse: how different samples are.

Dimension key: N images, H height, W width, C channels.
"""

import numpy as np


def variety(x_NHWC: np.ndarray, test_NHWC: np.ndarray) -> float:
    """Compare the difference of two samples with that of two test images.

    Args:
      x_NHWC: independent samples, uint8.
      test_NHWC: independent real images, uint8.

    Returns:
      The mean squared difference of neighbours, divided by that of real images. 1 is
      right; a generator of one image has 0. Noise scores high, so this says nothing
      about quality.
    """

    def difference(image_NHWC):
        values = image_NHWC.astype(np.float32)
        return float(np.mean((values[1:] - values[:-1]) ** 2))

    return difference(x_NHWC) / difference(test_NHWC)
