"""The sweeps that a worker takes up, in a thread of its own, behind all requests of users.

From outside: `sweeps.Sweeps`, `answers.BackgroundAnswers`, `run.SweepModel`.
"""
