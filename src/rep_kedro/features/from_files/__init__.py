"""Features that were made elsewhere: arrays on disk, with the stimulus of each row."""
