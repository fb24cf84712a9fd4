"""The report: figures and one page for readers who know none of the code; nothing is measured here."""
