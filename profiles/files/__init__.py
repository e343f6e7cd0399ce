"""Profile files: the format that miLLM writes, and the formats of other programs that it reads.
From outside: `transfer`; the lengths of texts in `formats`.
"""
