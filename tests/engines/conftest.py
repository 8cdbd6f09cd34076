"""Some tests run the command line in this process."""

from logging_as_before import logging_as_before

__all__ = ["logging_as_before"]
