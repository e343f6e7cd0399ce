"""Requests for the features of texts, read beside the batch: the encoder in memory, and texts with what counts.

From outside: `readings.Readings`.
"""
