"""What one layer is like: spectra, receptive fields, linear maps between layers."""
