"""Data onto node-local disks: content-addressed, checksummed, skipped when already there."""
