#!/bin/sh
# Ends with the exit status that it is given; the batch system sees just that.
#
#   vmbatch local run -l other=vbuserimage=tiny examples/exitcode.sh 42; echo $?
exit "${1:-0}"
