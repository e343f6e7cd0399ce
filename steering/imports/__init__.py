"""Imported files of rows, of labels and of features: read row by row, copied into PostgreSQL whole or not at all."""
