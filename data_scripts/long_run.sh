#!/usr/bin/env bash
# The full network on photographs, on a CPU beside other work: recorded in chapters/recordings/full_width.
#
#   data_scripts/long_run.sh DEVKIT INIT RUN      start the run, or go on with it; a kill costs 50 steps at most
#   data_scripts/long_run.sh status RUN           where it stands
#
# DEVKIT has the image sets 2007-fit and 2007-held200 (trained on, and validated on), INIT is what a fresh run starts from.
# Two processes of one thread each: two threads in one process wait for each other at every operator. A step of 8 images
# takes 2.4 s on two idle cores with units for bfloat16 (3.8 s without --freeze).
# nice acts within a terminal session alone where the kernel groups processes by session; for each of the three processes
# `echo 19 > /proc/PID/autogroup` makes it give way to other sessions, too.
set -euo pipefail
if [ "$1" = status ]; then
  grep '"multibox"' "$2/log.jsonl" | grep -v '"val"' | tail -n 1
  grep -E '"val"|"map"|"drops"' "$2/log.jsonl" | tail -n 3
  exit
fi
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec nice -n 19 torchrun --nproc-per-node 2 -m ssdlib train --recipe paper --data "$1" --init "$2" --out "$3" --resume \
  --train-sets 2007-fit --test-sets 2007-held200 --batch-size 8 --learning-rate 1e-3 --warmup 20 --precision bfloat16 \
  --freeze conv3_3 --seed 1 --steps 5000 --drops 4000 4700 --log-every 10 --checkpoint-every 50 --val-every 400 --map-every 1000
