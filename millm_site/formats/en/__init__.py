"""The formats of the language `en`."""
