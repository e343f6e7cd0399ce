"""Benchmarks: `make bench`. Each writes its figures to bench/results/ as JSON."""
