#!/bin/bash
# Trains on a TPU pod of Google Cloud: asks for it, installs this commit on all of its
# hosts, runs one command on all of them, and deletes it. A spot pod that is taken away
# is asked for again. From the repository's folder:
#
#     scripts/launch/tpu_pod.sh --zone=us-west4-a --type=v5litepod-16 \
#         --version=v2-alpha-tpuv5-lite --share=10.0.0.2:/veegan --spot \
#         -- scripts/train_celeba.py --preset=full --parallel=jit
#
#   --zone, --type, --version   where, which slice, which image of the hosts
#   --share    an NFS export (Filestore) that the hosts can mount; its folders runs/ and
#              data/ are for work directories and data sets, and outlive the pod
#   --name     of the pod (veegan)          --project  if not gcloud's default
#   --spot     cheaper, may be taken away   --keep     do not delete it at the end
#
# Ctrl-C or SIGTERM lets the training save first. Run it where it may stay for as long
# as the training does: its connections are what the training's words come through.
set -euo pipefail

MAX_RESTARTS=${MAX_RESTARTS:-20} # then something other than preemption is wrong
POLL=${POLL:-30}                 # seconds between questions about the pod's state

name=veegan zone='' type='' version='' share='' project='' keep='' spot=()
while (($#)); do
    case $1 in
    --name=* | --zone=* | --type=* | --version=* | --share=* | --project=*)
        declare "${1:2}"
        ;;
    --spot) spot=(--spot) ;;
    --keep) keep=yes ;;
    --) break ;;
    *) echo "unknown argument $1" >&2 && exit 2 ;;
    esac
    shift
done
train=("${@:2}")
for flag in zone type version share; do
    [[ ${!flag} ]] || { echo "give --$flag" >&2 && exit 2; }
done
((${#train[@]})) || { echo "give -- and the training command" >&2 && exit 2; }
where=(--zone="$zone" ${project:+--project="$project"})
export CLOUDSDK_CORE_DISABLE_PROMPTS=1 # nobody may be there to answer

state() { # empty if there is no such pod
    gcloud compute tpus queued-resources describe "$name" "${where[@]}" \
        --format='value(state.state)' 2>/dev/null || true
}

delete() {
    gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force || true
}

on_all() {
    gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --command="$1"
}

create() {
    gcloud compute tpus queued-resources create "$name" "${where[@]}" \
        --node-id="$name" --accelerator-type="$type" --runtime-version="$version" \
        "${spot[@]}"
    until [[ $(state) == ACTIVE ]]; do
        [[ $(state) != FAILED ]] || { echo "cannot have the pod" >&2 && exit 1; }
        sleep "$POLL"
    done
}

install() {
    # A bundle, not a copy of the folder: this commit exactly, which the records name.
    git bundle create --quiet "$scratch/veegan.bundle" HEAD
    gcloud compute tpus tpu-vm scp "$scratch/veegan.bundle" "$name:" "${where[@]}" \
        --worker=all
    # The images have Python 3.10 and JAX needs 3.11: uv brings it.
    on_all "set -e
        sudo apt-get -qq -o DPkg::Lock::Timeout=600 update
        sudo apt-get -qq -o DPkg::Lock::Timeout=600 install nfs-common python3-venv
        sudo mkdir -p /mnt/veegan
        mountpoint -q /mnt/veegan || sudo mount -t nfs '$share' /mnt/veegan
        sudo mkdir -p /mnt/veegan/runs /mnt/veegan/data
        sudo chmod 1777 /mnt/veegan/runs /mnt/veegan/data
        rm -rf veegan && git clone -q veegan.bundle veegan
        ln -sfn /mnt/veegan/runs veegan/runs
        python3 -m venv uv && uv/bin/pip install -q uv
        uv/bin/uv venv -q --python=3.12 veegan/.venv
        uv/bin/uv pip install -q --python=veegan/.venv -e 'veegan[tpu]'"
}

run() {
    local child status=0
    # Only one process can hold the chips: one that a lost connection left goes first.
    # In the background, where Ctrl-C does not reach the connections.
    on_all "if [ -e veegan.pid ]; then
            kill \$(cat veegan.pid) && tail --pid=\$(cat veegan.pid) -f /dev/null
        fi
        echo \$\$ >veegan.pid
        cd veegan && export TFDS_DATA_DIR=/mnt/veegan/data
        exec .venv/bin/python ${train[*]@Q} --distributed" &
    child=$!
    trap 'stopped=yes; on_all "kill \$(cat veegan.pid)" || true' INT TERM
    while wait "$child" || status=$?; kill -0 "$child" 2>/dev/null; do status=0; done
    trap - INT TERM
    return "$status"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"; [[ $keep ]] || delete' EXIT
installed='' stopped=''
for ((restarts = 0; ; restarts++)); do
    if [[ $(state) != ACTIVE ]]; then
        [[ ! $(state) ]] || delete # SUSPENDED: taken away, and never comes back
        create
        installed=''
    fi
    [[ $installed ]] || install
    installed=yes
    status=0
    run || status=$?
    ((status)) && [[ ! $stopped ]] || exit "$status"
    sleep "$POLL" # the state follows a little later
    # 1 is an error that would come again, unless it came of a pod that was taken away;
    # 75 is saved; 255, no connection, most likely such a pod.
    [[ $status != 1 || $(state) != ACTIVE ]] || exit 1
    ((restarts < MAX_RESTARTS)) || { echo "$restarts restarts: enough" >&2 && exit 1; }
    echo "status $status: starting again"
done
