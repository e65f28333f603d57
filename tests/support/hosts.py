"""One of two processes of a run with two devices each; test_distributed starts them.

    python tests/support/hosts.py PORT PROCESS FOLDER

The first writes what came out to FOLDER/found.npz, an array by its name, and a
checkpoint; both go on from the checkpoint that lies in FOLDER/theirs.
"""

import pathlib
import sys

import jax
import numpy as np

from veegan_jax.common import errors
from veegan_jax.runtime import checkpoint, distributed

RUNS = [
    ("gan", "both", "none"),
    ("gan", "both", "pmap"),
    ("gan", "both", "jit"),
    ("veegan_plus", "both", "pmap"),
]


def main(port: str, process: str, name: str) -> None:
    hosts = distributed.Options(
        cpu_devices=2,
        distributed=True,
        coordinator=f"localhost:{port}",
        num_processes=2,
        process_id=int(process),
    )
    distributed.start(hosts)
    import parallel_runs

    folder, found = pathlib.Path(name), {}
    assert jax.device_count() == 4 and jax.local_device_count() == 2
    for run in RUNS:
        result = parallel_runs.result(*run, 4)
        assert all(a.is_fully_addressable for a in jax.tree.leaves(result))
        for path, array in parallel_runs.leaves(result):
            found[f"{'-'.join(run)}{path}"] = array
    # Both hold the same bits.
    mine = parallel_runs.result("gan", "both", "pmap", 4)
    for other in distributed.gather(mine):
        parallel_runs.assert_same(other, mine, rtol=0, atol=0)
    # Checkpoints: theirs, of one process, goes on; ours is for one process to read.
    like = parallel_runs.initial("gan", "both")
    theirs = checkpoint.Checkpoints(folder / "theirs")
    done, state = theirs.restore(like)
    theirs.close()
    run, _ = parallel_runs.runner("gan", "both", "pmap", 4)
    state, _ = run(state)
    for path, array in parallel_runs.leaves(state):
        found[f"resumed-{done}{path}"] = array
    ours = checkpoint.Checkpoints(folder / "ours")
    ours.save(3, mine[0])
    ours.close()
    # The processes tell each other values.
    me = jax.process_index()
    assert distributed.share({"me": me}) == [{"me": 0}, {"me": 1}]
    assert distributed.on_main_process(lambda: [me, distributed.num_processes()]) == [
        0,
        1,
    ]
    odd = {
        "zero": np.float32([-0.0, np.nan, 1e-42]) if me == 0 else np.zeros(3, "f4"),
        "key": jax.random.key(me + 5),
    }
    told = distributed.from_main_process(odd)
    assert (
        np.asarray(told["zero"]).tobytes()
        == np.float32([-0.0, np.nan, 1e-42]).tobytes()
    )
    assert (
        jax.random.key_data(told["key"]) == jax.random.key_data(jax.random.key(5))
    ).all()
    parts = distributed.gather(np.full(2, me, np.int16))
    assert [p.tolist() for p in parts] == [[0, 0], [1, 1]]

    def refuse():
        raise errors.InputError("--workdir=x cannot be used")

    try:
        distributed.on_main_process(refuse)
    except errors.InputError as error:
        assert str(error) == "--workdir=x cannot be used"
    else:
        raise AssertionError("only the first was refused")
    if distributed.is_main_process():
        np.savez(folder / "found.npz", **found)
    distributed.finish()
    print(f"process {process} is done", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
