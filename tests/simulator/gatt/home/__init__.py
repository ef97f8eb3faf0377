"""Custom components that the demo places beside ours."""
