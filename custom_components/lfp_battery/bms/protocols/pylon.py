"""placeholder while the codec is being written."""
