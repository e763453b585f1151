"""The pure core of gpu-slicing: settings, catalogue, sharing modes, derived values and manifests."""
