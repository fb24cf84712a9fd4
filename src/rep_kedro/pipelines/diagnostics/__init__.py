"""Properties of single layers: spectra, dimensions, receptive fields."""
