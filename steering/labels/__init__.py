"""Feature labels: texts that say what a feature of an SAE stands for, and the files that they are imported from.
From outside: `models`, `files`, `pagination`.
"""
