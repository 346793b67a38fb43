#!/bin/sh
# Counts the lines and bytes of its standard input.
#
#   vmbatch local run --stdin -l other=vbuserimage=tiny examples/stdin.sh < /etc/services
exec wc -l -c
