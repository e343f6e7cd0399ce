"""The profile file: what is written, and the forms of other programs that are read.
From outside: `transfer`.
"""
