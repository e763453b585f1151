"""The Kubernetes objects of a stack as plain data: what `render` writes and the components register."""
