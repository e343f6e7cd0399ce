"""Runs a module as `python -m` does, in a process whose clock is CLOCK_SHIFT_S seconds off."""

import os
import runpy
import sys
import time

if __name__ == "__main__":
    shift_s, right = float(os.environ["CLOCK_SHIFT_S"]), time.time
    time.time = lambda: right() + shift_s  # before anything else is imported that takes the function as its own
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
