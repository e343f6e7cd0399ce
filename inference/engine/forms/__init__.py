"""The forms in which models write calls of tools and reasoning, and the parser that finds both in an answer."""
