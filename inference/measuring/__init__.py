"""Measurings of SAEs: the rows with their corpus, what a worker saves and stores; no torch.

From outside: `models.Measurement`, `corpus.CorpusFile`.
"""
