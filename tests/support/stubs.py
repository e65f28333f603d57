"""Commands that record how they are called, in the place of a cluster's own."""


def stub(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


# Words end with one control character and calls with another: no word holds them.
RECORD = r"""printf '%s\037' "${0##*/}" "$@" >>calls; printf '\036' >>calls"""


def recorded(folder):
    """Return the calls of a folder's stubs, in order, a list of words each."""
    calls = folder / "calls"
    lines = calls.read_text().split("\036")[:-1] if calls.exists() else []
    return [line.split("\037")[:-1] for line in lines]
