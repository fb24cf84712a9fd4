"""Properties of layers: spectra, receptive fields, linear maps between layers."""
