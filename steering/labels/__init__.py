"""Feature labels: the words for what a feature of an SAE stands for, and the files that they come in.
From outside: `models`, `files`, `pagination`.
"""
