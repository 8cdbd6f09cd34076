"""OneRuler as lm-eval tasks: read `tasks.py` first."""
