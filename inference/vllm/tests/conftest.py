"""Tests of the engine on vLLM, in the environment of `make test-vllm` only."""

from inference.tests.engines import ON_VLLM

collect_ignore_glob = [] if ON_VLLM else ["test_*.py"]
