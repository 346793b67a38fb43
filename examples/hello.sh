#!/bin/sh
#PBS -N hello
# Tells where it runs: the same script on the bare node and in a guest.
#
#   vmbatch local run examples/hello.sh
#   vmbatch local run -l other=vbuserimage=tiny examples/hello.sh
echo "Hello from $(hostname), kernel $(uname -sr)"
id
echo "directory: $(pwd), umask: $(umask)"
echo "arguments: $*"
env | grep '^PBS_' | sort
