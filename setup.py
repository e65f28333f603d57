"""Packaging: `pip install -e .`, or `.[test]`, `.[cuda]`, `.[tpu]`, `.[bench]`.

`.[data]` is for scripts/prepare_data.py only: what it prepares is read without it.
The lower bounds of jax, flax, optax and orbax are the oldest versions tested.
"""

import setuptools

setuptools.setup(
    name="veegan-jax",
    version="0.1.0",
    description="Does this GAN drop modes? VEEGAN, its rivals and L-GAN in JAX.",
    # Not `find_packages`, which skips folders without __init__.py, such as runtime.
    packages=setuptools.find_namespace_packages(include=["veegan_jax*", "lgan_jax*"]),
    package_data={"veegan_jax.classifier": ["*.npz"]},
    python_requires=">=3.11",
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.5",
        "filelock>=3.16",
        "flax>=0.12.8",
        "grain>=0.2.16",
        "importlib_resources>=6.0",
        "jax>=0.10.2",
        "matplotlib>=3.9",
        "numpy>=2.0",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "pillow>=10.0",
        "scikit-learn>=1.4",
        "scipy>=1.13",
        "tensorboard>=2.18",
        "tensorflow-datasets>=4.9.9",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": [
            "kubeflow-trainer-api>=2.3",
            "kubernetes-validate>=1.37",
            "mypy>=1.16",
            "prdc>=0.2",
            "pytest>=8.0",
            "pytest-xdist>=3.6",
            "pyyaml>=6.0",
            "ruff>=0.12",
        ],
        "bench": ["torch>=2.4,<2.14", "prdc>=0.2"],
        "data": ["tensorflow>=2.16"],
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
    },
)
