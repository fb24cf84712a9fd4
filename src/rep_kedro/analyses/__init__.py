"""The science between kernels and pipelines: one package for each question."""
