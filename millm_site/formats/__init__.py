"""The formats of dates in pages, where Django's FORMAT_MODULE_PATH looks for them."""
