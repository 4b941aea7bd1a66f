"""Training: the loop, its clock, evaluation, the run folder and checkpoints."""
