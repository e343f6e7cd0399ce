"""Steering inside vLLM: what a request carries to the processes with the model, and what these do with it."""
