"""Measurings of SAEs, by leases on their rows, in a thread beside the batch.

From outside: `measurings.Measurings`.
"""
