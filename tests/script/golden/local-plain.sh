#!/bin/bash
#EXA name=exa-demo-3f9a-001
#EXA nodes=2
#EXA walltime=01:00:00
#EXA kill_delay=10

# Every process of this run carries these two; a sweep ends what carries them, nothing else.
export EXA_RUN_DIR=/scratch/runs/demo-3f9a
export EXA_TAG=exa-demo-3f9a-001

# A life is one start of this script. Its first act is to take the next number: of two copies
# of this job that start together, mkdir lets one through, and the other ends with status 79.
lives=/scratch/runs/demo-3f9a/attempts/001/lives
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

exec /opt/exa/bin/python -m exa_cli job "$EXA_RUN_DIR" --attempt 001 --life "$life"
