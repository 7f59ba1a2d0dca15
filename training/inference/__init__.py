"""Networks as they are served: layers fused, computed by oneDNN's kernels on a CPU."""
