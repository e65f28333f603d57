"""A quick check for collapse: how different samples are.

Dimension key: N images, H height, W width, C channels.
"""

import numpy as np

_BLOCK = 2**20  # values whose differences are computed at a time

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

    if min(len(x_NHWC), len(test_NHWC)) < 2:
        return float("nan")
    of_test = _difference(test_NHWC)
    return _difference(x_NHWC) / of_test if of_test else float("nan")


def _difference(image_NHWC: np.ndarray) -> float:
    """Compute the mean squared difference of neighbours, in blocks.

    The blocks are summed in the order of `np.mean`, whose bits the result has: NumPy
    halves what it adds at a multiple of eight.
    """
    flat = np.ascontiguousarray(image_NHWC).reshape(-1)
    size = len(flat) // len(image_NHWC)  # from a value to the next image's

    def total(start: int, stop: int) -> np.float32:
        num = stop - start
        if num > _BLOCK:
            middle = start + num // 2 // 8 * 8
            return total(start, middle) + total(middle, stop)
        first, second = flat[start:stop], flat[start + size : stop + size]
        step = np.subtract(second, first, dtype=np.float32)
        return np.add.reduce(step**2)

    num = len(flat) - size
    return float(np.float32(total(0, num) / num))
