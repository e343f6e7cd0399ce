"""The choice of the next token: the sampler, and the tables and constraints that it reads."""
