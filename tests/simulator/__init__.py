"""A bank of batteries that is not there: physics, protocol speakers, lines, and faults on demand."""
