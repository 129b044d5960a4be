#!/bin/bash -l
#PBS -N exa-demo-3f9a-001
#PBS -l select=66:system=polaris
#PBS -l place=scatter
#PBS -l walltime=01:00:00
#PBS -l filesystems=eagle
#PBS -j oe
#PBS -k doe
#PBS -o /proj/runs/demo-3f9a/attempts/001/
#PBS -r n
#PBS -A proj42
#PBS -q prod

# PBS starts a job in the home directory.
cd /proj/runs/demo-3f9a || exit 5

# Every process of this run carries these two; a sweep ends what carries them, nothing else.
export EXA_RUN_DIR=/proj/runs/demo-3f9a
export EXA_TAG=exa-demo-3f9a-001

# A life is one start of this script: PBS may start a job again under the same id, even while its
# first copy runs on. Its first act is to take the next number: of two copies that start together,
# mkdir lets one through, and the other ends with status 79.
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

module use /soft/modulefiles || exit 70
module load conda || exit 70
export http_proxy=http://proxy.alcf.anl.gov:3128
export https_proxy=http://proxy.alcf.anl.gov:3128
export ftp_proxy=http://proxy.alcf.anl.gov:3128
export TMPDIR=/tmp
# PBS gives no notice before the time is over: the supervisor stops the ranks by its own clock.
exec /proj/venv/bin/python -m exa_cli job "$EXA_RUN_DIR" --attempt 001 --life "$life"
