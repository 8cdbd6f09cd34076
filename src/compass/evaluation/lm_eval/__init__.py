"""lm-eval's tasks: its own, those of local files, and OneRuler's."""
