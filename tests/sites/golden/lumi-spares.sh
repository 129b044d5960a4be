#!/bin/bash -l
#SBATCH --job-name=exa-demo-3f9a-001
#SBATCH --nodes=66
#SBATCH --no-kill
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=7
#SBATCH --gpus-per-node=8
#SBATCH --time=01:00:00
#SBATCH --chdir=/proj/runs/demo-3f9a
#SBATCH --output=/proj/runs/demo-3f9a/attempts/001/slurm-%j.out
#SBATCH --open-mode=append
#SBATCH --export=NONE
#SBATCH --signal=B:USR1@300
#SBATCH --no-requeue
#SBATCH --account=proj42
#SBATCH --exclusive
#SBATCH --partition=standard-g

# Every process of this run carries these two; a sweep ends what carries them, nothing else.
export EXA_RUN_DIR=/proj/runs/demo-3f9a
export EXA_TAG=exa-demo-3f9a-001
# What sbatch --export says holds for srun too, unless told otherwise: ranks get all that is set here.
export SLURM_EXPORT_ENV=ALL

# Slurm gives notice up to half a minute early. One that comes before the supervisor listens must
# not end this script: the supervisor watches the clock as well.
trap '' USR1

# A life is one start of this script. Its first act is to take the next number: of two copies
# of this job that start together, mkdir lets one through, and the other ends with status 79.
lives=/proj/runs/demo-3f9a/attempts/001/lives
life=1
while [ -e "$lives/$life" ]; do life=$((life + 1)); done
mkdir -p "$lives" || exit 5
if ! mkdir "$lives/$life"; then
    [ -d "$lives/$life" ] || exit 5
    echo "exa: another copy of this job took life $life; this one ends" >&2
    exit 79
fi

# Batch systems show output late, or empty it when they start a job again: keep our own.
exec </dev/null >>"$lives/$life/stdout.log" 2>&1 || exit 5

export GLOO_SOCKET_IFNAME=hsn0
export NCCL_SOCKET_IFNAME=hsn
export NCCL_NET_GDR_LEVEL=3
export CXI_FORK_SAFE=1
export CXI_FORK_SAFE_HP=1
export FI_CXI_DISABLE_CQ_HUGETLB=1
export MIOPEN_USER_DB_PATH=/tmp/miopen
export MIOPEN_CUSTOM_CACHE_DIR=/tmp/miopen
exec /proj/venv/bin/python -m exa_cli job "$EXA_RUN_DIR" --attempt 001 --life "$life"
