"""One module per question; its ``describe`` returns sections with answers in words, figures and tables."""
