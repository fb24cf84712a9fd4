"""What a single layer is like: spectra, dimensions, receptive fields."""
