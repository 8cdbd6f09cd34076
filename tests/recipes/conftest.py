"""What tests of several recipes share."""

from watch_world import world

__all__ = ["world"]
