"""The Python API, one module for each question; ``import rep_kedro`` offers its functions."""
