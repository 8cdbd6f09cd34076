"""What keeps an update from forgetting: the EWC penalty, its Fisher information, and replayed anchors."""
