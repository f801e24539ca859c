#!/bin/sh
# Runs inside a virtual machine: the test programs beside it, all of them whatever fails.
status=0
for test in numa_vm_test run_vm_test; do
  "/test/$test" || status=1
done
exit $status
