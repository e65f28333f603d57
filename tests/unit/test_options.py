"""The options of every experiment refuse values out of range, and name the flag."""

import dataclasses

import pytest

from veegan_jax.common import errors
from veegan_jax.experiments import base, faces, images, inference, ivom, stacked_mnist

OPTIONS = (
    base.Options,
    images.Options,
    stacked_mnist.Options,
    inference.Options,
    faces.Options,
    ivom.Options,
)


@pytest.mark.parametrize("cls", OPTIONS, ids=lambda cls: cls.__module__)
def test_every_number_declares_its_range(cls):
    """Also one that a subclass gives another default."""
    for field in dataclasses.fields(cls):
        if field.type in (int, float):
            assert field.metadata["within"], field.name
            with pytest.raises(errors.InputError, match=rf"--{field.name}=-1"):
                cls(**{field.name: field.type(-1)})


@pytest.mark.parametrize("cls", OPTIONS, ids=lambda cls: cls.__module__)
def test_parallel_is_one_of_the_modes(cls):
    with pytest.raises(errors.InputError, match="--parallel='all' must be one of"):
        cls(parallel="all")


def test_the_last_seed_is_below_2_to_the_32():
    assert base.Options(first_seed=2**32 - 5, seeds=5).seed_numbers().stop == 2**32
    with pytest.raises(errors.InputError, match="seeds must be below 2"):
        base.Options(first_seed=2**32 - 4, seeds=5)
