"""Images on disk to training and evaluation samples."""
