"""The attention of a batch: the plan of a step, and what is kept for the next one."""
