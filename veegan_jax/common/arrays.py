"""Arrays in files that others wrote."""

import pathlib

import numpy as np

from veegan_jax.common import errors


def read(path: pathlib.Path) -> np.ndarray:
    """The array of a .npy file, or of an .npz file that holds one.

    Raises:
      InputError: naming the file and what is wrong with it; pickles are refused.
    """
    try:
        with path.open("rb") as file:  # NumPy leaves a damaged file open
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.lib.npyio.NpzFile):
                if len(data.files) != 1:
                    raise ValueError(f"holds {len(data.files)} arrays, not one")
                data = data[data.files[0]]
    except OSError as error:
        raise errors.InputError(
            f"{path} cannot be read: {error.strerror or error}"
        ) from error
    except Exception as error:  # a damaged file raises many kinds, by where it is cut
        raise errors.InputError(
            f"{path} is not one .npy or .npz array: {error}"
        ) from error
    return data
