#!/bin/sh
# Ends in good order when it is told to, in a guest: by Ctrl-C here, by qdel, or by its walltime. On
# the bare node the login shell around it ends at once, and leaves it no time.
#
#   vmbatch local run -l other=vbuserimage=tiny,walltime=5 examples/signals.sh; echo $?
trap 'echo "told to end: saving my work"; exit 7' TERM INT
echo "working, process $$"
while :; do
  sleep 1 &
  wait $!
done
