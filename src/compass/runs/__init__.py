"""The run folder: its layout, its files, and its stages."""
