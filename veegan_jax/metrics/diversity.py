"""A quick check for collapse: how different samples are.

Dimension key: N images, H height, W width, C channels.
"""

import numpy as np

UNDEFINED = {"variety": "empty without two samples and two different test images"}


def variety(x_NHWC: np.ndarray, test_NHWC: np.ndarray) -> float:
    """Compare the difference of two samples with that of two test images.

    Args:
      x_NHWC: independent samples, uint8.
      test_NHWC: independent real images, uint8.

    Returns:
      The mean squared difference of neighbours, divided by that of real images. 1 is
      right; a generator of one image has 0. Noise scores high, so this says nothing
      about quality. NaN where it is undefined; see `UNDEFINED`.
    """

    def difference(image_NHWC):
        values = image_NHWC.astype(np.float32)
        return float(np.mean((values[1:] - values[:-1]) ** 2))

    if min(len(x_NHWC), len(test_NHWC)) < 2:
        return float("nan")
    of_test = difference(test_NHWC)
    return difference(x_NHWC) / of_test if of_test else float("nan")
