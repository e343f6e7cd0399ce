"""Sweeps: answers of the model over values of a strength, with the effects on them; no torch.

From outside: `models.Sweep`, `plan.Plan`, `subject`, `effects`, `export`.
"""
