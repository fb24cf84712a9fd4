"""One module per question, one public ``plot_`` function per figure; each returns a matplotlib Figure."""
