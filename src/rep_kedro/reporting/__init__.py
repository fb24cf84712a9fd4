"""The report: figures and one page for readers who know none of the code; nothing is measured here.

Drawing functions take tables of the contract (``schemas``), collections of handles by key and parameters of
``ReportingParams``, each by its name. ``model_cards`` gives objectives, which have one colour in all figures,
and architectures. Where ``stimulus_set`` is None, or has no results, the first that has some is shown.
"""
