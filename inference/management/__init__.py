"""Commands for models, SAEs and the demo, and what several of them share: `listing`, `named`, `progress`.
From outside: nothing; `manage.py` finds the commands.
"""
