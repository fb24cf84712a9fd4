"""Properties of layers: spectra, dimensions, receptive fields, transforms of features."""
