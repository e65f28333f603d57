# shellcheck shell=bash
# Sourced by the batch files here: runs the training, and puts the job back into the
# queue if it was stopped before its end.
#
# Slurm stops a job in one of two ways, and only the first is handled here.
# - A warning: --signal before the time limit, GraceTime before a preemption, or
#   `scancel --signal=TERM JOB`. Only the processes that srun started get SIGTERM. They
#   save and exit with 75, and the job would be over: Slurm does not requeue a job that
#   ends by itself. So we do.
# - The end: scancel, the time limit, a preemption without GraceTime or past it. All
#   get SIGTERM, this shell too, and SIGKILL after KillWait (30 s unless configured).
#   The shell has no trap, on purpose: it dies at once and cannot requeue a job that
#   Slurm requeues itself or that somebody cancelled. The training saves if it can.

MAX_RESTARTS=${MAX_RESTARTS:-20} # then something other than preemption is wrong

# train SRUN_OPTION... COMMAND...: does not return.
train() {
    local status=0 restarts=${SLURM_RESTART_COUNT:-0} job=$SLURM_JOB_ID
    # By its long name, because the SLURM_JOB_ID of one element is the id of them all.
    if [[ ${SLURM_ARRAY_JOB_ID:-} ]]; then
        job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    fi
    echo "$(date '+%F %T') job $job, restart $restarts: ${*}"
    # sbatch's --cpus-per-task does not reach srun by itself since Slurm 22.05.
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
    srun "$@" || status=$?
    # 75: saved, "give the same command to go on". 143: SIGTERM came while Python was
    # still starting. Anything else is an end: 0, or an error that would come again.
    if ((status == 75 || status == 143)); then
        if ((restarts >= MAX_RESTARTS)); then
            echo "stopped after $restarts restarts; submit it again to go on" >&2
        elif scontrol requeue "$job"; then
            echo "$(date '+%F %T') requeued"
            sleep 600 # Slurm ends this shell; leaving first would end the job
        fi
    fi
    exit "$status"
}
